package placement

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/config/v1alpha1"
	"github.com/spillway-project/spillway/internal/provider"
)

const virtualSubset = `
name: virtual
requiredNodeSelectorTerm: {matchExpressions: [{key: type, operator: In, values: [virtual-kubelet]}]}
tolerations: [{key: virtual, operator: Exists, effect: NoSchedule}]
`

func virtualPlan(t testing.TB, profile, subset string) Plan {
	p := plan(parse[appsv1alpha1.WorkloadSpreadSubset](t, subset))
	p.Virtual = provider.NewCatalog(nil).ByName(profile)
	return p
}

// generated pods and subsets for laws: such as an API server takes, because what is handed over is validated.
var (
	words       = rapid.SampledFrom([]string{"", "a", "b"})
	keys        = rapid.SampledFrom([]string{"a", "b", "type", corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable})
	requirement = rapid.Custom(func(t *rapid.T) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: keys.Draw(t, "key"), Operator: rapid.SampledFrom([]corev1.NodeSelectorOperator{"Exists", "DoesNotExist"}).Draw(t, "operator")}
	})
	named = rapid.Custom(func(t *rapid.T) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: rapid.SampledFrom([]corev1.NodeSelectorOperator{"In", "NotIn"}).Draw(t, "operator"),
			Values: []string{rapid.SampledFrom([]string{"n", "m"}).Draw(t, "node")}}
	})
	term = rapid.Custom(func(t *rapid.T) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: rapid.SliceOfN(requirement, 0, 2).Draw(t, "expressions"), MatchFields: rapid.SliceOfN(named, 0, 1).Draw(t, "fields")}
	})
	preference = rapid.Custom(func(t *rapid.T) corev1.PreferredSchedulingTerm {
		return corev1.PreferredSchedulingTerm{Weight: rapid.Int32Range(1, 2).Draw(t, "weight"), Preference: term.Draw(t, "preference")}
	})
	tolerated = rapid.Custom(func(t *rapid.T) corev1.Toleration {
		out := corev1.Toleration{Key: keys.Draw(t, "key"), Operator: corev1.TolerationOpExists, Effect: rapid.SampledFrom([]corev1.TaintEffect{"", "NoExecute", "NoSchedule"}).Draw(t, "effect")}
		if rapid.Bool().Draw(t, "default") && out.Effect == corev1.TaintEffectNoExecute {
			seconds := clusterselector.DefaultSeconds
			out.TolerationSeconds = &seconds
		}
		return out
	})
	anyPod = rapid.Custom(func(t *rapid.T) *corev1.Pod {
		pod := &corev1.Pod{}
		pod.Labels = rapid.MapOfN(keys, keys, 0, 2).Draw(t, "labels")
		pod.Spec.NodeSelector = rapid.MapOfN(keys, words, 0, 2).Draw(t, "nodeSelector")
		pod.Spec.Tolerations = rapid.SliceOfN(tolerated, 0, 4).Draw(t, "tolerations")
		if rapid.Bool().Draw(t, "affinity") {
			node := &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: rapid.SliceOfN(preference, 0, 2).Draw(t, "preferred")}
			if rapid.Bool().Draw(t, "required") {
				node.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: rapid.SliceOfN(term, 1, 3).Draw(t, "terms")}
			}
			pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: node}
		}
		return stored(t, pod)
	})
	anySubset = rapid.Custom(func(t *rapid.T) *appsv1alpha1.WorkloadSpreadSubset {
		required := corev1.NodeSelectorTerm{MatchExpressions: rapid.SliceOfN(requirement, 1, 3).Draw(t, "pin")}
		return &appsv1alpha1.WorkloadSpreadSubset{
			Name: rapid.SampledFrom([]string{"v", "w"}).Draw(t, "name"), RequiredNodeSelectorTerm: &required,
			PreferredNodeSelectorTerms: rapid.SliceOfN(preference, 0, 1).Draw(t, "preferred"),
			Tolerations:                rapid.SliceOfN(tolerated, 0, 2).Draw(t, "tolerations"),
			Patch: runtime.RawExtension{Raw: []byte(rapid.SampledFrom([]string{
				"", `{"metadata":{"labels":{"x":"y"}}}`, `{"spec":{"affinity":null}}`, `{"spec":{"tolerations":null}}`,
				`{"spec":{"affinity":{"nodeAffinity":null}}}`, `{"spec":{"tolerations":[{"key":"z","operator":"Exists"}]}}`,
				`{"spec":{"nodeSelector":{"patched":"x"}}}`, `{"metadata":{"annotations":{"clusterSelector":null,"kosmos.io/cluster-selector":null}}}`,
			}).Draw(t, "patch"))},
		}
	})
)

