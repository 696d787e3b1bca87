// Package workloadspread is the controller of WorkloadSpreads. It keeps the status true when no pod
// is being admitted: counts, limits and observedGeneration through the ledger, the schedulability of
// subsets, and the end of claims from which no pod came. It adopts pods that run already, moves pods
// that cannot be scheduled, and keeps deletion costs in order.
package workloadspread

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/metrics"
	"github.com/spillway-project/spillway/internal/resolve"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/workload"
)

// Reconciler brings one WorkloadSpread's status up to date. It runs in the leader only.
type Reconciler struct {
	Reader   client.Reader
	Ledger   *ledger.Ledger
	Pods     *resolve.Pods
	Writer   client.Writer
	Metrics  *metrics.Metrics
	Recorder recorder.EventRecorder
	Claims   *ledger.Expiry
	// Holds says how long a subset whose pods cannot be scheduled is left alone.
	Holds spread.Holds
	// Kinds watches the kinds of targets that are not watched from the start.
	Kinds *KindWatcher

	// Sites tells subsets of virtual nodes; nil takes all for own nodes.
	Sites *resolve.Sites

	// Clock spaces repairs.
	Clock clock.PassiveClock

	strays   judgements
	judged   eligibility
	patience patience
}

// passTimeout bounds one pass, the attempts to write included.
const passTimeout = 30 * time.Second

// action of all events of the controller (events.k8s.io).
const action = "Reconcile"

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()

	var ws appsv1alpha1.WorkloadSpread
	err := r.Reader.Get(ctx, request.NamespacedName, &ws)
	switch {
	case apierrors.IsNotFound(err):
		return reconcile.Result{}, r.forget(ctx, request.NamespacedName)
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("read WorkloadSpread %s: %w", request.NamespacedName, err)
	case ws.DeletionTimestamp != nil:
		return reconcile.Result{}, nil
	}
	p := pass{Reconciler: r, key: request.NamespacedName, ws: &ws}
	switch err = p.run(ctx); {
	case errors.Is(err, ledger.ErrInvalid):
		// Permanent: tell the user and wait for the next change.
		r.warn(&ws, v1alpha1.ReasonInvalidSpec, "%s", err.Error())
		return reconcile.Result{RequeueAfter: p.next}, nil
	case errors.Is(err, ledger.ErrGone):
		return reconcile.Result{}, nil
	}
	return reconcile.Result{RequeueAfter: p.next}, err
}

// pass is one look at one WorkloadSpread.
type pass struct {
	*Reconciler
	key   types.NamespacedName
	ws    *appsv1alpha1.WorkloadSpread
	terms spread.Terms
	kind  workload.Kind
	// next is when to look again; 0 for never.
	next time.Duration
}

// wake brings the next look forward.
func (p *pass) wake(after time.Duration) {
	if after > 0 && (p.next == 0 || after < p.next) {
		p.next = after
	}
}

func (p *pass) run(ctx context.Context) error {
	// 1. What is asked for, and of whom.
	if err := p.read(); err != nil {
		return err
	}
	p.watch(ctx)
	// 2. Pods that run already.
	if err := p.adopt(ctx); err != nil {
		return err
	}
	// 3. The status.
	sight, err := p.sight(ctx)
	if err != nil {
		return err
	}
	seen, err := p.Ledger.Observe(ctx, p.ws, sight)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	p.ws = seen.Spread
	p.report()
	// 4. What follows from it, now that it is written.
	p.turned(seen.Adaptation.Turns)
	p.move(ctx, seen.Adaptation)
	// One that fails does not hold up the others.
	return errors.Join(p.repair(ctx), p.recost(ctx), p.expire(ctx))
}

// read parses the spec.
func (p *pass) read() error {
	ref := p.ws.Spec.TargetReference
	if ref == nil {
		return fmt.Errorf("WorkloadSpread %s: %w: spec.targetRef is missing: name the workload to spread", p.key, ledger.ErrInvalid)
	}
	var err error
	if p.terms, err = spread.ParseTerms(&p.ws.Spec); err != nil {
		return fmt.Errorf("WorkloadSpread %s: %w: %w", p.key, ledger.ErrInvalid, err)
	}
	gk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
	kind, known := p.Pods.Resolver.Known().Target(gk)
	if p.kind = kind; !known {
		return fmt.Errorf("WorkloadSpread %s: %w: spec.targetRef: kind %s is not supported: use one of %s, or put it into the allow-list",
			p.key, ledger.ErrInvalid, gk, p.Pods.Resolver.Known().Names())
	}
	if p.kind.Ordinals {
		if err := p.terms.Numbered(); err != nil {
			return fmt.Errorf("WorkloadSpread %s: %w: %w", p.key, ledger.ErrInvalid, err)
		}
	}
	return nil
}

// unwatchedRetry is how often a kind is looked for that is not served, or not readable, yet.
const unwatchedRetry = 30 * time.Second

// watch sees to it that changes of the target wake the controller.
func (p *pass) watch(ctx context.Context) {
	if err := p.Kinds.Ensure(ctx, p.kind.GroupKind, p.ws.Spec.TargetReference.APIVersion); err != nil {
		p.warn(p.ws, v1alpha1.ReasonTargetUnreadable, "%s", err.Error())
		p.wake(unwatchedRetry)
	}
}

// expire ends the claims whose time is up.
func (p *pass) expire(ctx context.Context) error {
	lost, next, err := p.Claims.End(ctx, p.Ledger, p.ws)
	p.wake(next)
	if err != nil || lost == 0 {
		return err
	}
	p.Metrics.ClaimsEnded(p.key, v1alpha1.ReasonClaimExpired, lost)
	p.warn(p.ws, v1alpha1.ReasonCreatePodFailed,
		"%d pods were admitted but never created; their places are free again. Look for quotas, other webhooks and name clashes in the events of the workload", lost)
	return nil
}

func (r *Reconciler) tell(ws *appsv1alpha1.WorkloadSpread, reason v1alpha1.Reason, format string, args ...any) {
	r.Recorder.Eventf(ws, nil, corev1.EventTypeNormal, string(reason), action, format, args...)
}

func (r *Reconciler) warn(ws *appsv1alpha1.WorkloadSpread, reason v1alpha1.Reason, format string, args ...any) {
	r.Recorder.Eventf(ws, nil, corev1.EventTypeWarning, string(reason), action, format, args...)
}
