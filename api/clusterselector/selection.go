package clusterselector

import (
	"encoding/json"
	"maps"

	corev1 "k8s.io/api/core/v1"
)

const (
	// AnnotationTensileKube is where tensile-kube looks for a pod's selection.
	AnnotationTensileKube = "clusterSelector"
	// AnnotationKosmos is where Kosmos looks for a pod's selection.
	AnnotationKosmos = "kosmos.io/cluster-selector"
	// AnnotationRecord is where Spillway keeps what it did to a pod: a Record as JSON.
	AnnotationRecord = "spillway-project.io/placement-record"
)

// Field is a scheduling field of a pod, by its path in the spec. Selections are merged field by field.
type Field string

// The fields of a Selection.
const (
	NodeSelector              Field = "nodeSelector"
	RequiredNodeAffinity      Field = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
	PreferredNodeAffinity     Field = "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"
	PodAffinity               Field = "affinity.podAffinity"
	PodAntiAffinity           Field = "affinity.podAntiAffinity"
	Tolerations               Field = "tolerations"
	TopologySpreadConstraints Field = "topologySpreadConstraints"
)

// AllFields lists the fields of a Selection, in the order in which it is written.
func AllFields() []Field {
	return []Field{NodeSelector, RequiredNodeAffinity, PreferredNodeAffinity, PodAffinity, PodAntiAffinity, Tolerations, TopologySpreadConstraints}
}

// Selection is the scheduling constraints of a pod: the value of AnnotationTensileKube and AnnotationKosmos.
// Write it with Encode and read it with Parse: encoding/json takes empty lists for nil ones.
type Selection struct {
	// NodeSelector is the pod's spec.nodeSelector.
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Affinity is the pod's spec.affinity.
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// Tolerations are the pod's spec.tolerations, without those that IsDefaultToleration knows.
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// TopologySpreadConstraints are the pod's spec.topologySpreadConstraints. tensile-kube ignores them.
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// Extra holds the keys that this package does not know, as compact JSON. They are handed on.
	Extra map[string]json.RawMessage `json:"-"`
}

// Of returns a copy of the constraints of a pod. Tolerations that the API server added by itself are left out
// (IsDefaultToleration); a list of nothing else becomes nil.
func Of(spec *corev1.PodSpec) Selection {
	c := spec.DeepCopy()
	return Selection{
		NodeSelector:              c.NodeSelector,
		Affinity:                  c.Affinity,
		Tolerations:               without(c.Tolerations, IsDefaultToleration),
		TopologySpreadConstraints: c.TopologySpreadConstraints,
	}
}

// Fields returns the fields in which the selection holds anything.
func (s Selection) Fields() []Field {
	affinity := s.Affinity
	if affinity == nil {
		affinity = &corev1.Affinity{}
	}
	node := affinity.NodeAffinity
	if node == nil {
		node = &corev1.NodeAffinity{}
	}
	holds := map[Field]bool{
		NodeSelector:              len(s.NodeSelector) > 0,
		RequiredNodeAffinity:      node.RequiredDuringSchedulingIgnoredDuringExecution != nil,
		PreferredNodeAffinity:     len(node.PreferredDuringSchedulingIgnoredDuringExecution) > 0,
		PodAffinity:               affinity.PodAffinity != nil,
		PodAntiAffinity:           affinity.PodAntiAffinity != nil,
		Tolerations:               len(s.Tolerations) > 0,
		TopologySpreadConstraints: len(s.TopologySpreadConstraints) > 0,
	}
	var out []Field
	for _, f := range AllFields() {
		if holds[f] {
			out = append(out, f)
		}
	}
	return out
}

// Merge returns the selection with the fields that own names taken from own, and its extra keys. named are those
// fields, as Parse returns them: a field that is named with null is none, one that is not named stays.
func (s Selection) Merge(own Selection, named []Field) Selection {
	out := s.copy()
	from := own.copy()
	for _, f := range named {
		out.take(f, &from)
	}
	if len(from.Extra) > 0 {
		if out.Extra == nil {
			out.Extra = make(map[string]json.RawMessage, len(from.Extra))
		}
		maps.Copy(out.Extra, from.Extra)
	}
	return out
}

// take replaces one field by that of another selection.
func (s *Selection) take(f Field, from *Selection) {
	switch f {
	case NodeSelector:
		s.NodeSelector = from.NodeSelector
	case Tolerations:
		s.Tolerations = from.Tolerations
	case TopologySpreadConstraints:
		s.TopologySpreadConstraints = from.TopologySpreadConstraints
	default:
		s.Affinity = takeAffinity(f, s.Affinity, from.Affinity)
	}
}

// takeAffinity replaces one field of to by that of from. It makes no structure that would be empty.
func takeAffinity(f Field, to, from *corev1.Affinity) *corev1.Affinity {
	if from == nil {
		from = &corev1.Affinity{}
	}
	if to == nil {
		to = &corev1.Affinity{}
	}
	switch f {
	case PodAffinity:
		to.PodAffinity = from.PodAffinity
	case PodAntiAffinity:
		to.PodAntiAffinity = from.PodAntiAffinity
	case RequiredNodeAffinity, PreferredNodeAffinity:
		to.NodeAffinity = takeNodeAffinity(f, to.NodeAffinity, from.NodeAffinity)
	}
	if *to == (corev1.Affinity{}) {
		return nil
	}
	return to
}

func takeNodeAffinity(f Field, to, from *corev1.NodeAffinity) *corev1.NodeAffinity {
	if from == nil {
		from = &corev1.NodeAffinity{}
	}
	if to == nil {
		to = &corev1.NodeAffinity{}
	}
	if f == RequiredNodeAffinity {
		to.RequiredDuringSchedulingIgnoredDuringExecution = from.RequiredDuringSchedulingIgnoredDuringExecution
	} else {
		to.PreferredDuringSchedulingIgnoredDuringExecution = from.PreferredDuringSchedulingIgnoredDuringExecution
	}
	if to.RequiredDuringSchedulingIgnoredDuringExecution == nil && to.PreferredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return to
}

// copy is deep, except for the raw text of extra keys, which nobody changes.
func (s Selection) copy() Selection {
	var spec corev1.PodSpec
	s.write(&spec)
	c := spec.DeepCopy()
	return Selection{NodeSelector: c.NodeSelector, Affinity: c.Affinity, Tolerations: c.Tolerations,
		TopologySpreadConstraints: c.TopologySpreadConstraints, Extra: maps.Clone(s.Extra)}
}

// write puts the selection into a spec, which shares its memory then.
func (s Selection) write(spec *corev1.PodSpec) {
	spec.NodeSelector = s.NodeSelector
	spec.Affinity = s.Affinity
	spec.Tolerations = s.Tolerations
	spec.TopologySpreadConstraints = s.TopologySpreadConstraints
}
