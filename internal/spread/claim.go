package spread

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Claim is a pod's request for a place.
type Claim struct {
	// Version is the template version of the pod (workload.VersionOf).
	Version string
	// Stem is the random part of the token, TokenStem characters of [0-9a-z]; drawn once, before
	// the first attempt to write the claim. Unused for a pod that has a name.
	Stem string
	// Name is the pod's name if it has one at admission: then it is the claim's key.
	Name string
	// Incoming is the token that the pod came with. It counts only while it is an outstanding claim
	// of the same version: the pod passes the webhook a second time. Otherwise it is ignored.
	Incoming Token
	// Ranked: the pods of this workload get a rank (percentages, on a kind that heeds the deletion
	// cost). Then unlimited subsets are claimed from too: a rank must not be given twice.
	Ranked bool
	// Revision of the pod's template, for kinds with a Turnover.
	Revision string
	// Position of a numbered pod in the order of its workload, from 0; nil for pods without numbers.
	// Each subset takes the positions that its limit covers, and nothing is counted.
	Position *int32
	// Barred says which subsets cannot take this pod, and why, by the subset's name.
	Barred map[string]v1alpha1.Reason
	// Demand is the number of pods that the owner wants, or 0 when it is not known: the owner never
	// has more alive and under creation.
	Demand int32
	// Evidence settles a claim that was Unproven before.
	Evidence *Evidence
	// Last: there is no time for more evidence. A pod that could go on to a later subset does.
	Last bool
	// Now is the time of the claim, kept to the second.
	Now time.Time
}

// Outcome is the kind of a Grant.
type Outcome uint8

const (
	// NoRoom: every subset is full or unschedulable. The pod goes without one.
	NoRoom Outcome = iota
	// Placed: the pod has a subset.
	Placed
	// Unproven: the owner has all the pods it wants and yet creates another, so something counted
	// here is gone; the claim has to be made again with Evidence.
	Unproven
)

// Grant is the answer to a Claim.
type Grant struct {
	Outcome Outcome
	// Subset is the position of the chosen subset.
	Subset int
	// Token is the key under which the claim stands; empty for a place that is not claimed (an
	// unlimited subset whose pods need no rank).
	Token Token
	// Rank of the pod within its subset and version, from 1; 0 for none.
	Rank int32
	// Repeated: the claim stood there already.
	Repeated bool
	// Avoid are virtual nodes of the subset that the pod is to be kept off, in order: pods are stuck there.
	Avoid []string
	// Passed lists the subsets that come before the chosen one, and why each was not taken.
	Passed []Passed
}

// Passed is a subset that was not chosen.
type Passed struct {
	Subset int
	Reason v1alpha1.Reason
}

// suspectAge is the age from which a claim without a pod is in doubt. It bounds nothing: it only
// tells creations that are surely still under way from those worth a look.
const suspectAge = time.Second

// inDoubt reports whether a claim is old enough to be suspected. One from the future is too: the clock
// of the machine that entered it was ahead, or this one has been set back, and nobody can tell its age.
func inDoubt(at, now time.Time, age time.Duration) bool {
	return now.Sub(at) >= age || at.After(now)
}

// Claim finds a place for a pod and, if the place is limited or ranked, enters the claim.
func (b *Book) Claim(c Claim) Grant {
	if g, ok := b.outstanding(&c); ok {
		return g
	}
	weight := unweighed
	if c.Evidence != nil {
		weight = b.weigh(c.Version, c.Evidence)
		c.Demand = c.Evidence.Demand
	}
	g := b.choose(&c)
	if c.Demand > 0 && b.surprising(&c, &g) && b.waits(&c, g.Outcome, weight) {
		return Grant{Outcome: Unproven, Passed: g.Passed}
	}
	if g.Outcome == Placed {
		g.Avoid = b.avoided(g.Subset, c.Now)
		b.enter(c, &g)
	}
	return g
}

// surprising reports whether a pod goes past a full subset although its owner has all the pods it wants.
// Pods that found no room are in no view but that of evidence: without it, nobody can say that this
// pod replaces one of them and not one of those that have a place.
func (b *Book) surprising(c *Claim, g *Grant) bool {
	switch {
	case c.Position != nil || (g.Outcome != NoRoom && !g.passedFull()):
		return false
	case g.Outcome == NoRoom && c.Evidence == nil && b.Total(c.Version) > 0:
		return true
	default:
		return b.Total(c.Version)+1 > c.Demand
	}
}

// waits decides about a pod that goes past a full subset although its owner has all the pods it wants
// by what is counted here: something counted is gone.
func (b *Book) waits(c *Claim, outcome Outcome, w weight) bool {
	switch {
	case w == unweighed:
		return true
	case w == void || !b.claimedAny(c.Version):
		return false // no claim that could be dead: the owner does want more than it says
	case outcome == NoRoom, w == ambiguous:
		return true // a place is free for certain, only not yet where: none beyond it is given away
	default:
		// Nothing proven: creations under way hide the dead ones, and will soon not.
		return w == inconclusive && !c.Last
	}
}

