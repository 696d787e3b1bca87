package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/resolve"
)

// everywhere is a part of the manager that runs in every replica, not only in the leader.
type everywhere func(context.Context) error

// Start implements manager.Runnable.
func (f everywhere) Start(ctx context.Context) error { return f(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (everywhere) NeedLeaderElection() bool { return false }

// cacheOptions strips from workloads what nobody reads: their pod templates are most of their size. Of
// ConfigMaps only the allow-list is watched.
func cacheOptions(namespace, allowList string) cache.Options {
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
					rs.ManagedFields, rs.Annotations = nil, revisionsOf(rs.Annotations)
					rs.Spec.Template = corev1.PodTemplateSpec{}
					rs.Status = appsv1.ReplicaSetStatus{ObservedGeneration: rs.Status.ObservedGeneration}
				}
				return o, nil
			}},
			&appsv1.StatefulSet{}: {Transform: func(o any) (any, error) {
				if s, ok := o.(*appsv1.StatefulSet); ok {
					s.ManagedFields, s.Annotations = nil, nil
					s.Spec.Template, s.Spec.VolumeClaimTemplates, s.Status = corev1.PodTemplateSpec{}, nil, appsv1.StatefulSetStatus{}
				}
				return o, nil
			}},
			&batchv1.Job{}: {Transform: func(o any) (any, error) {
				if j, ok := o.(*batchv1.Job); ok {
					j.ManagedFields, j.Annotations = nil, nil
					j.Spec.Template, j.Status = corev1.PodTemplateSpec{}, batchv1.JobStatus{}
				}
				return o, nil
			}},
			&corev1.ConfigMap{}: {Namespaces: map[string]cache.Config{
				namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", allowList)},
			}},
			&corev1.Node{}: {Transform: func(o any) (any, error) {
				if n, ok := o.(*corev1.Node); ok {
					n.ManagedFields, n.Annotations, n.Status = nil, nil, corev1.NodeStatus{Conditions: readiness(n), Allocatable: special(n.Status.Allocatable)}
				}
				return o, nil
			}},
		},
	}
}

// readiness keeps of a node's conditions whether it is ready, and not when it last said so.
func readiness(n *corev1.Node) []corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if c := &n.Status.Conditions[i]; c.Type == corev1.NodeReady {
			return []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	return nil
}

// special keeps the resources that not every node has: those of other domains, and huge pages.
func special(all corev1.ResourceList) corev1.ResourceList {
	var out corev1.ResourceList
	for name, quantity := range all {
		if !strings.Contains(string(name), "/") && !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) || quantity.IsZero() {
			continue
		}
		if out == nil {
			out = make(corev1.ResourceList)
		}
		out[name] = quantity
	}
	return out
}

// revisionsOf keeps the annotations that number the ReplicaSets of a workload.
func revisionsOf(annotations map[string]string) map[string]string {
	var out map[string]string
	for _, key := range resolve.RevisionAnnotations {
		if v, ok := annotations[key]; ok {
			if out == nil {
				out = make(map[string]string)
			}
			out[key] = v
		}
	}
	return out
}

// cachedKinds are read through the cache by the webhook: their informers have to run in every
// replica from the start, not from the first request on.
func cachedKinds() []client.Object {
	return []client.Object{&appsv1alpha1.WorkloadSpread{}, &appsv1.Deployment{}, &appsv1.ReplicaSet{}, &appsv1.StatefulSet{}, &batchv1.Job{}, &corev1.Node{}}
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

// synced reports whether requests can be decided. A member decides on what it is sent, without caches.
func (m *manager) synced() bool {
	return !m.config.Role.Places() || m.cached.Load() && m.pods.Synced() && m.listed()
}

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

// followWishes keeps what ReplicaSets want, by generation.
func (m *manager) followWishes(wishes *resolve.Wishes) error {
	informer, err := m.GetCache().GetInformer(context.Background(), &appsv1.ReplicaSet{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch ReplicaSets: %w", err)
	}
	note := func(o any) {
		if rs, ok := o.(*appsv1.ReplicaSet); ok {
			wishes.Note(rs)
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    note,
		UpdateFunc: func(_, o any) { note(o) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if rs, ok := o.(*appsv1.ReplicaSet); ok {
				wishes.Forget(rs.UID)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch ReplicaSets: %w", err)
	}
	return nil
}

// watchAllowList follows the ConfigMap with the custom workloads. Every replica needs it, from the start:
// it is among the caches that have to be synced.
func (m *manager) watchAllowList(list *resolve.AllowList) error {
	informer, err := m.GetCache().GetInformer(context.Background(), &corev1.ConfigMap{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch the allow-list: %w", err)
	}
	take := func(o any) {
		if cm, ok := o.(*corev1.ConfigMap); ok {
			list.Take(cm)
		}
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    take,
		UpdateFunc: func(_, o any) { take(o) },
		DeleteFunc: func(any) { list.Take(nil) },
	})
	if err != nil {
		return fmt.Errorf("watch the allow-list: %w", err)
	}
	m.listed = registration.HasSynced
	return nil
}

// dirty collects what changed until the controller takes it. However many changes there are, it holds
// each thing once and never blocks the watch.
//
// Only the leader takes them. Where a new leader looks at everything anyhow, the others need not collect for it:
// lazy ones begin when they are started.
type dirty[T comparable] struct {
	lazy    bool
	started atomic.Bool

	mu   sync.Mutex
	keys map[T]struct{}
	wake chan struct{}
	out  chan event.TypedGenericEvent[T]
}

func newDirty[T comparable](lazy bool) *dirty[T] {
	return &dirty[T]{
		lazy: lazy,
		keys: make(map[T]struct{}),
		wake: make(chan struct{}, 1),
		out:  make(chan event.TypedGenericEvent[T]),
	}
}

func (d *dirty[T]) add(key T) {
	if d.lazy && !d.started.Load() {
		return
	}
	d.mu.Lock()
	d.keys[key] = struct{}{}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default: // awake already
	}
}

// Start implements manager.Runnable: it hands on what changed, in the leader only.
func (d *dirty[T]) Start(ctx context.Context) error {
	d.started.Store(true)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		}
		d.mu.Lock()
		keys := d.keys
		d.keys = make(map[T]struct{})
		d.mu.Unlock()
		for key := range keys {
			select {
			case <-ctx.Done():
				return nil
			case d.out <- event.TypedGenericEvent[T]{Object: key}:
			}
		}
	}
}
