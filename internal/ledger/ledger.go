package ledger

import (
	"context"
	"errors"
	"sync"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/spread"
)

var (
	// ErrGone: the WorkloadSpread is deleted, being deleted, or another object of its name by now.
	ErrGone = errors.New("the WorkloadSpread is gone")
	// ErrInvalid: the stored spec cannot be computed with; only its author can change that.
	ErrInvalid = errors.New("the WorkloadSpread cannot be computed with")
	// ErrUnproven is a waiting error: a place is free for certain, but it cannot be told yet in
	// which subset. The retry of the pod's controller, or the end of the claims' time, settles it.
	ErrUnproven = errors.New("a place is free, but it is not certain yet in which subset: creations that failed are still being told from those under way; the retry will be admitted")
)

// Options of a Ledger.
type Options struct {
	Spreads   Spreads
	Pods      Pods
	Workloads Workloads
	Recorder  Recorder
	Clock     clock.Clock
	// Runtime is nil for goroutines.
	Runtime Runtime
	// Stem draws the random part of a token: spread.TokenStem characters of [0-9a-z].
	Stem func() string
	// DemandWait is how long a claim waits for the view of pods to catch up before pods are read
	// live.
	DemandWait time.Duration
	// Spacing is the shortest time between two writes of one WorkloadSpread by this replica. A lone
	// pod never waits; in a burst it lets batches grow.
	Spacing time.Duration
}

// Ledger is safe for concurrent use.
type Ledger struct {
	Options
	mu       sync.Mutex
	accounts map[types.NamespacedName]*account
}

// New returns a ledger over the given ports.
func New(o Options) *Ledger {
	if o.Runtime == nil {
		o.Runtime = goroutines{o.Clock}
	}
	return &Ledger{Options: o, accounts: make(map[types.NamespacedName]*account)}
}

// Request asks for a place for one pod.
type Request struct {
	// Spread is the WorkloadSpread that selects the pod, as the caller read it.
	Spread *appsv1alpha1.WorkloadSpread
	// Version is the pod's template version.
	Version string
	// PodName is empty for a pod that the API server still has to name.
	PodName string
	// Incoming is the token that the pod already carries, if any.
	Incoming spread.Token
	// Owner creates the pod.
	Owner Owner
	// Ranked: the pod's kind heeds the deletion cost.
	Ranked bool
	// Revision of the pod's template, for kinds with a Turnover.
	Revision string
	// Position of a numbered pod in the order of its workload; nil for pods without numbers.
	Position *int32
	// Barred says which subsets cannot take this pod, and why, by the subset's name.
	Barred map[string]v1alpha1.Reason
}

// Grant is a place, together with the terms that it was granted under.
type Grant struct {
	spread.Grant
	Terms spread.Terms
	// Spread is the object that the grant stands on: its spec is the one to apply.
	Spread *appsv1alpha1.WorkloadSpread
}

func keyOf(ws *appsv1alpha1.WorkloadSpread) types.NamespacedName {
	return types.NamespacedName{Namespace: ws.Namespace, Name: ws.Name}
}

// Claim reserves a place and returns when it stands in the status, or when no subset has room
// (spread.NoRoom). The error is ErrGone, ErrInvalid, ErrUnproven, the context's, or the API server's
// last one.
func (l *Ledger) Claim(ctx context.Context, r Request) (Grant, error) {
	op := l.claimOp(ctx, r)
	leave := l.arrive(op, r)
	defer leave()

	grant, err := l.submit(op)
	if err != nil || grant.Outcome != spread.Unproven {
		return grant, err
	}
	return l.prove(op, r)
}

// Preview decides without reserving: for dry runs.
func (l *Ledger) Preview(ctx context.Context, r Request) (Grant, error) {
	op := l.claimOp(ctx, r)
	b := batch{l: l, key: op.key, ops: []operation{op}}
	base, _, err := b.base(ctx)
	if err != nil {
		return Grant{}, err
	}
	if _, _, err := b.apply(ctx, base); err != nil {
		return Grant{}, err
	}
	if op.grant.Outcome == spread.Unproven {
		op.grant.Outcome = spread.NoRoom
	}
	return op.grant, nil
}

// Observed is a WorkloadSpread after an observation.
type Observed struct {
	// Spread is the object as it stands.
	Spread *appsv1alpha1.WorkloadSpread
	// Adaptation says which subsets turned, and which pods may be moved now that the status says so.
	Adaptation spread.Adaptation
}

// Observe brings counts, limits, observedGeneration and the schedulability of subsets in the status up
// to date, and writes it only if that changes anything. Of the sight, time and pods are filled in.
func (l *Ledger) Observe(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, s spread.Sight) (Observed, error) {
	s.View, s.Now = l.Pods.View(keyOf(ws)), l.Clock.Now()
	op := &observation{request: newRequest(ctx, ws), generation: ws.Generation, sight: s}
	grant, err := l.submit(op)
	if err != nil {
		return Observed{}, err // the operation may still be under way
	}
	return Observed{Spread: grant.Spread, Adaptation: op.adaptation}, nil
}

// Adopted is a running pod that is about to be recorded on a subset.
type Adopted struct {
	Version, Subset string
	Token           spread.Token
}

// Adopt enters claims for pods that run already, before they are recorded on their subsets: a record by
// itself reaches the views of the replicas some time later, and until then pods would be admitted in
// its place. The claims end like those of creations, when a view shows the pods.
func (l *Ledger) Adopt(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, pods []Adopted) error {
	_, err := l.submit(&adoption{request: newRequest(ctx, ws), pods: pods, now: l.Clock.Now()})
	return err
}

// Expire ends claims of which the caller knows, from a live list, that no pod came and none can
// come any more. claims maps versions to tokens.
func (l *Ledger) Expire(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, claims map[string][]spread.Token) error {
	_, err := l.submit(&withdrawal{request: newRequest(ctx, ws), claims: claims})
	return err
}

// Withdraw gives back, in the background, a grant that cannot be used.
func (l *Ledger) Withdraw(g Grant, version string) {
	if g.Token != "" && !g.Repeated {
		l.withdraw(g.Spread, version, g.Token)
	}
}

// withdraw gives a claim back whose request has ended, in the next batch.
func (l *Ledger) withdraw(ws *appsv1alpha1.WorkloadSpread, version string, t spread.Token) {
	ctx, cancel := l.Runtime.Until(l.Clock.Now().Add(withdrawTimeout))
	w := &withdrawal{request: newRequest(ctx, ws), claims: map[string][]spread.Token{version: {t}}}
	l.Runtime.Go(func() {
		defer cancel()
		// On failure the claim ends by evidence or expiry, as that of a crashed replica does.
		if _, err := l.submit(w); err == nil {
			l.Recorder.ClaimsEnded(w.key, v1alpha1.ReasonClaimWithdrawn, 1)
		}
	})
}

// withdrawTimeout bounds the attempts to give a claim back.
const withdrawTimeout = 10 * time.Second
