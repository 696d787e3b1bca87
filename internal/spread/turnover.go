package spread

// Turnover is an update that creates pods of a new revision before it removes those that they
// replace, while both share one set of counts (CloneSet, update type ReCreate with maxSurge). A pod of
// the new revision may take the place that one of an old revision is about to leave: it counts against
// the limit only beyond what the old revisions still have to give up.
type Turnover struct {
	// Revision that pods are updated to, in the short form of workload.ShortRevision; empty for no
	// update.
	Revision string
	// GiveUp is the number of pods of other revisions that will go: replicas − updated − partition.
	GiveUp int32
}

// Turn tells the book of an update under way. It has to be told before the recount.
func (b *Book) Turn(t Turnover) { b.turnover = t }

// leave counts the pods of a view that an update replaces. The view may be older than the counts: then
// fewer places are seen to be given up, or some that were just given up; either way no more are taken
// than GiveUp.
func (b *Book) leave(v View) {
	if b.turnover.Revision == "" {
		return
	}
	for _, p := range b.pages {
		p.leaving = make([]int32, b.terms.Len())
	}
	for _, pod := range v.Pods {
		if at := b.terms.Index(pod.Subset); at >= 0 && pod.Active && pod.Revision != b.turnover.Revision {
			if p := b.pages[pod.Version]; p != nil {
				p.leaving[at]++
			}
		}
	}
}

// allowance is how many pods of the new revision a subset may take beyond its limit.
func (b *Book) allowance(i int, c *Claim) int32 {
	p := b.pages[c.Version]
	if p == nil || p.leaving == nil || b.turnover.Revision == "" || c.Revision != b.turnover.Revision {
		return 0
	}
	var beyond int32
	for j := range p.entries {
		if b.limits[j] != Unlimited {
			beyond += max(p.entries[j].replicas+p.entries[j].claimed()-b.limits[j], 0)
		}
	}
	mine := max(p.entries[i].replicas+p.entries[i].claimed()-b.limits[i], 0)
	return min(p.leaving[i]-mine, b.turnover.GiveUp-beyond)
}
