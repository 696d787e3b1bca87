package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// edit changes the spec of a WorkloadSpread by JSON patch operations.
func (f *fixture) edit(ws *appsv1alpha1.WorkloadSpread, operations string) {
	f.Helper()
	if err := cluster.client.Patch(f.ctx, ws, client.RawPatch("application/json-patch+json", []byte(operations))); err != nil {
		f.Fatal(err)
	}
}

// awaitPods waits until a Deployment has at least so many pods.
func (f *fixture) awaitPods(name string, least int) {
	f.Helper()
	f.eventually(fmt.Sprintf("%s has %d pods", name, least), func() (bool, string) {
		n := len(f.pods(name))
		return n >= least, strconv.Itoa(n)
	})
}

// TestALimitRaisedInABurst counts from the next pod on, and one that is lowered moves nobody.
func TestALimitRaisedInABurst(t *testing.T) {
	f := newFixture(t)
	ws := workloadSpread("web", "web", subset{"own", "50"}, subset{"virtual", ""})
	f.create(ws)
	f.create(deployment("web", 600))
	f.awaitPods("web", 200)
	f.edit(ws, `[{"op":"replace","path":"/spec/subsets/0/maxReplicas","value":150}]`)
	f.settled("web", "web", map[string]int{"own": 150, "virtual": 450})
	f.edit(ws, `[{"op":"replace","path":"/spec/subsets/0/maxReplicas","value":100}]`)
	f.scale("web", 650)
	f.settled("web", "web", map[string]int{"own": 150, "virtual": 500})
	// The surplus is the first to go.
	f.awaitCosts("web", map[string]int{"own/200": 100, "own/-100": 50, "virtual/100": 500})
	f.scale("web", 600)
	f.settled("web", "web", map[string]int{"own": 100, "virtual": 500})
}

// TestASpreadDeletedInABurst: pods go on being created, and the costs are gone.
func TestASpreadDeletedInABurst(t *testing.T) {
	f := newFixture(t)
	ws := half()
	f.create(ws)
	f.create(deployment("web", 400))
	f.awaitPods("web", 100)
	if err := cluster.client.Delete(f.ctx, ws); err != nil {
		t.Fatal(err)
	}
	f.awaitPods("web", 400)
	f.eventually("no pod has a cost of Spillway's", func() (bool, string) {
		n := 0
		for _, p := range f.pods("web") {
			if p.Annotations[v1alpha1.PodDeletionCost] != "" || p.Annotations[v1alpha1.AnnotationDeletionCost] != "" {
				n++
			}
		}
		return n == 0, strconv.Itoa(n)
	})
	f.noFailedCreate("web")
	// Another of the same name counts those that are left, and adopts the rest.
	f.create(half())
	f.eventually("all pods that run are counted", func() (bool, string) {
		got := f.split("web")
		return got[""] == 0 || got["own"]+got["virtual"] >= 200, fmt.Sprint(got, " ", f.statusOf("web"))
	})
}

// TestSubsetsRenamedReorderedRemoved: the status follows names, and pods of a subset that is gone leave
// first.
func TestSubsetsRenamedReorderedRemoved(t *testing.T) {
	f := newFixture(t)
	ws := workloadSpread("web", "web", subset{"own", "3"}, subset{"virtual", "3"}, subset{"rest", ""})
	f.create(ws)
	f.create(deployment("web", 8))
	f.settled("web", "web", map[string]int{"own": 3, "virtual": 3, "rest": 2})

	// Reordered: the second becomes the first.
	f.edit(ws, `[{"op":"move","from":"/spec/subsets/1","path":"/spec/subsets/0"}]`)
	f.awaitStatus("web", "virtual=3+0 own=3+0 rest=2+0 ")
	f.awaitCosts("web", map[string]int{"virtual/300": 3, "own/200": 3, "rest/100": 2})
	f.scale("web", 4)
	f.settled("web", "web", map[string]int{"virtual": 3, "own": 1})

	// Renamed: pods of the old name belong to no subset any more.
	f.edit(ws, `[{"op":"replace","path":"/spec/subsets/0/name","value":"cloud"}]`)
	f.awaitStatus("web", "cloud=0+0 own=1+0 rest=0+0 ")
	f.awaitCosts("web", map[string]int{"virtual/-400": 3, "own/200": 1})
	f.scale("web", 8)
	f.awaitReady("web", map[string]int{"virtual": 3, "cloud": 3, "own": 2}) // the status knows the old name no more
	f.scale("web", 5)
	f.settled("web", "web", map[string]int{"cloud": 3, "own": 2})

	// Removed.
	f.edit(ws, `[{"op":"remove","path":"/spec/subsets/1"}]`)
	f.awaitStatus("web", "cloud=3+0 rest=0+0 ")
	f.scale("web", 6)
	f.awaitSplit("web", map[string]int{"cloud": 3, "own": 2, "rest": 1})
}

// TestAnAutoscalerThatChangesItsMindEverySecond ends exact.
func TestAnAutoscalerThatChangesItsMindEverySecond(t *testing.T) {
	f := newFixture(t)
	f.create(workloadSpread("web", "web", subset{"own", "30%"}, subset{"virtual", "30%"}, subset{"rest", "40%"}))
	f.create(deployment("web", 20))
	r := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // the same every time
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range 20 {
		<-tick.C
		f.scale("web", 5+r.Int32N(60))
	}
	f.scale("web", 70)
	f.settled("web", "web", map[string]int{"own": 21, "virtual": 21, "rest": 28})
	f.scale("web", 30)
	f.settled("web", "web", map[string]int{"own": 9, "virtual": 9, "rest": 12})
	f.noFailedCreate("web")
}

