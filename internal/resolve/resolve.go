package resolve

import (
	"context"
	"fmt"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/workload"
)

// Resolver is safe for concurrent use.
type Resolver struct {
	// Cache reads from informers, Live from the API server.
	Cache, Live client.Reader
	// Mapper finds the served version of a kind.
	Mapper meta.RESTMapper
	// Scales reads scale subresources, of custom kinds.
	Scales client.SubResourceClientConstructor
	// Kinds returns the kinds that are known now; nil for the built-in ones.
	Kinds func() *workload.Kinds
	// Links remembers owners of kinds that no informer watches.
	Links *Links
	// Away reports whether Spillway is kept away from a namespace's pods, so that none is adopted there; nil for
	// nowhere.
	Away func(ctx context.Context, namespace string) (bool, error)
	// Wishes remembers what ReplicaSets wanted; nil knows nothing.
	Wishes *Wishes
}

// Known returns the kinds that are known now.
func (r *Resolver) Known() *workload.Kinds {
	if r.Kinds == nil {
		return nil
	}
	return r.Kinds()
}

// Match is what was found for a pod. Spread is shared with the cache and must not be written to.
type Match struct {
	Spread *appsv1alpha1.WorkloadSpread
	// Owner is the pod's controller.
	Owner ledger.Owner
	// Kind is what is known of the controller's kind.
	Kind workload.Kind
	// Version is the pod's template version, Revision that of kinds that are updated in place.
	Version, Revision string
	// Numbered: the target numbers this pod, and its subset follows from the number.
	Numbered bool
}

// Pod returns the WorkloadSpread that selects a pod to be created in the namespace, or nil. Several
// candidates are settled by name, so that every replica decides alike.
func (r *Resolver) Pod(ctx context.Context, namespace string, pod *corev1.Pod) (*Match, error) {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil {
		return nil, nil //nolint:nilnil // no match is an answer
	}
	kinds := r.Known()
	kind, known := kinds.Lookup(groupKind(ref))
	if !known {
		return nil, nil //nolint:nilnil // as above
	}
	spreads, err := r.candidates(ctx, namespace, pod)
	if err != nil || len(spreads) == 0 {
		return nil, err
	}
	match := &Match{
		Kind:     kind,
		Owner:    ledger.Owner{Kind: kind.GroupKind, Namespace: namespace, Name: ref.Name, UID: ref.UID},
		Version:  workload.VersionOf(kind.GroupKind, pod.Labels),
		Revision: workload.RevisionOf(pod.Labels),
	}
	for ref != nil {
		if match.Spread = targeting(spreads, ref); match.Spread != nil {
			match.Numbered = kind.Ordinals && ref.UID == match.Owner.UID
			break
		}
		if ref, err = r.parent(ctx, namespace, ref); err != nil {
			return nil, err
		}
	}
	if match.Spread == nil {
		return nil, nil //nolint:nilnil // as above
	}
	match.Owner.Demand = r.cachedDemand(ctx, match)
	return match, nil
}

// candidates returns the WorkloadSpreads of a namespace whose filter selects the pod.
func (r *Resolver) candidates(ctx context.Context, namespace string, pod *corev1.Pod) ([]*appsv1alpha1.WorkloadSpread, error) {
	var list appsv1alpha1.WorkloadSpreadList
	if err := r.Cache.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the WorkloadSpreads of namespace %s: %w", namespace, err)
	}
	var found []*appsv1alpha1.WorkloadSpread
	for i := range list.Items {
		ws := &list.Items[i]
		if ws.DeletionTimestamp != nil || ws.Spec.TargetReference == nil {
			continue
		}
		ok, err := Selects(ws, pod.Labels)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, ws)
		}
	}
	return found, nil
}

// Selects reports whether the targetFilter of a WorkloadSpread lets pods with these labels in. No
// filter, and a filter without a selector, let every pod in.
func Selects(ws *appsv1alpha1.WorkloadSpread, podLabels map[string]string) (bool, error) {
	if ws.Spec.TargetFilter == nil || ws.Spec.TargetFilter.Selector == nil {
		return true, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(ws.Spec.TargetFilter.Selector)
	if err != nil {
		return false, fmt.Errorf("read spec.targetFilter.selector of WorkloadSpread %s/%s: %w", ws.Namespace, ws.Name, err)
	}
	return selector.Matches(labels.Set(podLabels)), nil
}

// targeting returns the first WorkloadSpread, by name, whose target is the referenced object. The
// version of the API and the UID do not matter.
func targeting(spreads []*appsv1alpha1.WorkloadSpread, ref *metav1.OwnerReference) *appsv1alpha1.WorkloadSpread {
	var first *appsv1alpha1.WorkloadSpread
	for _, ws := range spreads {
		if Targets(ws, groupKind(ref), ref.Name) && (first == nil || strings.Compare(ws.Name, first.Name) < 0) {
			first = ws
		}
	}
	return first
}

// Targets reports whether the object of this kind and name is the target of a WorkloadSpread.
func Targets(ws *appsv1alpha1.WorkloadSpread, gk schema.GroupKind, name string) bool {
	t := ws.Spec.TargetReference
	return t != nil && t.Name == name && schema.FromAPIVersionAndKind(t.APIVersion, t.Kind).GroupKind() == gk
}

func groupKind(ref *metav1.OwnerReference) schema.GroupKind {
	return schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
}

// replicasOf applies the API's default for an absent replica count.
func replicasOf(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}
