package workloadspread

import (
	"context"
	"fmt"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
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
	"github.com/spillway-project/spillway/internal/workload"
)

// +kubebuilder:rbac:groups=apps.kruise.io,resources=workloadspreads,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=workloadspreads/status,verbs=update
// +kubebuilder:rbac:groups=apps,resources=deployments;replicasets,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// settle is how long changes of pods are collected before the status follows. Claims bring the
// counts up to date by themselves; this is for what happens between them.
const settle = 500 * time.Millisecond

// Setup adds the controller to the manager. changed brings the WorkloadSpreads whose pods changed.
func (r *Reconciler) Setup(mgr manager.Manager, workers int, changed <-chan event.TypedGenericEvent[types.NamespacedName]) error {
	err := builder.ControllerManagedBy(mgr).
		Named("workloadspread").
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		For(&appsv1alpha1.WorkloadSpread{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&appsv1alpha1.WorkloadSpread{}, handler.Funcs{UpdateFunc: claimed}).
		Watches(&appsv1.Deployment{}, r.targets(workload.Deployment), builder.WithPredicates(replicasChanged())).
		Watches(&appsv1.ReplicaSet{}, r.targets(workload.ReplicaSet), builder.WithPredicates(replicasChanged())).
		WatchesRawSource(source.TypedChannel(changed, later())).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the controller of WorkloadSpreads: %w", err)
	}
	return nil
}

// targets maps a workload to the WorkloadSpreads on it.
func (r *Reconciler) targets(gk schema.GroupKind) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		var list appsv1alpha1.WorkloadSpreadList
		if err := r.Reader.List(ctx, &list, client.InNamespace(o.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
			return nil // the cache is stopping
		}
		var out []reconcile.Request
		for i := range list.Items {
			if resolve.Targets(&list.Items[i], gk, o.GetName()) {
				out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
			}
		}
		return out
	})
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
