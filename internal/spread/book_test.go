package spread

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func stemOf(i int) string { return fmt.Sprintf("s%07d", i) }

func claim(i int) Claim { return Claim{Version: "v1", Stem: stemOf(i), Now: noon} }

// pods makes n active pods of a subset, with tokens of the given ranks' order.
func pods(subset string, n int) []*Pod {
	var out []*Pod
	for i := range n {
		out = append(out, &Pod{
			Name: fmt.Sprintf("%s-%d", subset, i), Version: "v1", Subset: subset, Active: true,
			Token: NewToken(stemOf(1000+i), int32(i+1)),
		})
	}
	return out
}

func counts(b *Book) string {
	s, _ := b.Status(&appsv1alpha1.WorkloadSpreadStatus{}, noon)
	out := ""
	for _, e := range s.VersionedSubsetStatuses["v1"] {
		out += fmt.Sprintf("%s:%d+%d/%d ", e.Name, e.Replicas, len(e.CreatingPods), e.MissingReplicas)
	}
	return out
}

func TestClaimsFillSubsetsInOrder(t *testing.T) {
	b := Open(termsOf([]Limit{{count, 2}, {percent, 50}, {}}), &appsv1alpha1.WorkloadSpreadStatus{}, 4)
	var got []int
	for i := range 6 {
		got = append(got, b.Claim(claim(i)).Subset)
	}
	if diff := cmp.Diff([]int{0, 0, 1, 1, 2, 2}, got); diff != "" {
		t.Error(diff)
	}
	if want, got := "a:0+2/0 b:0+2/0 c:0+0/-1 ", counts(b); want != got {
		t.Errorf("counts %q, want %q", got, want)
	}
}

func TestTheSameClaimIsEnteredOnce(t *testing.T) {
	b := Open(termsOf([]Limit{{count, 2}}), &appsv1alpha1.WorkloadSpreadStatus{}, 0)
	first := b.Claim(claim(1))
	if again := b.Claim(claim(1)); !again.Repeated || again.Token != first.Token {
		t.Errorf("applied again after a lost answer: %+v, want a repeat of %+v", again, first)
	}
	second := claim(2)
	second.Incoming = first.Token
	if again := b.Claim(second); !again.Repeated || again.Token != first.Token {
		t.Errorf("admitted again: %+v, want a repeat of %+v", again, first)
	}
	copied := claim(3)
	copied.Incoming = "s9999999"
	if g := b.Claim(copied); g.Repeated || g.Token != "s0000003" {
		t.Errorf("a token that is no outstanding claim was taken: %+v", g)
	}
}

func TestARecountDropsClaimsOfPodsItShows(t *testing.T) {
	b := Open(termsOf([]Limit{{count, 5}}), &appsv1alpha1.WorkloadSpreadStatus{}, 0)
	g := b.Claim(claim(1))
	b.Claim(claim(2))
	if !b.Recount(View{Revision: 7, Pods: []*Pod{{Version: "v1", Subset: "a", Active: true, Token: g.Token}}}) {
		t.Fatal("a first view was refused")
	}
	if want, got := "a:1+1/3 ", counts(b); want != got {
		t.Errorf("counts %q, want %q", got, want)
	}
}

func TestAnOlderViewIsRefused(t *testing.T) {
	b := Open(termsOf([]Limit{{count, 5}}), &appsv1alpha1.WorkloadSpreadStatus{}, 0)
	b.Recount(View{Revision: 7, Pods: pods("a", 3)})
	stored, _ := b.Status(&appsv1alpha1.WorkloadSpreadStatus{}, noon)
	again := Open(termsOf([]Limit{{count, 5}}), stored, 0)
	if again.Recount(View{Revision: 6, Pods: pods("a", 2)}) {
		t.Error("a view older than the counts was taken: pods would be forgotten")
	}
	if want, got := "a:3+0/2 ", counts(again); want != got {
		t.Errorf("counts %q, want %q", got, want)
	}
	if !again.Recount(View{Revision: 7, Pods: pods("a", 2)}) {
		t.Error("a view as new as the counts was refused")
	}
}

func TestAStatusWithoutViewKnowsNothing(t *testing.T) {
	b := Open(termsOf([]Limit{{count, 5}}), &appsv1alpha1.WorkloadSpreadStatus{
		VersionedSubsetStatuses: map[string][]appsv1alpha1.WorkloadSpreadSubsetStatus{"v1": {{Name: "a", Replicas: 4}}},
	}, 0)
	if b.Observed() != 0 {
		t.Errorf("observed %d, want 0: OpenKruise's counts prove no view", b.Observed())
	}
}

