package spread

import (
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"pgregory.net/rapid"
)

// TestSlowStart plays the passes of a ReplicaSet's controller, and asks at every moment.
func TestSlowStart(t *testing.T) {
	for created, want := range map[int32]int32{0: 1, 1: 2, 2: 2, 3: 4, 6: 4, 7: 8, 1 << 30: 1 << 29} {
		if got := SlowStart(created); got != want {
			t.Errorf("%d created: got %d, want %d", created, got, want)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		created := int32(rapid.IntRange(0, 5).Draw(r, "created in a pass whose status write was lost")) //nolint:gosec // small
		rest := rapid.Int32Range(1, 200).Draw(r, "pods that are missing")
		for batch := int32(1); rest > 0; batch *= 2 {
			size := min(batch, rest)
			for under := size; under > 0; under-- { // one after the other succeeds
				if bound := SlowStart(created); under > bound {
					r.Fatalf("%d under way after %d were created, the bound is %d", under, created, bound)
				}
				created++
			}
			rest -= size
		}
	})
}

// TestSlowStartProvesFiveDeadClaims: a quota refused five creations, one after the other, in four subsets.
// The demand alone would allow four of them to be under way still.
func TestSlowStartProvesFiveDeadClaims(t *testing.T) {
	terms := termsOf([]Limit{{percent, 50}, {percent, 20}, {percent, 10}, {percent, 10}, {}})
	b := Open(terms, &appsv1alpha1.WorkloadSpreadStatus{}, 10)
	own := pods("a", 5)
	b.Recount(View{Revision: 1, Pods: own})
	suspects := map[Token]struct{}{}
	for n := range 5 {
		c := claim(n)
		c.Ranked = true
		suspects[b.Claim(c).Token] = struct{}{}
	}
	ask := func(underWay int32) Grant {
		c := claim(9)
		c.Ranked, c.Demand = true, 10
		c.Evidence = &Evidence{View: View{Revision: 2, Pods: own}, Demand: 10, Arrivals: 1, UnderWay: underWay, Suspects: suspects}
		return b.Claim(c)
	}
	if g := ask(0); g.Outcome != Unproven || len(b.Disproved()) != 0 {
		t.Errorf("by the demand alone: %+v, %v", g, b.Disproved())
	}
	if g := ask(SlowStart(0)); g.Outcome != Placed || g.Subset != 1 || len(b.Disproved()) != 5 {
		t.Errorf("when nothing was created since the last status: %+v, %v", g, b.Disproved())
	}
}