func (b *Book) claimedAny(version string) bool {
	p := b.pages[version]
	return p != nil && slices.ContainsFunc(p.entries, func(e entry) bool { return len(e.claims) > 0 })
}

// outstanding finds the claim that an earlier admission of the same pod, or an earlier attempt to
// write this one, left behind.
func (b *Book) outstanding(c *Claim) (Grant, bool) {
	p := b.pages[c.Version]
	if p == nil {
		return Grant{}, false
	}
	for i := range p.entries {
		for t := range p.entries[i].claims {
			if !c.Claims(t) {
				continue
			}
			return Grant{Outcome: Placed, Subset: i, Token: t, Rank: t.rank(), Repeated: true, Avoid: b.avoided(i, c.Now)}, true
		}
	}
	return Grant{}, false
}

// Claims reports whether a token in the status is this claim's.
func (c *Claim) Claims(t Token) bool {
	switch {
	case c.Incoming != "" && t == c.Incoming:
		return true
	case c.Name != "":
		return t == Token(c.Name)
	default:
		return t.stem() == c.Stem
	}
}

// choose walks the subsets in order and returns the first that is schedulable and has room.
func (b *Book) choose(c *Claim) Grant {
	if c.Position != nil {
		return b.chooseNumbered(c)
	}
	var g Grant
	for i := range b.limits {
		switch reason := b.obstacle(i, c); reason {
		case "":
			g.Outcome, g.Subset = Placed, i
			return g
		default:
			g.Passed = append(g.Passed, Passed{i, reason})
		}
	}
	return g
}

// obstacle returns why a subset cannot take the pod; empty when it can.
func (b *Book) obstacle(i int, c *Claim) v1alpha1.Reason {
	if reason := b.barred(i, c); reason != "" {
		return reason
	}
	var replicas, claims int32
	if p := b.pages[c.Version]; p != nil {
		replicas, claims = p.entries[i].replicas, p.entries[i].claimed()
	}
	if b.room(i, replicas, claims) == 0 && b.allowance(i, c) <= 0 {
		return v1alpha1.ReasonSubsetFull
	}
	return ""
}

// barred returns why a subset does not take this pod, whatever its limit.
func (b *Book) barred(i int, c *Claim) v1alpha1.Reason {
	if reason := b.closed(i); reason != "" {
		return reason
	}
	return c.Barred[b.terms.Name(i)]
}

// closed returns why a subset takes no pod, whatever its limit.
func (b *Book) closed(i int) v1alpha1.Reason {
	switch h := &b.health[i]; {
	case h.state == blocked:
		return v1alpha1.ReasonSubsetUnschedulable
	case h.state == probing && h.probe != "":
		return v1alpha1.ReasonProbing
	}
	return ""
}

func (g Grant) passedFull() bool {
	for _, p := range g.Passed {
		if p.Reason == v1alpha1.ReasonSubsetFull {
			return true
		}
	}
	return false
}

// enter writes the claim into the book where it has to be counted: in a limited subset, where ranks
// are given, and in any subset while claims are in doubt (the demand arithmetic is exact only if it
// knows every creation under way).
func (b *Book) enter(c Claim, g *Grant) {
	probe := b.health[g.Subset].state == probing
	counted := b.limits[g.Subset] != Unlimited || c.Ranked || (c.Demand > 0 && g.passedFull())
	if c.Position != nil && !probe {
		return
	}
	if !counted && !probe && !b.doubtful(c.Version, c.Now) {
		return
	}
	e := &b.page(c.Version).entries[g.Subset]
	switch {
	case c.Name != "":
		g.Token = Token(c.Name)
	case c.Ranked:
		g.Rank = e.ranks.next(e.replicas + e.claimed())
		g.Token = NewToken(c.Stem, g.Rank)
	default:
		g.Token = Token(c.Stem)
	}
	e.claim(g.Token, metav1.NewTime(c.Now.Truncate(time.Second)))
	if probe {
		b.health[g.Subset].probe = g.Token
	}
}

func (e *entry) claimed() int32 { return int32(len(e.claims)) } //nolint:gosec // pods of one workload

// doubtful reports whether the version has claims old enough to be suspected.
func (b *Book) doubtful(version string, now time.Time) bool {
	p := b.pages[version]
	if p == nil {
		return false
	}
	for i := range p.entries {
		for _, at := range p.entries[i].claims {
			if inDoubt(at.Time, now, suspectAge+time.Second) { // times are kept to the second
				return true
			}
		}
	}
	return false
}

// Total is the number of pods of a version that are alive or promised a place, as far as known.
func (b *Book) Total(version string) int32 {
	p := b.pages[version]
	if p == nil {
		return 0
	}
	n := p.others
	for i := range p.entries {
		n += p.entries[i].replicas + p.entries[i].claimed()
	}
	return n
}