func TestTheViewSurvivesReorderedSubsets(t *testing.T) {
	b := Open(termsOf([]Limit{{count, 5}, {}}), &appsv1alpha1.WorkloadSpreadStatus{}, 0)
	b.Recount(View{Revision: 7, Pods: pods("a", 3)})
	stored, _ := b.Status(&appsv1alpha1.WorkloadSpreadStatus{}, noon)
	turned := Terms{names: []string{"b", "a"}, limits: []Limit{{}, {count, 5}}, index: map[string]int{"b": 0, "a": 1}}
	next := Open(turned, stored, 0)
	next.Recount(View{Revision: 9, Pods: pods("a", 2)})
	out, changed := next.Status(stored, noon)
	if !changed || observedRevision(out) != 9 || len(out.SubsetStatuses[1].Conditions) != 0 {
		t.Errorf("the view did not move to the first subset: %+v", out.SubsetStatuses)
	}
}

func TestNothingNewIsNoChange(t *testing.T) {
	b := Open(termsOf([]Limit{{count, 5}}), &appsv1alpha1.WorkloadSpreadStatus{}, 0)
	b.Recount(View{Revision: 7, Pods: pods("a", 3)})
	stored, _ := b.Status(&appsv1alpha1.WorkloadSpreadStatus{}, noon)
	later := Open(termsOf([]Limit{{count, 5}}), stored, 0)
	later.Recount(View{Revision: 70, Pods: pods("a", 3)})
	if _, changed := later.Status(stored, noon.Add(time.Hour)); changed {
		t.Error("a newer view of the same pods would be written")
	}
}

func TestRanksFreedAreGivenAgain(t *testing.T) {
	b := Open(termsOf([]Limit{{percent, 50}, {}}), &appsv1alpha1.WorkloadSpreadStatus{}, 10)
	list := pods("a", 4)
	list[1].Active = false // rank 2 is free
	b.Recount(View{Revision: 7, Pods: list})
	c := claim(1)
	c.Ranked = true
	if g := b.Claim(c); g.Rank != 2 || g.Token != "s00000012" {
		t.Errorf("got rank %d, token %s; want rank 2", g.Rank, g.Token)
	}
	c = claim(2)
	c.Ranked = true
	if g := b.Claim(c); g.Rank != 5 {
		t.Errorf("got rank %d, want 5", g.Rank)
	}
}

func TestRanksOfPodsThatAStaleViewLacksAreNotGivenTwice(t *testing.T) {
	terms := termsOf([]Limit{{percent, 100}})
	b := Open(terms, &appsv1alpha1.WorkloadSpreadStatus{}, 10)
	b.Recount(View{Revision: 9, Pods: pods("a", 5)})
	stored, _ := b.Status(&appsv1alpha1.WorkloadSpreadStatus{}, noon)
	stale := Open(terms, stored, 10)
	stale.Recount(View{Revision: 8, Pods: pods("a", 3)})
	c := claim(1)
	c.Ranked = true
	if g := stale.Claim(c); g.Rank != 6 {
		t.Errorf("got rank %d, want 6: five pods are counted", g.Rank)
	}
}

func TestDemandReachedAsksForProof(t *testing.T) {
	b := Open(termsOf([]Limit{{count, 2}, {}}), &appsv1alpha1.WorkloadSpreadStatus{}, 0)
	b.Recount(View{Revision: 7, Pods: pods("a", 2)})
	c := claim(1)
	c.Demand = 2
	if g := b.Claim(c); g.Outcome != Unproven {
		t.Errorf("two of two pods live, a third arrives: got %+v, want Unproven", g)
	}
	c.Demand = 3
	if g := b.Claim(c); g.Outcome != Placed || g.Subset != 1 {
		t.Errorf("three are wanted: got %+v, want subset 1", g)
	}
}

func TestEvidenceReturnsTheSlotsOfFailedCreations(t *testing.T) {
	terms := termsOf([]Limit{{count, 5}, {}})
	b := Open(terms, &appsv1alpha1.WorkloadSpreadStatus{}, 0)
	for i := range 5 {
		b.Claim(claim(i))
	}
	later := noon.Add(3 * time.Second)
	c := Claim{Version: "v1", Stem: stemOf(9), Now: later, Demand: 5, Evidence: &Evidence{
		View: View{Revision: 9}, Demand: 5, Arrivals: 1, Suspects: b.Suspects("v1", later),
	}}
	g := b.Claim(c)
	if g.Outcome != Placed || g.Subset != 0 {
		t.Fatalf("one of five claims is proven dead: got %+v, want subset 0", g)
	}
	if want, got := "a:0+5/0 b:0+0/-1 ", counts(b); want != got {
		t.Errorf("counts %q, want %q", got, want)
	}
}

