package spread

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"pgregory.net/rapid"
)

// costed makes pods of a subset that heed the cost; a value "-5!" is the user's own.
func costed(version, subset string, values ...string) []*Pod {
	var out []*Pod
	for i, v := range values {
		value, own := strings.CutSuffix(v, "!")
		out = append(out, &Pod{
			Name: fmt.Sprintf("%s-%s-%d", version, subset, i), Version: version, Subset: subset, Active: true, Bound: true, Created: int64(i),
			Cost: Cost{Value: value, Ours: value != "" && !own, Heeded: true},
		})
	}
	return out
}

func recosts(t Terms, replicas int32, l Lineage, pods ...[]*Pod) string {
	v := View{Revision: 1, Pods: slices.Concat(pods...)}
	b := Open(t, &appsv1alpha1.WorkloadSpreadStatus{}, replicas)
	b.Recount(v)
	var out []string
	for _, r := range b.Recosts(v, l) {
		text := fmt.Sprintf("%s=%d", r.Pod.Name, r.Cost)
		if r.Token != "" {
			text += ":" + strconv.Itoa(int(r.Token.rank()))
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestCostsOfIntegerLimitsAreOpenKruises(t *testing.T) {
	two := termsOf([]Limit{{count, 1}, {}})
	three := termsOf([]Limit{{count, 10}, {count, 10}, {}})
	for name, tc := range map[string]struct {
		terms Terms
		l     Lineage
		pods  []*Pod
		want  string
	}{
		"what is right stays":                {terms: two, pods: slices.Concat(costed("v", "a", "200"), costed("v", "b", "100", "100")), want: ""},
		"what is missing is written":         {terms: two, pods: costed("v", "b", ""), want: "v-b-0=100"},
		"what is the user's stays":           {terms: two, pods: costed("v", "b", "7!"), want: ""},
		"an old version is reversed":         {terms: two, l: Lineage{Latest: "w"}, pods: slices.Concat(costed("v", "a", "200"), costed("v", "b", "100"), costed("w", "a", "200")), want: "v-a-0=100 v-b-0=200"},
		"the surplus goes first, the newest": {terms: two, pods: costed("v", "a", "200", "200", "200"), want: "v-a-1=-100 v-a-2=-100"},
		"a surplus that is marked stays so":  {terms: two, pods: costed("v", "a", "-100", "200"), want: ""},
		"an old version's surplus":           {terms: two, l: Lineage{Latest: "w"}, pods: costed("v", "a", "100", "100"), want: "v-a-1=-200"},
		"a subset that is gone goes first":   {terms: three, pods: costed("v", "gone", "300"), want: "v-gone-0=-400"},
		"a surplus of the second of three":   {terms: three, pods: costed("v", "b", slices.Repeat([]string{"200"}, 11)...), want: "v-b-10=-200"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := recosts(tc.terms, 3, tc.l, tc.pods); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestTheSurplusIsWhatAReplicaSetWouldRemoveFirst(t *testing.T) {
	pods := costed("v", "a", "100", "100", "100", "100", "100", "100")
	for i := range pods {
		pods[i].Standing = Standing{Phase: 2, Ready: true, ReadySince: 50}
	}
	pods[3].Bound = false
	pods[1].Standing.Phase = 0
	pods[4].Standing.Ready = false
	pods[0].Standing.ReadySince = 60
	if got, want := recosts(termsOf([]Limit{{count, 2}}), 6, Lineage{}, pods), "v-a-0=-100 v-a-1=-100 v-a-3=-100 v-a-4=-100"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// ranked makes pods of one subset with ranks, at the costs that belong to them.
func ranked(t Terms, subset string, ranks ...int32) []*Pod {
	pods := costed("v", subset, make([]string, len(ranks))...)
	for i, r := range ranks {
		pods[i].Token = NewToken(stemOf(i), r)
		pods[i].UID = "0123abcd-ef"
		pods[i].Cost = Cost{Value: strconv.Itoa(int(t.Cost(t.Index(subset), r))), Ours: true, Heeded: true}
	}
	return pods
}

func TestRanksAreClosedUpWhenTheWorkloadIsSettled(t *testing.T) {
	half := termsOf([]Limit{{percent, 50}, {percent, 50}})
	if got := recosts(half, 6, Lineage{Settled: true}, ranked(half, "a", 1, 2, 3), ranked(half, "b", 1, 2, 3)); got != "" {
		t.Errorf("what is right stays, got %q", got)
	}
	gap := [][]*Pod{ranked(half, "a", 1, 5, 6), ranked(half, "b", 1, 2, 3)}
	if got := recosts(half, 6, Lineage{}, gap...); got != "" {
		t.Errorf("while the workload changes nothing is closed up, got %q", got)
	}
	want := fmt.Sprintf("v-a-1=%d:2 v-a-2=%d:3", half.Cost(0, 2), half.Cost(0, 3))
	if got := recosts(half, 6, Lineage{Settled: true}, gap...); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// Pods that OpenKruise placed have no rank yet.
	old := costed("v", "a", "200", "200")
	old[0].UID, old[1].UID = "aaaabbbb-1", "ccccdddd-2"
	want = fmt.Sprintf("v-a-0=%d:1 v-a-1=%d:2", half.Cost(0, 1), half.Cost(0, 2))
	if got := recosts(half, 4, Lineage{Settled: true}, old); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestClosedUpCostsKeepTheRatio: after closing up, a scale-in to any size removes the right pods.
func TestClosedUpCostsKeepTheRatio(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		part := rapid.Int32Range(1, 99).Draw(r, "percent")
		terms := termsOf([]Limit{{percent, part}, {percent, 100 - part}})
		n := rapid.Int32Range(1, 40).Draw(r, "pods")
		var pods []*Pod
		for i, k := range fill(terms.limits, n, nil) {
			var ranks []int32
			for range k {
				ranks = append(ranks, rapid.Int32Range(0, 60).Draw(r, "rank"))
			}
			pods = append(pods, ranked(terms, terms.Name(i), ranks...)...)
		}
		b := Open(terms, &appsv1alpha1.WorkloadSpreadStatus{}, n)
		v := View{Revision: 1, Pods: pods}
		b.Recount(v)
		for _, c := range b.Recosts(v, Lineage{Settled: true}) {
			c.Pod.Cost.Value = strconv.Itoa(int(c.Cost))
		}
		slices.SortStableFunc(pods, func(p, q *Pod) int {
			x, _ := strconv.Atoi(p.Cost.Value)
			y, _ := strconv.Atoi(q.Cost.Value)
			return y - x // dearest first
		})
		for size := range n + 1 {
			left := map[string]int32{}
			for _, p := range pods[:size] {
				left[p.Subset]++
			}
			want := map[string]int32{}
			for i, k := range fill(terms.limits, size, nil) {
				if k > 0 {
					want[terms.Name(i)] = k
				}
			}
			if !maps.Equal(left, want) {
				r.Fatalf("%d%% of %d pods, down to %d: left %v, want %v", part, n, size, left, want)
			}
		}
	})
}

func TestAPodOfTheNewRevisionTakesThePlaceOfOneThatLeaves(t *testing.T) {
	terms := termsOf([]Limit{{count, 2}, {count, 2}, {}})
	old := func(subset string, n int) []*Pod {
		pods := costed("v1", subset, make([]string, n)...)
		for _, p := range pods {
			p.Revision = "old"
		}
		return pods
	}
	for name, tc := range map[string]struct {
		turnover Turnover
		revision string
		want     []int
	}{
		"no update":                       {Turnover{}, "old", []int{2, 2, 2}},
		"all four leave":                  {Turnover{Revision: "new", GiveUp: 4}, "new", []int{0, 0, 1, 1, 2}},
		"three leave, one is kept":        {Turnover{Revision: "new", GiveUp: 3}, "new", []int{0, 0, 1, 2}},
		"nothing leaves any more":         {Turnover{Revision: "new", GiveUp: 0}, "new", []int{2}},
		"a pod of the old revision waits": {Turnover{Revision: "new", GiveUp: 4}, "old", []int{2}},
	} {
		t.Run(name, func(t *testing.T) {
			b := Open(terms, &appsv1alpha1.WorkloadSpreadStatus{}, 4)
			b.Turn(tc.turnover)
			b.Recount(View{Revision: 1, Pods: slices.Concat(old("a", 2), old("b", 2))})
			for n, want := range tc.want {
				c := claim(n)
				c.Revision = tc.revision
				if g := b.Claim(c); g.Outcome != Placed || g.Subset != want {
					t.Errorf("pod %d: %+v, want subset %d", n, g, want)
				}
			}
		})
	}
}

func TestTheNextPodOfANameKeepsItsClaim(t *testing.T) {
	b := Open(termsOf([]Limit{{count, 2}}), &appsv1alpha1.WorkloadSpreadStatus{}, 2)
	b.Claim(Claim{Version: "v1", Name: "web-x", Now: noon})
	gone := &Pod{Name: "web-x", Version: "v1", Subset: "a", Created: noon.Unix() - 60}
	b.Recount(View{Revision: 1, Pods: []*Pod{gone}})
	if got, want := counts(b), "a:0+1/1 "; got != want {
		t.Errorf("an earlier pod of the name is going: %q, want %q", got, want)
	}
	ended := &Pod{Name: "web-x", Version: "v1", Subset: "a", Created: noon.Unix() + 1}
	b.Recount(View{Revision: 2, Pods: []*Pod{ended}})
	if got := counts(b); strings.Contains(got, "+1") {
		t.Errorf("the claim's own pod has ended: %q", got)
	}
}
