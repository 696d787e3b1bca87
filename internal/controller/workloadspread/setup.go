package workloadspread

import (
	"context"
	"fmt"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/resolve"
	"github.com/spillway-project/spillway/internal/state"
	"github.com/spillway-project/spillway/internal/workload"
)

// +kubebuilder:rbac:groups=apps.kruise.io,resources=workloadspreads,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=workloadspreads/status,verbs=update
// +kubebuilder:rbac:groups=apps.kruise.io,resources=clonesets;statefulsets,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=deployments;replicasets;statefulsets,verbs=get;list;watch
// +kubebuilder:rbac:groups=batch,resources=jobs;cronjobs,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;patch;delete
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// settle is how long changes of pods are collected before the status follows. Claims bring the
// counts up to date by themselves; this is for what happens between them.
const settle = 500 * time.Millisecond

// Sources bring what changes outside of informers.
type Sources struct {
	// Changed brings the WorkloadSpreads whose pods changed.
	Changed <-chan event.TypedGenericEvent[types.NamespacedName]
	// Strays brings pods that could be adopted.
	Strays <-chan event.TypedGenericEvent[state.Stray]
}

// Setup adds the controller to the manager.
func (r *Reconciler) Setup(mgr manager.Manager, workers int, s Sources) error {
	ctl, err := builder.ControllerManagedBy(mgr).
		Named("workloadspread").
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		For(&appsv1alpha1.WorkloadSpread{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&appsv1alpha1.WorkloadSpread{}, handler.Funcs{UpdateFunc: claimed}).
		Watches(&appsv1.Deployment{}, r.targets(workload.Deployment), builder.WithPredicates(replicasChanged())).
		Watches(&appsv1.ReplicaSet{}, r.targets(workload.ReplicaSet), builder.WithPredicates(replicasChanged())).
		Watches(&appsv1.ReplicaSet{}, r.parents(), builder.WithPredicates(revisionChanged())).
		Watches(&appsv1.StatefulSet{}, r.targets(workload.StatefulSet), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&batchv1.Job{}, r.targets(workload.Job), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(source.TypedChannel(s.Changed, later())).
		WatchesRawSource(source.TypedChannel(s.Strays, r.adopters())).
		Build(r)
	if err != nil {
		return fmt.Errorf("set up the controller of WorkloadSpreads: %w", err)
	}
	r.Kinds.start = func(kind *metav1.PartialObjectMetadata, gk schema.GroupKind) error {
		return ctl.Watch(source.Kind[client.Object](mgr.GetCache(), kind, r.targets(gk), predicate.GenerationChangedPredicate{}))
	}
	return nil
}

// targets maps a workload to the WorkloadSpreads on it.
func (r *Reconciler) targets(gk schema.GroupKind) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		return r.requests(ctx, o.GetNamespace(), func(ws *appsv1alpha1.WorkloadSpread) bool {
			return resolve.Targets(ws, gk, o.GetName())
		})
	})
}

// parents maps a ReplicaSet to the WorkloadSpreads on its controller: a new one is a new version, and the
// costs of the others have to be reversed.
func (r *Reconciler) parents() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		ref := metav1.GetControllerOfNoCopy(o)
		if ref == nil {
			return nil
		}
		gk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
		return r.requests(ctx, o.GetNamespace(), func(ws *appsv1alpha1.WorkloadSpread) bool {
			return resolve.Targets(ws, gk, ref.Name)
		})
	})
}

// adopters maps a stray to the WorkloadSpreads that may adopt it.
func (r *Reconciler) adopters() handler.TypedEventHandler[state.Stray, reconcile.Request] {
	return handler.TypedFuncs[state.Stray, reconcile.Request]{
		GenericFunc: func(ctx context.Context, e event.TypedGenericEvent[state.Stray], q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			for _, request := range r.requests(ctx, e.Object.Namespace, func(ws *appsv1alpha1.WorkloadSpread) bool {
				ours, err := r.Pods.Resolver.Belongs(ctx, ws, e.Object)
				return ours || err != nil // when in doubt the pass finds out
			}) {
				q.AddAfter(request, settle)
			}
		},
	}
}

// requests returns the WorkloadSpreads of a namespace that are meant.
func (r *Reconciler) requests(ctx context.Context, namespace string, meant func(*appsv1alpha1.WorkloadSpread) bool) []reconcile.Request {
	var list appsv1alpha1.WorkloadSpreadList
	if err := r.Reader.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil // the cache is stopping
	}
	var out []reconcile.Request
	for i := range list.Items {
		if meant(&list.Items[i]) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return out
}

// later enqueues after the settling time; the queue keeps the earliest of several.
func later() handler.TypedEventHandler[types.NamespacedName, reconcile.Request] {
	return handler.TypedFuncs[types.NamespacedName, reconcile.Request]{
		GenericFunc: func(_ context.Context, e event.TypedGenericEvent[types.NamespacedName], q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			q.AddAfter(reconcile.Request{NamespacedName: e.Object}, settle)
		},
	}
}

// claimed enqueues, after the settling time, a WorkloadSpread in which a replica has entered claims:
// their time has to be watched.
func claimed(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	if ws, ok := e.ObjectNew.(*appsv1alpha1.WorkloadSpread); ok && len(ledger.ClaimsOf(ws)) > 0 {
		q.AddAfter(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(ws)}, settle)
	}
}

// replicasChanged lets in the changes of a workload that move limits.
func replicasChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return replicas(e.ObjectOld) != replicas(e.ObjectNew)
	}}
}

// revisionChanged lets in ReplicaSets that are new, or that a rollback has made the newest again.
func revisionChanged() predicate.Predicate {
	return predicate.Funcs{
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			for _, key := range resolve.RevisionAnnotations {
				if e.ObjectOld.GetAnnotations()[key] != e.ObjectNew.GetAnnotations()[key] {
					return true
				}
			}
			return false
		},
	}
}

func replicas(o client.Object) int32 {
	var n *int32
	switch w := o.(type) {
	case *appsv1.Deployment:
		n = w.Spec.Replicas
	case *appsv1.ReplicaSet:
		n = w.Spec.Replicas
	}
	if n == nil {
		return 1
	}
	return *n
}
