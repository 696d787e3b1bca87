package ledger

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/internal/spread"
)

// operation is one change to a book. It is applied once for each attempt to write, always to a book
// that was opened anew.
type operation interface {
	apply(b *spread.Book, ws *appsv1alpha1.WorkloadSpread, status *appsv1alpha1.WorkloadSpreadStatus)
	base() *request
}

// request is what all operations share: whose it is, until when, and where the answer goes.
type request struct {
	ctx   context.Context //nolint:containedctx // the request's own: it leaves the batch when this ends
	key   types.NamespacedName
	uid   types.UID
	grant Grant
	err   error
	done  chan struct{}
	// cause is why the last attempt failed, for the error of a request whose time runs out.
	cause atomic.Pointer[error]
	// taken decides once who ends the request: the batch with an answer, or its own context.
	taken atomic.Bool
}

func newRequest(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) *request {
	return &request{ctx: ctx, key: keyOf(ws), uid: ws.UID, done: make(chan struct{})}
}

func (r *request) base() *request { return r }

// answer hands the result to whoever waits, and reports whether anybody still does.
func (r *request) answer(err error) bool {
	if !r.taken.CompareAndSwap(false, true) {
		return false
	}
	r.err = err
	close(r.done)
	return true
}

// wait returns the answer, or the context's error as soon as it ends. In the second case the batch
// finds the request taken when it has the answer, and gives a claim back.
func (r *request) wait(rt Runtime) (Grant, error) {
	rt.Wait(0, r.done, r.ctx.Done())
	if r.taken.CompareAndSwap(false, true) {
		return Grant{}, r.ended()
	}
	<-r.done
	return r.grant, r.err
}

// ended is the error of a request whose context has ended.
func (r *request) ended() error {
	if cause := r.cause.Load(); cause != nil {
		return fmt.Errorf("claim from WorkloadSpread %s: %w; last attempt: %w", r.key, r.ctx.Err(), *cause)
	}
	return fmt.Errorf("claim from WorkloadSpread %s: %w", r.key, r.ctx.Err())
}

// claimOp enters a claim.
type claimOp struct {
	*request
	claim spread.Claim
}

func (l *Ledger) claimOp(ctx context.Context, r Request) *claimOp {
	return &claimOp{
		request: newRequest(ctx, r.Spread),
		claim: spread.Claim{
			Version: r.Version, Stem: l.Stem(), Name: r.PodName, Incoming: r.Incoming,
			Ranked: r.Ranked, Revision: r.Revision, Position: r.Position, Demand: r.Owner.Demand,
			Barred: r.Barred, Now: l.Clock.Now(),
		},
	}
}

// again returns the claim as a new operation: the old one has been answered.
func (o *claimOp) again() *claimOp {
	return &claimOp{
		request: &request{ctx: o.ctx, key: o.key, uid: o.uid, done: make(chan struct{})},
		claim:   o.claim,
	}
}

func (o *claimOp) apply(b *spread.Book, _ *appsv1alpha1.WorkloadSpread, _ *appsv1alpha1.WorkloadSpreadStatus) {
	o.grant.Grant = b.Claim(o.claim)
}

// observation marks a generation of the spec as seen, if it still is the current one (the pods that a
// newer one lets in are not adopted yet), and the subsets as what their pods say of them. The recount
// comes with every batch.
type observation struct {
	*request
	generation int64
	sight      spread.Sight
	adaptation spread.Adaptation
}

func (o *observation) apply(b *spread.Book, ws *appsv1alpha1.WorkloadSpread, status *appsv1alpha1.WorkloadSpreadStatus) {
	if o.generation != ws.Generation {
		return // what was seen is of other subsets; the new ones are looked at next
	}
	status.ObservedGeneration = ws.Generation
	o.adaptation = b.Adapt(o.sight)
}

// adoption enters claims for pods that run already.
type adoption struct {
	*request
	pods []Adopted
	now  time.Time
}

func (o *adoption) apply(b *spread.Book, _ *appsv1alpha1.WorkloadSpread, _ *appsv1alpha1.WorkloadSpreadStatus) {
	for _, p := range o.pods {
		b.Enter(p.Version, p.Subset, p.Token, o.now)
	}
}

// withdrawal removes claims.
type withdrawal struct {
	*request
	claims map[string][]spread.Token
}

func (o *withdrawal) apply(b *spread.Book, _ *appsv1alpha1.WorkloadSpread, _ *appsv1alpha1.WorkloadSpreadStatus) {
	for version, tokens := range o.claims {
		for _, t := range tokens {
			b.Withdraw(version, t)
		}
	}
}
