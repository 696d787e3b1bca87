package resolve

import (
	"maps"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Wishes remembers how many pods ReplicaSets wanted, by generation. A controller that has not acted on the
// latest generation yet may still be creating for an earlier one; and while one of its pods waits in
// admission its pass cannot end, so that it cannot say that it has acted. What it can be creating for is
// the most that any generation wanted from the one that it says it has acted on. The zero value is ready
// for use.
type Wishes struct {
	mu  sync.Mutex
	all map[types.UID]map[int64]int32
}

// Note takes in a ReplicaSet as the watch brings it.
func (w *Wishes) Note(rs *appsv1.ReplicaSet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = make(map[types.UID]map[int64]int32)
	}
	known := w.all[rs.UID]
	if known == nil {
		known = make(map[int64]int32, 1)
		w.all[rs.UID] = known
	}
	known[rs.Generation] = replicasOf(rs.Spec.Replicas)
	maps.DeleteFunc(known, func(generation int64, _ int32) bool {
		return generation < rs.Status.ObservedGeneration && generation < rs.Generation
	})
}

// Forget drops a ReplicaSet that is gone.
func (w *Wishes) Forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, uid)
}

// Most returns the most pods that any generation of a ReplicaSet wanted, from the one that its controller
// has acted on to the latest, given the ReplicaSet as read live; false when one of them was not seen.
func (w *Wishes) Most(rs *appsv1.ReplicaSet) (int32, bool) {
	most := replicasOf(rs.Spec.Replicas)
	if rs.Status.ObservedGeneration == rs.Generation {
		return most, true
	}
	if w == nil {
		return most, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for generation := rs.Status.ObservedGeneration; generation < rs.Generation; generation++ {
		n, ok := w.all[rs.UID][generation]
		switch {
		case generation == 0: // before its creation it wanted none
		case !ok:
			return most, false
		}
		most = max(most, n)
	}
	return most, true
}
