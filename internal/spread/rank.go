package spread

// The deletion cost of a pod says when a scale-in may take it.
//
// Under integer limits every pod of a subset costs the same, later subsets less: the last subset is
// emptied first (OpenKruise's values).
//
// Under percentages it must be the ratio that survives, at every size on the way down. The r-th pod
// of a subset is first needed at the smallest workload size n whose split gives the subset r pods;
// the larger that n, the lower the cost. Whatever size the workload shrinks to, the pods that the
// smaller size needs are then the ones that stay, without a single patch: 10 pods at 50/50 scaled
// to 4 leave 2/2. The ReplicaSet controller picks its victims as soon as it sees the new count, so
// a patch at scale-in would come too late.

const (
	costStep    = 100       // between subsets, integer limits
	costPercent = 1_000_000 // cost of a pod that even a workload of size 0 would need
)

// Cost returns the deletion cost of the pod of the given rank (1, 2, …) in the i-th subset.
func (t Terms) Cost(i int, rank int32) int32 {
	if !t.Percent {
		return costStep * int32(t.Len()-i) //nolint:gosec // a handful of subsets
	}
	return max(costPercent-t.sizeNeeding(i, rank), 1)
}

// SurplusCost returns the deletion cost of a pod beyond the limit of the i-th subset under integer
// limits: it goes before any pod within a limit, that of later subsets first (OpenKruise's values).
// Under percentages the rank says it already.
func (t Terms) SurplusCost(i int, rank int32) int32 {
	if t.Percent {
		return t.Cost(i, rank)
	}
	return -costStep * int32(i+1) //nolint:gosec // a handful of subsets
}

// sizeNeeding returns the smallest workload size whose split gives the i-th subset at least rank
// pods, or never.
func (t Terms) sizeNeeding(i int, rank int32) int32 {
	if rank <= 0 {
		return never
	}
	n := t.sizeBound(i, rank)
	if n == never {
		return never
	}
	// The bound ignores that percentages round up, which moves each earlier subset by less than one
	// pod: the answer is a few steps away. Should no size do, the scan ends after a full period.
	split := make([]int32, 0, t.Len())
	for end := n + scanSteps; n < end; n++ {
		if split = fill(t.limits, n, split); split[i] >= rank {
			return n
		}
	}
	return never
}

// scanSteps is enough for the rounding of 100 subsets of 1 % each.
const scanSteps = 10_000

// sizeBound returns a size below which the i-th subset surely has fewer than rank pods.
func (t Terms) sizeBound(i int, rank int32) int32 {
	part := int64(t.limits[i].value)
	switch {
	case t.limits[i].kind == count:
		return rank
	case t.limits[i].kind == none:
		part = 100
		for _, l := range t.limits[:i] {
			if l.kind == percent {
				part -= int64(l.value)
			}
		}
	}
	if part <= 0 {
		return never
	}
	bound := (int64(rank)-1)*100/part + 1
	return int32(min(max(bound, int64(rank)), never-scanSteps-1)) //nolint:gosec // bounded by never
}