// stored is a pod as an API server would send it: empty lists are nil.
func stored(t *rapid.T, pod *corev1.Pod) *corev1.Pod {
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	out := &corev1.Pod{}
	if err := json.Unmarshal(raw, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAnyPodGoesUpAndDown: whatever pod and subset, two passes are one, the pin is there, and the lower pod has the
// constraints of the user, of which the API server's defaults are none.
func TestAnyPodGoesUpAndDown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod, subset := anyPod.Draw(t, "pod"), anySubset.Draw(t, "subset")
		p := plan(subset)
		p.Virtual = provider.NewCatalog(nil).ByName(rapid.SampledFrom([]string{provider.TensileKube, provider.Kosmos}).Draw(t, "profile"))
		p.Hold = rapid.Bool().Draw(t, "hold")
		placed := pod.DeepCopy()
		if err := Place(placed, p); err != nil {
			t.Fatal(err)
		}
		placed = stored(t, placed)
		again := placed.DeepCopy()
		if err := Place(again, p); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(placed, stored(t, again)); diff != "" {
			t.Fatalf("a second pass changes the pod:\n%s", diff)
		}
		if _, err := clusterselector.Restore(placed, ""); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(clusterselector.Of(&pod.Spec), clusterselector.Of(&placed.Spec)); diff != "" {
			t.Fatalf("in the lower cluster (-want +got):\n%s", diff)
		}
	})
}

// TestACopiedManifestStartsAnew: a pod made from the manifest of a placed one comes out as if it had never been placed,
// whichever subset it goes to.
func TestACopiedManifestStartsAnew(t *testing.T) {
	profiles := rapid.SampledFrom([]string{"", provider.TensileKube, provider.Kosmos, provider.Liqo, provider.AlibabaECI, provider.Admiralty})
	rapid.Check(t, func(t *rapid.T) {
		pod := anyPod.Draw(t, "pod")
		first, second := plan(anySubset.Draw(t, "first")), plan(anySubset.Draw(t, "second"))
		first.Subset.Patch.Raw = nil // a patch cannot be taken back
		first.Virtual = provider.NewCatalog(nil).ByName(profiles.Filter(func(s string) bool { return s != "" }).Draw(t, "first profile"))
		second.Virtual = provider.NewCatalog(nil).ByName(profiles.Draw(t, "second profile"))
		first.Record.Subset, second.Record.Subset = "first", "second"
		first.Cost, second.Cost = nil, nil
		// The API server's defaults, which make room for a hold, are added again by it and not by Undo.
		first.Hold = rapid.Bool().Draw(t, "first holds") && !slices.ContainsFunc(pod.Spec.Tolerations, clusterselector.IsDefaultToleration)
		fresh, copied := pod.DeepCopy(), pod.DeepCopy()
		for p, plans := range map[*corev1.Pod][]Plan{fresh: {second}, copied: {first, second}} {
			for _, plan := range plans {
				if err := Place(p, plan); err != nil {
					t.Fatal(err)
				}
				p.Spec = stored(t, p).Spec
			}
		}
		want, got := clusterselector.Of(&fresh.Spec), clusterselector.Of(&copied.Spec)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-fresh +copied):\n%s", diff)
		}
		if diff := cmp.Diff(fresh.ObjectMeta, stored(t, copied).ObjectMeta); diff != "" {
			t.Fatalf("(-fresh +copied):\n%s", diff)
		}
	})
}

// TestOwnSubsetsAreAsBefore: a plan without a profile leaves none of the marks of a virtual one.
func TestOwnSubsetsAreAsBefore(t *testing.T) {
	pod := parse[corev1.Pod](t, `{metadata: {annotations: {clusterSelector: "not even JSON"}}, spec: {nodeSelector: {a: b}}}`)
	twice(t, pod, plan(parse[appsv1alpha1.WorkloadSpreadSubset](t, ownSubset)))
	if pod.Spec.NodeSelector["a"] != "b" || pod.Annotations[clusterselector.AnnotationRecord] != "" || pod.Annotations["clusterSelector"] != "not even JSON" {
		t.Errorf("got %+v, %+v", pod.Annotations, pod.Spec)
	}
}

