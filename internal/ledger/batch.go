package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/state"
)

// batch is what goes out in one write.
type batch struct {
	l   *Ledger
	a   *account
	key types.NamespacedName
	ops []operation
	// met: another replica has written since this one did last.
	met bool
	// replicas is a read of the workload that goes on beside that of the object; nil for none.
	replicas *reading
	// disproved counts the claims that evidence released in the last attempt.
	disproved int
}

// retryPause spaces attempts after an answer that says nothing about the object.
const retryPause = 50 * time.Millisecond

// commit applies the batch until it is written, or nothing of it is wanted any more. Requests that
// arrive before another attempt go out with it.
func (b *batch) commit() {
	ctx, cancel := b.l.contextOf(b.ops)
	defer func() { cancel() }()

	base, live, err := b.base(ctx)
	for {
		b.dropEnded()
		if len(b.ops) == 0 {
			return
		}
		if err == nil {
			err = b.attempt(ctx, base, live)
		}
		switch {
		case err == nil:
			b.answer(nil)
			return
		case apierrors.IsNotFound(err):
			b.answer(fmt.Errorf("claim from WorkloadSpread %s: %w", b.key, ErrGone))
			return
		case errors.Is(err, ErrInvalid):
			b.answer(err)
			return
		case apierrors.IsConflict(err):
			b.met = true
		case isStale(err):
		default:
			// The write may have been applied: read again, tokens tell.
			for _, op := range b.ops {
				op.base().cause.Store(&err)
			}
			b.l.Runtime.Wait(retryPause, ctx.Done(), nil)
		}
		b.absorb()
		cancel()
		ctx, cancel = b.l.contextOf(b.ops)
		if base != nil {
			b.replicas = b.read(ctx, base)
		}
		base, live, err = b.live(ctx)
	}
}

// absorb takes in what has arrived meanwhile.
func (b *batch) absorb() {
	if b.a == nil {
		return
	}
	b.a.mu.Lock()
	defer b.a.mu.Unlock()
	b.ops = append(b.ops, b.a.pending...)
	b.a.pending = nil
}

// reading is a read of the workload's replicas under way.
type reading struct {
	of   *appsv1alpha1.WorkloadSpread
	done chan struct{}
	n    int32
	err  error
}

// read begins to read the replicas that percentages refer to, nil where there are none.
func (b *batch) read(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) *reading {
	if terms, err := spread.ParseTerms(&ws.Spec); err != nil || !terms.Percent {
		return nil
	}
	r := &reading{of: ws, done: make(chan struct{})}
	b.l.Runtime.Go(func() {
		defer close(r.done)
		r.n, r.err = b.l.Workloads.Replicas(ctx, ws)
	})
	return r
}

