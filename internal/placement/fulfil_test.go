package placement

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"pgregory.net/rapid"

	"github.com/spillway-project/spillway/api/clusterselector"
	config "github.com/spillway-project/spillway/api/config/v1alpha1"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/provider"
)

// marks are the labels and values by which profiles are known, and some that are not.
var (
	markKeys   = rapid.SampledFrom([]string{"type", "clusterID", "kosmos.io/node", "a", "b"})
	markValues = rapid.SampledFrom([]string{"virtual-kubelet", "true", "other"})
	markTerm   = rapid.Custom(func(t *rapid.T) corev1.NodeSelectorTerm {
		var out corev1.NodeSelectorTerm
		for range rapid.IntRange(0, 2).Draw(t, "requirements") {
			r := corev1.NodeSelectorRequirement{Key: markKeys.Draw(t, "key"), Operator: rapid.SampledFrom([]corev1.NodeSelectorOperator{"Exists", "DoesNotExist", "In", "NotIn"}).Draw(t, "operator")}
			if r.Operator == "In" || r.Operator == "NotIn" {
				r.Values = []string{markValues.Draw(t, "value")}
			}
			out.MatchExpressions = append(out.MatchExpressions, r)
		}
		return out
	})
	marked = rapid.Custom(func(t *rapid.T) *corev1.Node {
		n := &corev1.Node{}
		n.Labels = rapid.MapOfN(markKeys, markValues, 0, 3).Draw(t, "labels")
		if rapid.Bool().Draw(t, "tainted") {
			n.Spec.Taints = []corev1.Taint{rapid.SampledFrom([]corev1.Taint{
				{Key: "virtual-kubelet.io/provider", Value: "alibabacloud", Effect: "NoSchedule"}, {Key: "azure.com/aci", Effect: "PreferNoSchedule"}, {Key: "own", Effect: "NoSchedule"},
			}).Draw(t, "taint")}
		}
		return n
	})
	markedPod = rapid.Custom(func(t *rapid.T) *corev1.Pod {
		pod := &corev1.Pod{}
		pod.Spec.NodeSelector = rapid.MapOfN(markKeys, markValues, 0, 1).Draw(t, "nodeSelector")
		pod.Spec.Tolerations = rapid.SliceOfN(rapid.SampledFrom([]corev1.Toleration{{Operator: "Exists"}, {Key: "own", Operator: "Exists"}, {Key: "virtual-kubelet.io/provider", Operator: "Exists"}}), 0, 2).Draw(t, "tolerations")
		if rapid.Bool().Draw(t, "affinity") {
			pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: rapid.SliceOfN(markTerm, 1, 3).Draw(t, "terms")}}}
		}
		return stored(t, pod)
	})
	// catalogs: the built-in one; one with a kind that is known by two labels together; one that is known by a label and a taint.
	catalogs = rapid.SampledFrom([]*provider.Catalog{
		provider.NewCatalog(nil),
		provider.NewCatalog([]config.VirtualNodeProfile{{Name: "generic"}, {Name: "two", Nodes: []config.VirtualNodeMatch{
			{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "true", "b": "true"}}},
			{Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "NotIn", Values: []string{"other"}}, {Key: "b", Operator: "DoesNotExist"}}}},
		}}}),
		provider.NewCatalog([]config.VirtualNodeProfile{{Name: "both", Nodes: []config.VirtualNodeMatch{
			{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "true"}}, Taint: &config.TaintMatch{Key: "own"}}}}}),
	})
)

func cluster(t *rapid.T) []*corev1.Node {
	nodes := rapid.SliceOfN(marked, 1, 4).Draw(t, "nodes")
	for i, n := range nodes {
		n.Name = string(rune('m' + i))
	}
	return nodes
}

// goes reports whether the pod could be scheduled to the node, as far as terms and taints tell.
func goes(pod *corev1.Pod, node *corev1.Node) bool {
	match, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node)
	return err == nil && match && !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
		return taint.Effect == corev1.TaintEffectNoSchedule && !slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
			return (t.Key == "" || t.Key == taint.Key) && (t.Operator == corev1.TolerationOpExists || t.Value == taint.Value)
		})
	})
}