func TestAMixedSubsetGetsTheTolerations(t *testing.T) {
	p := plan(parse[appsv1alpha1.WorkloadSpreadSubset](t, ownSubset))
	p.Tolerations = provider.NewCatalog(nil).ByName(provider.Kosmos).Tolerations
	pod := parse[corev1.Pod](t, `{spec: {nodeSelector: {a: b}}}`)
	twice(t, pod, p)
	if len(pod.Spec.Tolerations) != 2 || pod.Spec.NodeSelector["a"] != "b" {
		t.Errorf("got %+v", pod.Spec)
	}
}

func TestWhatCannotBePlacedIsExplained(t *testing.T) {
	for name, tc := range map[string]struct{ pod, subset, want string }{
		"a selection that cannot be read": {`{metadata: {annotations: {clusterSelector: '{"tolerations":5}'}}}`, virtualSubset,
			`subset "virtual": annotation clusterSelector, field tolerations, line 1, column 16: it holds a number where a list belongs`},
		"one in the patch that cannot": {`{}`, virtualSubset + `patch: {metadata: {annotations: {clusterSelector: "{"}}}`, `subset "virtual": patch: annotation clusterSelector, line 1`},
		"a constraint that no API server takes": {`{spec: {tolerations: [{key: a, operator: Exists, value: b}]}}`, virtualSubset,
			`subset "virtual": spec.tolerations[0].value: Invalid value: "b": operator Exists takes no value: the pod would be refused behind the virtual node: correct that in the template of its workload`},
		"one in a text of the pod's": {`{metadata: {annotations: {clusterSelector: '{"topologySpreadConstraints":[{"maxSkew":0,"topologyKey":"a","whenUnsatisfiable":"DoNotSchedule"}]}'}}}`, virtualSubset,
			`subset "virtual": metadata.annotations[clusterSelector].topologySpreadConstraints[0].maxSkew: Invalid value: 0`},
		"one in the patch": {`{}`, virtualSubset + `patch: {metadata: {annotations: {clusterSelector: '{"nodeSelector":{"a b":"c"}}'}}}`,
			`subset "virtual": metadata.annotations[clusterSelector].nodeSelector[a b]: Invalid value: "a b"`},
		"a record that cannot":  {`{metadata: {annotations: {spillway-project.io/placement-record: x}}}`, virtualSubset, `subset "virtual": annotation spillway-project.io/placement-record`},
		"annotations too large": {`{metadata: {annotations: {big: ` + strings.Repeat("x", 256<<10-200) + `}}}`, virtualSubset, `subset "virtual": metadata.annotations hold`},
		"a copy of which a part was lost": {`{metadata: {annotations: {spillway-project.io/placement-record: '{"annotation":"clusterSelector","subset":"other"}'}}}`, virtualSubset,
			`undo the placement into subset "other": annotation clusterSelector, line 1, column 1: it is missing`},
	} {
		t.Run(name, func(t *testing.T) {
			err := Place(parse[corev1.Pod](t, tc.pod), virtualPlan(t, provider.TensileKube, tc.subset))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %.300v, want %q", err, tc.want)
			}
		})
	}
}

// TestOnlyWhatIsHandedOverIsValidated: the API server sees the rest.
func TestOnlyWhatIsHandedOverIsValidated(t *testing.T) {
	const invalid = `{spec: {tolerations: [{key: a, operator: exists}]}}`
	for name, p := range map[string]Plan{
		"own nodes":                    plan(parse[appsv1alpha1.WorkloadSpreadSubset](t, ownSubset)),
		"a provider without hand-over": virtualPlan(t, provider.AlibabaECI, virtualSubset),
	} {
		t.Run(name, func(t *testing.T) { twice(t, parse[corev1.Pod](t, invalid), p) })
	}
	t.Run("a pod that was placed", func(t *testing.T) {
		p := virtualPlan(t, provider.TensileKube, virtualSubset)
		pod := &corev1.Pod{}
		if err := Place(pod, p); err != nil {
			t.Fatal(err)
		}
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: "a", Operator: "exists"})
		if err := Place(pod, p); err != nil {
			t.Error(err)
		}
	})
}

