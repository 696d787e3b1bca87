package sidecar

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// Overlap reports whether one pod, in some namespace, could match both sets. It is decided by whether
// all requirements together can be met, so two sets are never told apart by chance: labels are
// independent of each other, and for one label the requirements are sets of values.
func Overlap(a, b *Spec) bool {
	// Most sets differ in a plain label or in their namespace: that is seen at once.
	if a.Namespace != "" && b.Namespace != "" && a.Namespace != b.Namespace || differ(a.Selector, b.Selector) || differ(a.NamespaceSelector, b.NamespaceSelector) {
		return false
	}
	return satisfiable(a.Selector, b.Selector) && satisfiable(scope(a), scope(b))
}

// differ reports whether two selectors want different values of one label.
func differ(a, b *metav1.LabelSelector) bool {
	if a == nil || b == nil {
		return false
	}
	for key, value := range a.MatchLabels {
		if other, ok := b.MatchLabels[key]; ok && other != value {
			return true
		}
	}
	return false
}

// scope is the namespace of a spec as requirements on the labels of a namespace.
func scope(s *Spec) *metav1.LabelSelector {
	out := s.NamespaceSelector.DeepCopy()
	if out == nil {
		out = &metav1.LabelSelector{}
	}
	if s.Namespace != "" {
		out.MatchExpressions = append(out.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{s.Namespace},
		})
	}
	return out
}

// demand is what selectors ask of one label.
type demand struct {
	allowed   sets.Set[string] // nil: any value
	forbidden sets.Set[string]
	present   bool
	absent    bool
}

// satisfiable reports whether some labels match all selectors. A nil selector matches nothing.
func satisfiable(selectors ...*metav1.LabelSelector) bool {
	demands := make(map[string]*demand)
	of := func(key string) *demand {
		if demands[key] == nil {
			demands[key] = &demand{forbidden: sets.New[string]()}
		}
		return demands[key]
	}
	for _, s := range selectors {
		if s == nil {
			return false
		}
		for key, value := range s.MatchLabels {
			of(key).narrow(value)
		}
		for _, e := range s.MatchExpressions {
			d := of(e.Key)
			switch e.Operator {
			case metav1.LabelSelectorOpIn:
				d.narrow(e.Values...)
			case metav1.LabelSelectorOpNotIn:
				d.forbidden.Insert(e.Values...)
			case metav1.LabelSelectorOpExists:
				d.present = true
			case metav1.LabelSelectorOpDoesNotExist:
				d.absent = true
			}
		}
	}
	for _, d := range demands {
		if !d.possible() {
			return false
		}
	}
	return true
}

func (d *demand) narrow(values ...string) {
	if d.allowed == nil {
		d.allowed = sets.New(values...)
		return
	}
	d.allowed = d.allowed.Intersection(sets.New(values...))
}

func (d *demand) possible() bool {
	if d.absent {
		return !d.present && d.allowed == nil
	}
	return d.allowed == nil || d.allowed.Difference(d.forbidden).Len() > 0
}
