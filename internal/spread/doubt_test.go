package spread

import (
	"testing"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
)

func TestAClaimFromTheFutureIsInDoubt(t *testing.T) {
	b := Open(termsOf([]Limit{{count, 2}}), &appsv1alpha1.WorkloadSpreadStatus{}, 0)
	b.Claim(claim(1))
	for name, tc := range map[string]struct {
		now  time.Time
		want int
	}{
		"just made":                           {noon, 0},
		"made a while ago":                    {noon.Add(2 * time.Second), 1},
		"made by a machine with a fast clock": {noon.Add(-time.Minute), 1},
	} {
		if got := b.Suspects("v1", tc.now); len(got) != tc.want {
			t.Errorf("%s: %d claims are in doubt, want %d", name, len(got), tc.want)
		}
	}
}

// TestAPodThatFindsNoRoomMayReplaceOneThatHadAPlace: of two pods wanted, one has the only place and the
// other has none, so no view knows it. Whichever of them went, the counts look the same.
func TestAPodThatFindsNoRoomMayReplaceOneThatHadAPlace(t *testing.T) {
	stray := &Pod{Name: "stray", UID: "stray", Version: "v1", Active: true}
	for name, tc := range map[string]struct {
		alive []*Pod
		want  Outcome
	}{
		"the one with the place went":    {[]*Pod{stray}, Placed},
		"the one without the place went": {pods("a", 1), NoRoom},
	} {
		t.Run(name, func(t *testing.T) {
			b := Open(termsOf([]Limit{{count, 1}}), &appsv1alpha1.WorkloadSpreadStatus{}, 0)
			b.Recount(View{Revision: 7, Pods: pods("a", 1)})
			c := claim(9)
			c.Demand = 2
			if g := b.Claim(c); g.Outcome != Unproven {
				t.Fatalf("got %+v, want a request for evidence", g)
			}
			c.Evidence = &Evidence{View: View{Revision: 8, Pods: tc.alive}, Demand: 2, Arrivals: 1}
			if g := b.Claim(c); g.Outcome != tc.want {
				t.Errorf("got %+v, want outcome %d", g, tc.want)
			}
		})
	}
}

func TestOverflowIsClaimedWhereItsOwnersDemandIsKnown(t *testing.T) {
	for name, tc := range map[string]struct {
		limits []Limit
		demand int32
		claims bool
	}{
		"past a full subset":            {[]Limit{{count, 0}, {}}, 5, true},
		"without a demand to check":     {[]Limit{{count, 0}, {}}, 0, false},
		"into the first of the subsets": {[]Limit{{}, {count, 1}}, 5, false},
	} {
		b := Open(termsOf(tc.limits), &appsv1alpha1.WorkloadSpreadStatus{}, 0)
		c := claim(1)
		c.Demand = tc.demand
		if g := b.Claim(c); g.Outcome != Placed || (g.Token != "") != tc.claims {
			t.Errorf("%s: got %+v, want it claimed: %v", name, g, tc.claims)
		}
	}
}

// TestARenewedBookRefusesWhatIsOlderThanItsNextView even if that view changes no count.
func TestARenewedBookRefusesWhatIsOlderThanItsNextView(t *testing.T) {
	b := Open(termsOf([]Limit{{count, 2}}), &appsv1alpha1.WorkloadSpreadStatus{}, 0)
	b.Recount(View{Revision: 7, Pods: pods("a", 1)})
	b.Recount(View{Revision: 9, Pods: pods("a", 1)})
	if b.Observed() != 7 {
		t.Fatalf("a view that changes nothing was noted: %d", b.Observed())
	}
	b.Renew()
	b.Recount(View{Revision: 9, Pods: pods("a", 1)})
	if b.Recount(View{Revision: 8}) || b.Observed() != 9 {
		t.Errorf("observed %d, want 9", b.Observed())
	}
}

func TestAPodToBeAdoptedIsCountedByItsClaim(t *testing.T) {
	b := Open(termsOf([]Limit{{count, 2}, {count, 1}}), &appsv1alpha1.WorkloadSpreadStatus{}, 0)
	stray := &Pod{Name: "stray", UID: "stray", Version: "v1", Active: true}
	token := NewToken(AdoptionStem(stray.UID), 1)
	b.Enter("v1", "a", token, noon)
	b.Enter("v1", "a", NewToken(AdoptionStem(stray.UID), 2), noon)
	b.Enter("v1", "gone", "s0000009", noon)
	if want, got := "a:0+1/1 b:0+0/1 ", counts(b); want != got {
		t.Fatalf("counts %q, want %q", got, want)
	}
	// The stray is alive, and a creation is under way: of two pods wanted, none is missing and none dead.
	b.Claim(claim(1))
	later := noon.Add(3 * time.Second)
	ev := &Evidence{View: View{Revision: 9, Pods: []*Pod{stray}}, Demand: 2, Suspects: b.Suspects("v1", later)}
	if b.weigh("v1", ev); len(b.Disproved()) != 0 {
		t.Errorf("%v released: a pod and its own claim were taken for two", b.Disproved())
	}
	recorded := *stray
	recorded.Subset, recorded.Token = "a", token
	b.Recount(View{Revision: 10, Pods: []*Pod{&recorded}})
	if want, got := "a:1+1/0 b:0+0/1 ", counts(b); want != got {
		t.Errorf("recorded: counts %q, want %q", got, want)
	}
}
