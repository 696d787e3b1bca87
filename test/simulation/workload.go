package simulation

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/internal/spread"
)

// replicaSet is a ReplicaSet and what its controller knows. The controller acts as the one of
// Kubernetes: it waits until it has seen its own creations and deletions, and it never has more pods
// alive and under creation than the number that it has seen.
type replicaSet struct {
	version    string
	uid        types.UID
	replicas   int32
	generation int64
	observed   int64  // status.observedGeneration
	written    uint64 // its revision, if its controller was the last to write it

	// The controller's cache and what it waits for.
	seenReplicas   int32
	seenGeneration int64
	at             int
	view           []*spread.Pod
	expected       uint64 // revision that its cache of pods has to reach
	busy           bool
	retryAt        time.Duration
	failures       int
	lastEnd        time.Duration // of a creation
}

// demandEvent is what a watch of ReplicaSets tells.
type demandEvent struct {
	set      *replicaSet
	replicas int32
}

func (w *World) newReplicaSet() *replicaSet {
	version := fmt.Sprint("v", len(w.sets)+1)
	s := &replicaSet{version: version, uid: types.UID("rs-" + version)}
	w.sets = append(w.sets, s)
	return s
}

// newest is the ReplicaSet of the Deployment's current template.
func (w *World) newest() *replicaSet { return w.sets[len(w.sets)-1] }

// scale sets spec.replicas.
func (s *replicaSet) scale(w *World, n int32) {
	if s.generation > 0 && s.replicas == n {
		return
	}
	if n < s.replicas && n > 0 && s == w.newest() {
		w.moved = true // which pods stay is not the ledger's doing
	}
	s.replicas = n
	s.generation++
	s.written = 0
	w.revision++
	w.demands = append(w.demands, demandEvent{s, n})
	w.tell("ReplicaSet %s wants %d", s.version, n)
}

// deploy is one step of the Deployment's controller, and reports whether there was one to do: the new
// ReplicaSet grows by one, beyond the Deployment's replicas if need be, and the old ones shrink.
func (w *World) deploy() bool {
	current := w.newest()
	var total, alive, old int32
	for _, s := range w.sets {
		total += s.replicas
		if s != current {
			old += s.replicas
		}
	}
	for _, p := range w.pods {
		if p.Active {
			alive++
		}
	}
	switch {
	case current.replicas > w.replicas:
		current.scale(w, w.replicas)
	case current.replicas < w.replicas && (old == 0 || total <= w.replicas):
		if old == 0 {
			current.scale(w, w.replicas)
		} else {
			current.scale(w, current.replicas+1)
		}
	case old > 0 && alive >= total:
		for _, s := range w.sets {
			if s != current && s.replicas > 0 {
				s.scale(w, s.replicas-1)
				break
			}
		}
	default:
		return false
	}
	return true
}

// due reports whether the ReplicaSet's controller has something to do.
func (w *World) due(s *replicaSet) bool {
	if s.busy || s.retryAt > w.now {
		return false
	}
	if s.observed != s.generation {
		return true
	}
	var alive int32
	for _, p := range w.pods {
		if p.Active && p.Owner == s.uid {
			alive++
		}
	}
	return alive != s.replicas
}

// sync is one pass of the ReplicaSet's controller.
func (w *World) sync(s *replicaSet) {
	s.busy = true
	w.spawn("controller of "+s.version, nil, func() {
		defer func() { s.busy = false }()
		w.refresh(s)
		generation := s.seenGeneration
		missing := s.seenReplicas
		for _, p := range s.view {
			if p.Active {
				missing--
			}
		}
		if missing > 0 {
			w.createAll(s, int(missing))
		}
		for ; missing < 0; missing++ {
			w.pause()
			w.deleteOne(s)
		}
		w.pause()
		if s.observed < generation || missing > 0 {
			s.observed = max(s.observed, generation)
			w.revision++
			if s.observed == s.generation {
				s.written = w.revision
			}
		}
	})
}

// refresh brings the controller's caches to some moment at which it may act.
func (w *World) refresh(s *replicaSet) {
	to := s.at
	for to < len(w.podLog) && (w.podLog[to].revision <= s.expected || w.quiet || !w.chance(6)) {
		to++
	}
	fresh := true
	for ; s.at < to; s.at++ {
		if e := w.podLog[s.at]; e.owner == s.uid {
			s.view, fresh = e.applyTo(s.view, fresh), false
		}
	}
	if w.quiet || s.seenGeneration == 0 || !w.chance(4) {
		s.seenReplicas, s.seenGeneration = s.replicas, s.generation
	}
}

// createAll creates pods in batches that double as long as all goes well. A failure ends it: the
// controller comes again later.
func (w *World) createAll(s *replicaSet, n int) {
	size := 1
	if !w.slowStart && w.chance(3) {
		size = n
	}
	for n > 0 {
		size = min(size, n)
		batch := make([]*creation, size)
		for i := range batch {
			batch[i] = w.create(s)
		}
		ok := true
		for _, c := range batch {
			w.wait(0, c.done, nil)
			ok = ok && c.succeeded
		}
		if !ok {
			s.failures++
			s.retryAt = w.now + w.upTo(min(10*time.Millisecond<<min(s.failures, 10), 8*time.Second))
			return
		}
		s.failures = 0
		n -= size
		size *= 2
	}
}

// deleteOne deletes the pod that is worth least.
func (w *World) deleteOne(s *replicaSet) {
	var victim *pod
	for _, p := range w.pods {
		if p.Active && p.Owner == s.uid && (victim == nil || p.cost < victim.cost) {
			victim = p
		}
	}
	if victim != nil {
		w.terminate(victim)
		s.expected = w.revision
	}
}