// fulfilled writes a directive onto the pod twice; the second time must change nothing.
func fulfilled(t *rapid.T, pod *corev1.Pod, d Directive, survey *provider.Survey) *corev1.Pod {
	t.Helper()
	placed := pod.DeepCopy()
	if _, err := Fulfil(placed, d, survey, provider.Surroundings{}); err != nil {
		t.Fatal(err)
	}
	placed = stored(t, placed)
	again := placed.DeepCopy()
	if _, err := Fulfil(again, d, survey, provider.Surroundings{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(placed, stored(t, again)); diff != "" {
		t.Fatalf("a second pass changes the pod:\n%s", diff)
	}
	undone := placed.DeepCopy()
	Withdraw(undone)
	if diff := cmp.Diff(pod, stored(t, undone)); diff != "" {
		t.Fatalf("withdrawn (-as it was +as it is):\n%s", diff)
	}
	return placed
}

// TestOwnIsWhatWasLessVirtualNodes: a pod that is kept off virtual nodes goes to no node that it did not go to before,
// to no virtual one, and to every own one that it went to before.
func TestOwnIsWhatWasLessVirtualNodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod, nodes, catalog := markedPod.Draw(t, "pod"), cluster(t), catalogs.Draw(t, "catalog")
		placed := fulfilled(t, pod, Directive{Placement: v1alpha1.PlacementOwn}, catalog.Survey(nodes))
		for _, n := range nodes {
			was, is, virtual := goes(pod, n), goes(placed, n), catalog.OfNode(n) != nil
			if is != (was && !virtual) {
				t.Fatalf("node %s (labels %v, taints %v): before %v, after %v, virtual %v:\n%+v", n.Name, n.Labels, n.Spec.Taints, was, is, virtual, placed.Spec.Affinity)
			}
		}
		later := marked.Draw(t, "a node that comes later")
		if later.Name = "later"; goes(placed, later) && (!goes(pod, later) || (catalog.OfNode(later) != nil && len(later.Spec.Taints) == 0)) {
			t.Fatalf("a node that comes later, with the labels %v", later.Labels)
		}
	})
}

// TestVirtualIsTheNodesOfOneKind: a pod that is pinned goes to the nodes of its profile and to no others. Where
// constraints are handed over, it goes to all of them, and below it has its constraints.
func TestVirtualIsTheNodesOfOneKind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod, nodes, catalog := markedPod.Draw(t, "pod"), cluster(t), catalogs.Draw(t, "catalog")
		survey := catalog.Survey(nodes)
		d := Directive{Placement: v1alpha1.PlacementVirtual}
		if rapid.Bool().Draw(t, "named") {
			d.Profile = catalog.ByName(rapid.SampledFrom([]string{provider.TensileKube, provider.Kosmos, provider.Generic, provider.AlibabaECI}).Draw(t, "profile"))
		}
		profile, _, _, err := kind(d, survey)
		if refusal := new(Refusal); errors.As(err, &refusal) && refusal.Reason == v1alpha1.ReasonNoVirtualNode {
			t.Skip("no node of that kind was drawn: refused, which is another test's matter")
		}
		if err != nil {
			t.Fatal(err)
		}
		placed := fulfilled(t, pod, d, survey)
		bare, before := placed.DeepCopy(), pod.DeepCopy()
		bare.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		before.Spec.Tolerations = bare.Spec.Tolerations
		for _, n := range nodes {
			of := catalog.OfNode(n) == profile
			switch is := goes(bare, n); {
			case is && !of:
				t.Fatalf("node %s with %v is not of %s:\n%+v", n.Name, n.Labels, profile.Name, placed.Spec.Affinity)
			case is && profile.HandOver() == "" && !goes(before, n):
				t.Fatalf("node %s with %v: the pod did not go there before:\n%+v", n.Name, n.Labels, placed.Spec.Affinity)
			case !is && of && profile.HandOver() != "":
				t.Fatalf("node %s with %v is of %s:\n%+v", n.Name, n.Labels, profile.Name, placed.Spec.Affinity)
			}
		}
		if _, err := clusterselector.Restore(placed, ""); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(clusterselector.Of(&pod.Spec), clusterselector.Of(&placed.Spec)); diff != "" {
			t.Fatalf("in the lower cluster (-want +got):\n%s", diff)
		}
	})
}

