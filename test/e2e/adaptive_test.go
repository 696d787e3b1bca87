package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// adaptive is a WorkloadSpread whose first subset is on nodes that have the namespace's own label: none
// has, until the test gives it to one.
func (f *fixture) adaptive(criticalSeconds int32, subsets ...subset) *appsv1alpha1.WorkloadSpread {
	ws := workloadSpread("web", "web", subsets...)
	ws.Spec.ScheduleStrategy = appsv1alpha1.WorkloadSpreadScheduleStrategy{
		Type:     appsv1alpha1.AdaptiveWorkloadSpreadScheduleStrategyType,
		Adaptive: &appsv1alpha1.AdaptiveWorkloadSpreadStrategy{RescheduleCriticalSeconds: &criticalSeconds},
	}
	term := &ws.Spec.Subsets[0].RequiredNodeSelectorTerm.MatchExpressions
	*term = append(*term, corev1.NodeSelectorRequirement{Key: "e2e/" + f.ns, Operator: corev1.NodeSelectorOpExists})
	return ws
}

// openNodes lets the pods of the first subset of adaptive in, on one own node.
func (f *fixture) openNodes() {
	f.Helper()
	f.label("own-0", "e2e/"+f.ns, `""`)
	f.Cleanup(func() { f.withoutDeadline().label("own-0", "e2e/"+f.ns, "null") })
}

