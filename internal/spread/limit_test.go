package spread

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
)

func value(s string) *intstr.IntOrString {
	if s == "" {
		return nil
	}
	v := intstr.Parse(s)
	return &v
}

func TestLimitsArePodsOrSharesRoundedUp(t *testing.T) {
	for name, tc := range map[string]struct {
		max      string
		replicas int32
		want     int32
	}{
		"absent is unlimited":           {"", 10, Unlimited},
		"a number is itself":            {"7", 3, 7},
		"zero takes nothing":            {"0", 10, 0},
		"half of ten":                   {"50%", 10, 5},
		"half of three rounds up":       {"50%", 3, 2},
		"30% of five rounds up":         {"30%", 5, 2},
		"1% of one is one":              {"1%", 1, 1},
		"a share of nothing is nothing": {"50%", 0, 0},
		"no overflow":                   {"100%", 1<<31 - 1, 1<<31 - 1},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := ParseLimit(value(tc.max))
			if err != nil {
				t.Fatal(err)
			}
			if got := l.Of(tc.replicas); got != tc.want {
				t.Errorf("limit %q of %d replicas: got %d, want %d", tc.max, tc.replicas, got, tc.want)
			}
		})
	}
}

func TestLimitsThatMakeNoSenseAreRefusedWithTheRemedy(t *testing.T) {
	quoted := intstr.FromString("50")
	negative := intstr.FromInt32(-1)
	for name, tc := range map[string]struct {
		v    intstr.IntOrString
		want string
	}{
		"a number in quotes":     {quoted, `write 50 for pods or "50%"`},
		"a negative number":      {negative, "≥ 0"},
		"a share above 100":      {intstr.FromString("101%"), "above 100%"},
		"a broken share":         {intstr.FromString("50.2%"), "whole percentage"},
		"words":                  {intstr.FromString("half"), "whole percentage"},
		"a negative share":       {intstr.FromString("-5%"), "whole percentage"},
		"a share without number": {intstr.FromString("%"), "whole percentage"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseLimit(&tc.v)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

// limitsGen draws limits as validation allows them: percentages that add up to 100, or to less with
// an unlimited last subset; or integers.
var percentGen = rapid.Custom(func(t *rapid.T) []Limit {
	n := rapid.IntRange(1, 5).Draw(t, "subsets")
	rest := int32(100)
	var out []Limit
	for range n - 1 {
		p := rapid.Int32Range(0, rest).Draw(t, "percent")
		out, rest = append(out, Limit{percent, p}), rest-p
	}
	if rapid.Bool().Draw(t, "unlimited last") {
		return append(out, Limit{})
	}
	return append(out, Limit{percent, rest})
})

func termsOf(limits []Limit) Terms {
	t := Terms{limits: limits, index: map[string]int{}}
	for i, l := range limits {
		name := string(rune('a' + i))
		t.names, t.index[name] = append(t.names, name), i
		t.Percent = t.Percent || l.IsPercent()
	}
	return t
}

func TestSizeNeedingIsTheSmallestSizeThatNeedsTheRank(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms := termsOf(percentGen.Draw(t, "limits"))
		i := rapid.IntRange(0, terms.Len()-1).Draw(t, "subset")
		rank := rapid.Int32Range(1, 40).Draw(t, "rank")
		got := terms.sizeNeeding(i, rank)
		for n := range int32(5000) {
			if fill(terms.limits, n, nil)[i] >= rank {
				if got != n {
					t.Fatalf("rank %d of subset %d is needed from size %d on, got %d", rank, i, n, got)
				}
				return
			}
		}
		if got < 5000 {
			t.Fatalf("no size below 5000 needs rank %d of subset %d, got %d", rank, i, got)
		}
	})
}

func TestScaleInByCostKeepsTheRatio(t *testing.T) {
	for name, tc := range map[string]struct {
		limits []Limit
		from   int32
	}{
		"half and half":           {[]Limit{{percent, 50}, {percent, 50}}, 1000},
		"half and the rest":       {[]Limit{{percent, 50}, {}}, 1000},
		"one in ten and the rest": {[]Limit{{percent, 10}, {}}, 500},
	} {
		t.Run(name, func(t *testing.T) {
			terms := termsOf(tc.limits)
			type pod struct {
				subset int
				cost   int32
			}
			var pods []pod
			for i, n := range fill(terms.limits, tc.from, nil) {
				for r := int32(1); r <= n; r++ {
					pods = append(pods, pod{i, terms.Cost(i, r)})
				}
			}
			// The ReplicaSet controller keeps the pods that cost most.
			for n := tc.from; n >= 0; n-- {
				kept := make([]int32, terms.Len())
				for _, p := range pods {
					higher := int32(0)
					for _, q := range pods {
						if q.cost > p.cost {
							higher++
						}
					}
					if higher < n {
						kept[p.subset]++
					}
				}
				want := fill(terms.limits, n, nil)
				for i := range kept {
					if kept[i] != want[i] {
						t.Fatalf("scaled in to %d: subset %d keeps %d, want %d", n, i, kept[i], want[i])
					}
				}
				if n%50 != 0 {
					n -= n%50 - 1 // every size would take a while; the remainder decides
				}
			}
		})
	}
}

func FuzzParseLimit(f *testing.F) {
	for _, s := range []string{"50%", "50", "", "%", "-1%", "100%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := intstr.FromString(s)
		l, err := ParseLimit(&v)
		if err == nil && (!l.IsPercent() || l.Of(100) > 100 || l.Of(100) < 0) {
			t.Errorf("%q was read as %+v", s, l)
		}
	})
}