// TestAPodsOwnTextComesBack: constraints for below that a template has are merged, and the text stands again when the
// placement is withdrawn.
func TestAPodsOwnTextComesBack(t *testing.T) {
	node := parse[corev1.Node](t, `{metadata: {name: vk, labels: {type: virtual-kubelet, clusterID: c}}}`)
	pod := parse[corev1.Pod](t, `{metadata: {annotations: {clusterSelector: '{"nodeSelector":{"disk":"nvme"}}'}}, spec: {nodeSelector: {disk: ssd}}}`)
	placed := pod.DeepCopy()
	survey := provider.NewCatalog(nil).Survey([]*corev1.Node{node})
	if _, err := Fulfil(placed, Directive{Placement: v1alpha1.PlacementVirtual}, survey, provider.Surroundings{}); err != nil {
		t.Fatal(err)
	}
	if got := placed.Annotations["clusterSelector"]; got != `{"nodeSelector":{"disk":"nvme"}}` || placed.Spec.NodeSelector != nil {
		t.Errorf("placed: %s, %+v", got, placed.Spec)
	}
	if Withdraw(placed); !cmp.Equal(pod.ObjectMeta, placed.ObjectMeta) {
		t.Error(cmp.Diff(pod.ObjectMeta, placed.ObjectMeta))
	}
}

// TestAnyOnlyTolerates: whatever the pod, its constraints stay.
func TestAnyOnlyTolerates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod, catalog := markedPod.Draw(t, "pod"), catalogs.Draw(t, "catalog")
		placed := fulfilled(t, pod, Directive{Placement: v1alpha1.PlacementAny}, catalog.Survey(nil))
		if n := len(pod.Spec.Tolerations); n > 0 && !cmp.Equal(pod.Spec.Tolerations, placed.Spec.Tolerations[:n]) {
			t.Fatalf("tolerations: %+v", placed.Spec.Tolerations)
		}
		placed.Spec.Tolerations = pod.Spec.Tolerations
		if diff := cmp.Diff(pod.Spec, placed.Spec); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestACopyOfAPlacedPodStartsAnew: whatever directive the first was placed by, or subset, the copy comes out as if it
// had not been.
func TestACopyOfAPlacedPodStartsAnew(t *testing.T) {
	placements := rapid.SampledFrom([]v1alpha1.Placement{v1alpha1.PlacementOwn, v1alpha1.PlacementVirtual, v1alpha1.PlacementAny})
	node := parse[corev1.Node](t, `{metadata: {name: vk, labels: {type: virtual-kubelet, clusterID: c}}}`)
	rapid.Check(t, func(t *rapid.T) {
		pod, catalog := markedPod.Draw(t, "pod"), provider.NewCatalog(nil)
		survey := catalog.Survey([]*corev1.Node{node})
		second := Directive{Placement: placements.Draw(t, "second")}
		want := fulfilled(t, pod, second, survey)
		copied := pod.DeepCopy()
		if rapid.Bool().Draw(t, "by a subset") {
			subset := anySubset.Draw(t, "subset")
			subset.Patch.Raw = nil
			p := plan(subset)
			p.Virtual, p.Cost = catalog.ByName(provider.Kosmos), nil
			if err := Place(copied, p); err != nil {
				t.Fatal(err)
			}
			Strip(copied)
		} else {
			copied = fulfilled(t, pod, Directive{Placement: placements.Draw(t, "first"), Profile: catalog.ByName(rapid.SampledFrom([]string{provider.Kosmos, provider.Liqo}).Draw(t, "profile"))}, survey)
		}
		if _, err := Fulfil(copied, second, survey, provider.Surroundings{}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, stored(t, copied)); diff != "" {
			t.Fatalf("(-fresh +copied):\n%s", diff)
		}
	})
}

