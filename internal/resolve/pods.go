package resolve

import (
	"context"
	"fmt"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/state"
)

// Pods is the ledger's port to pods: the replica's own view, and lists from the API server.
type Pods struct {
	*state.Pods
	Resolver *Resolver
}

// ListSpread implements ledger.Pods: the pods recorded on the WorkloadSpread, among those that the
// target selects.
func (p *Pods) ListSpread(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (spread.View, error) {
	selector, err := p.Resolver.Selector(ctx, ws)
	if err != nil {
		return spread.View{}, err
	}
	want := types.NamespacedName{Namespace: ws.Namespace, Name: ws.Name}
	return p.list(ctx, ws.Namespace, selector, func(key types.NamespacedName, _ *spread.Pod) bool {
		return key == want
	})
}

// ListOwner implements ledger.Pods.
func (p *Pods) ListOwner(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, owner ledger.Owner) (spread.View, error) {
	var rs appsv1.ReplicaSet
	key := types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}
	var selector *metav1.LabelSelector // every pod of the namespace, should the owner be gone
	switch err := p.Resolver.Live.Get(ctx, key, &rs); {
	case err == nil && rs.UID == owner.UID:
		selector = rs.Spec.Selector
	case err != nil && !apierrors.IsNotFound(err):
		return spread.View{}, fmt.Errorf("read ReplicaSet %s: %w", key, err)
	}
	want := types.NamespacedName{Namespace: ws.Namespace, Name: ws.Name}
	return p.list(ctx, owner.Namespace, selector, func(key types.NamespacedName, pod *spread.Pod) bool {
		if key != want { // alive, but without an assignment here
			pod.Subset, pod.Token = "", ""
		}
		return pod.Owner == owner.UID
	})
}

// list reads pods live and keeps those that keep accepts. The list is consistent: it shows every pod
// that was stored before the call.
func (p *Pods) list(ctx context.Context, namespace string, selector *metav1.LabelSelector, keep func(types.NamespacedName, *spread.Pod) bool) (spread.View, error) {
	where := labels.Everything()
	if selector != nil {
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil {
			return spread.View{}, fmt.Errorf("read a workload's selector: %w", err)
		}
		where = s
	}
	var pods corev1.PodList
	if err := p.Resolver.Live.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: where}); err != nil {
		return spread.View{}, fmt.Errorf("list pods of namespace %s: %w", namespace, err)
	}
	revision, err := state.Revision(pods.ResourceVersion)
	if err != nil {
		return spread.View{}, fmt.Errorf("list pods of namespace %s: %w", namespace, err)
	}
	v := spread.View{Revision: revision}
	for i := range pods.Items {
		if key, pod := state.FromPod(&pods.Items[i]); keep(key, pod) {
			v.Pods = append(v.Pods, pod)
		}
	}
	return v, nil
}