func (f *fixture) label(node, key, value string) {
	f.Helper()
	n := &corev1.Node{}
	n.Name = node
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%s}}}`, key, value)
	if err := cluster.client.Patch(f.ctx, n, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		f.Fatal(err)
	}
}

// condition returns "status reason" of a subset's condition.
func (f *fixture) condition(ws, subset, kind string) (status string, c appsv1alpha1.WorkloadSpreadSubsetCondition) {
	f.Helper()
	var got appsv1alpha1.WorkloadSpread
	if err := cluster.client.Get(f.ctx, client.ObjectKey{Namespace: f.ns, Name: ws}, &got); err != nil {
		f.Fatal(err)
	}
	for _, s := range got.Status.SubsetStatuses {
		for _, c := range s.Conditions {
			if s.Name == subset && string(c.Type) == kind {
				return fmt.Sprintf("%s %s", c.Status, c.Reason), c
			}
		}
	}
	return "", c
}

func (f *fixture) awaitCondition(subset, want string) appsv1alpha1.WorkloadSpreadSubsetCondition {
	f.Helper()
	var c appsv1alpha1.WorkloadSpreadSubsetCondition
	f.eventually(fmt.Sprintf("subset %s is %s", subset, want), func() (bool, string) {
		var got string
		got, c = f.condition("web", subset, v1alpha1.ConditionSchedulable)
		return got == want, got
	})
	return c
}

// awaitSplit waits until the active pods are split like that, whatever workload they belong to.
func (f *fixture) awaitSplit(app string, want map[string]int) {
	f.Helper()
	f.eventually(fmt.Sprintf("the pods of %s are split %v", app, want), func() (bool, string) {
		got := f.split(app)
		return maps.Equal(got, want), fmt.Sprint(got)
	})
}

// awaitReady waits until the active pods are split like that and every one of them is ready: a scale-in takes pods that
// are not ready first, whatever their cost.
func (f *fixture) awaitReady(app string, want map[string]int) {
	f.Helper()
	f.awaitSplit(app, want)
	f.eventually("the pods of "+app+" are ready", func() (bool, string) {
		waiting := slices.DeleteFunc(f.pods(app), func(p corev1.Pod) bool {
			return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			})
		})
		return len(waiting) == 0, fmt.Sprintf("%d are not", len(waiting))
	})
}

// journal records the pods that were deleted, with their subset, until the returned function is called.
func (f *fixture) journal(app string) func() map[string][]string {
	f.Helper()
	w, err := cluster.client.Watch(f.ctx, &corev1.PodList{}, client.InNamespace(f.ns), client.MatchingLabels{"app": app})
	if err != nil {
		f.Fatal(err)
	}
	deleted, done := map[string][]string{}, make(chan struct{})
	var mu sync.Mutex
	go func() {
		defer close(done)
		for e := range w.ResultChan() {
			if p, ok := e.Object.(*corev1.Pod); ok && e.Type == watch.Deleted {
				record, _ := v1alpha1.ParseRecord(p.Annotations)
				mu.Lock()
				deleted[record.Subset] = append(deleted[record.Subset], p.Name)
				mu.Unlock()
			}
		}
	}()
	return func() map[string][]string { w.Stop(); <-done; return deleted }
}

func TestAPodThatCannotBeScheduledIsReplacedElsewhere(t *testing.T) {
	const critical = 4
	f := newFixture(t)
	f.create(f.adaptive(critical, subset{"own", "1"}, subset{"virtual", ""}))
	f.create(deployment("web", 1))
	f.awaitSplit("web", map[string]int{"own": 1})
	var since time.Time
	f.eventually("the scheduler gives up", func() (bool, string) {
		for _, p := range f.pods("web") {
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
					since = c.LastTransitionTime.Time
					return true, ""
				}
			}
		}
		return false, "no condition yet"
	})
	f.settled("web", "web", map[string]int{"virtual": 1})
	took := time.Since(since)
	f.figure("a pod that cannot be scheduled runs elsewhere %s after the scheduler gave up; rescheduleCriticalSeconds is %d", took.Round(100*time.Millisecond), critical)
	if most := (critical + 3) * time.Second; took > most {
		t.Errorf("it took %s, want at most %s", took, most)
	}
	c := f.awaitCondition("own", "False PodUnschedulable")
	if !strings.Contains(c.Message, "Pod web-") || !strings.Contains(c.Message, "nodes are available") {
		t.Errorf("the condition says %q", c.Message)
	}
	for _, reason := range []v1alpha1.Reason{v1alpha1.ReasonSubsetUnschedulable, v1alpha1.ReasonPodRescheduled} {
		f.eventually("the event "+string(reason), func() (bool, string) { n := f.count(string(reason)); return n > 0, fmt.Sprint(n) })
	}
}

func TestTwoHundredPodsThatCannotBeScheduled(t *testing.T) {
	const critical = 4
	f := newFixture(t)
	f.create(f.adaptive(critical, subset{"own", ""}, subset{"virtual", ""})) // no limit: nothing is claimed
	deleted := f.journal("web")
	start := time.Now()
	f.create(deployment("web", 200))
	f.eventually("all are rescheduled", func() (bool, string) {
		got := f.split("web")
		return maps.Equal(got, map[string]int{"virtual": 200}) && f.bound("web") == 200, fmt.Sprint(got)
	})
	took := time.Since(start)
	f.settled("web", "web", map[string]int{"virtual": 200})
	f.figure("200 pods that cannot be scheduled all run elsewhere %s after their Deployment was created; rescheduleCriticalSeconds is %d", took.Round(100*time.Millisecond), critical)
	if most := (critical + 15) * time.Second; took > most+creation {
		t.Errorf("it took %s, want at most %s", took, most+creation)
	}
	if got := deleted()["virtual"]; len(got) > 0 {
		t.Errorf("replacements were deleted: %v", got)
	}
}

// creation is what 400 pods cost to create and schedule on the machine that runs the lab.
const creation = 8 * time.Second

// TestASubsetThatRecoversIsFoundByOneProbe follows a subset through a failed probe and one that
// succeeds.
func TestASubsetThatRecoversIsFoundByOneProbe(t *testing.T) {
	f := newFixture(t)
	f.create(f.adaptive(2, subset{"own", "10"}, subset{"virtual", ""}))
	f.create(deployment("web", 2))
	f.settled("web", "web", map[string]int{"virtual": 2})

	f.awaitCondition("own", "True Probing")
	deleted := f.journal("web")
	f.scale("web", 8)
	c := f.awaitCondition("own", "False PodUnschedulable")
	f.settled("web", "web", map[string]int{"virtual": 8})
	if got := deleted(); len(got["own"]) != 1 || len(got["virtual"]) > 0 {
		t.Errorf("deleted while probing: %v, want one pod of own", got)
	}
	if _, probe := f.condition("web", "own", v1alpha1.ConditionProbe); !strings.HasPrefix(probe.Message, "failed=1 ") {
		t.Errorf("the memory of the probe says %q", probe.Message)
	}

	f.openNodes()
	probing := f.awaitCondition("own", "True Probing")
	if held := probing.LastTransitionTime.Sub(c.LastTransitionTime.Time); held < 2*hold-time.Second {
		t.Errorf("the second hold was %s, want twice %s", held, hold)
	}
	f.scale("web", 9)
	f.awaitCondition("own", "True Sufficient")
	f.settled("web", "web", map[string]int{"own": 1, "virtual": 8})
	f.scale("web", 12)
	f.settled("web", "web", map[string]int{"own": 4, "virtual": 8})
	for _, reason := range []v1alpha1.Reason{v1alpha1.ReasonRecoverSchedulable, v1alpha1.ReasonSubsetRecovered} {
		if f.count(string(reason)) == 0 {
			t.Errorf("no event %s", reason)
		}
	}
}

// TestTheHoldSurvivesALeader: who takes over knows what is closed and since when, also for a new version
// of the template.
func TestTheHoldSurvivesALeader(t *testing.T) {
	f := newFixture(t)
	f.create(f.adaptive(2, subset{"own", "10"}, subset{"virtual", ""}))
	f.create(deployment("web", 2))
	before := f.awaitCondition("own", "False PodUnschedulable")
	f.settled("web", "web", map[string]int{"virtual": 2})
	for _, m := range f.managers(false) {
		if err := cluster.KillContainer(f.ctx, system, m, ""); err != nil {
			t.Fatal(err)
		}
	}
	f.eventually("a replica is ready again", func() (bool, string) {
		var d = f.managerDeployment()
		return d.Status.ReadyReplicas > 0 && d.Status.UnavailableReplicas < 2, fmt.Sprintf("%d ready", d.Status.ReadyReplicas)
	})
	if _, after := f.condition("web", "own", v1alpha1.ConditionSchedulable); after.Status == corev1.ConditionFalse && !after.LastTransitionTime.Equal(&before.LastTransitionTime) {
		t.Errorf("closed since %s, before the leader was killed since %s", after.LastTransitionTime, before.LastTransitionTime)
	}
	f.bothReplicasReady()
	c := f.awaitCondition("own", "True Probing")
	if held := c.LastTransitionTime.Sub(before.LastTransitionTime.Time); held < hold-time.Second {
		t.Errorf("the hold was %s, want %s", held, hold)
	}
}
