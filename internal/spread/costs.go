package spread

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Recost is a pod whose deletion cost has to be written.
type Recost struct {
	Pod  *Pod
	Cost int32
	// Token replaces the pod's when its rank changed; empty for no change.
	Token Token
}

// Lineage says what is known of the versions of a workload's template.
type Lineage struct {
	// Latest is the version that new pods get; empty when it is not known, or there is one version
	// only: then every version counts as the latest.
	Latest string
	// Settled: the workload has all the pods it wants, and no rollout is under way.
	Settled bool
}

// Recosts returns the pods of a view whose deletion cost would make a scale-in take the wrong ones.
// Only pods whose controller heeds the cost, and whose cost is not the user's own, are touched.
//
// Integer limits: OpenKruise's values. The pods of the i-th of N subsets cost 100 × (N − i), those
// beyond the limit −100 × (i + 1). In versions that are being replaced the order is reversed, so that
// they leave first what the new version fills first. Pods of subsets that the spec does not have any
// more go before all others.
//
// Percentages: by rank (Cost). Ranks that a deletion has left behind are closed up once the workload
// is settled.
func (b *Book) Recosts(v View, l Lineage) []Recost {
	groups := make(map[string][][]*Pod) // by version and subset
	var out []Recost
	for _, p := range v.Pods {
		switch at := b.terms.Index(p.Subset); {
		case !p.Active || !p.Cost.Heeded:
		case at < 0:
			out = appendRecost(out, p, b.terms.StrayCost(), "")
		default:
			if groups[p.Version] == nil {
				groups[p.Version] = make([][]*Pod, b.terms.Len())
			}
			groups[p.Version][at] = append(groups[p.Version][at], p)
		}
	}
	for version, subsets := range groups {
		latest := l.Latest == "" || l.Latest == version
		for i, pods := range subsets {
			switch {
			case !b.terms.Percent:
				out = b.countedCosts(out, i, pods, latest)
			case latest && l.Settled && !b.claimedAny(version):
				out = b.closeUp(out, i, pods)
			default:
				for _, p := range pods {
					if rank := p.Token.rank(); rank > 0 {
						out = appendRecost(out, p, b.terms.Cost(i, rank), "")
					}
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Recost) int { return strings.Compare(a.Pod.Name, b.Pod.Name) })
	return out
}

// countedCosts are the costs of one version's pods in one subset under integer limits.
func (b *Book) countedCosts(out []Recost, i int, pods []*Pod, latest bool) []Recost {
	beyond := 0
	if limit := b.limits[i]; limit != Unlimited {
		beyond = max(len(pods)-int(limit), 0)
	}
	at := i
	if !latest {
		at = b.terms.Len() - 1 - i
	}
	within, surplus := b.terms.Cost(at, 0), b.terms.SurplusCost(at, 0)
	if beyond > 0 {
		mark := strconv.Itoa(int(surplus))
		slices.SortFunc(pods, func(p, q *Pod) int {
			return cmp.Or(b.revisions(p, q), order(p.Cost.Value == mark, q.Cost.Value == mark), firstToGo(p, q))
		})
	}
	for n, p := range pods {
		cost := within
		if n < beyond {
			cost = surplus
		}
		out = appendRecost(out, p, cost, "")
	}
	return out
}

// closeUp gives the pods whose rank no workload of this size needs, or that have none, the ranks that
// are free.
func (b *Book) closeUp(out []Recost, i int, pods []*Pod) []Recost {
	var used ranks
	used.exact = true
	var loose []*Pod
	count := int32(len(pods)) //nolint:gosec // pods of one workload
	for _, p := range pods {
		rank := p.Token.rank()
		if rank == 0 || rank > count || used.has(rank) {
			loose = append(loose, p)
			continue
		}
		used.take(rank)
		out = appendRecost(out, p, b.terms.Cost(i, rank), "")
	}
	slices.SortFunc(loose, func(p, q *Pod) int { return firstToGo(q, p) })
	for _, p := range loose {
		rank := used.next(0)
		used.take(rank)
		out = appendRecost(out, p, b.terms.Cost(i, rank), NewToken(stemFor(p), rank))
	}
	return out
}

// stemFor returns the stem of a pod's token; that of a pod which has none is made of its UID.
func stemFor(p *Pod) string {
	if p.Token.IsOurs() {
		return p.Token.stem()
	}
	hex := strings.ReplaceAll(string(p.UID), "-", "")
	return (hex + "00000000")[:TokenStem]
}

func appendRecost(out []Recost, p *Pod, cost int32, t Token) []Recost {
	if p.Cost.Value != "" && !p.Cost.Ours {
		return out // the user's own
	}
	if t == "" && p.Cost.Value == strconv.Itoa(int(cost)) {
		return out
	}
	return append(out, Recost{Pod: p, Cost: cost, Token: t})
}

// StrayCost is the deletion cost of pods that fit no subset: they go before all others (OpenKruise).
func (t Terms) StrayCost() int32 { return -costStep * int32(t.Len()+1) } //nolint:gosec // a handful of subsets

// revisions orders pods of a revision that is being replaced first.
func (b *Book) revisions(p, q *Pod) int {
	if b.turnover.Revision == "" {
		return 0
	}
	return order(p.Revision != b.turnover.Revision, q.Revision != b.turnover.Revision)
}

// firstToGo orders pods as a ReplicaSet's controller removes them, the cost aside: without a node
// first, then pending, not ready, ready for a shorter time, restarted more often, newer.
func firstToGo(p, q *Pod) int {
	a, b := p.Standing, q.Standing
	return cmp.Or(
		order(!p.Bound, !q.Bound),
		cmp.Compare(a.Phase, b.Phase),
		order(!a.Ready, !b.Ready),
		cmp.Compare(b.ReadySince, a.ReadySince),
		cmp.Compare(b.Restarts, a.Restarts),
		cmp.Compare(q.Created, p.Created),
		strings.Compare(p.Name, q.Name),
	)
}

// order puts what is true first.
func order(p, q bool) int {
	switch {
	case p == q:
		return 0
	case p:
		return -1
	}
	return 1
}
