package sidecarset

import (
	"context"
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// +kubebuilder:rbac:groups=apps.kruise.io,resources=sidecarsets,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=sidecarsets/status,verbs=get;patch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=sidecarsets/finalizers,verbs=update
// +kubebuilder:rbac:groups=apps,namespace=system,resources=controllerrevisions,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups="",resources=pods/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=pods/eviction,verbs=create
// +kubebuilder:rbac:groups="",resources=pods/resize,verbs=patch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// settle is how long changes of pods are gathered before a set is looked at again: a rollout of a
// thousand pods should not cost a thousand counts.
const settle = 200 * time.Millisecond

// Setup registers the controller with the manager. Objects come from the given cache.
func (r *Reconciler) Setup(mgr manager.Manager, objects cache.Cache, workers int) error {
	err := builder.ControllerManagedBy(mgr).
		Named("sidecarset").
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		WatchesRawSource(source.Kind(objects, &sidecar.SidecarSet{}, sets())).
		WatchesRawSource(source.Kind(objects, &corev1.Pod{}, podEvents())).
		WatchesRawSource(source.Kind(objects, &corev1.Namespace{}, r.namespaces())).
		WatchesRawSource(source.Kind(objects, &appsv1.ControllerRevision{}, revisions())).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the controller of SidecarSets: %w", err)
	}
	return nil
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

func request(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKey{Name: name}}
}

// sets: everything but the status, which is our own.
func sets() handler.TypedFuncs[*sidecar.SidecarSet, reconcile.Request] {
	return handler.TypedFuncs[*sidecar.SidecarSet, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*sidecar.SidecarSet], q queue) {
			q.Add(request(e.Object.Name))
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*sidecar.SidecarSet], q queue) {
			q.Add(request(e.Object.Name))
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*sidecar.SidecarSet], q queue) {
			before, after := e.ObjectOld, e.ObjectNew
			if before.Generation != after.Generation || before.UID != after.UID ||
				!maps.Equal(before.Labels, after.Labels) || !maps.Equal(before.Annotations, after.Annotations) {
				q.Add(request(after.Name))
			}
		},
	}
}

// podEvents: whatever happens to a pod concerns the sets that were injected into it.
func podEvents() handler.TypedFuncs[*corev1.Pod, reconcile.Request] {
	add := func(q queue, pods ...*corev1.Pod) {
		for _, pod := range pods {
			for _, name := range sidecar.ParseList(pod.Annotations) {
				q.AddAfter(request(name), settle)
			}
		}
	}
	return handler.TypedFuncs[*corev1.Pod, reconcile.Request]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*corev1.Pod], q queue) { add(q, e.Object) },
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*corev1.Pod], q queue) { add(q, e.Object) },
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*corev1.Pod], q queue) {
			if e.ObjectOld.ResourceVersion != e.ObjectNew.ResourceVersion {
				add(q, e.ObjectOld, e.ObjectNew)
			}
		},
	}
}

// namespaces: a label that changes may move pods into a set's scope, or out of it.
func (r *Reconciler) namespaces() handler.TypedFuncs[*corev1.Namespace, reconcile.Request] {
	return handler.TypedFuncs[*corev1.Namespace, reconcile.Request]{
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*corev1.Namespace], q queue) {
			if maps.Equal(e.ObjectOld.Labels, e.ObjectNew.Labels) {
				return
			}
			for _, set := range r.Sets.All() {
				if set.NeedsNamespace() && set.InNamespace(e.ObjectNew.Name, e.ObjectOld.Labels) != set.InNamespace(e.ObjectNew.Name, e.ObjectNew.Labels) {
					q.AddAfter(request(set.Name()), settle)
				}
			}
		},
	}
}

// revisions: one that somebody deleted is recorded again.
func revisions() handler.TypedFuncs[*appsv1.ControllerRevision, reconcile.Request] {
	return handler.TypedFuncs[*appsv1.ControllerRevision, reconcile.Request]{
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*appsv1.ControllerRevision], q queue) {
			if owner := metav1.GetControllerOfNoCopy(e.Object); owner != nil && owner.Kind == sidecar.Kind {
				q.AddAfter(request(owner.Name), settle)
			}
		},
	}
}

// Index lets pods and revisions be found by their sets. It is to be called before the cache starts.
func Index(ctx context.Context, objects client.FieldIndexer) error {
	err := objects.IndexField(ctx, &corev1.Pod{}, IndexInjected, func(o client.Object) []string {
		return sidecar.ParseList(o.GetAnnotations())
	})
	if err != nil {
		return fmt.Errorf("index pods by SidecarSet: %w", err)
	}
	if err := objects.IndexField(ctx, &appsv1.ControllerRevision{}, IndexRevision, RevisionIndex); err != nil {
		return fmt.Errorf("index ControllerRevisions by SidecarSet: %w", err)
	}
	return nil
}

// IndexRevision is the field by which ControllerRevisions are found: the name of their set.
const IndexRevision = "spillway.sidecarset"

// RevisionIndex returns the values of IndexRevision.
func RevisionIndex(o client.Object) []string {
	if name, ok := o.GetLabels()[v1alpha1.LabelSidecarSetName]; ok {
		return []string{name}
	}
	return nil
}
