package sidecar

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"sync"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Set is a compiled SidecarSet. It never changes and is safe for concurrent use.
type Set struct {
	// Object is a defaulted copy; it must not be changed.
	Object *SidecarSet
	Hashes
	// Priority orders several sets of one pod, higher first.
	Priority int
	// Base is the name of the set that this one is the canary of, or empty.
	Base string

	pods       labels.Selector
	namespaces labels.Selector // nil: every namespace
	upgrades   labels.Selector
	revision   func() (revision, error)
}

type revision struct {
	name string
	data []byte
}

// Compile reads a SidecarSet once for all pods. The error names what cannot be computed with.
func Compile(o *SidecarSet) (*Set, error) {
	o = o.DeepCopy()
	Default(&o.Spec)
	s := &Set{Object: o, upgrades: labels.Everything()}
	fail := func(what string, err error) (*Set, error) {
		return nil, fmt.Errorf("SidecarSet %s: %s: %w", o.Name, what, err)
	}
	var err error
	if s.Hashes, err = StoredHashes(o); err != nil {
		return fail("hash", err)
	}
	if s.pods, err = metav1.LabelSelectorAsSelector(o.Spec.Selector); err != nil {
		return fail("spec.selector", err)
	}
	if o.Spec.NamespaceSelector != nil {
		if s.namespaces, err = metav1.LabelSelectorAsSelector(o.Spec.NamespaceSelector); err != nil {
			return fail("spec.namespaceSelector", err)
		}
	}
	if u := o.Spec.UpdateStrategy.Selector; u != nil {
		if s.upgrades, err = metav1.LabelSelectorAsSelector(u); err != nil {
			return fail("spec.updateStrategy.selector", err)
		}
	}
	s.Priority, _ = PriorityOf(o.Annotations) // what is no number counts as 0: validation says so
	if o.Annotations[v1alpha1.AnnotationSidecarCanary] == "true" {
		s.Base = o.Annotations[v1alpha1.AnnotationSidecarBase]
	}
	s.revision = sync.OnceValues(func() (revision, error) { return revisionOf(o) })
	return s, nil
}

func revisionOf(o *SidecarSet) (revision, error) {
	data, err := RevisionData(&o.Spec)
	if err != nil {
		return revision{}, fmt.Errorf("SidecarSet %s: %w", o.Name, err)
	}
	var collisions int32
	if o.Status.CollisionCount != nil {
		collisions = *o.Status.CollisionCount
	}
	return revision{RevisionName(o.Name, data, collisions), data}, nil
}

// PriorityOf reads the priority among a set's annotations.
func PriorityOf(annotations map[string]string) (int, error) {
	text, given := annotations[v1alpha1.AnnotationPriority]
	if !given {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("annotation %s: %q is not an integer: %w", v1alpha1.AnnotationPriority, text, err)
	}
	return int(n), nil
}

// Name of the set.
func (s *Set) Name() string { return s.Object.Name }

// Revision returns the name and the data of the revision that records the set as it is.
func (s *Set) Revision() (name string, data []byte, err error) {
	r, err := s.revision()
	return r.name, r.data, err
}

// SelectsPod reports whether the pod's labels match. The namespace is another question.
func (s *Set) SelectsPod(pod labels.Set) bool { return s.pods.Matches(pod) }

// NeedsNamespace reports whether InNamespace looks at labels.
func (s *Set) NeedsNamespace() bool { return s.namespaces != nil }

// InNamespace reports whether the set applies to a namespace with these labels.
func (s *Set) InNamespace(name string, of labels.Set) bool {
	if fixed := s.Object.Spec.Namespace; fixed != "" && fixed != name {
		return false
	}
	if s.namespaces == nil {
		return true
	}
	// The API server sets this label; a namespace that is being made may not show it yet.
	if _, ok := of[corev1.LabelMetadataName]; !ok {
		of = labels.Merge(of, labels.Set{corev1.LabelMetadataName: name})
	}
	return s.namespaces.Matches(of)
}

// SelectsUpgrade reports whether updateStrategy.selector selects the pod.
func (s *Set) SelectsUpgrade(pod labels.Set) bool { return s.upgrades.Matches(pod) }

// Injects reports whether new pods get sidecars of the set.
func (s *Set) Injects() bool { return !s.Object.Spec.InjectionStrategy.Paused }

// Upgrades reports whether running pods may be upgraded to the set.
func (s *Set) Upgrades() bool {
	return s.Object.Spec.UpdateStrategy.Type != appsv1alpha1.NotUpdateSidecarSetStrategyType
}

// Sidecars are the containers that go on running: all of containers, and native init containers.
// native tells the second kind.
func (s *Set) Sidecars(visit func(c *Container, native bool)) {
	for i := range s.Object.Spec.Containers {
		visit(&s.Object.Spec.Containers[i], false)
	}
	for i := range s.Object.Spec.InitContainers {
		if c := &s.Object.Spec.InitContainers[i]; c.IsNative() {
			visit(c, true)
		}
	}
}

// SidecarNames returns the names of Sidecars, sorted.
func (s *Set) SidecarNames() []string {
	names := make([]string, 0, len(s.Object.Spec.Containers))
	s.Sidecars(func(c *Container, _ bool) { names = append(names, c.Name) })
	slices.Sort(names)
	return names
}

// Compare orders sets: by priority, higher first, then by name.
func Compare(a, b *Set) int {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name(), b.Name()))
}

// Unshadowed drops the sets whose canary is among the sets too.
func Unshadowed(sets []*Set) []*Set {
	shadowed := make(map[string]bool)
	for _, s := range sets {
		if s.Base != "" {
			shadowed[s.Base] = true
		}
	}
	if len(shadowed) == 0 {
		return sets
	}
	return slices.DeleteFunc(slices.Clone(sets), func(s *Set) bool { return shadowed[s.Name()] })
}
