package provider

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// alternative is what the labels of a node have to be, all of it, for a profile to recognise it.
type alternative []corev1.NodeSelectorRequirement

// alternatives returns those of a profile that go by labels alone.
func (p *Profile) alternatives() []alternative {
	var out []alternative
	for _, m := range p.Nodes {
		if m.Taint != nil || m.Selector == nil {
			continue
		}
		var a alternative
		for _, key := range sorted(m.Selector.MatchLabels) {
			a = append(a, corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{m.Selector.MatchLabels[key]}})
		}
		for _, e := range m.Selector.MatchExpressions { // the operators have the same names
			a = append(a, corev1.NodeSelectorRequirement{Key: e.Key, Operator: corev1.NodeSelectorOperator(e.Operator), Values: slices.Clone(e.Values)})
		}
		if len(a) > 0 {
			out = append(out, a)
		}
	}
	return out
}

// widest returns the alternatives of all profiles, without those that are special cases of others.
func (c *Catalog) widest() []alternative {
	var out []alternative
	for _, p := range c.profiles {
		for _, a := range p.alternatives() {
			if slices.ContainsFunc(out, a.within) {
				continue
			}
			out = slices.DeleteFunc(out, func(narrow alternative) bool { return narrow.within(a) })
			out = append(out, a)
		}
	}
	return out
}

// within reports whether every node that has these labels has those of the other alternative.
func (a alternative) within(other alternative) bool {
	term := &corev1.NodeSelectorTerm{MatchExpressions: a}
	return !slices.ContainsFunc(other, func(r corev1.NodeSelectorRequirement) bool { return !requires(term, r) })
}

// requires is implies for a requirement of a node term.
func requires(term *corev1.NodeSelectorTerm, want corev1.NodeSelectorRequirement) bool {
	return implies(term, metav1.LabelSelectorRequirement{Key: want.Key, Operator: metav1.LabelSelectorOperator(want.Operator), Values: want.Values})
}

// negated returns what holds for exactly the nodes for which the requirement does not. Like the requirement, NotIn
// holds for a node without the label.
func negated(r corev1.NodeSelectorRequirement) corev1.NodeSelectorRequirement {
	opposite := map[corev1.NodeSelectorOperator]corev1.NodeSelectorOperator{
		corev1.NodeSelectorOpIn: corev1.NodeSelectorOpNotIn, corev1.NodeSelectorOpNotIn: corev1.NodeSelectorOpIn,
		corev1.NodeSelectorOpExists: corev1.NodeSelectorOpDoesNotExist, corev1.NodeSelectorOpDoesNotExist: corev1.NodeSelectorOpExists,
	}
	return corev1.NodeSelectorRequirement{Key: r.Key, Operator: opposite[r.Operator], Values: slices.Clone(r.Values)}
}

// exclude returns terms that select what the given ones do, less the nodes with the labels of an alternative. No
// terms stand for every node.
func exclude(terms []corev1.NodeSelectorTerm, a alternative) []corev1.NodeSelectorTerm {
	if len(terms) == 0 {
		var out []corev1.NodeSelectorTerm
		for _, r := range a {
			out = append(out, corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{negated(r)}})
		}
		return out
	}
	out := slices.Clone(terms)
	for i := range terms {
		missing := a.missing(&terms[i])
		for k, r := range missing {
			t := terms[i].DeepCopy()
			t.MatchExpressions = append(t.MatchExpressions, negated(r))
			if k == 0 {
				out[i] = *t
			} else {
				out = append(out, *t)
			}
		}
	}
	return out
}

// missing returns the requirements of which one has to fail for a term to select no node with these labels: none if
// the term selects none anyway. Those that the term asks for itself cannot fail; if it asks for
// all, the first makes the term one that selects nothing.
func (a alternative) missing(t *corev1.NodeSelectorTerm) []corev1.NodeSelectorRequirement {
	if empty(*t) || slices.ContainsFunc(a, func(r corev1.NodeSelectorRequirement) bool { return requires(t, negated(r)) }) {
		return nil
	}
	open := slices.DeleteFunc(slices.Clone(a), func(r corev1.NodeSelectorRequirement) bool { return requires(t, r) })
	if len(open) == 0 {
		return a[:1]
	}
	return open
}

// unless adds to every term that it does not select a node. No terms stand for every node.
func unless(terms []corev1.NodeSelectorTerm, node *corev1.Node) []corev1.NodeSelectorTerm {
	not := byName(node, corev1.NodeSelectorOpNotIn)
	if len(terms) == 0 {
		return []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{not}}}
	}
	out := slices.Clone(terms)
	for i := range out {
		if selects(out[i:i+1], node) {
			t := out[i].DeepCopy()
			t.MatchFields = append(t.MatchFields, not)
			out[i] = *t
		}
	}
	return out
}

// byName selects a node, or all others, by its name: a field, of which each requirement takes one value.
func byName(node *corev1.Node, operator corev1.NodeSelectorOperator) corev1.NodeSelectorRequirement {
	return corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: operator, Values: []string{node.Name}}
}

// selects reports whether one of the terms selects a node. No terms stand for every node; a term that is invalid
// selects none.
func selects(terms []corev1.NodeSelectorTerm, node *corev1.Node) bool {
	if len(terms) == 0 {
		return true
	}
	return slices.ContainsFunc(terms, func(t corev1.NodeSelectorTerm) bool {
		selector, err := nodeaffinity.NewNodeSelector(&corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{t}})
		return err == nil && selector.Match(node)
	})
}

// empty reports whether a term selects nothing, because it asks for nothing (Kubernetes API).
func empty(t corev1.NodeSelectorTerm) bool { return len(t.MatchExpressions)+len(t.MatchFields) == 0 }
