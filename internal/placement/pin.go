package placement

import (
	"fmt"
	"slices"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// pin adds the subset's node terms: preferred ones to the list, the required one into every term
// that the pod has, because terms are alternatives (kruise-api requiredNodeSelectorTerm).
func pin(pod *corev1.Pod, subset *appsv1alpha1.WorkloadSpreadSubset) {
	if subset.RequiredNodeSelectorTerm == nil && len(subset.PreferredNodeSelectorTerms) == 0 {
		return
	}
	if pod.Spec.Affinity == nil {
		pod.Spec.Affinity = &corev1.Affinity{}
	}
	if pod.Spec.Affinity.NodeAffinity == nil {
		pod.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	node := pod.Spec.Affinity.NodeAffinity
	for _, t := range subset.PreferredNodeSelectorTerms {
		node.PreferredDuringSchedulingIgnoredDuringExecution = addMissing(node.PreferredDuringSchedulingIgnoredDuringExecution, t)
	}
	if subset.RequiredNodeSelectorTerm != nil {
		require(node, subset.RequiredNodeSelectorTerm)
	}
}

func require(node *corev1.NodeAffinity, term *corev1.NodeSelectorTerm) {
	if node.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		node.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{}
	}
	required := node.RequiredDuringSchedulingIgnoredDuringExecution
	if len(required.NodeSelectorTerms) == 0 {
		required.NodeSelectorTerms = []corev1.NodeSelectorTerm{*term.DeepCopy()}
		return
	}
	for i := range required.NodeSelectorTerms {
		t := &required.NodeSelectorTerms[i]
		if matchesNone(*t) {
			continue // with the subset's term added it would match some
		}
		for _, e := range term.MatchExpressions {
			t.MatchExpressions = addMissing(t.MatchExpressions, *e.DeepCopy())
		}
		for _, f := range term.MatchFields {
			t.MatchFields = addMissing(t.MatchFields, *f.DeepCopy())
		}
	}
}

// verify checks that the pin is on the pod.
func verify(pod *corev1.Pod, subset *appsv1alpha1.WorkloadSpreadSubset) error {
	term := subset.RequiredNodeSelectorTerm
	if term == nil {
		return nil
	}
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return fmt.Errorf("subset %q: requiredNodeSelectorTerm did not reach the pod", subset.Name)
	}
	if !inEach(affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms, term) {
		return fmt.Errorf("subset %q: requiredNodeSelectorTerm did not reach every term of the pod", subset.Name)
	}
	return nil
}

// Pinned finds the subset whose pin a pod's required node terms carry: its own required term is in each of them. Of several
// the one that asks for most counts, and of those the first; only those for which among answers true. A pin is in the
// pod's spec, which nobody can overwrite. The result is -1 for none.
func Pinned(required *corev1.NodeSelector, subsets []appsv1alpha1.WorkloadSpreadSubset, among func(i int) bool) int {
	best, most := -1, 0
	if required == nil {
		return best
	}
	for i := range subsets {
		pin := subsets[i].RequiredNodeSelectorTerm
		if pin == nil || !among(i) || !carries(required.NodeSelectorTerms, pin) {
			continue
		}
		if asks := len(pin.MatchExpressions) + len(pin.MatchFields); asks > most {
			best, most = i, asks
		}
	}
	return best
}

// carries reports whether a pin is in the terms: in one that matches nodes, and in each that does.
func carries(terms []corev1.NodeSelectorTerm, pin *corev1.NodeSelectorTerm) bool {
	return inEach(terms, pin) && slices.ContainsFunc(terms, func(t corev1.NodeSelectorTerm) bool { return !matchesNone(t) })
}

// inEach reports whether a pin is in each of the terms that matches nodes.
func inEach(terms []corev1.NodeSelectorTerm, pin *corev1.NodeSelectorTerm) bool {
	for _, t := range terms {
		if !matchesNone(t) && (!containsAll(t.MatchExpressions, pin.MatchExpressions) || !containsAll(t.MatchFields, pin.MatchFields)) {
			return false
		}
	}
	return true
}

// matchesNone reports whether a term is empty: it matches no node (Kubernetes API).
func matchesNone(t corev1.NodeSelectorTerm) bool {
	return len(t.MatchExpressions) == 0 && len(t.MatchFields) == 0
}

func containsAll(have, want []corev1.NodeSelectorRequirement) bool {
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h corev1.NodeSelectorRequirement) bool { return equality.Semantic.DeepEqual(h, w) }) {
			return false
		}
	}
	return true
}
