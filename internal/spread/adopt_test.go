package spread

import (
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func TestAdopt(t *testing.T) {
	const subsets = `
- {name: own, requiredNodeSelectorTerm: {matchExpressions: [{key: own, operator: Exists}]}, tolerations: [{key: t, operator: Exists}]}
- {name: fast, requiredNodeSelectorTerm: {matchExpressions: [{key: own, operator: Exists}]}, tolerations: [{key: t, operator: Exists}], preferredNodeSelectorTerms: [{weight: 3, preference: {matchExpressions: [{key: fast, operator: Exists}]}}]}
- {name: any}
`
	for name, tc := range map[string]struct {
		node, pod string
		unchanged map[int]bool
		room      map[int]bool
		want      int
	}{
		"the first that fits":                      {node: `{metadata: {labels: {own: ""}}}`, want: 0},
		"a node that only the last one allows":     {node: `{}`, want: 2},
		"a preference weighs more than order":      {node: `{metadata: {labels: {own: "", fast: ""}}}`, want: 1},
		"a patch that changes nothing weighs more": {node: `{metadata: {labels: {own: ""}}}`, unchanged: map[int]bool{2: true}, want: 2},
		"room breaks a tie":                        {node: `{metadata: {labels: {own: ""}}}`, room: map[int]bool{1: true}, want: 1},
		"a taint that the subset tolerates":        {node: `{metadata: {labels: {own: ""}}, spec: {taints: [{key: t, effect: NoSchedule}]}}`, want: 0},
		"a taint that the pod tolerates":           {node: `{spec: {taints: [{key: p, effect: NoExecute}]}}`, pod: `{spec: {tolerations: [{key: p, operator: Exists}]}}`, want: 2},
		"a taint that nobody tolerates":            {node: `{spec: {taints: [{key: x, effect: NoSchedule}]}}`, want: -1},
		"a cordon does not matter":                 {node: `{spec: {unschedulable: true, taints: [{key: node.kubernetes.io/unschedulable, effect: NoSchedule}]}}`, want: 2},
		"a soft taint does not matter":             {node: `{spec: {taints: [{key: x, effect: PreferNoSchedule}]}}`, want: 2},
	} {
		t.Run(name, func(t *testing.T) {
			var node corev1.Node
			var pod corev1.Pod
			var list []appsv1alpha1.WorkloadSpreadSubset
			for text, into := range map[string]any{tc.node: &node, tc.pod: &pod, subsets: &list} {
				if err := yaml.Unmarshal([]byte(text), into); err != nil {
					t.Fatal(err)
				}
			}
			got := Adopt(&pod, &node, list, func(i int) bool { return tc.unchanged[i] }, func(i int) bool { return tc.room[i] })
			if got != tc.want {
				t.Errorf("got subset %d, want %d", got, tc.want)
			}
		})
	}
}

func TestTakenPodsGetRanksBeyondTheLimitToo(t *testing.T) {
	b := Open(termsOf([]Limit{{percent, 50}, {}}), &appsv1alpha1.WorkloadSpreadStatus{}, 4)
	b.Recount(View{Revision: 1, Pods: pods("a", 1)})
	for i, want := range []struct {
		rank   int32
		within bool
	}{{2, true}, {3, false}, {4, false}} {
		if rank, within := b.Take("v1", 0); rank != want.rank || within != want.within {
			t.Errorf("pod %d: got rank %d, within %v; want %+v", i, rank, within, want)
		}
	}
}