func TestWhatIsAskedFor(t *testing.T) {
	catalog := provider.NewCatalog(nil)
	for name, tc := range map[string]struct {
		pod, namespace string
		want           v1alpha1.Placement
		profile, fault string
	}{
		"nothing":                             {pod: `{}`, namespace: `{}`},
		"by the pod's annotation first":       {pod: `{metadata: {annotations: {spillway-project.io/placement: own}, labels: {spillway-project.io/placement: any}}}`, namespace: `{metadata: {labels: {spillway-project.io/placement: virtual}}}`, want: "own"},
		"by its label":                        {pod: `{metadata: {labels: {spillway-project.io/placement: any}}}`, namespace: `{metadata: {labels: {spillway-project.io/placement: virtual}}}`, want: "any"},
		"by its namespace's annotation":       {pod: `{}`, namespace: `{metadata: {annotations: {spillway-project.io/placement: virtual}, labels: {spillway-project.io/placement: own}}}`, want: "virtual"},
		"nothing, against the namespace":      {pod: `{metadata: {labels: {spillway-project.io/placement: ""}}}`, namespace: `{metadata: {labels: {spillway-project.io/placement: virtual}}}`},
		"the provider by the namespace":       {pod: `{metadata: {labels: {spillway-project.io/placement: virtual}}}`, namespace: `{metadata: {labels: {spillway-project.io/provider: liqo}}}`, want: "virtual", profile: "liqo"},
		"a provider does not matter for own":  {pod: `{metadata: {labels: {spillway-project.io/placement: own, spillway-project.io/provider: nonsense}}}`, namespace: `{}`, want: "own"},
		"own-first takes a WorkloadSpread":    {pod: `{metadata: {generateName: web-, labels: {spillway-project.io/placement: own-first}}}`, namespace: `{metadata: {name: ns}}`, fault: `Pod ns/web-*: metadata.labels[spillway-project.io/placement]: "own-first" takes a WorkloadSpread for the pod's workload, with a subset of own nodes before one of virtual nodes: create one and remove this, or use own, virtual or any`},
		"a value that does not exist":         {pod: `{}`, namespace: `{metadata: {name: ns, annotations: {spillway-project.io/placement: Virtual}}}`, fault: `Namespace ns: metadata.annotations[spillway-project.io/placement]: "Virtual" is no placement: use own (kept off virtual nodes), virtual (only on virtual nodes) or any (both)`},
		"a provider that does not exist":      {pod: `{metadata: {name: web, labels: {spillway-project.io/placement: any, spillway-project.io/provider: tensile}}}`, namespace: `{metadata: {name: ns}}`, fault: `Pod ns/web: metadata.labels[spillway-project.io/provider]: "tensile" is no profile of virtual nodes: use one of tensile-kube, kosmos,`},
		"a provider alone asks for nothing":   {pod: `{metadata: {labels: {spillway-project.io/provider: nonsense}}}`, namespace: `{}`},
		"an empty provider narrows to nobody": {pod: `{metadata: {labels: {spillway-project.io/placement: any, spillway-project.io/provider: ""}}}`, namespace: `{metadata: {labels: {spillway-project.io/provider: liqo}}}`, want: "any"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := DirectiveOf(parse[corev1.Pod](t, tc.pod), parse[corev1.Namespace](t, tc.namespace), catalog)
			if (tc.fault == "") != (err == nil) || (err != nil && !strings.HasPrefix(err.Error(), tc.fault)) {
				t.Fatalf("got %v, want %q", err, tc.fault)
			}
			profile := ""
			if d.Profile != nil {
				profile = d.Profile.Name
			}
			if d.Placement != tc.want || profile != tc.profile {
				t.Errorf("got %q of %q", d.Placement, profile)
			}
		})
	}
}

