package spread

// ranks is the set of ranks in use in one subset of one version.
type ranks struct {
	taken []uint64 // bit r−1 stands for rank r
	free  int32    // no rank below this one is free; 0 for "not looked yet"
	exact bool     // every counted pod's rank is in the set
}

// take marks a rank as used; 0 is no rank.
func (r *ranks) take(rank int32) {
	if rank <= 0 {
		return
	}
	word, bit := int(rank-1)/64, uint(rank-1)%64
	for len(r.taken) <= word {
		r.taken = append(r.taken, 0)
	}
	r.taken[word] |= 1 << bit
}

func (r *ranks) has(rank int32) bool {
	word, bit := int(rank-1)/64, uint(rank-1)%64
	return word < len(r.taken) && r.taken[word]&(1<<bit) != 0
}

// next returns the lowest free rank. When the set may lack ranks of counted pods, ranks up to
// counted are left alone: they are in use by someone.
func (r *ranks) next(counted int32) int32 {
	rank := max(r.free, 1)
	if !r.exact {
		rank = max(rank, counted+1)
	}
	for r.has(rank) {
		rank++
	}
	r.free = rank
	return rank
}
