package provider

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Survey is the virtual nodes of a cluster as they are at a time. It must not be changed.
type Survey struct {
	catalog *Catalog
	nodes   []virtualNode
}

type virtualNode struct {
	node    *corev1.Node
	profile *Profile
}

// Survey looks at all nodes of a cluster. The nodes are kept, and not changed.
func (c *Catalog) Survey(nodes []*corev1.Node) *Survey {
	s := &Survey{catalog: c}
	for _, n := range nodes {
		if p := c.OfNode(n); p != nil {
			s.nodes = append(s.nodes, virtualNode{n, p})
		}
	}
	return s
}

// Catalog returns the profiles by which the nodes were recognised.
func (s *Survey) Catalog() *Catalog { return s.catalog }

// Profiles returns those that occur, in the catalog's order.
func (s *Survey) Profiles() []*Profile {
	return slices.DeleteFunc(slices.Clone(s.catalog.profiles), func(p *Profile) bool {
		return !slices.ContainsFunc(s.nodes, func(n virtualNode) bool { return n.profile == p })
	})
}

// Pin returns alternative node terms that select the nodes of a profile and no others: by the labels by which it is
// known, which those that come later have too; nodes that are known by a taint, as they are now, by their names.
// None: there is no such node, and no label would tell one.
func (s *Survey) Pin(p *Profile) []corev1.NodeSelectorTerm {
	var terms []corev1.NodeSelectorTerm
	for _, a := range p.alternatives() {
		terms = append(terms, s.catalog.pinTo(p, a)...)
	}
	labelled := len(terms)
	for _, n := range s.nodes {
		selected := labelled > 0 && selects(terms[:labelled], n.node)
		switch {
		case n.profile == p && !selected:
			terms = append(terms, corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{byName(n.node, corev1.NodeSelectorOpIn)}})
		case n.profile != p && selected: // a profile that comes before this one
			copy(terms, unless(terms[:labelled], n.node))
		}
	}
	return terms
}

// pinTo returns the terms for one alternative of a profile, without the special cases of it that profiles before it
// are for.
func (c *Catalog) pinTo(p *Profile, a alternative) []corev1.NodeSelectorTerm {
	terms := []corev1.NodeSelectorTerm{{MatchExpressions: slices.Clone(a)}}
	for _, earlier := range c.profiles[:slices.Index(c.profiles, p)] {
		for _, e := range earlier.alternatives() {
			switch {
			case a.within(e):
				return nil // each such node is one of the earlier profile
			case e.within(a):
				terms = exclude(terms, e)
			}
		}
	}
	return terms
}

// Exclude returns alternative node terms that select what the given ones do, less all virtual nodes. No terms, given
// or returned, stand for every node. What is added to a term is at its end, and new terms are at the end of the
// list: where a profile is known by several labels together, a term becomes one for each label that may be missing.
// Terms that exclude virtual nodes already stay as they are, and so do empty ones, which select nothing.
//
// Labels exclude those that come later too, unless that took more than maxTerms terms: then the nodes of the profile
// that are there now are excluded by name. A node that is known by a taint is kept off by that; where the
// tolerations let the pod pass, the nodes that have it now are excluded by name.
func (s *Survey) Exclude(terms []corev1.NodeSelectorTerm, tolerations []corev1.Toleration) []corev1.NodeSelectorTerm {
	out := make([]corev1.NodeSelectorTerm, len(terms))
	for i := range terms {
		terms[i].DeepCopyInto(&out[i])
	}
	for _, a := range s.catalog.widest() {
		if fewer := exclude(out, a); len(fewer) <= max(maxTerms, len(terms)) {
			out = fewer
		}
	}
	for _, n := range s.nodes {
		if selects(out, n.node) && !n.keepsOff(tolerations) {
			out = unless(out, n.node)
		}
	}
	return out
}

// maxTerms bounds what profiles that are known by several labels together make of a pod's terms.
const maxTerms = 64

// keepsOff reports whether the taint by which the node is known keeps a pod with these tolerations off it.
func (n virtualNode) keepsOff(tolerations []corev1.Toleration) bool {
	for j := range n.profile.Nodes {
		m := &n.profile.Nodes[j]
		if m.Taint == nil || !n.profile.labelled(j, n.node) {
			continue
		}
		for i := range n.node.Spec.Taints {
			t := &n.node.Spec.Taints[i]
			if t.Effect != corev1.TaintEffectPreferNoSchedule && marks(m.Taint, t) &&
				!slices.ContainsFunc(tolerations, func(have corev1.Toleration) bool { return tolerates(&have, t) }) {
				return true
			}
		}
	}
	return false
}

// tolerates is corev1's ToleratesTaint, except that comparisons of numbers are taken to succeed.
func tolerates(have *corev1.Toleration, taint *corev1.Taint) bool {
	switch {
	case have.Effect != "" && have.Effect != taint.Effect, have.Key != "" && have.Key != taint.Key:
		return false
	case have.Operator == "" || have.Operator == corev1.TolerationOpEqual:
		return have.Value == taint.Value
	default:
		return true
	}
}
