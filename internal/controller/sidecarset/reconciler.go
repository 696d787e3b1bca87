// Package sidecarset is the controller of SidecarSets: it records their revisions, counts their pods
// and upgrades them. What is upgraded when is decided in internal/sidecar/rollout.
package sidecarset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/metrics"
	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/sidecar/rollout"
	"github.com/spillway-project/spillway/internal/state"
)

// Reconciler brings the pods of a SidecarSet to its version.
type Reconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Live reads from the API server.
	Live       client.Reader
	Sets       *state.SidecarSets
	Namespaces *state.Namespaces
	// Namespace of the ControllerRevisions.
	Namespace string
	Written   *Written
	Attempts  *Attempts
	Metrics   *metrics.Sidecar
	Recorder  recorder.EventRecorder
	Clock     clock.PassiveClock

	priming sync.Mutex
	primed  bool
	told    once
}

// roundTimeout bounds one reconciliation: a thousand writes on a slow API server.
const roundTimeout = 2 * time.Minute

// action of all events of the controller (events.k8s.io).
const action = "Reconcile"

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()

	// 1. The set, compiled.
	set, err := r.set(ctx, request.Name)
	switch {
	case err != nil:
		return reconcile.Result{}, err
	case set == nil:
		return reconcile.Result{}, r.gone(ctx, request.Name)
	case set.Object.DeletionTimestamp != nil:
		return reconcile.Result{}, nil
	}
	if err := r.prime(ctx); err != nil {
		return reconcile.Result{}, err
	}
	// 2. Its pods, as new as they are known.
	pods, err := r.pods(ctx, set)
	if err != nil {
		return reconcile.Result{}, err
	}
	waiting, err := r.waiting(ctx, set, pods)
	if err != nil {
		return reconcile.Result{}, err
	}
	// 3. Its revision, and what is to be done.
	recorded, err := r.register(ctx, set, pods)
	if err != nil {
		return reconcile.Result{}, err
	}
	plan := rollout.Make(rollout.Input{
		Set: set, Revision: recorded.name, Pods: pods, Waiting: waiting, Resizable: r.resizable(set, recorded.history), Now: r.Clock.Now(),
	})
	// 4. Status, conditions, pods. What fails stops nothing else.
	err = errors.Join(
		r.report(ctx, set, plan, recorded.name, recorded.collisions),
		r.conditions(ctx, set, pods, plan),
		r.write(ctx, set, plan.Changes),
	)
	_, _, next := r.Attempts.Waiting(set.Name(), uids(pods))
	return reconcile.Result{RequeueAfter: soonest(next, plan.Again)}, err
}

func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// set returns the set as the cache has it, nil if it is gone. The store may be a moment behind.
func (r *Reconciler) set(ctx context.Context, name string) (*sidecar.Set, error) {
	var object sidecar.SidecarSet
	err := r.Client.Get(ctx, client.ObjectKey{Name: name}, &object)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read SidecarSet %s: %w", name, err)
	}
	if stored := r.Sets.Get(name); stored != nil && stored.Object.ResourceVersion == object.ResourceVersion {
		return stored, nil
	}
	set, err := sidecar.Compile(&object)
	if err != nil {
		// Permanent: tell the user and wait for the next change.
		r.Recorder.Eventf(&object, nil, corev1.EventTypeWarning, string(v1alpha1.ReasonInvalidSpec), action, "%s", err.Error())
		return nil, reconcile.TerminalError(err)
	}
	return set, nil
}

// prime makes sure that what a former leader wrote is known, once.
func (r *Reconciler) prime(ctx context.Context) error {
	r.priming.Lock()
	defer r.priming.Unlock()
	if r.primed {
		return nil
	}
	if err := r.Written.Prime(ctx, r.Live); err != nil {
		return fmt.Errorf("catch up with the former leader: %w", err)
	}
	r.primed = true
	return nil
}

// pods returns the pods that the set manages.
func (r *Reconciler) pods(ctx context.Context, set *sidecar.Set) ([]*corev1.Pod, error) {
	var list corev1.PodList
	err := r.Client.List(ctx, &list, client.MatchingFields{IndexInjected: set.Name()}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list the pods of SidecarSet %s: %w", set.Name(), err)
	}
	in := make(map[string]bool)
	out := make([]*corev1.Pod, 0, len(list.Items))
	for i := range list.Items {
		pod := r.Written.Newest(&list.Items[i])
		if !rollout.Manages(set, pod) {
			continue
		}
		applies, known := in[pod.Namespace]
		if !known {
			if applies, err = r.inNamespace(ctx, set, pod.Namespace); err != nil {
				return nil, err
			}
			in[pod.Namespace] = applies
		}
		if applies {
			out = append(out, pod)
		}
	}
	return out, nil
}

func (r *Reconciler) inNamespace(ctx context.Context, set *sidecar.Set, name string) (bool, error) {
	if !set.NeedsNamespace() {
		return set.InNamespace(name, nil), nil
	}
	of, err := r.Namespaces.Labels(ctx, name)
	if apierrors.IsNotFound(err) {
		return false, nil // it goes, and its pods with it
	}
	return err == nil && set.InNamespace(name, of), err
}

// waiting returns the pods that are not to be tried yet. Those whose last write may have been done are
// read first.
func (r *Reconciler) waiting(ctx context.Context, set *sidecar.Set, pods []*corev1.Pod) (map[types.UID]bool, error) {
	waiting, unsure, _ := r.Attempts.Waiting(set.Name(), uids(pods))
	for _, uid := range unsure {
		i := slices.IndexFunc(pods, func(p *corev1.Pod) bool { return p.UID == uid })
		if !r.look(ctx, pods[i]) {
			return nil, fmt.Errorf("pod %s/%s, whose last write may have been done, cannot be read", pods[i].Namespace, pods[i].Name)
		}
		pods[i] = r.Written.Newest(pods[i])
		r.Attempts.Sure(set.Name(), uid)
	}
	return waiting, nil
}

func uids(pods []*corev1.Pod) map[types.UID]bool {
	out := make(map[types.UID]bool, len(pods))
	for _, pod := range pods {
		out[pod.UID] = true
	}
	return out
}

// gone drops what is kept of a set that was deleted, and its entries in conditions of pods.
func (r *Reconciler) gone(ctx context.Context, name string) error {
	r.Metrics.Forget(name)
	r.told.forget(name)
	r.Attempts.Waiting(name, nil) // forgets them all
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.MatchingFields{IndexInjected: name}, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list the pods of SidecarSet %s: %w", name, err)
	}
	var errs []error
	for i := range list.Items {
		errs = append(errs, r.condition(ctx, r.Written.Newest(&list.Items[i]), name, ""))
	}
	return errors.Join(errs...)
}
