package spread

import (
	"slices"
	"strconv"
	"strings"
)

// Numbering is how a workload numbers its pods.
type Numbering struct {
	// Start is the first number (StatefulSet spec.ordinals.start).
	Start int32
	// Reserved are numbers that no pod gets (Kruise StatefulSet spec.reserveOrdinals).
	Reserved []int32
}

// Position returns the place of the named pod in the order of its workload, from 0. The number is what
// follows the last dash; a name without one has position −1, which belongs to the first subset
// (OpenKruise).
func (n Numbering) Position(podName string) int32 {
	ordinal, err := strconv.ParseInt(podName[strings.LastIndex(podName, "-")+1:], 10, 32)
	if err != nil || ordinal < 0 || !strings.Contains(podName, "-") {
		return -1
	}
	position := int32(ordinal) - n.Start //nolint:gosec // parsed as 32 bits
	seen := make([]int32, 0, len(n.Reserved))
	for _, r := range n.Reserved {
		if r >= n.Start && r < int32(ordinal) && !slices.Contains(seen, r) { //nolint:gosec // as above
			seen = append(seen, r)
			position--
		}
	}
	return max(position, -1)
}

// chooseNumbered finds the subset whose range holds the position. A pod of a subset that is closed, or cannot take
// this pod, goes to the next one that can; other ranges do not move.
func (b *Book) chooseNumbered(c *Claim) Grant {
	var g Grant
	position := *c.Position
	end, home := int64(0), -1
	for i, limit := range b.limits {
		if limit == Unlimited || int64(position) < end+int64(limit) {
			home = i
			break
		}
		end += int64(limit)
	}
	if home < 0 {
		return g
	}
	for i := home; i < len(b.limits); i++ {
		if reason := b.barred(i, c); reason != "" {
			g.Passed = append(g.Passed, Passed{i, reason})
			continue
		}
		g.Outcome, g.Subset = Placed, i
		return g
	}
	return g
}