// TestLabelsOfTheUsersOwnStay: how a cloud is to be used may be said by the same label that it needs.
func TestLabelsOfTheUsersOwnStay(t *testing.T) {
	pod := parse[corev1.Pod](t, `{metadata: {labels: {bursting.cci.io/burst-to-cci: auto}}}`)
	twice(t, pod, virtualPlan(t, provider.HuaweiCCI, virtualSubset))
	if pod.Labels["bursting.cci.io/burst-to-cci"] != "auto" || pod.Labels["virtual-kubelet.io/burst-to-cci"] != "enforce" {
		t.Errorf("got %v", pod.Labels)
	}
	if _, err := clusterselector.Undo(pod); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"bursting.cci.io/burst-to-cci": "auto"}, pod.Labels); diff != "" {
		t.Error(diff)
	}
}

func TestLossesAreThoseOfThePodAsItWas(t *testing.T) {
	pod := parse[corev1.Pod](t, `{spec: {tolerations: [{key: a}]}}`)
	p := virtualPlan(t, provider.AlibabaECI, virtualSubset)
	for range 2 {
		if got := NotHonoured(pod, p); len(got) != 1 || got[0] != clusterselector.Tolerations {
			t.Errorf("got %v", got)
		}
		if err := Place(pod, p); err != nil {
			t.Fatal(err)
		}
	}
	if got := NotHonoured(pod, plan(p.Subset)); got != nil {
		t.Errorf("own nodes lose %v", got)
	}
}

func TestSomePodsAreNeverTouched(t *testing.T) {
	for pod, want := range map[string]bool{
		`{}`: true, `{spec: {nodeName: n}}`: false, `{metadata: {annotations: {kubernetes.io/config.mirror: x}}}`: false,
		`{metadata: {ownerReferences: [{kind: DaemonSet, controller: true}]}}`: false, `{metadata: {ownerReferences: [{kind: ReplicaSet, controller: true}]}}`: true,
	} {
		if got := Touchable(parse[corev1.Pod](t, pod)); got != want {
			t.Errorf("%s: got %v", pod, got)
		}
	}
}

// TestAProfileOfTheConfiguration hands over by an annotation of its own.
func TestAProfileOfTheConfiguration(t *testing.T) {
	catalog := provider.NewCatalog([]v1alpha1.VirtualNodeProfile{{Name: "mine", HandOver: &v1alpha1.HandOver{Annotation: "example.com/constraints"}}})
	p := virtualPlan(t, "", virtualSubset)
	p.Virtual = catalog.ByName("mine")
	pod := parse[corev1.Pod](t, `{spec: {nodeSelector: {a: b}}}`)
	twice(t, pod, p)
	if got := pod.Annotations["example.com/constraints"]; got != `{"nodeSelector":{"a":"b"}}` {
		t.Errorf("got %s", got)
	}
	if _, err := clusterselector.Restore(pod, "example.com/constraints"); err != nil || pod.Spec.NodeSelector["a"] != "b" || pod.Spec.Affinity != nil {
		t.Errorf("restored: %v, %+v", err, pod.Spec)
	}
}

// TestWhatAnotherClusterPlaced: a provider's pod is left to it; a workload's pod, of a copied manifest, is placed here.
func TestWhatAnotherClusterPlaced(t *testing.T) {
	p := virtualPlan(t, provider.TensileKube, virtualSubset)
	p.Cluster = "there"
	pod := &corev1.Pod{Spec: corev1.PodSpec{NodeSelector: map[string]string{"a": "b"}}}
	if err := Place(pod, p); err != nil {
		t.Fatal(err)
	}
	if !FromElsewhere(pod, "here") || FromElsewhere(pod, "there") || FromElsewhere(pod, "") {
		t.Errorf("from elsewhere: here %v, there %v, not known %v", FromElsewhere(pod, "here"), FromElsewhere(pod, "there"), FromElsewhere(pod, ""))
	}
	if FromElsewhere(&corev1.Pod{}, "here") {
		t.Error("a pod without a record is from elsewhere")
	}
	yes := true
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Controller: &yes}}
	if FromElsewhere(pod, "here") {
		t.Error("a workload here made it")
	}
	p.Cluster = "here"
	if err := Place(pod, p); err != nil {
		t.Fatal(err)
	}
	record, _, err := clusterselector.ParseRecord(pod.Annotations)
	if err != nil || record.Cluster != "here" || len(record.Added.Required) != 1 || !strings.Contains(pod.Annotations[clusterselector.AnnotationTensileKube], `{"a":"b"}`) {
		t.Errorf("placed again: %+v, %v, %s", record, err, pod.Annotations[clusterselector.AnnotationTensileKube])
	}
}
