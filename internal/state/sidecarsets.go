package state

import (
	"sync"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/spillway-project/spillway/internal/sidecar"
)

// SidecarSets are the compiled SidecarSets of the cluster, fed by a watch. It is safe for concurrent
// use; the zero value is not ready.
type SidecarSets struct {
	mu    sync.RWMutex
	index *sidecar.Index
}

// NewSidecarSets returns an empty store.
func NewSidecarSets() *SidecarSets { return &SidecarSets{index: sidecar.NewIndex()} }

// Put takes in a set that was added or changed. One that cannot be compiled matches nothing until it
// is mended; the error says why.
func (s *SidecarSets) Put(o *sidecar.SidecarSet) error {
	compiled, err := sidecar.Compile(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.index.Remove(o.Name)
		return err
	}
	s.index.Put(compiled)
	return nil
}

// Remove forgets a set.
func (s *SidecarSets) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.Remove(name)
}

// Get returns a set by its name, or nil.
func (s *SidecarSets) Get(name string) *sidecar.Set {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.Get(name)
}

// Len is the number of sets.
func (s *SidecarSets) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.Len()
}

// All returns every set, in no order.
func (s *SidecarSets) All() []*sidecar.Set {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*sidecar.Set, 0, s.index.Len())
	s.index.All(func(set *sidecar.Set) { out = append(out, set) })
	return out
}

// Selecting returns the sets that select a pod by its labels, in their order.
func (s *SidecarSets) Selecting(namespace string, pod labels.Set) []*sidecar.Set {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.Selecting(namespace, pod)
}
