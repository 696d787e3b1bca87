package state

import "k8s.io/apimachinery/pkg/types"

// departures remembers which pods went lately, all of them, recorded or not. A list of an owner's pods does not show what
// came and went since some moment.
type departures struct {
	// from is the revision since which the memory is complete.
	from uint64
	last []departure // oldest first
}

type departure struct {
	owner    types.UID
	revision uint64
}

// departuresKept bounds the memory; what is older is not known any more.
const departuresKept = 4096

func (d *departures) add(owner types.UID, revision uint64) {
	if len(d.last) == departuresKept {
		half := d.last[departuresKept/2:]
		d.from = d.last[departuresKept/2-1].revision
		d.last = append(make([]departure, 0, departuresKept), half...)
	}
	d.last = append(d.last, departure{owner, revision})
}

// Gone implements ledger.Pods: how many pods of an owner went after a revision, as far as the view is; false where that is
// not known.
func (p *Pods) Gone(owner types.UID, since uint64) (n int32, known bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if since < p.departed.from {
		return 0, false
	}
	for i := len(p.departed.last) - 1; i >= 0 && p.departed.last[i].revision > since; i-- {
		if p.departed.last[i].owner == owner {
			n++
		}
	}
	return n, true
}
