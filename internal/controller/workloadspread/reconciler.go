// Package workloadspread is the controller of WorkloadSpreads. It keeps the status true when no pod
// is being admitted: counts, limits and observedGeneration through the ledger, and the end of claims
// from which no pod came.
package workloadspread

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/metrics"
	"github.com/spillway-project/spillway/internal/resolve"
	"github.com/spillway-project/spillway/internal/spread"
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
		r.Claims.Forget(request.NamespacedName)
		r.Metrics.Forget(request.NamespacedName)
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("read WorkloadSpread %s: %w", request.NamespacedName, err)
	case ws.DeletionTimestamp != nil:
		return reconcile.Result{}, nil
	}
	if ws.Status.ObservedGeneration != ws.Generation {
		if err := r.adopt(ctx, &ws); err != nil {
			return reconcile.Result{}, err
		}
	}
	stored, err := r.Ledger.Observe(ctx, &ws)
	switch {
	case errors.Is(err, ledger.ErrInvalid):
		// Permanent: tell the user and wait for the next change.
		r.Recorder.Eventf(&ws, nil, corev1.EventTypeWarning, string(v1alpha1.ReasonInvalidSpec), action, "%s", err.Error())
		return reconcile.Result{}, nil
	case errors.Is(err, ledger.ErrGone):
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("observe: %w", err)
	}
	r.report(request.NamespacedName, stored)
	next, err := r.expire(ctx, stored)
	return reconcile.Result{RequeueAfter: next}, err
}

// expire ends the claims whose time is up, and returns when to look again.
func (r *Reconciler) expire(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (time.Duration, error) {
	lost, next, err := r.Claims.End(ctx, r.Ledger, ws)
	if err != nil || lost == 0 {
		return next, err
	}
	r.Metrics.ClaimsEnded(client.ObjectKeyFromObject(ws), v1alpha1.ReasonClaimExpired, lost)
	r.Recorder.Eventf(ws, nil, corev1.EventTypeWarning, string(v1alpha1.ReasonCreatePodFailed), action,
		"%d pods were admitted but never created; their places are free again. Look for quotas, other webhooks and name clashes in the events of the workload", lost)
	return next, nil
}

// report sets the metrics of the subsets.
func (r *Reconciler) report(key types.NamespacedName, ws *appsv1alpha1.WorkloadSpread) {
	claimed := make(map[string]int32)
	for _, subsets := range ws.Status.VersionedSubsetStatuses {
		for i := range subsets {
			claimed[subsets[i].Name] += int32(len(subsets[i].CreatingPods)) //nolint:gosec // pods of one workload
		}
	}
	out := make([]metrics.Subset, len(ws.Status.SubsetStatuses))
	for i := range out {
		s := &ws.Status.SubsetStatuses[i]
		out[i] = metrics.Subset{Name: s.Name, Active: s.Replicas, Claimed: claimed[s.Name], Missing: s.MissingReplicas, Limit: spread.Unlimited}
		if s.MissingReplicas != spread.Unlimited {
			out[i].Limit = s.Replicas + claimed[s.Name] + s.MissingReplicas
		}
	}
	r.Metrics.Observed(key, out)
}
