package main

import (
	"context"
	"fmt"
	"sync"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/spillway-project/spillway/internal/ledger"
)

// everywhere is a part of the manager that runs in every replica, not only in the leader.
type everywhere func(context.Context) error

// Start implements manager.Runnable.
func (f everywhere) Start(ctx context.Context) error { return f(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (everywhere) NeedLeaderElection() bool { return false }

// cacheOptions strips from workloads what nobody reads: their pod templates are most of their size.
func cacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&appsv1.Deployment{}: {Transform: func(o any) (any, error) {
				if d, ok := o.(*appsv1.Deployment); ok {
					d.ManagedFields, d.Annotations = nil, nil
					d.Spec.Template, d.Status = corev1.PodTemplateSpec{}, appsv1.DeploymentStatus{}
				}
				return o, nil
			}},
			&appsv1.ReplicaSet{}: {Transform: func(o any) (any, error) {
				if rs, ok := o.(*appsv1.ReplicaSet); ok {
					rs.ManagedFields, rs.Annotations = nil, nil
					rs.Spec.Template, rs.Status = corev1.PodTemplateSpec{}, appsv1.ReplicaSetStatus{}
				}
				return o, nil
			}},
			&corev1.Node{}: {Transform: func(o any) (any, error) {
				if n, ok := o.(*corev1.Node); ok {
					n.ManagedFields, n.Annotations, n.Status = nil, nil, corev1.NodeStatus{}
				}
				return o, nil
			}},
		},
	}
}

// cachedKinds are read through the cache by the webhook: their informers have to run in every
// replica from the start, not from the first request on.
func cachedKinds() []client.Object {
	return []client.Object{&appsv1alpha1.WorkloadSpread{}, &appsv1.Deployment{}, &appsv1.ReplicaSet{}, &corev1.Node{}}
}

// awaitCaches marks the moment from which requests can be decided.
func (m *manager) awaitCaches(ctx context.Context) error {
	for _, kind := range cachedKinds() {
		if _, err := m.GetCache().GetInformer(ctx, kind); err != nil {
			return fmt.Errorf("start the cache of %T: %w", kind, err)
		}
	}
	m.cached.Store(m.GetCache().WaitForCacheSync(ctx) && m.sidecars.ready(ctx))
	<-ctx.Done()
	return nil
}

func (m *manager) synced() bool { return m.cached.Load() && m.pods.Synced() }

// forgetDeleted drops what the replica keeps of WorkloadSpreads that are gone.
func (m *manager) forgetDeleted(book *ledger.Ledger) error {
	informer, err := m.GetCache().GetInformer(context.Background(), &appsv1alpha1.WorkloadSpread{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch WorkloadSpreads: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: func(o any) {
		if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		if ws, ok := o.(*appsv1alpha1.WorkloadSpread); ok {
			key := client.ObjectKeyFromObject(ws)
			book.Forget(key)
			m.pods.Forget(key)
		}
	}})
	if err != nil {
		return fmt.Errorf("watch WorkloadSpreads: %w", err)
	}
	return nil
}

// dirty collects the WorkloadSpreads whose pods changed until the controller takes them. However many
// changes there are, it holds each name once and never blocks the watch.
type dirty struct {
	mu   sync.Mutex
	keys map[types.NamespacedName]struct{}
	wake chan struct{}
	out  chan event.TypedGenericEvent[types.NamespacedName]
}

func newDirty() *dirty {
	return &dirty{
		keys: make(map[types.NamespacedName]struct{}),
		wake: make(chan struct{}, 1),
		out:  make(chan event.TypedGenericEvent[types.NamespacedName]),
	}
}

func (d *dirty) add(key types.NamespacedName) {
	d.mu.Lock()
	d.keys[key] = struct{}{}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default: // awake already
	}
}

// Start implements manager.Runnable: it hands the names on, in the leader only.
func (d *dirty) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		}
		d.mu.Lock()
		keys := d.keys
		d.keys = make(map[types.NamespacedName]struct{})
		d.mu.Unlock()
		for key := range keys {
			select {
			case <-ctx.Done():
				return nil
			case d.out <- event.TypedGenericEvent[types.NamespacedName]{Object: key}:
			}
		}
	}
}
