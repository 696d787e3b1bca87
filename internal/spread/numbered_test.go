package spread

import (
	"strings"
	"testing"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

func TestPositions(t *testing.T) {
	for name, tc := range map[string]struct {
		n    Numbering
		pod  string
		want int32
	}{
		"the number":                          {Numbering{}, "web-7", 7},
		"a name with dashes":                  {Numbering{}, "my-web-12", 12},
		"no number belongs to the front":      {Numbering{}, "web-x", -1},
		"no dash":                             {Numbering{}, "12", -1},
		"an empty number":                     {Numbering{}, "web-", -1},
		"too large":                           {Numbering{}, "web-99999999999", -1},
		"a first number":                      {Numbering{Start: 5}, "web-7", 2},
		"below the first number":              {Numbering{Start: 5}, "web-2", -1},
		"reserved numbers before it":          {Numbering{Reserved: []int32{0, 2, 2, 9}}, "web-7", 5},
		"reserved numbers before the first":   {Numbering{Start: 5, Reserved: []int32{1, 6}}, "web-7", 1},
		"its own number is not before itself": {Numbering{Reserved: []int32{7}}, "web-7", 7},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.n.Position(tc.pod); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestSubsetsTakeRangesOfNumbers(t *testing.T) {
	for name, tc := range map[string]struct {
		limits []Limit
		want   []int // by position; -1 for no subset
	}{
		"the last one takes the rest":   {[]Limit{{count, 2}, {count, 3}, {}}, []int{0, 0, 1, 1, 1, 2, 2}},
		"beyond the last limit":         {[]Limit{{count, 2}, {count, 1}}, []int{0, 0, 1, -1, -1}},
		"a limit of nothing":            {[]Limit{{count, 0}, {}}, []int{1, 1}},
		"an unlimited one takes it all": {[]Limit{{}, {count, 5}}, []int{0, 0, 0}},
		"limits that overflow 32 bits":  {[]Limit{{count, 1<<31 - 1}, {count, 1<<31 - 1}, {}}, []int{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, termsOf(tc.limits))
			for n, want := range tc.want {
				position := int32(n)
				g := s.open().Claim(Claim{Version: "v1", Name: "web-0", Position: &position, Now: noon})
				if got := map[Outcome]int{Placed: g.Subset, NoRoom: -1}[g.Outcome]; got != want || g.Token != "" {
					t.Errorf("position %d: %+v, want subset %d and no claim", n, g, want)
				}
			}
		})
	}
	front := int32(-1)
	if g := newStage(t, termsOf([]Limit{{count, 1}, {}})).open().Claim(Claim{Position: &front}); g.Subset != 0 {
		t.Errorf("a name without number: %+v", g)
	}
}

// TestSubsetsThatCannotTakeAPodArePassedOver, numbered or not; those of other pods are not touched.
func TestSubsetsThatCannotTakeAPodArePassedOver(t *testing.T) {
	first := int32(0)
	barred := map[string]v1alpha1.Reason{"a": v1alpha1.ReasonHostPath, "gone": v1alpha1.ReasonHostPath}
	for name, c := range map[string]Claim{
		"by room":   {Version: "v1", Stem: stemOf(1), Barred: barred, Now: noon},
		"by number": {Version: "v1", Name: "web-0", Position: &first, Barred: barred, Now: noon},
	} {
		b := newStage(t, termsOf([]Limit{{count, 2}, {}})).open()
		if g := b.Claim(c); g.Outcome != Placed || g.Subset != 1 || len(g.Passed) != 1 || g.Passed[0] != (Passed{0, v1alpha1.ReasonHostPath}) {
			t.Errorf("%s: %+v", name, g)
		}
		c.Barred = map[string]v1alpha1.Reason{"a": v1alpha1.ReasonHostPath, "b": v1alpha1.ReasonFixedIP}
		c.Stem, c.Name = stemOf(2), strings.Replace(c.Name, "0", "1", 1)
		if g := b.Claim(c); g.Outcome != NoRoom || len(g.Passed) != 2 {
			t.Errorf("%s, without any other: %+v", name, g)
		}
		c.Barred, c.Stem = nil, stemOf(3)
		if g := b.Claim(c); g.Subset != 0 {
			t.Errorf("%s, a pod that it can take: %+v", name, g)
		}
	}
}
