package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Nature is what the nodes of a subset are.
type Nature struct {
	// Profile that the subset's pods are made ready for; nil for a subset of own nodes.
	Profile *Profile
	// Also are the profiles of other virtual nodes in the subset, in the catalog's order: a pod gets their
	// tolerations too. With them and a nil Profile, the subset mixes real nodes and virtual ones.
	Also []*Profile
	// Nodes are the virtual ones that the term selects.
	Nodes []*corev1.Node
}

// Mixed reports whether the subset has both real and virtual nodes. It is treated as one of own nodes.
func (n Nature) Mixed() bool { return n.Profile == nil && len(n.Also) > 0 }

// Tolerations are those that a pod of the subset needs for the profiles in Also, beside those of Profile.
func (n Nature) Tolerations() []corev1.Toleration {
	var out []corev1.Toleration
	for _, p := range n.Also {
		out = append(out, p.Tolerations...)
	}
	return out
}

// Subset finds out what the nodes of a subset are. nodes are all of the cluster; patch is the subset's.
//
// It is virtual when every node that its required term selects is; without such a node, when the term can only
// select virtual ones (OfTerm). A subset without a required term is one of own nodes. Where several profiles
// occur, the first in the catalog's order counts. A subset of virtual nodes that hand nothing over, whose
// patch writes the annotation that another profile hands over by, is taken for one of that profile: its author says
// what reads it.
func (c *Catalog) Subset(term *corev1.NodeSelectorTerm, nodes []*corev1.Node, patch []byte) Nature {
	if term == nil {
		return Nature{}
	}
	occurring, virtual, own := c.occurring(term, nodes)
	writes := c.writtenBy(patch)
	switch {
	case len(virtual) == 0 && !own && writes != nil:
		return Nature{Profile: writes}
	case len(virtual) == 0 && !own:
		return Nature{Profile: c.OfTerm(term)}
	case own:
		return Nature{Also: occurring, Nodes: virtual}
	case writes != nil && occurring[0].HandOver() == "":
		return Nature{Profile: writes, Also: occurring, Nodes: virtual}
	default:
		return Nature{Profile: occurring[0], Also: occurring[1:], Nodes: virtual}
	}
}

// Named is Subset for a subset of which it is said what it is: the profile, nil for own nodes.
func (c *Catalog) Named(p *Profile, term *corev1.NodeSelectorTerm, nodes []*corev1.Node) Nature {
	if p == nil || term == nil {
		return Nature{Profile: p}
	}
	_, virtual, _ := c.occurring(term, nodes)
	return Nature{Profile: p, Nodes: virtual}
}

// occurring returns the profiles of the nodes that a term selects, the virtual ones among those, and whether there
// are real ones.
func (c *Catalog) occurring(term *corev1.NodeSelectorTerm, nodes []*corev1.Node) (profiles []*Profile, virtual []*corev1.Node, own bool) {
	selector, err := nodeaffinity.NewNodeSelector(&corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{*term}})
	if err != nil {
		return nil, nil, false
	}
	for _, n := range nodes {
		if !selector.Match(n) {
			continue
		}
		p := c.OfNode(n)
		if p == nil {
			own = true
			continue
		}
		virtual = append(virtual, n)
		if !slices.Contains(profiles, p) {
			profiles = append(profiles, p)
		}
	}
	slices.SortFunc(profiles, func(a, b *Profile) int { return slices.Index(c.profiles, a) - slices.Index(c.profiles, b) })
	return profiles, virtual, own
}

// writtenBy returns the first profile whose annotation the patch of a subset writes, or nil.
func (c *Catalog) writtenBy(patch []byte) *Profile {
	written := c.Written(patch)
	for _, p := range c.profiles {
		if _, ok := written[p.HandOver()]; ok {
			return p
		}
	}
	return nil
}

// Written returns the annotations for providers that the patch of a subset writes, by their keys.
func (c *Catalog) Written(patch []byte) map[string]string {
	var written struct {
		Metadata struct {
			Annotations map[string]*string `json:"annotations"`
		} `json:"metadata"`
	}
	if json.Unmarshal(patch, &written) != nil {
		return nil // no patch, or a fault that is told elsewhere
	}
	out := make(map[string]string)
	for _, p := range c.profiles {
		if text := written.Metadata.Annotations[p.HandOver()]; text != nil && p.HandOver() != "" {
			out[p.HandOver()] = *text
		}
	}
	return out
}

// Override reads the annotation AnnotationVirtualSubsets of a WorkloadSpread: a JSON object of subsets' names and
// profiles' names, an empty one for own nodes. The error names the annotation, the entry and the remedy.
func (c *Catalog) Override(ws *appsv1alpha1.WorkloadSpread) (map[string]*Profile, error) {
	text, ok := ws.Annotations[v1alpha1.AnnotationVirtualSubsets]
	if !ok {
		return nil, nil
	}
	fault := func(format string, args ...any) error {
		return fmt.Errorf("annotation %s: %w", v1alpha1.AnnotationVirtualSubsets, fmt.Errorf(format, args...))
	}
	var names map[string]string
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	err := d.Decode(&names)
	if err == nil {
		if _, trailing := d.Token(); !errors.Is(trailing, io.EOF) {
			err = errors.New("something follows the object")
		}
	}
	if err != nil || names == nil {
		return nil, fault(`it is not a JSON object of names, such as {"virtual":"tensile-kube","own":""}: %v`, err)
	}
	var subsets []string
	for i := range ws.Spec.Subsets {
		subsets = append(subsets, ws.Spec.Subsets[i].Name)
	}
	out := make(map[string]*Profile, len(names))
	for subset, name := range names {
		p := c.ByName(name)
		switch {
		case !slices.Contains(subsets, subset):
			return nil, fault("%q is no subset: the subsets are %s", subset, strings.Join(subsets, ", "))
		case p == nil && name != "":
			return nil, fault(`subset %q: %q is no profile: use "" for own nodes, or one of %s`, subset, name, strings.Join(c.Names(), ", "))
		}
		out[subset] = p
	}
	return out, nil
}
