package spread

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// Unlimited is the limit of a subset without maxReplicas, and its missingReplicas in the status.
const Unlimited int32 = -1

// Limit is a subset's maxReplicas, parsed.
type Limit struct {
	kind  limitKind
	value int32 // pods, or percent
}

type limitKind uint8

const (
	none limitKind = iota
	count
	percent
)

// ParseLimit reads maxReplicas: nil for unlimited, an integer ≥ 0, or a whole percentage from "0%"
// to "100%". A quoted integer is refused: OpenKruise accepted "50" as 50 % at admission and failed
// on it later.
func ParseLimit(v *intstr.IntOrString) (Limit, error) {
	if v == nil {
		return Limit{}, nil
	}
	if v.Type == intstr.Int {
		if v.IntVal < 0 {
			return Limit{}, fmt.Errorf("%d is negative: give a number of pods ≥ 0, or remove maxReplicas for no limit", v.IntVal)
		}
		return Limit{kind: count, value: v.IntVal}, nil
	}
	digits, isPercent := strings.CutSuffix(v.StrVal, "%")
	n, err := strconv.ParseUint(digits, 10, 31)
	switch {
	case err == nil && !isPercent:
		return Limit{}, fmt.Errorf("%q is a number in quotes: write %d for pods or \"%d%%\" for a share", v.StrVal, n, n)
	case err != nil:
		return Limit{}, fmt.Errorf("%q is neither a number of pods nor a whole percentage such as \"50%%\"", v.StrVal)
	case n > 100:
		return Limit{}, fmt.Errorf("%q is above 100%%", v.StrVal)
	}
	return Limit{kind: percent, value: int32(n)}, nil //nolint:gosec // n ≤ 100
}

// IsUnlimited reports whether the subset takes any number of pods.
func (l Limit) IsUnlimited() bool { return l.kind == none }

// IsPercent reports whether the limit depends on the workload's replicas.
func (l Limit) IsPercent() bool { return l.kind == percent }

// Of returns the limit in pods for a workload of that many replicas, percentages rounded up, or
// Unlimited.
func (l Limit) Of(replicas int32) int32 {
	switch l.kind {
	case count:
		return l.value
	case percent:
		return share(l.value, replicas)
	default:
		return Unlimited
	}
}

// share is ceil(percent × replicas / 100), without overflow for any int32.
func share(percent, replicas int32) int32 {
	if replicas <= 0 {
		return 0
	}
	return int32((int64(percent)*int64(replicas) + 99) / 100) //nolint:gosec // ≤ replicas
}

// fill returns how many of n pods each subset gets when they are filled in order.
func fill(limits []Limit, n int32, out []int32) []int32 {
	out = out[:0]
	rest := n
	for _, l := range limits {
		take := l.Of(n)
		if take == Unlimited || take > rest {
			take = rest
		}
		out = append(out, take)
		rest -= take
	}
	return out
}

// never is the size at which a rank that no workload needs would be needed.
const never = math.MaxInt32
