package ledger

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/state"
)

// arrival is a creation that waits in admission.
type arrival struct {
	version string
	owner   Owner
}

// arrive notes that a creation is under way, until the returned function is called.
func (l *Ledger) arrive(op *claimOp, r Request) func() {
	a := l.account(op.key)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.arrivals[op] = arrival{version: r.Version, owner: r.Owner}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.arrivals, op)
		for _, w := range a.arrivals {
			if w.version == r.Version {
				return
			}
		}
		delete(a.proofs, r.Version) // nobody is left whom the evidence could serve
	}
}

// prove settles a claim that should not exist by what is known: its owner has all the pods it wants.
// In the order of what it costs: the owner may want more by now; the view of pods may lag; claims may
// be dead.
func (l *Ledger) prove(op *claimOp, r Request) (Grant, error) {
	demand, err := l.demand(op.ctx, r.Owner)
	if err != nil {
		return Grant{}, err
	}
	retry := op.again()
	retry.claim.Demand = demand.Replicas
	if demand.Replicas > op.claim.Demand {
		if g, err := l.submit(retry); err != nil || g.Outcome != spread.Unproven {
			return g, err
		}
		retry = retry.again()
	}
	if demand.Replicas > 0 { // otherwise nothing can be told from it
		l.awaitView(op.ctx, retry, demand.Replicas)
	}
	if g, err := l.submit(retry); err != nil || g.Outcome != spread.Unproven {
		return g, err
	}
	return l.settle(op, retry, r)
}

// settle brings evidence, and newer evidence as long as there is time: creations under way, which hide
// dead claims, end meanwhile.
func (l *Ledger) settle(op, retry *claimOp, r Request) (Grant, error) {
	deadline, bounded := op.ctx.Deadline()
	for since := op.claim.Now; ; since = l.Clock.Now() {
		ev, err := l.gather(op, r, since)
		if err != nil {
			return Grant{}, err
		}
		retry = retry.again()
		retry.claim.Evidence = ev
		retry.claim.Last = !bounded || deadline.Sub(l.Clock.Now()) < 2*l.DemandWait
		g, err := l.submit(retry)
		switch {
		case err != nil || g.Outcome != spread.Unproven:
			return g, err
		case retry.claim.Last:
			return g, fmt.Errorf("claim from WorkloadSpread %s: %w", op.key, ErrUnproven)
		}
		l.Runtime.Wait(l.DemandWait, op.ctx.Done(), nil)
		if err := op.ctx.Err(); err != nil {
			return Grant{}, fmt.Errorf("claim from WorkloadSpread %s: %w; %w", op.key, ErrUnproven, err)
		}
	}
}

func (l *Ledger) demand(ctx context.Context, owner Owner) (Demand, error) {
	d, err := l.Workloads.Demand(ctx, owner)
	if err != nil {
		return Demand{}, fmt.Errorf("read how many pods %s/%s wants: %w", owner.Namespace, owner.Name, err)
	}
	return d, nil
}

// awaitView waits until the view of pods leaves room for one more pod of the owner, at most
// DemandWait.
func (l *Ledger) awaitView(ctx context.Context, op *claimOp, demand int32) {
	start := l.Clock.Now()
	for {
		changed := l.Pods.Changed(op.key)
		rest := l.DemandWait - l.Clock.Since(start)
		if rest <= 0 || ctx.Err() != nil || l.roomFor(ctx, op, demand) {
			return
		}
		l.Runtime.Wait(rest, changed, ctx.Done())
	}
}

// roomFor reports whether, by the newest status and view at hand, the owner has fewer pods than it
// wants.
func (l *Ledger) roomFor(ctx context.Context, op *claimOp, demand int32) bool {
	b := batch{l: l, a: l.account(op.key), key: op.key}
	base, _, err := b.base(ctx)
	if err != nil {
		return true // the next attempt will meet the error and say so
	}
	terms, err := spread.ParseTerms(&base.Spec)
	if err != nil {
		return true
	}
	book := spread.Open(terms, &base.Status, 0)
	book.Recount(l.Pods.View(op.key))
	return book.Total(op.claim.Version) < demand
}

// proof shares one live list among the claims of one version that need it.
type proof struct {
	started time.Time
	ev      *spread.Evidence
	// gathering is closed when the list under way is done; nil while there is none.
	gathering chan struct{}
}

