package simulation

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
)

func TestDev(t *testing.T) {
	if *dev == 0 {
		t.Skip()
	}
	var pool Pool
	digits := regexp.MustCompile(`[0-9a-f]+|\[.*`)
	count := map[string]int{}
	first := map[string][]uint64{}
	n, ex := 0, 0
	for s := range uint64(*dev) {
		r := pool.Run(s+1, false)
		if r.Exact {
			ex++
		}
		if r.Violation != "" {
			k := digits.ReplaceAllString(r.Violation, "#")
			k = k[:min(60, len(k))]
			if r.Exact {
				k += " EXACT"
			}
			count[k]++
			n++
			if len(first[k]) < 5 {
				first[k] = append(first[k], s+1)
			}
		}
	}
	var lines []string
	for k, c := range count {
		lines = append(lines, fmt.Sprintf("%6d %s %v", c, k, first[k]))
	}
	slices.Sort(lines)
	for _, l := range lines {
		t.Log(l)
	}
	t.Log(n, "failed", ex, "exact")
}
