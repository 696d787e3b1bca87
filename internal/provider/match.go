package provider

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	config "github.com/spillway-project/spillway/api/config/v1alpha1"
)

// matches reports whether one of the alternatives recognises the node.
func (p *Profile) matches(node *corev1.Node) bool {
	for i := range p.Nodes {
		m := &p.Nodes[i]
		if (m.Selector != nil || m.Taint != nil) && p.labelled(i, node) && tainted(m.Taint, node) {
			return true
		}
	}
	return false
}

// labelled reports whether the node has the labels of the i-th alternative.
func (p *Profile) labelled(i int, node *corev1.Node) bool {
	return p.Nodes[i].Selector == nil || (p.selectors[i] != nil && p.selectors[i].Matches(labels.Set(node.Labels)))
}

func tainted(match *config.TaintMatch, node *corev1.Node) bool {
	return match == nil || slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return marks(match, &t) })
}

// marks reports whether a taint is the one by which a node is recognised.
func marks(match *config.TaintMatch, t *corev1.Taint) bool {
	return t.Key == match.Key && (match.Value == "" || t.Value == match.Value) && (match.Effect == "" || t.Effect == match.Effect)
}

// impliedBy reports whether one of the alternatives recognises every node that the term could select.
func (p *Profile) impliedBy(term *corev1.NodeSelectorTerm) bool {
	return slices.ContainsFunc(p.Nodes, func(m config.VirtualNodeMatch) bool {
		if m.Taint != nil || m.Selector == nil {
			return false
		}
		for key, value := range m.Selector.MatchLabels {
			if !implies(term, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{value}}) {
				return false
			}
		}
		for _, want := range m.Selector.MatchExpressions {
			if !implies(term, want) {
				return false
			}
		}
		return true
	})
}

// implies reports whether one of the term's requirements is at least as strict as the wanted one.
func implies(term *corev1.NodeSelectorTerm, want metav1.LabelSelectorRequirement) bool {
	return slices.ContainsFunc(term.MatchExpressions, func(have corev1.NodeSelectorRequirement) bool {
		if have.Key != want.Key {
			return false
		}
		switch want.Operator {
		case metav1.LabelSelectorOpIn:
			return have.Operator == corev1.NodeSelectorOpIn && within(have.Values, want.Values)
		case metav1.LabelSelectorOpExists: // whatever else asks something of the label's value
			return slices.Contains([]corev1.NodeSelectorOperator{corev1.NodeSelectorOpIn, corev1.NodeSelectorOpExists, corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt}, have.Operator)
		case metav1.LabelSelectorOpDoesNotExist:
			return have.Operator == corev1.NodeSelectorOpDoesNotExist
		case metav1.LabelSelectorOpNotIn:
			return have.Operator == corev1.NodeSelectorOpDoesNotExist ||
				(have.Operator == corev1.NodeSelectorOpNotIn && within(want.Values, have.Values))
		default:
			return false
		}
	})
}

// within reports whether all values are among others. No values are within nothing: such a requirement is invalid.
func within(values, others []string) bool {
	return len(values) > 0 && !slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(others, v) })
}