// TestAnEvictionThatIsRefusedCostsNothing: only what goes is counted as gone.
func TestAnEvictionThatIsRefusedCostsNothing(t *testing.T) {
	f := newFixture(t)
	f.create(workloadSpread("web", "web", subset{"own", "2"}, subset{"virtual", ""}))
	f.create(deployment("web", 4))
	f.settled("web", "web", map[string]int{"own": 2, "virtual": 2})
	all := intstr.FromInt32(4)
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	budget.Spec = policyv1.PodDisruptionBudgetSpec{MinAvailable: &all, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}
	f.create(budget)
	f.eventually("the budget counts", func() (bool, string) {
		err := cluster.client.Get(f.ctx, client.ObjectKeyFromObject(budget), budget)
		return err == nil && budget.Status.CurrentHealthy == 4, fmt.Sprint(err, budget.Status.CurrentHealthy)
	})
	evict := func() error {
		for _, p := range f.pods("web") {
			if record, _ := v1alpha1.ParseRecord(p.Annotations); record.Subset == "own" {
				return cluster.client.SubResource("eviction").Create(f.ctx, &p, &policyv1.Eviction{})
			}
		}
		return fmt.Errorf("no pod in own")
	}
	writes := f.watchStatus("web")
	if err := evict(); !apierrors.IsTooManyRequests(err) {
		t.Fatalf("the budget allowed it: %v", err)
	}
	if n := writes(); n > 0 {
		t.Errorf("the refused eviction cost %d status writes", n)
	}
	if err := cluster.client.Delete(f.ctx, budget); err != nil {
		t.Fatal(err)
	}
	deleted := f.journal("web")
	f.eventually("the eviction is allowed", func() (bool, string) { err := evict(); return err == nil, fmt.Sprint(err) })
	f.awaitSplit("web", map[string]int{"own": 2, "virtual": 2})
	f.settled("web", "web", map[string]int{"own": 2, "virtual": 2})
	if got := deleted(); len(got["own"]) != 1 || len(got["virtual"]) > 0 {
		t.Errorf("evicted: %v", got)
	}
}

// TestARolloutReversesTheCostsOfTheOldVersion: it leaves first what the new version fills first.
func TestARolloutReversesTheCostsOfTheOldVersion(t *testing.T) {
	f := newFixture(t)
	f.create(workloadSpread("web", "web", subset{"own", "3"}, subset{"virtual", ""}))
	d := deployment("web", 6)
	f.create(d)
	f.settled("web", "web", map[string]int{"own": 3, "virtual": 3})
	f.patch(d, `{"spec":{"paused":false,"strategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}},"template":{"spec":{"containers":[{"name":"main","image":"app:broken"}]}}}}`)
	// The new version does not get ready, so that the old one stays: its front is now the first to go.
	want := map[string]int{"own/100": 3, "virtual/200": 3}
	f.eventually("the old version's costs are reversed", func() (bool, string) {
		got := map[string]int{}
		for _, p := range f.pods("web") {
			if record, _ := v1alpha1.ParseRecord(p.Annotations); p.Spec.Containers[0].Image == "app:1" {
				got[record.Subset+"/"+p.Annotations[v1alpha1.PodDeletionCost]]++
			}
		}
		return maps.Equal(got, want), fmt.Sprint(got)
	})
	// And back again.
	f.patch(d, `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"app:1"}]}}}}`)
	want = map[string]int{"own/200": 3, "virtual/100": 3}
	f.awaitCosts("web", want)
}

// awaitCosts waits until so many active pods have "subset/cost".
func (f *fixture) awaitCosts(app string, want map[string]int) {
	f.Helper()
	f.eventually(fmt.Sprintf("the costs are %v", want), func() (bool, string) {
		got := map[string]int{}
		for _, p := range f.pods(app) {
			record, _ := v1alpha1.ParseRecord(p.Annotations)
			got[record.Subset+"/"+p.Annotations[v1alpha1.PodDeletionCost]]++
		}
		return maps.Equal(got, want), fmt.Sprint(got)
	})
}

// TestPodsCreatedPastTheWebhookAreAdopted: a pod that got no assignment is found when it runs, without
// any change of the WorkloadSpread; one that fits no subset goes first.
func TestPodsCreatedPastTheWebhookAreAdopted(t *testing.T) {
	f := newFixture(t)
	f.create(workloadSpread("web", "web", subset{"own", "2"}))
	d := deployment("web", 2)
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	f.create(d)
	f.settled("web", "web", map[string]int{"own": 2})
	f.scale("web", 4) // two find no room, and go where they like
	f.eventually("all four run, and are judged", func() (bool, string) {
		n := 0
		for _, p := range f.pods("web") {
			record, _ := v1alpha1.ParseRecord(p.Annotations)
			if record.Subset == "own" || p.Annotations[v1alpha1.PodDeletionCost] == "-200" {
				n++
			}
		}
		return n == 4 && f.bound("web") == 4, strconv.Itoa(n)
	})
	if f.count(string(v1alpha1.ReasonNoSubsetAvailable)) == 0 {
		t.Error("nobody was told that there is no room")
	}
	f.scale("web", 2)
	f.eventually("two are left, both with a place", func() (bool, string) {
		got := f.split("web")
		return maps.Equal(got, map[string]int{"own": 2}), fmt.Sprint(got)
	})
}
