package spread

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Holds says how long a blocked subset is left alone: First after the first failure, doubled for each
// probe that failed, at most Most.
type Holds struct{ First, Most time.Duration }

// maxLevel keeps the doubling within range; the longest hold is reached long before.
const maxLevel = 30

// After returns the hold after that many failed probes.
func (h Holds) After(failed int) time.Duration {
	d := h.First
	for range min(failed, maxLevel) {
		if d >= h.Most {
			break
		}
		d *= 2
	}
	return min(d, h.Most)
}

// Sight is what Adapt looks at.
type Sight struct {
	View  View
	Now   time.Time
	Holds Holds
	// Numbered: pods go to subsets by their number, so any later subset can take one.
	Numbered bool
	// Ground tells of the subsets' nodes, in the order of the subsets; nil where all are own nodes.
	Ground []Ground
	// Barred says which subsets cannot take a pod, by the pod's UID and the subset's name. Where some subset is of
	// virtual nodes, a pod that is not in it has not been looked at yet, and is not moved. Nil bars nothing.
	Barred map[types.UID]map[string]v1alpha1.Reason
}

// Turn is a change of a subset's schedulability, or of one of its virtual nodes.
type Turn struct {
	Subset int
	// Reason is SubsetUnschedulable, RecoverSchedulable (from now on one pod is let in), SubsetRecovered (the subset is
	// open again), NodePassedOver or NodeRecovered (it is one of the subset's nodes that is left out, or not any more).
	Reason v1alpha1.Reason
	// Node is the one meant, for the last two.
	Node string
	// Pod that decided it, and what the scheduler or the provider says about it; empty where none did.
	Pod, Message string
	// Hold is how long the subset or node is left alone, for SubsetUnschedulable and NodePassedOver.
	Hold time.Duration
	// Lasted is how long the subset had been closed, for SubsetRecovered and RecoverSchedulable.
	Lasted time.Duration
}

// Adaptation is what follows from the pods that cannot start.
type Adaptation struct {
	Turns []Turn
	// Move lists the pods to delete, so that their controller makes them anew elsewhere. They may go only after the status is written, and only as they are in the view.
	Move []*Pod
	// Next is when to look again, if nothing happens before; 0 for never.
	Next time.Duration
}

const (
	// moveLeast and movePercent bound the pods that are moved at once: the larger of the two.
	moveLeast   = 10
	movePercent = 20
	// movePause is the time between two passes over the pods of a subset.
	movePause = time.Second
)

// Adapt brings the schedulability of the subsets up to date and picks the pods to move. A pod counts when it has been
// in trouble for the terms' Critical: no node takes it, or the virtual node that did cannot run it, and none of its
// containers ever ran.
func (b *Book) Adapt(s Sight) Adaptation {
	var out Adaptation
	if !b.terms.Adaptive() {
		return out
	}
	for i := range b.terms.Len() {
		stuck, next := b.inTrouble(i, &s)
		out.wake(next)
		stuck = b.heedNodes(i, stuck, &s, &out)
		if i < b.terms.Len()-1 { // the last one takes what the others cannot
			b.turn(i, stuck, next > 0, s, &out)
		}
	}
	b.move(&s, &out)
	return out
}

// wake brings the next look forward.
func (a *Adaptation) wake(after time.Duration) {
	if after > 0 && (a.Next == 0 || after < a.Next) {
		a.Next = after
	}
}

// inTrouble returns the pods of a subset that have been in trouble for too long, those first that have
// been for longest, and the time until the next one will have been (0 for none).
func (b *Book) inTrouble(i int, s *Sight) (stuck []*Pod, next time.Duration) {
	for _, p := range s.View.Pods {
		if !p.Active || p.Subset != b.terms.Name(i) || !s.troubled(i, p) {
			continue
		}
		rest := b.terms.Critical - s.Now.Sub(time.Unix(p.Trouble.Since, 0))
		switch {
		case rest <= 0:
			stuck = append(stuck, p)
		case next == 0 || rest < next:
			next = rest
		}
	}
	slices.SortFunc(stuck, func(a, b *Pod) int {
		return cmp.Or(cmp.Compare(a.Trouble.Since, b.Trouble.Since), strings.Compare(a.Name, b.Name))
	})
	return stuck, next
}

// turn changes the state of one subset. waiting: some pod is in trouble, but not for long enough.
func (b *Book) turn(i int, stuck []*Pod, waiting bool, s Sight, out *Adaptation) {
	h := &b.health[i]
	if len(stuck) > 0 {
		if h.state != blocked {
			b.block(i, stuck, s, out)
		}
		return
	}
	switch h.state {
	case blocked:
		rest := s.Holds.After(h.level) - s.Now.Sub(h.since.Time)
		if rest > 0 || waiting {
			out.wake(max(rest, movePause))
			return
		}
		lasted := s.Now.Sub(h.since.Time)
		h.become(probing, s.Now, "The hold is over: one pod is let in to see whether it can be scheduled.")
		out.Turns = append(out.Turns, Turn{Subset: i, Reason: v1alpha1.ReasonRecoverSchedulable, Lasted: lasted})
	case probing:
		b.heedProbe(i, s, out)
	}
}

// block closes a subset.
func (b *Book) block(i int, stuck []*Pod, s Sight, out *Adaptation) {
	h, pod := &b.health[i], stuck[0]
	if h.state == probing && slices.ContainsFunc(stuck, func(p *Pod) bool { return h.probe.isOf(p) }) {
		h.level = min(h.level+1, maxLevel)
	}
	h.become(blocked, s.Now, fmt.Sprintf("Pod %s: %s", pod.Name, pod.Trouble.Message))
	hold := s.Holds.After(h.level)
	out.wake(hold)
	out.Turns = append(out.Turns, Turn{
		Subset: i, Reason: v1alpha1.ReasonSubsetUnschedulable, Pod: pod.Name, Message: pod.Trouble.Message, Hold: hold,
	})
}