func TestWhatCannotBeFulfilledIsExplained(t *testing.T) {
	tensile := `{metadata: {name: vk, labels: {type: virtual-kubelet, clusterID: c}}}`
	for name, tc := range map[string]struct {
		pod, profile, node string
		reason             v1alpha1.Reason
		want               string
	}{
		"no virtual node, and no provider named": {`{}`, "", `{metadata: {name: own}}`, v1alpha1.ReasonNoVirtualNode, "there is no virtual node now, so it is not known which kind the pod is to be made ready for: name it by spillway-project.io/provider"},
		"a kind that no label tells":             {`{}`, provider.AlibabaECI, tensile, v1alpha1.ReasonNoVirtualNode, "there is no virtual node of alibaba-eci now, and no label by which one could be told"},
		"a pod that the provider cannot run": {`{spec: {hostNetwork: true, volumes: [{name: v, hostPath: {path: /x}}]}}`, "", tensile, v1alpha1.ReasonHostNamespace,
			"here is virtual, but spec.hostNetwork: the pod uses the node's network, which tensile-kube cannot run; spec.volumes[0].hostPath: volume v is the path /x of a node, which tensile-kube cannot run: remove that from the pod, or set spillway-project.io/placement to own on it"},
		"constraints that cannot be read": {`{metadata: {annotations: {clusterSelector: "{"}}}`, "", tensile, "", "here: annotation clusterSelector, line 1, column 1"},
		"a record that cannot be read":    {`{metadata: {annotations: {spillway-project.io/placement-record: "{"}}}`, "", tensile, "", "here: annotation spillway-project.io/placement-record"},
	} {
		t.Run(name, func(t *testing.T) {
			catalog := provider.NewCatalog(nil)
			d := Directive{Placement: v1alpha1.PlacementVirtual, Profile: catalog.ByName(tc.profile), Source: "here"}
			_, err := Fulfil(parse[corev1.Pod](t, tc.pod), d, catalog.Survey([]*corev1.Node{parse[corev1.Node](t, tc.node)}), provider.Surroundings{})
			refusal := &Refusal{}
			if errors.As(err, &refusal); err == nil || !strings.Contains(err.Error(), tc.want) || refusal.Reason != tc.reason {
				t.Errorf("got %v (%s), want %q (%s)", err, refusal.Reason, tc.want, tc.reason)
			}
		})
	}
}

func TestTheAuthorIsToldWhatIsLostAndWhichKindIsTaken(t *testing.T) {
	catalog := provider.NewCatalog(nil)
	var nodes []*corev1.Node
	for _, n := range []string{`{metadata: {name: a, labels: {liqo.io/type: virtual-node}}}`, `{metadata: {name: b, labels: {kosmos.io/node: "true"}}}`} {
		nodes = append(nodes, parse[corev1.Node](t, n))
	}
	d := Directive{Placement: v1alpha1.PlacementVirtual, Source: "here"}
	pod := parse[corev1.Pod](t, `{spec: {nodeSelector: {a: b}, affinity: {podAffinity: {}}}}`)
	warnings, err := Fulfil(pod, d, catalog.Survey(nodes), provider.Surroundings{})
	want := []string{
		"here: there are virtual nodes of kosmos, liqo: the pod goes to those of kosmos. Name the kind by spillway-project.io/provider",
		"here: spec.affinity.podAffinity is not honoured below: kosmos does not pass it on",
	}
	if diff := cmp.Diff(want, warnings); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	pod = parse[corev1.Pod](t, `{spec: {nodeSelector: {a: b}}}`)
	plain := catalog.Plain()
	if warnings, err = Fulfil(pod, d, plain.Survey(nodes), provider.Surroundings{}); err != nil || len(warnings) != 2 || pod.Spec.NodeSelector["a"] != "b" {
		t.Errorf("without a hand-over constraints stay: %v, %v, %+v", err, warnings, pod.Spec)
	}
}