// gather collects evidence that is newer than since. A list that another claim began after that serves
// this one too.
func (l *Ledger) gather(op *claimOp, r Request, since time.Time) (*spread.Evidence, error) {
	a := l.account(op.key)
	for {
		p, ev, others := a.proof(r.Version, since)
		switch {
		case ev != nil:
			return ev, nil
		case others == nil:
			return l.gatherFor(p, op, r, a)
		}
		l.Runtime.Wait(0, others, op.ctx.Done())
		if err := op.ctx.Err(); err != nil {
			return nil, fmt.Errorf("claim from WorkloadSpread %s: %w; %w", op.key, ErrUnproven, err)
		}
	}
}

// proof returns the shared proof of a version: with its evidence if that is newer than since, else
// with the end of the gathering under way, else for the caller to gather.
func (a *account) proof(version string, since time.Time) (*proof, *spread.Evidence, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.proofs[version]
	if p == nil {
		p = &proof{}
		a.proofs[version] = p
	}
	switch {
	case p.ev != nil && p.started.After(since):
		return p, p.ev, nil
	case p.gathering == nil:
		p.gathering = make(chan struct{})
		return p, nil, nil
	default:
		return p, nil, p.gathering
	}
}

// gatherFor collects evidence and shares it.
func (l *Ledger) gatherFor(p *proof, op *claimOp, r Request, a *account) (ev *spread.Evidence, err error) {
	started := l.Clock.Now()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if err == nil && ev != nil {
			p.started, p.ev = started, ev
		}
		close(p.gathering)
		p.gathering = nil
	}()
	return l.collect(op, r, a)
}

// collect reads live, in this order: the status, for the claims in doubt; the owner; its pods; the
// owner again, because the arithmetic holds only for a demand that did not change meanwhile.
func (l *Ledger) collect(op *claimOp, r Request, a *account) (*spread.Evidence, error) {
	b := batch{l: l, a: a, key: op.key}
	ws, _, err := b.live(op.ctx)
	if err != nil {
		return nil, err
	}
	terms, err := spread.ParseTerms(&ws.Spec)
	if err != nil {
		return nil, fmt.Errorf("read WorkloadSpread %s: %w", op.key, err)
	}
	before, err := l.demand(op.ctx, r.Owner)
	if err != nil {
		return nil, err
	}
	suspects := spread.Open(terms, &ws.Status, 0).Suspects(r.Version, l.Clock.Now())
	ev := &spread.Evidence{Demand: before.Replicas, Arrivals: a.waiting(r, suspects)}
	if ev.View, err = l.Pods.ListOwner(op.ctx, ws, r.Owner); err != nil {
		return nil, fmt.Errorf("list the pods of %s/%s: %w", r.Owner.Namespace, r.Owner.Name, err)
	}
	after, err := l.demand(op.ctx, r.Owner)
	if err != nil {
		return nil, err
	}
	if before.Settled && before == after {
		ev.Suspects = suspects
		view := l.Pods.View(op.key) // first: one that goes meanwhile counts twice, and not never
		if gone, known := l.Pods.Gone(r.Owner.UID, before.Written); known && before.Written > 0 {
			gone += missingFrom(ev.View, view, r.Owner.UID)
			ev.UnderWay = spread.SlowStart(youngerThan(before.Written, ev.View) + gone)
		}
	}
	return ev, nil
}

// waiting counts the creations of an owner that wait in this replica, and clears them of suspicion:
// a claim whose write is not answered yet belongs to a creation that is surely under way.
func (a *account) waiting(r Request, suspects map[spread.Token]struct{}) int32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	var n int32
	for op, w := range a.arrivals {
		if w.owner.UID != r.Owner.UID || w.version != r.Version || op.ctx.Err() != nil {
			continue
		}
		n++
		for t := range suspects {
			if op.claim.Claims(t) {
				delete(suspects, t)
			}
		}
	}
	return n
}

// missingFrom counts the pods of an owner that the replica's view has and a newer list has not: they are gone, and the
// view will learn it.
func missingFrom(list, view spread.View, owner types.UID) int32 {
	there := make(map[types.UID]struct{}, len(list.Pods))
	for _, p := range list.Pods {
		there[p.UID] = struct{}{}
	}
	var n int32
	for _, p := range view.Pods {
		if _, ok := there[p.UID]; !ok && p.Name != "" && p.Owner == owner { // without a name it has been counted
			n++
		}
	}
	return n
}

// youngerThan counts the pods that may have been created after a revision: all that were changed since.
func youngerThan(revision uint64, v spread.View) int32 {
	var n int32
	for _, p := range v.Pods {
		if r, err := state.Revision(p.ResourceVersion); err != nil || r > revision {
			n++
		}
	}
	return n
}
