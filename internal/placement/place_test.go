package placement

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

func parse[T any](t testing.TB, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(text, "\t", "  ")), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func plan(s *appsv1alpha1.WorkloadSpreadSubset) Plan {
	cost := int32(42)
	return Plan{Subset: s, Record: v1alpha1.Record{Name: "ws", Subset: s.Name, UID: "abcdefgh1"}, Cost: &cost}
}

const ownSubset = `
name: own
requiredNodeSelectorTerm:
  matchExpressions: [{key: worker, operator: In, values: ["true"]}]
preferredNodeSelectorTerms:
- weight: 10
  preference: {matchExpressions: [{key: fast, operator: Exists}]}
tolerations:
- {key: own, operator: Exists, effect: NoSchedule}
`

func TestPlace(t *testing.T) {
	for name, tc := range map[string]struct{ pod, subset, want string }{
		"a bare pod gets the terms, tolerations and records": {
			pod: `{}`, subset: ownSubset,
			want: `
metadata: {annotations: {apps.kruise.io/matched-workloadspread: '{"name":"ws","subset":"own","uid":"abcdefgh1"}', controller.kubernetes.io/pod-deletion-cost: "42", spillway-project.io/deletion-cost: "42"}}
spec:
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: worker, operator: In, values: ["true"]}]}]}
      preferredDuringSchedulingIgnoredDuringExecution: [{weight: 10, preference: {matchExpressions: [{key: fast, operator: Exists}]}}]
  tolerations: [{key: own, operator: Exists, effect: NoSchedule}]`,
		},
		"the required term goes into every alternative of the pod": {
			pod: `
spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
  {matchExpressions: [{key: zone, operator: In, values: [a]}]}, {matchFields: [{key: metadata.name, operator: In, values: [n]}]}]}}}}`,
			subset: `{name: own, requiredNodeSelectorTerm: {matchExpressions: [{key: worker, operator: Exists}]}}`,
			want: `
metadata: {annotations: {apps.kruise.io/matched-workloadspread: '{"name":"ws","subset":"own","uid":"abcdefgh1"}', controller.kubernetes.io/pod-deletion-cost: "42", spillway-project.io/deletion-cost: "42"}}
spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
  {matchExpressions: [{key: zone, operator: In, values: [a]}, {key: worker, operator: Exists}]},
  {matchExpressions: [{key: worker, operator: Exists}], matchFields: [{key: metadata.name, operator: In, values: [n]}]}]}}}}`,
		},
		"a patch that nulls node affinity does not remove the pin": {
			pod:    `{spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: Exists}]}]}}}}}`,
			subset: `{name: v, requiredNodeSelectorTerm: {matchExpressions: [{key: virtual, operator: Exists}]}, patch: {spec: {affinity: {nodeAffinity: null}}, metadata: {labels: {vk: "true"}}}}`,
			want: `
metadata: {labels: {vk: "true"}, annotations: {apps.kruise.io/matched-workloadspread: '{"name":"ws","subset":"v","uid":"abcdefgh1"}', controller.kubernetes.io/pod-deletion-cost: "42", spillway-project.io/deletion-cost: "42"}}
spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: virtual, operator: Exists}]}]}}}}`,
		},
		"a patch that replaces tolerations keeps the subset's": {
			pod:    `{spec: {tolerations: [{key: users, operator: Exists}]}}`,
			subset: `{name: v, tolerations: [{key: own, operator: Exists}], patch: {spec: {tolerations: [{key: patched, operator: Exists}]}}}`,
			want: `
metadata: {annotations: {apps.kruise.io/matched-workloadspread: '{"name":"ws","subset":"v","uid":"abcdefgh1"}', controller.kubernetes.io/pod-deletion-cost: "42", spillway-project.io/deletion-cost: "42"}}
spec: {tolerations: [{key: patched, operator: Exists}, {key: own, operator: Exists}]}`,
		},
		"the user's own deletion cost stays": {
			pod:    `{metadata: {annotations: {controller.kubernetes.io/pod-deletion-cost: "7"}}}`,
			subset: `{name: v}`,
			want:   `metadata: {annotations: {apps.kruise.io/matched-workloadspread: '{"name":"ws","subset":"v","uid":"abcdefgh1"}', controller.kubernetes.io/pod-deletion-cost: "7"}}`,
		},
		"a changed priority class loses the numbers of the old one": {
			pod:    `{spec: {priorityClassName: low, priority: 1, preemptionPolicy: Never}}`,
			subset: `{name: v, patch: {spec: {priorityClassName: high}}}`,
			want: `
metadata: {annotations: {apps.kruise.io/matched-workloadspread: '{"name":"ws","subset":"v","uid":"abcdefgh1"}', controller.kubernetes.io/pod-deletion-cost: "42", spillway-project.io/deletion-cost: "42"}}
spec: {priorityClassName: high}`,
		},
		"containers and their env merge by name": {
			pod:    `{spec: {containers: [{name: a, image: a, env: [{name: X, value: "1"}]}, {name: b, image: b}]}}`,
			subset: `{name: v, patch: {spec: {containers: [{name: a, env: [{name: X, value: "2"}]}]}}}`,
			want: `
metadata: {annotations: {apps.kruise.io/matched-workloadspread: '{"name":"ws","subset":"v","uid":"abcdefgh1"}', controller.kubernetes.io/pod-deletion-cost: "42", spillway-project.io/deletion-cost: "42"}}
spec: {containers: [{name: a, image: a, env: [{name: X, value: "2"}]}, {name: b, image: b}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := parse[corev1.Pod](t, tc.pod)
			subset := parse[appsv1alpha1.WorkloadSpreadSubset](t, tc.subset)
			for pass := range 2 { // the second changes nothing
				if err := Place(pod, plan(subset)); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(parse[corev1.Pod](t, tc.want), pod); diff != "" {
					t.Errorf("pass %d: %s", pass+1, diff)
				}
			}
		})
	}
}

func TestAPatchThatMakesNoPodIsExplained(t *testing.T) {
	for name, tc := range map[string]struct{ patch, want string }{
		"a boolean label":      {`{"metadata":{"labels":{"vk":true}}}`, "put the value in quotes"},
		"a list for a map":     {`{"metadata":{"labels":["a"]}}`, "labels"},
		"text for a container": {`{"spec":{"containers":"a"}}`, "containers"},
		"not JSON":             {`{`, "strategic merge patch"},
	} {
		t.Run(name, func(t *testing.T) {
			subset := &appsv1alpha1.WorkloadSpreadSubset{Name: "v", Patch: runtime.RawExtension{Raw: []byte(tc.patch)}}
			err := Place(&corev1.Pod{}, plan(subset))
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), `subset "v"`) {
				t.Errorf("got %v, want an error that names the subset and %q", err, tc.want)
			}
		})
	}
}

func TestStripRemovesARecordAndItsCost(t *testing.T) {
	pod := &corev1.Pod{}
	if err := Place(pod, plan(&appsv1alpha1.WorkloadSpreadSubset{Name: "v"})); err != nil {
		t.Fatal(err)
	}
	if !Strip(pod) || len(pod.Annotations) != 0 {
		t.Errorf("annotations left: %v", pod.Annotations)
	}
	pod.Annotations = map[string]string{v1alpha1.PodDeletionCost: "7"}
	if Strip(pod) || pod.Annotations[v1alpha1.PodDeletionCost] != "7" {
		t.Errorf("the user's cost was touched: %v", pod.Annotations)
	}
}

// TestPlaceTwiceIsPlaceOnce: whatever pod and subset, a second pass changes nothing.
func TestPlaceTwiceIsPlaceOnce(t *testing.T) {
	keys := rapid.SampledFrom([]string{"a", "b", "c"})
	requirement := rapid.Custom(func(t *rapid.T) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: keys.Draw(t, "key"), Operator: corev1.NodeSelectorOpExists}
	})
	term := rapid.Custom(func(t *rapid.T) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: rapid.SliceOfN(requirement, 1, 3).Draw(t, "expressions")}
	})
	toleration := rapid.Custom(func(t *rapid.T) corev1.Toleration {
		return corev1.Toleration{Key: keys.Draw(t, "key"), Operator: corev1.TolerationOpExists}
	})
	rapid.Check(t, func(t *rapid.T) {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: rapid.SliceOfN(toleration, 0, 3).Draw(t, "pod tolerations")}}
		if rapid.Bool().Draw(t, "affinity") {
			pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: rapid.SliceOfN(term, 1, 3).Draw(t, "terms")},
			}}
		}
		required := term.Draw(t, "required")
		subset := &appsv1alpha1.WorkloadSpreadSubset{
			Name: "v", RequiredNodeSelectorTerm: &required,
			Tolerations: rapid.SliceOfN(toleration, 0, 3).Draw(t, "tolerations"),
			Patch: runtime.RawExtension{Raw: []byte(rapid.SampledFrom([]string{
				"", `{"spec":{"tolerations":null}}`, `{"metadata":{"labels":{"x":"y"}}}`, `{"spec":{"affinity":null}}`,
				`{"spec":{"tolerations":[{"key":"z","operator":"Exists"}]}}`,
			}).Draw(t, "patch"))},
		}
		if err := Place(pod, plan(subset)); err != nil {
			t.Fatal(err)
		}
		once := pod.DeepCopy()
		if err := Place(pod, plan(subset)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(once, pod); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestAdoptLeavesTheSpecAlone(t *testing.T) {
	subset := parse[appsv1alpha1.WorkloadSpreadSubset](t, `{name: v, requiredNodeSelectorTerm: {matchExpressions: [{key: k, operator: Exists}]}, tolerations: [{operator: Exists}], patch: {metadata: {labels: {vk: "true"}}, spec: {hostNetwork: true}}}`)
	for metadata, label := range map[bool]string{true: "true", false: ""} {
		pod := &corev1.Pod{}
		if err := Adopt(pod, plan(subset), metadata); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(corev1.PodSpec{}, pod.Spec); diff != "" {
			t.Error(diff)
		}
		record, ok := v1alpha1.ParseRecord(pod.Annotations)
		if !ok || record.Subset != "v" || pod.Annotations[v1alpha1.PodDeletionCost] != "42" || pod.Labels["vk"] != label {
			t.Errorf("metadata %v: got labels %v, annotations %v", metadata, pod.Labels, pod.Annotations)
		}
	}
}

func TestUnchangedLooksPastAnnotations(t *testing.T) {
	pod := parse[corev1.Pod](t, `{metadata: {labels: {a: b}}}`)
	for patch, want := range map[string]bool{
		`{metadata: {labels: {a: b}}}`: true, `{metadata: {annotations: {x: "1"}}}`: true, `{metadata: {labels: {a: c}}}`: false, `{spec: {hostNetwork: true}}`: false,
	} {
		subset := parse[appsv1alpha1.WorkloadSpreadSubset](t, `{name: v, patch: `+patch+`}`)
		if got := Unchanged(pod, subset); got != want {
			t.Errorf("patch %s: got %v, want %v", patch, got, want)
		}
	}
}
