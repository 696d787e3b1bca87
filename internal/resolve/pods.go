package resolve

import (
	"context"
	"fmt"
	"slices"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// Stem draws the random part of a token.
	Stem func() string
	// Sites tells subsets of virtual nodes; nil takes all for own nodes.
	Sites *Sites
}

// ListSpread implements ledger.Pods: the pods recorded on the WorkloadSpread, among those that the
// target selects. As long as the controller has not seen the WorkloadSpread, running pods without an
// assignment count where they are about to be adopted.
func (p *Pods) ListSpread(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (spread.View, error) {
	selector, err := p.Resolver.Selector(ctx, ws)
	if err != nil {
		return spread.View{}, err
	}
	list, err := p.Resolver.listPods(ctx, ws.Namespace, selector)
	if err != nil {
		return spread.View{}, err
	}
	want := types.NamespacedName{Namespace: ws.Namespace, Name: ws.Name}
	v, err := p.viewOf(list, func(key types.NamespacedName, _ *spread.Pod) bool { return key == want })
	if err != nil {
		return v, err
	}
	if ws.Status.ObservedGeneration == ws.Generation {
		return v, p.addPinned(ctx, ws, &v, strays(list, p.Pods))
	}
	adoptions, err := p.adopt(ctx, ws, list)
	if err != nil {
		return spread.View{}, err
	}
	for _, a := range adoptions {
		if a.Claimed {
			continue // that counts already
		}
		_, facts := state.FromPod(a.Pod)
		facts.Subset, facts.Token = a.Plan.Record.Subset, spread.Token(a.Plan.Record.UID)
		v.Pods = append(v.Pods, facts)
	}
	return v, nil
}

// ListOwner implements ledger.Pods.
func (p *Pods) ListOwner(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, owner ledger.Owner) (spread.View, error) {
	selector, err := p.Resolver.ownerSelector(ctx, owner)
	if err != nil {
		return spread.View{}, err
	}
	list, err := p.Resolver.listPods(ctx, owner.Namespace, selector)
	if err != nil {
		return spread.View{}, err
	}
	want := types.NamespacedName{Namespace: ws.Namespace, Name: ws.Name}
	v, err := p.viewOf(list, func(key types.NamespacedName, pod *spread.Pod) bool {
		if key != want { // alive, but without an assignment here
			pod.Subset, pod.Token = "", ""
		}
		return pod.Owner == owner.UID
	})
	if err != nil {
		return v, err
	}
	found := slices.DeleteFunc(strays(list, p.Pods), func(s state.Stray) bool { return s.Owner.UID != owner.UID })
	return v, p.addPinned(ctx, ws, &v, found)
}

// listPods reads pods live. The list is consistent: it shows every pod that was stored before the
// call. A nil selector selects all.
func (r *Resolver) listPods(ctx context.Context, namespace string, selector *metav1.LabelSelector) (*corev1.PodList, error) {
	where, err := everything(selector)
	if err != nil {
		return nil, err
	}
	var pods corev1.PodList
	if err := r.Live.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: where}); err != nil {
		return nil, fmt.Errorf("list pods of namespace %s: %w", namespace, err)
	}
	return &pods, nil
}

// viewOf reduces a list to the pods that keep accepts.
func (p *Pods) viewOf(list *corev1.PodList, keep func(types.NamespacedName, *spread.Pod) bool) (spread.View, error) {
	revision, err := state.Revision(list.ResourceVersion)
	if err != nil {
		return spread.View{}, fmt.Errorf("read a list of pods: %w", err)
	}
	v := spread.View{Revision: revision}
	for i := range list.Items {
		if key, pod := p.Facts(&list.Items[i]); keep(key, pod) {
			v.Pods = append(v.Pods, pod)
		}
	}
	return v, nil
}