// replicasOf returns the workload's replicas, by the read under way if that is of the same spec. A read
// serves one attempt.
func (b *batch) replicasOf(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (int32, error) {
	r := b.replicas
	b.replicas = nil
	if r == nil {
		return b.l.Workloads.Replicas(ctx, ws)
	}
	b.l.Runtime.Wait(0, r.done, nil)
	if r.of.UID != ws.UID || r.of.Generation != ws.Generation {
		return b.l.Workloads.Replicas(ctx, ws)
	}
	return r.n, r.err
}

// staleError asks for a live read before an answer is given that no write has confirmed.
type staleError struct{}

func (staleError) Error() string { return "the cached copy has to be confirmed" }

func isStale(err error) bool { _, ok := err.(staleError); return ok } //nolint:errorlint // never wrapped

// attempt applies the operations to one copy of the object and writes it if that changed anything.
func (b *batch) attempt(ctx context.Context, base *appsv1alpha1.WorkloadSpread, live bool) error {
	b.dropReplaced(base)
	written, changed, err := b.apply(ctx, base)
	if err != nil {
		return err
	}
	if !changed {
		if !live && b.unconfirmed() {
			return staleError{}
		}
		return nil
	}
	start := b.l.Clock.Now()
	stored, err := b.l.Spreads.UpdateStatus(ctx, written)
	b.l.Recorder.Committed(b.key, len(b.ops), b.l.Clock.Since(start).Seconds(), err)
	if err != nil {
		return fmt.Errorf("write the status of WorkloadSpread %s: %w", b.key, err)
	}
	b.a.learn(stored, true, b.l.Clock.Now())
	b.l.Recorder.ClaimsEnded(b.key, v1alpha1.ReasonClaimDisproved, b.disproved)
	for _, op := range b.ops {
		op.base().grant.Spread = stored
	}
	return nil
}

// apply computes what the object becomes. It returns the object to write, and whether it differs
// from base.
func (b *batch) apply(ctx context.Context, base *appsv1alpha1.WorkloadSpread) (*appsv1alpha1.WorkloadSpread, bool, error) {
	terms, err := spread.ParseTerms(&base.Spec)
	if err != nil {
		return nil, false, fmt.Errorf("read WorkloadSpread %s: %w: %w", b.key, ErrInvalid, err)
	}
	var replicas int32
	if terms.Percent {
		if replicas, err = b.replicasOf(ctx, base); err != nil {
			return nil, false, fmt.Errorf("read the replicas that the percentages of WorkloadSpread %s refer to: %w", b.key, err)
		}
	}
	turnover, err := b.l.Workloads.Turnover(ctx, base)
	if err != nil {
		return nil, false, fmt.Errorf("read the update under way of WorkloadSpread %s: %w", b.key, err)
	}
	book := spread.Open(terms, &base.Status, replicas)
	book.Turn(turnover)
	if err := b.recount(ctx, book, base); err != nil {
		return nil, false, err
	}
	out := *base // the status is replaced, the rest is only read
	var observed appsv1alpha1.WorkloadSpreadStatus
	observed.ObservedGeneration = base.Status.ObservedGeneration
	for _, op := range b.ops {
		op.apply(book, base, &observed)
		op.base().grant.Terms, op.base().grant.Spread = terms, base
	}
	b.disproved = len(book.Disproved())
	status, changed := book.Status(&base.Status, b.l.Clock.Now())
	changed = changed || observed.ObservedGeneration != status.ObservedGeneration
	status.ObservedGeneration = observed.ObservedGeneration
	out.Status = *status
	return &out, changed, nil
}

// recount brings the counts up to date from the replica's view. A status that does not tell which
// view it was counted from proves nothing, absent entries included: then the view has to be at least
// as new as the object, or pods are read live. Until the controller has seen the spec as it is, only a
// live list will do: running pods may be waiting to be adopted, and pods of a subset that had no limit
// before were admitted without a claim, so that a view which does not show them yet forgets them.
func (b *batch) recount(ctx context.Context, book *spread.Book, base *appsv1alpha1.WorkloadSpread) error {
	view := b.l.Pods.View(b.key)
	unseen := base.Status.ObservedGeneration != base.Generation
	if unseen && b.observes(base.Generation) {
		// From now on, views serve that are at least as new as this list. Pods that are not adopted by
		// now are in none of them, and do not count until the next pass has adopted them.
		book.Renew()
		seen := *base
		seen.Status.ObservedGeneration = seen.Generation
		base = &seen
	}
	if unseen || (book.Observed() == 0 && view.Revision < revisionOf(base)) {
		var err error
		if view, err = b.l.Pods.ListSpread(ctx, base); err != nil {
			return fmt.Errorf("list the pods of WorkloadSpread %s: %w", b.key, err)
		}
	}
	book.Recount(view)
	return nil
}

// observes reports whether the batch marks that generation of the spec as seen.
func (b *batch) observes(generation int64) bool {
	return slices.ContainsFunc(b.ops, func(op operation) bool {
		o, ok := op.(*observation)
		return ok && o.generation == generation
	})
}

// base returns the newest copy at hand, and whether it was read live.
func (b *batch) base(ctx context.Context) (*appsv1alpha1.WorkloadSpread, bool, error) {
	cached, err := b.l.Spreads.Cached(ctx, b.key)
	var known *appsv1alpha1.WorkloadSpread
	if b.a != nil {
		known = b.a.known()
	}
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		return nil, false, fmt.Errorf("read WorkloadSpread %s: %w", b.key, err)
	case err != nil:
		return b.live(ctx)
	case known != nil && known.UID == cached.UID && revisionOf(known) > revisionOf(cached):
		return known, false, nil
	}
	b.met = known != nil && known.ResourceVersion != cached.ResourceVersion
	return cached, false, nil
}

// live reads the object from the API server.
func (b *batch) live(ctx context.Context) (*appsv1alpha1.WorkloadSpread, bool, error) {
	ws, err := b.l.Spreads.Live(ctx, b.key)
	if err != nil {
		return nil, false, fmt.Errorf("read WorkloadSpread %s: %w", b.key, err)
	}
	if b.a != nil {
		b.a.learn(ws, false, time.Time{})
	}
	return ws, true, nil
}

// unconfirmed reports whether some answer rests on the copy alone, without any write that would have
// told whether it was current: one that sends a pod past a subset, or into one that may be closed, or
// have a limit, by now.
func (b *batch) unconfirmed() bool {
	for _, op := range b.ops {
		if c, ok := op.(*claimOp); ok && c.grant.Token == "" {
			return true
		}
	}
	return false
}

// dropEnded answers the operations whose context has ended. What such an operation may have left
// behind in a write whose answer was lost, evidence or expiry takes away.
func (b *batch) dropEnded() {
	b.keep(func(r *request) error {
		if r.ctx.Err() == nil {
			return nil
		}
		return r.ended()
	})
}

// dropReplaced answers the operations that were meant for an earlier object of the same name.
func (b *batch) dropReplaced(base *appsv1alpha1.WorkloadSpread) {
	b.keep(func(r *request) error {
		if r.uid == base.UID && base.DeletionTimestamp == nil {
			return nil
		}
		return fmt.Errorf("claim from WorkloadSpread %s: %w", b.key, ErrGone)
	})
}

// keep drops the operations for which reason returns an error, and answers them with it.
func (b *batch) keep(reason func(*request) error) {
	kept := b.ops[:0]
	for _, op := range b.ops {
		r := op.base()
		if err := reason(r); err != nil {
			r.answer(err)
			continue
		}
		kept = append(kept, op)
	}
	b.ops = kept
}

// answer ends all operations. A claim that nobody waits for any more is given back.
func (b *batch) answer(err error) {
	for _, op := range b.ops {
		if op.base().answer(err) || err != nil {
			continue
		}
		if c, ok := op.(*claimOp); ok && c.grant.Token != "" {
			b.l.withdraw(c.grant.Spread, c.claim.Version, c.grant.Token)
		}
	}
}

// revisionOf returns an object's resource version as a number, 0 when it is none.
func revisionOf(ws *appsv1alpha1.WorkloadSpread) uint64 {
	n, err := state.Revision(ws.ResourceVersion)
	if err != nil {
		return 0
	}
	return n
}
