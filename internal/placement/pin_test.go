package placement

import (
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

func TestThePinTellsTheSubset(t *testing.T) {
	exists := func(keys ...string) corev1.NodeSelectorTerm {
		var t corev1.NodeSelectorTerm
		for _, k := range keys {
			t.MatchExpressions = append(t.MatchExpressions, corev1.NodeSelectorRequirement{Key: k, Operator: corev1.NodeSelectorOpExists})
		}
		return t
	}
	subsets := []appsv1alpha1.WorkloadSpreadSubset{{Name: "loose"}}
	for _, keys := range [][]string{{"a"}, {"b"}, {"b", "c"}} {
		term := exists(keys...)
		subsets = append(subsets, appsv1alpha1.WorkloadSpreadSubset{RequiredNodeSelectorTerm: &term})
	}
	for name, tc := range map[string]struct {
		terms []corev1.NodeSelectorTerm
		not   int
		want  int
	}{
		"its own term":                 {[]corev1.NodeSelectorTerm{exists("a")}, -1, 1},
		"with what the pod had":        {[]corev1.NodeSelectorTerm{exists("x", "b")}, -1, 2},
		"the one that asks for most":   {[]corev1.NodeSelectorTerm{exists("c", "b")}, -1, 3},
		"the first of two alike":       {[]corev1.NodeSelectorTerm{exists("a", "b")}, -1, 1},
		"the other, if that is not it": {[]corev1.NodeSelectorTerm{exists("c", "b")}, 3, 2},
		"not in every alternative":     {[]corev1.NodeSelectorTerm{exists("a"), exists("x")}, -1, -1},
		"in every one":                 {[]corev1.NodeSelectorTerm{exists("a"), exists("a", "x")}, -1, 1},
		"a term that matches no node":  {[]corev1.NodeSelectorTerm{{}, exists("a")}, -1, 1},
		"nothing but such":             {[]corev1.NodeSelectorTerm{{}}, -1, -1},
		"something else":               {[]corev1.NodeSelectorTerm{exists("x")}, -1, -1},
	} {
		if got := Pinned(&corev1.NodeSelector{NodeSelectorTerms: tc.terms}, subsets, func(i int) bool { return i != tc.not }); got != tc.want {
			t.Errorf("%s: got %d, want %d", name, got, tc.want)
		}
	}
	if got := Pinned(nil, subsets, func(int) bool { return true }); got != -1 {
		t.Errorf("without terms: %d", got)
	}
}