// heedProbe looks what became of the pod that was let in.
func (b *Book) heedProbe(i int, s Sight, out *Adaptation) {
	h := &b.health[i]
	if h.probe == "" || b.claimed(h.probe) {
		return
	}
	at := slices.IndexFunc(s.View.Pods, h.probe.isOf)
	switch {
	case at < 0 && s.View.Revision >= b.observed:
		h.probe = "" // it is gone, or never came: the next one may try
	case at < 0:
	case s.View.Pods[at].Bound && s.starts(i, s.View.Pods[at], b.terms.Critical):
		out.wake(movePause) // nobody tells when it runs
	case s.View.Pods[at].Bound:
		lasted := s.Now.Sub(h.since.Time)
		h.become(open, s.Now, "")
		h.level = 0
		out.Turns = append(out.Turns, Turn{Subset: i, Reason: v1alpha1.ReasonSubsetRecovered, Pod: s.View.Pods[at].Name, Lasted: lasted})
	case !s.View.Pods[at].Active:
		h.probe = ""
	}
}

// isOf reports whether the token is that of the pod: its record's, or its name.
func (t Token) isOf(p *Pod) bool { return t != "" && (p.Token == t || Token(p.Name) == t) }

// claimed reports whether a claim with that token is outstanding.
func (b *Book) claimed(t Token) bool {
	for _, p := range b.pages {
		for i := range p.entries {
			if _, ok := p.entries[i].claims[t]; ok {
				return true
			}
		}
	}
	return false
}

// starts reports whether a pod has a virtual node and may still turn out not to run there: that it was bound tells
// nothing, the level below may have no place for it. One that neither runs nor is said to be stuck after twice the time that
// pods may be in trouble has another problem, such as an image that does not exist.
func (s *Sight) starts(i int, p *Pod, critical time.Duration) bool {
	_, virtual := s.ground(i).Nodes[p.Node]
	return virtual && !p.Started && p.Active && (p.Trouble.Since != 0 || s.Now.Sub(time.Unix(p.Created, 0)) < 2*critical)
}

// move picks the pods that cannot start where they are and that another place can take, not too many at once: those
// of blocked subsets, and those on virtual nodes.
func (b *Book) move(s *Sight, out *Adaptation) {
	planned := make(map[string][]int32) // by version and subset
	for i := range b.terms.Len() {
		stuck, _ := b.inTrouble(i, s)
		most := max(moveLeast, (len(stuck)*movePercent+99)/100)
		n := 0
		for _, p := range stuck {
			if n == most {
				out.wake(movePause)
				break
			}
			if !b.movable(i, p, s, planned) {
				continue
			}
			n++
			out.Move = append(out.Move, p)
			out.wake(movePause) // one that changes meanwhile survives, and has to be looked at again
		}
	}
}

// movable reports whether a pod in trouble would fare better if it were made anew, and plans its place.
func (b *Book) movable(i int, p *Pod, s *Sight, planned map[string][]int32) bool {
	closed := b.health[i].state == blocked
	if !closed && !p.Bound {
		return b.letOut(i, p, s)
	}
	if s.Barred != nil {
		if _, known := s.Barred[p.UID]; !known {
			return false
		}
	}
	switch {
	case !closed && b.leftOut(i, p, s):
		return true // into the same subset, on another of its nodes
	case s.Numbered:
		return closed // it goes where its number says, whoever else has room
	default:
		return b.taker(i, p, s, planned)
	}
}

// letOut reports whether a pod without a node was kept off one that is let in again by now: its spec still keeps it off.
func (b *Book) letOut(i int, p *Pod, s *Sight) bool {
	now := s.Now.Unix()
	for name, hold := range b.health[i].nodes {
		if _, there := s.ground(i).Nodes[name]; there && p.Created < hold.Until && now >= hold.Until {
			return true
		}
	}
	return false
}

// leftOut reports whether a pod is on a node that is left out while others of its subset are not.
func (b *Book) leftOut(i int, p *Pod, s *Sight) bool {
	now, nodes := s.Now.Unix(), b.health[i].nodes
	if !p.Bound || now >= nodes[p.Node].Until {
		return false
	}
	for name := range s.ground(i).Nodes {
		if now >= nodes[name].Until {
			return true
		}
	}
	return false
}

// taker reports whether another subset can take one more pod of the version, and plans it there.
func (b *Book) taker(from int, p *Pod, s *Sight, planned map[string][]int32) bool {
	version := p.Version
	if planned[version] == nil {
		planned[version] = make([]int32, b.terms.Len())
	}
	for i := range b.limits {
		h := &b.health[i]
		if i == from || h.state == blocked || (h.state == probing && (h.probe != "" || planned[version][i] > 0)) {
			continue
		}
		if s.Barred[p.UID][b.terms.Name(i)] != "" || (s.ground(i).Down && i < b.terms.Len()-1) {
			continue
		}
		var replicas, claims int32
		if p := b.pages[version]; p != nil {
			replicas, claims = p.entries[i].replicas, p.entries[i].claimed()
		}
		if room := b.room(i, replicas, claims); room == Unlimited || room > planned[version][i] {
			planned[version][i]++
			return true
		}
	}
	return false
}
