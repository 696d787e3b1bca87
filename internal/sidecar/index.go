package sidecar

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Index finds the sets that select a pod. Each set is filed under one label that its pods must have,
// the rarest one, so that a look-up touches what stands under the pod's own labels and nothing else.
// It is not safe for concurrent use.
type Index struct {
	sets    map[string]filed
	buckets map[place]map[string]*Set
}

type filed struct {
	set    *Set
	places []place
}

// place is where a set is filed: a namespace (empty for all), a label's key (empty where the selector
// requires none), and its value unless any will do.
type place struct {
	namespace, key, value string
	anyValue              bool
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	return &Index{sets: make(map[string]filed), buckets: make(map[place]map[string]*Set)}
}

// Put files a set, in place of the one of its name.
func (x *Index) Put(s *Set) {
	x.Remove(s.Name())
	places := x.choose(s)
	for _, p := range places {
		if x.buckets[p] == nil {
			x.buckets[p] = make(map[string]*Set)
		}
		x.buckets[p][s.Name()] = s
	}
	x.sets[s.Name()] = filed{s, places}
}

// Remove forgets a set.
func (x *Index) Remove(name string) {
	for _, p := range x.sets[name].places {
		delete(x.buckets[p], name)
		if len(x.buckets[p]) == 0 {
			delete(x.buckets, p)
		}
	}
	delete(x.sets, name)
}

// Get returns a set by its name, or nil.
func (x *Index) Get(name string) *Set { return x.sets[name].set }

// Len is the number of sets.
func (x *Index) Len() int { return len(x.sets) }

// All calls visit for every set, in no order.
func (x *Index) All(visit func(*Set)) {
	for _, f := range x.sets {
		visit(f.set)
	}
}

// Selecting returns the sets whose selectors match the pod's labels, in their order. Those that ask
// for labels of the namespace have still to be asked (InNamespace).
func (x *Index) Selecting(namespace string, pod labels.Set) []*Set {
	var out []*Set
	take := func(p place) {
		for _, s := range x.buckets[p] {
			if s.SelectsPod(pod) {
				out = append(out, s)
			}
		}
	}
	for _, ns := range []string{namespace, ""} {
		take(place{namespace: ns})
		for key, value := range pod {
			take(place{namespace: ns, key: key, value: value})
			take(place{namespace: ns, key: key, anyValue: true})
		}
	}
	slices.SortFunc(out, Compare)
	return out
}

// choose finds where a set is filed: under the label that fewest others are filed under.
func (x *Index) choose(s *Set) []place {
	best := []place{{}}
	fewest := -1
	for _, option := range requiredLabels(s.Object.Spec.Selector) {
		n := 0
		for _, p := range option {
			n += len(x.buckets[p])
		}
		if fewest < 0 || n < fewest {
			best, fewest = option, n
		}
	}
	var out []place
	for _, ns := range fixedNamespaces(&s.Object.Spec) {
		for _, p := range best {
			p.namespace = ns
			out = append(out, p)
		}
	}
	return out
}

// requiredLabels returns, for each label that a selector requires, the places of its values; those of
// any value last.
func requiredLabels(selector *metav1.LabelSelector) [][]place {
	if selector == nil {
		return nil
	}
	var out, anyValue [][]place
	for _, key := range sortedKeys(selector.MatchLabels) {
		out = append(out, []place{{key: key, value: selector.MatchLabels[key]}})
	}
	for _, e := range selector.MatchExpressions {
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			var places []place
			for _, value := range slices.Compact(slices.Sorted(slices.Values(e.Values))) {
				places = append(places, place{key: e.Key, value: value})
			}
			out = append(out, places)
		case metav1.LabelSelectorOpExists:
			anyValue = append(anyValue, []place{{key: e.Key, anyValue: true}})
		case metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpDoesNotExist: // require nothing
		}
	}
	if len(out) > 0 {
		return out
	}
	return anyValue
}

// fixedNamespaces returns the namespaces that a set can apply to, or one empty name for all.
func fixedNamespaces(spec *Spec) []string {
	if spec.Namespace != "" {
		return []string{spec.Namespace}
	}
	if s := spec.NamespaceSelector; s != nil {
		if name, ok := s.MatchLabels[corev1.LabelMetadataName]; ok {
			return []string{name}
		}
		for _, e := range s.MatchExpressions {
			if e.Key == corev1.LabelMetadataName && e.Operator == metav1.LabelSelectorOpIn {
				return slices.Compact(slices.Sorted(slices.Values(e.Values)))
			}
		}
	}
	return []string{""}
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
