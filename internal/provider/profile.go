// Package provider knows the kinds of virtual nodes: how one is recognised, what a pod needs to run there, how its
// constraints are handed over, what cannot run there, and by which marks a pod is stuck below. The profiles are data
// (builtin.go), extended by the manager's configuration file. Everything here is pure: nodes, terms and pods in,
// answers out.
package provider

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/spillway-project/spillway/api/clusterselector"
	config "github.com/spillway-project/spillway/api/config/v1alpha1"
)

// Profile is one kind of virtual node. It must not be changed.
type Profile struct {
	config.VirtualNodeProfile
	// selectors are those of Nodes, compiled; nil for one without, or that cannot be read.
	selectors []labels.Selector
}

func newProfile(p config.VirtualNodeProfile) *Profile {
	out := &Profile{VirtualNodeProfile: p, selectors: make([]labels.Selector, len(p.Nodes))}
	for i, m := range p.Nodes {
		if m.Selector == nil {
			continue
		}
		if s, err := metav1.LabelSelectorAsSelector(m.Selector); err == nil {
			out.selectors[i] = s
		}
	}
	return out
}

// HandOver returns the annotation that a pod's constraints are moved to; empty if they stay on the pod.
func (p *Profile) HandOver() string {
	if p.VirtualNodeProfile.HandOver == nil {
		return ""
	}
	return p.VirtualNodeProfile.HandOver.Annotation
}

// NotHonoured returns the fields of a pod's constraints that the provider loses on the way to the lower pod, unless
// Spillway restores them there: those that it neither restores from the hand-over nor carries itself. The
// pod is one that has not been placed.
func (p *Profile) NotHonoured(pod *corev1.Pod) []clusterselector.Field {
	var restored []string
	if h := p.VirtualNodeProfile.HandOver; h != nil {
		restored = h.Fields
	}
	return slices.DeleteFunc(clusterselector.Of(&pod.Spec).Fields(), func(f clusterselector.Field) bool {
		return slices.Contains(restored, string(f)) || slices.Contains(p.Carries, string(f))
	})
}

// Catalog is the profiles in use, in the order in which they are tried. It must not be changed.
type Catalog struct{ profiles []*Profile }

// NewCatalog returns the configured profiles, then the built-in ones except those whose names are configured; the
// built-in generic one is last. The configuration must have passed Validate.
func NewCatalog(configured []config.VirtualNodeProfile) *Catalog {
	var c Catalog
	names := make(map[string]bool, len(configured))
	for _, p := range configured {
		names[p.Name] = true
	}
	for _, p := range slices.Concat(configured, builtin()) {
		if len(c.profiles) < len(configured) || !names[p.Name] {
			c.profiles = append(c.profiles, newProfile(p))
		}
	}
	return &c
}

// RestoredBelow returns the catalog with the named profiles handing over all constraints, which Spillway restores in the
// lower cluster.
func (c *Catalog) RestoredBelow(names []string) *Catalog {
	out := Catalog{slices.Clone(c.profiles)}
	for i, p := range out.profiles {
		if !slices.Contains(names, p.Name) {
			continue
		}
		restored := *p
		restored.VirtualNodeProfile.HandOver = &config.HandOver{Annotation: p.HandOver(), Fields: fieldNames(clusterselector.AllFields()...)}
		if restored.VirtualNodeProfile.HandOver.Annotation == "" {
			restored.VirtualNodeProfile.HandOver.Annotation = clusterselector.AnnotationTensileKube
		}
		out.profiles[i] = &restored
	}
	return &out
}

// ByName returns the profile with a name, or nil.
func (c *Catalog) ByName(name string) *Profile {
	for _, p := range c.profiles {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Names lists the profiles' names, in their order.
func (c *Catalog) Names() []string {
	out := make([]string, len(c.profiles))
	for i, p := range c.profiles {
		out[i] = p.Name
	}
	return out
}

// OfNode returns the first profile that matches a node, or nil: the node is a real one.
func (c *Catalog) OfNode(node *corev1.Node) *Profile {
	for _, p := range c.profiles {
		if p.matches(node) {
			return p
		}
	}
	return nil
}

// OfTerm returns the first profile such that every node a required term could select is one of it, or nil. It goes
// by the term alone: it has to ask for the labels by which the profile is recognised. A profile known by its
// taint is never returned.
func (c *Catalog) OfTerm(term *corev1.NodeSelectorTerm) *Profile {
	if term == nil {
		return nil
	}
	for _, p := range c.profiles {
		if p.impliedBy(term) {
			return p
		}
	}
	return nil
}

// Tolerations returns those of all profiles, without such as others cover.
func (c *Catalog) Tolerations() []corev1.Toleration {
	var out []corev1.Toleration
	for _, p := range c.profiles {
		for _, t := range p.Tolerations {
			if slices.ContainsFunc(out, func(have corev1.Toleration) bool { return covers(&have, &t) }) {
				continue
			}
			out = slices.DeleteFunc(out, func(have corev1.Toleration) bool { return covers(&t, &have) })
			out = append(out, t)
		}
	}
	return out
}

// covers reports whether a toleration holds wherever the other does.
func covers(wide, narrow *corev1.Toleration) bool {
	if wide.TolerationSeconds != nil || (wide.Effect != "" && wide.Effect != narrow.Effect) {
		return false
	}
	if wide.Operator == corev1.TolerationOpExists {
		return wide.Key == "" || wide.Key == narrow.Key
	}
	return wide.Key == narrow.Key && wide.Operator == narrow.Operator && wide.Value == narrow.Value
}

// Plain returns the catalog with profiles that move no constraints: they stay on the pod. It is for clusters where
// nobody restores them.
func (c *Catalog) Plain() *Catalog {
	var out Catalog
	for _, p := range c.profiles {
		plain := *p
		plain.VirtualNodeProfile.HandOver = nil
		out.profiles = append(out.profiles, &plain)
	}
	return &out
}
