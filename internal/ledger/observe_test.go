package ledger_test

import (
	"context"
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/spread"
)

// TestAnObservationMarksTheGenerationThatItsCallerActedOn: the pods that a newer one lets in are not
// adopted yet.
func TestAnObservationMarksTheGenerationThatItsCallerActedOn(t *testing.T) {
	a := newAPI(2, "1", "")
	old := a.request().Spread
	a.mu.Lock()
	a.ws = a.ws.DeepCopy()
	a.ws.Generation = 2
	a.mu.Unlock()
	for _, tc := range []struct{ acted, want int64 }{{1, 0}, {2, 2}} {
		ws := old.DeepCopy()
		ws.Generation = tc.acted
		if _, err := a.replica().Observe(deadline(t), ws, spread.Sight{}); err != nil {
			t.Fatal(err)
		}
		if got := a.request().Spread.Status.ObservedGeneration; got != tc.want {
			t.Errorf("acted on generation %d of 2: %d is marked, want %d", tc.acted, got, tc.want)
		}
	}
}

// asked notes for which observed generation pods are listed.
type asked struct {
	*api
	generation int64
}

func (a *asked) ListSpread(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (spread.View, error) {
	a.generation = ws.Status.ObservedGeneration
	return a.api.ListSpread(ctx, ws)
}

// TestAnObservationCountsNoPodThatIsNotAdopted: no later view would show one that goes before it is.
func TestAnObservationCountsNoPodThatIsNotAdopted(t *testing.T) {
	a := newAPI(2, "1", "")
	pods := &asked{api: a}
	l := ledger.New(ledger.Options{
		Spreads: a, Pods: pods, Workloads: a, Recorder: a, Clock: clock.RealClock{}, Stem: func() string { return "t0000001" },
	})
	if _, err := l.Claim(deadline(t), a.request()); err != nil || pods.generation != 0 {
		t.Errorf("a claim before the first observation: %v; pods are listed for generation %d, want 0: with those about to be adopted", err, pods.generation)
	}
	if _, err := l.Observe(deadline(t), a.request().Spread, spread.Sight{}); err != nil || pods.generation != 1 {
		t.Errorf("the observation: %v; pods are listed for generation %d, want 1: without them", err, pods.generation)
	}
}

// blind is a replica whose view of pods never moves.
type blind struct{ *api }

func (b blind) View(types.NamespacedName) spread.View { return spread.View{Revision: 1} }

// TestAnAdoptedPodCountsBeforeAnyViewShowsIt: the replica that admits the next pod does not know that
// the only place has just been recorded on a pod that ran already.
func TestAnAdoptedPodCountsBeforeAnyViewShowsIt(t *testing.T) {
	a := newAPI(2, "1", "")
	leader := a.replica()
	ws := a.request().Spread
	if _, err := leader.Observe(deadline(t), ws, spread.Sight{}); err != nil {
		t.Fatal(err)
	}
	err := leader.Adopt(deadline(t), ws, []ledger.Adopted{{Version: "v1", Subset: "a", Token: "s0000001"}})
	if err != nil {
		t.Fatal(err)
	}
	webhook := ledger.New(ledger.Options{
		Spreads: a, Pods: blind{a}, Workloads: a, Recorder: a, Clock: clock.RealClock{}, Stem: func() string { return "t0000001" },
	})
	if g, err := webhook.Claim(deadline(t), a.request()); err != nil || g.Terms.Name(g.Subset) != "b" {
		t.Errorf("got %+v, %v; want subset b", g, err)
	}
}
