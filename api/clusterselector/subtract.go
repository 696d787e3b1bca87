package clusterselector

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// subtract takes what was added out of an affinity. What somebody else added since stays.
func (a Added) subtract(affinity *corev1.Affinity) *corev1.Affinity {
	if affinity == nil || affinity.NodeAffinity == nil {
		return affinity
	}
	n := affinity.NodeAffinity
	n.PreferredDuringSchedulingIgnoredDuringExecution = remove(n.PreferredDuringSchedulingIgnoredDuringExecution, a.Preferred)
	if required := n.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		required.NodeSelectorTerms = a.subtractTerms(required.NodeSelectorTerms)
		if len(required.NodeSelectorTerms) == 0 && a.Created != "" && len(a.Required) > 0 {
			n.RequiredDuringSchedulingIgnoredDuringExecution = nil
		}
	}
	empty := n.RequiredDuringSchedulingIgnoredDuringExecution == nil && len(n.PreferredDuringSchedulingIgnoredDuringExecution) == 0
	if empty && (a.Created == "nodeAffinity" || a.Created == "affinity") {
		affinity.NodeAffinity = nil
	}
	if *affinity == (corev1.Affinity{}) && a.Created == "affinity" {
		return nil
	}
	return affinity
}

// subtractTerms goes from the last term to the first, so that indices hold while new ones are removed.
func (a Added) subtractTerms(terms []corev1.NodeSelectorTerm) []corev1.NodeSelectorTerm {
	for i := len(a.Required) - 1; i >= 0; i-- {
		added := &a.Required[i]
		if added.Term < 0 || added.Term >= len(terms) {
			continue
		}
		t := &terms[added.Term]
		t.MatchExpressions = remove(t.MatchExpressions, added.MatchExpressions)
		t.MatchFields = remove(t.MatchFields, added.MatchFields)
		if added.New && len(t.MatchExpressions)+len(t.MatchFields) == 0 {
			terms = append(terms[:added.Term:added.Term], terms[added.Term+1:]...)
		}
	}
	return terms
}

// remove takes one equal element, the last, out of the list for each of those given. A list that becomes empty is
// nil.
func remove[T any](list, added []T) []T {
	for _, a := range slices.Backward(added) {
		for j, have := range slices.Backward(list) {
			if equality.Semantic.DeepEqual(have, a) {
				list = append(list[:j:j], list[j+1:]...)
				break
			}
		}
	}
	if len(list) == 0 && len(added) > 0 {
		return nil
	}
	return list
}

// removePairs takes pairs out of a map as far as their values are still the same. A map that becomes empty is nil.
func removePairs(from, pairs map[string]string) map[string]string {
	for key, value := range pairs {
		if have, ok := from[key]; ok && have == value {
			delete(from, key)
		}
	}
	if len(from) == 0 && len(pairs) > 0 {
		return nil
	}
	return from
}