func TestEvidenceThatDoesNotTellWhichSubsetReleasesNothing(t *testing.T) {
	b := Open(termsOf([]Limit{{count, 2}, {count, 2}}), &appsv1alpha1.WorkloadSpreadStatus{}, 0)
	for i := range 4 {
		b.Claim(claim(i))
	}
	later := noon.Add(3 * time.Second)
	g := b.Claim(Claim{Version: "v1", Stem: stemOf(9), Now: later, Demand: 4, Evidence: &Evidence{
		View: View{Revision: 9}, Demand: 4, Arrivals: 1, Suspects: b.Suspects("v1", later),
	}})
	if g.Outcome != Unproven || len(b.Disproved()) != 0 {
		t.Errorf("one of four claims is dead, in a or in b: got %+v and %v released", g, b.Disproved())
	}
}

// TestEvidenceNeverReleasesALiveClaim draws claims that are alive (their creation is under way) or
// dead, and checks that each subset keeps at least as many claims as are alive in it.
func TestEvidenceNeverReleasesALiveClaim(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		subsets := rapid.IntRange(1, 4).Draw(t, "subsets")
		var limits []Limit
		for range subsets {
			limits = append(limits, Limit{count, 100})
		}
		b := Open(termsOf(limits), &appsv1alpha1.WorkloadSpreadStatus{}, 0)
		alive := make([]int, subsets)
		stored := make([]int, subsets)
		suspects := map[Token]struct{}{}
		underWay, live := 0, 0
		var view View
		view.Revision = 9
		for i := range rapid.IntRange(0, 30).Draw(t, "claims") {
			at := rapid.IntRange(0, subsets-1).Draw(t, "subset")
			tok := Token(stemOf(i))
			b.page("v1").entries[at].claim(tok, metav1.NewTime(noon))
			if rapid.Bool().Draw(t, "suspect") {
				suspects[tok] = struct{}{}
			}
			switch rapid.IntRange(0, 2).Draw(t, "fate") {
			case 0:
				alive[at]++
				underWay++
			case 1: // the pod is stored, and the list shows it
				view.Pods = append(view.Pods, &Pod{Version: "v1", Subset: b.terms.Name(at), Token: tok, Active: true})
				stored[at]++
				live++
			}
		}
		arrivals := rapid.IntRange(1, 5).Draw(t, "arrivals")
		// The fact that the arithmetic rests on: live + under way ≤ demand.
		demand := live + underWay + arrivals + rapid.IntRange(0, 5).Draw(t, "not created yet")
		b.weigh("v1", &Evidence{View: view, Demand: int32(demand), Arrivals: int32(arrivals), Suspects: suspects})
		for i := range subsets {
			e := &b.pages["v1"].entries[i]
			if int(e.claimed()) < alive[i] || int(e.replicas) != stored[i] {
				t.Fatalf("subset %d keeps %d claims, %d are alive; counts %d pods, %d are stored", i, e.claimed(), alive[i], e.replicas, stored[i])
			}
		}
	})
}

func TestFiveThousandPodsInFlightStayBelow256KiB(t *testing.T) {
	terms := termsOf([]Limit{{percent, 50}, {percent, 50}})
	b := Open(terms, &appsv1alpha1.WorkloadSpreadStatus{}, 5000)
	for i := range 5000 {
		c := claim(i)
		c.Ranked = true
		if g := b.Claim(c); g.Outcome != Placed {
			t.Fatalf("pod %d: %+v", i, g)
		}
	}
	status, _ := b.Status(&appsv1alpha1.WorkloadSpreadStatus{}, noon)
	size := len(mustJSON(t, status))
	if size >= 256<<10 {
		t.Errorf("the status has %d bytes", size)
	}
	t.Logf("5,000 claims take %d bytes", size)
}

// TestCreationsUnderWayHideDeadClaims: ten pods are wanted, five claims stand, and the other five
// creations are under way, unclaimed here. Which of the claims are dead will be known when those end.
func TestCreationsUnderWayHideDeadClaims(t *testing.T) {
	later := noon.Add(3 * time.Second)
	for name, tc := range map[string]struct {
		limits []Limit
		last   bool
		want   Outcome
	}{
		"without another place it waits":           {[]Limit{{count, 5}}, false, Unproven},
		"without another place it never gives up":  {[]Limit{{count, 5}}, true, Unproven},
		"with another place it waits":              {[]Limit{{count, 5}, {}}, false, Unproven},
		"with another place it goes there at last": {[]Limit{{count, 5}, {}}, true, Placed},
	} {
		t.Run(name, func(t *testing.T) {
			b := Open(termsOf(tc.limits), &appsv1alpha1.WorkloadSpreadStatus{}, 0)
			for i := range 5 {
				b.Claim(claim(i))
			}
			suspects := b.Suspects("v1", later)
			g := b.Claim(Claim{Version: "v1", Stem: stemOf(9), Now: later, Last: tc.last, Evidence: &Evidence{
				View: View{Revision: 9, Pods: []*Pod{}}, Demand: 5, Arrivals: 0, Suspects: suspects,
			}})
			if g.Outcome != tc.want || len(b.Disproved()) != 0 {
				t.Errorf("got %+v and %d released, want %v", g, len(b.Disproved()), tc.want)
			}
		})
	}
}
