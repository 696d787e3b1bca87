package e2e

import (
	"fmt"
	"maps"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

func TestAPercentageKeepsItsRatioBothWays(t *testing.T) {
	f := newFixture(t)
	f.create(workloadSpread("web", "web", subset{"own", "50%"}, subset{"virtual", ""}))
	f.create(deployment("web", 10))
	f.settled("web", "web", map[string]int{"own": 5, "virtual": 5})
	f.scale("web", 4)
	f.settled("web", "web", map[string]int{"own": 2, "virtual": 2})
	f.scale("web", 12)
	f.settled("web", "web", map[string]int{"own": 6, "virtual": 6})
}

func TestIntegerLimitsFillInOrderAndEmptyFromTheBack(t *testing.T) {
	f := newFixture(t)
	f.create(workloadSpread("web", "web", subset{"own", "3"}, subset{"virtual", "4"}, subset{"rest", ""}))
	f.create(deployment("web", 10))
	f.settled("web", "web", map[string]int{"own": 3, "virtual": 4, "rest": 3})
	f.setImage("web", "app:2")
	f.settled("web", "web", map[string]int{"own": 3, "virtual": 4, "rest": 3})
	f.scale("web", 5)
	f.settled("web", "web", map[string]int{"own": 3, "virtual": 2})
	f.scale("web", 8)
	f.settled("web", "web", map[string]int{"own": 3, "virtual": 4, "rest": 1})
}

func TestAReplicaSetByItself(t *testing.T) {
	f := newFixture(t)
	ws := workloadSpread("alone", "alone", subset{"own", "50%"}, subset{"virtual", "50%"})
	ws.Spec.TargetReference.Kind = "ReplicaSet"
	f.create(ws)
	d := deployment("alone", 6)
	rs := &appsv1.ReplicaSet{ObjectMeta: d.ObjectMeta}
	rs.Spec.Replicas, rs.Spec.Selector, rs.Spec.Template = d.Spec.Replicas, d.Spec.Selector, d.Spec.Template
	f.create(rs)
	for _, n := range []int32{6, 2, 8} {
		patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, n))
		if err := cluster.client.Patch(f.ctx, rs, patch); err != nil {
			t.Fatal(err)
		}
		want := map[string]int{"own": int(n) / 2, "virtual": int(n) / 2}
		f.eventually(fmt.Sprintf("the split is %v", want), func() (bool, string) {
			got := f.split("alone")
			return maps.Equal(got, want), fmt.Sprint(got)
		})
	}
}

// TestALimitThatChangesCountsFromTheNextPod: a raised limit is used, a lowered one moves nobody.
func TestALimitThatChangesCountsFromTheNextPod(t *testing.T) {
	f := newFixture(t)
	ws := workloadSpread("web", "web", subset{"own", "2"}, subset{"virtual", ""})
	f.create(ws)
	f.create(deployment("web", 4))
	f.settled("web", "web", map[string]int{"own": 2, "virtual": 2})
	patch := func(limit int) {
		t.Helper()
		p := client.RawPatch("application/json-patch+json", fmt.Appendf(nil, `[{"op":"replace","path":"/spec/subsets/0/maxReplicas","value":%d}]`, limit))
		if err := cluster.client.Patch(f.ctx, ws, p); err != nil {
			t.Fatal(err)
		}
	}
	patch(5)
	f.scale("web", 7)
	f.settled("web", "web", map[string]int{"own": 5, "virtual": 2})
	patch(1)
	f.scale("web", 9)
	f.settled("web", "web", map[string]int{"own": 5, "virtual": 4})
}

// TestRunningPodsAreAdopted: a WorkloadSpread put on a running workload counts what runs.
func TestRunningPodsAreAdopted(t *testing.T) {
	f := newFixture(t)
	d := deployment("web", 6)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: "unscheduer", Operator: corev1.TolerationOpExists}}
	d.Spec.Template.Spec.NodeSelector = map[string]string{"type": "kwok"}
	f.create(d)
	f.eventually("six pods run on own nodes", func() (bool, string) {
		got := f.split("web")
		return maps.Equal(got, map[string]int{"": 6}) && f.bound("web") == 6, fmt.Sprint(got)
	})
	f.create(workloadSpread("web", "web", subset{"own", "50%"}, subset{"virtual", ""}))
	f.eventually("all are adopted", func() (bool, string) {
		got := f.split("web")
		return maps.Equal(got, map[string]int{"own": 6}), fmt.Sprint(got)
	})
	f.settled("web", "web", map[string]int{"own": 6})
	for _, p := range f.pods("web") {
		if p.Labels["subset"] != "own" || p.Annotations[v1alpha1.PodDeletionCost] == "" {
			t.Errorf("pod %s: labels %v, annotations %v; want the metadata of the subset's patch and a cost", p.Name, p.Labels, p.Annotations)
		}
	}
	// Those beyond the limit are the first to go.
	f.scale("web", 3)
	f.settled("web", "web", map[string]int{"own": 3})
}

// bound counts the pods of a Deployment that have a node.
func (f *fixture) bound(name string) int {
	f.Helper()
	n := 0
	for _, p := range f.pods(name) {
		if p.Spec.NodeName != "" {
			n++
		}
	}
	return n
}
