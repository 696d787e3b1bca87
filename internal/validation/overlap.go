package validation

import (
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// Overlap reports whether two WorkloadSpreads may select the same pods: they have the same target
// (group, kind and name), and their selectors are not provably disjoint.
func Overlap(a, b *appsv1alpha1.WorkloadSpread) bool {
	x, y := a.Spec.TargetReference, b.Spec.TargetReference
	if groupKind(x) != groupKind(y) || x.Name != y.Name {
		return false
	}
	return !disjoint(selector(a), selector(b))
}

func selector(ws *appsv1alpha1.WorkloadSpread) *metav1.LabelSelector {
	if ws.Spec.TargetFilter == nil {
		return nil
	}
	return ws.Spec.TargetFilter.Selector
}

// disjoint reports whether some label key is required by both selectors with no value in common.
func disjoint(a, b *metav1.LabelSelector) bool {
	if a == nil || b == nil {
		return false
	}
	of := allowed(b)
	for key, values := range allowed(a) {
		if other, ok := of[key]; ok && !values.HasAny(other.UnsortedList()...) {
			return true
		}
	}
	return false
}

// allowed returns, for each key that the selector requires, the values it allows.
func allowed(s *metav1.LabelSelector) map[string]sets.Set[string] {
	out := make(map[string]sets.Set[string])
	narrow := func(key string, values ...string) {
		if have, ok := out[key]; ok {
			out[key] = have.Intersection(sets.New(values...))
			return
		}
		out[key] = sets.New(values...)
	}
	for k, v := range s.MatchLabels {
		narrow(k, v)
	}
	for _, e := range s.MatchExpressions {
		if e.Operator == metav1.LabelSelectorOpIn {
			narrow(e.Key, e.Values...)
		}
	}
	return out
}
