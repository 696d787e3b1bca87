package simulation

import (
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/spread"
)

// patience is how many steps a world may take to come to rest.
const patience = 20_000

// comeToRest ends the disturbances and checks the promise of liveness. Then the whole workload goes
// away and comes back: whatever has happened before, no place may be lost for good. At last it shrinks:
// the deletion costs have to leave the right pods.
func (w *World) comeToRest() {
	if w.violation != "" {
		return
	}
	w.quiet, w.refusing = true, 0
	w.tell("disturbances end")
	for _, p := range w.processes {
		p.frozen, p.stuck = 0, 0
	}
	if w.settle() && !w.moved {
		w.checkSplit(w.hindered)
	}
	n, exact := w.replicas, !w.moved
	w.resize(0)
	if w.violation != "" || !w.settle() {
		return
	}
	w.adopted = false
	w.resize(max(n, 4))
	if !w.settle() {
		return
	}
	w.checkSplit(0)
	w.resize(w.rng.Int32N(w.replicas))
	if w.settle() && !w.adopted && w.nested(max(n, 4)) {
		w.checkSplit(0)
	}
	w.moved = !exact
}

// nested reports whether the split of every number of pods is part of that of one more: only then can
// an order of deletion be exact at every size.
func (w *World) nested(most int32) bool {
	for n := range most {
		more := w.specified(n + 1)
		for i, have := range w.specified(n) {
			if have > more[i] {
				return false
			}
		}
	}
	return true
}

// settle goes on until nothing is left to do, and checks what then holds.
func (w *World) settle() bool {
	for limit := w.steps + patience; !w.resting(); w.step() {
		if w.violation != "" {
			return false
		}
		if w.steps > limit {
			w.violate("liveness: no rest after %d steps: %s", patience, summary(w.ws))
			return false
		}
	}
	w.checkStatus()
	return w.violation == ""
}

// resting reports whether nothing is under way, wanted or outstanding.
func (w *World) resting() bool {
	if len(w.actors) > 0 || w.ws == nil || w.newest().replicas != w.replicas {
		return false
	}
	for _, s := range w.sets {
		if s.retryAt > w.now || w.due(s) || (s != w.newest() && s.replicas > 0) {
			return false
		}
	}
	led := false
	for _, p := range w.processes {
		led = led || p.leads
		if p.down || p.deposed || p.wsAt < len(w.wsLog) || p.podsAt < len(w.podLog) || (p.leads && (p.dirty || p.passing || p.retries)) {
			return false
		}
	}
	for _, p := range w.pods {
		if !p.Active {
			return false
		}
	}
	return led && len(ledger.ClaimsOf(w.ws)) == 0
}

// checkStatus compares the status with a fresh computation.
func (w *World) checkStatus() {
	if got := w.ws.Status.ObservedGeneration; got != w.ws.Generation {
		w.violate("liveness: generation %d is not observed, only %d", w.ws.Generation, got)
	}
	terms, err := spread.ParseTerms(&w.ws.Spec)
	if err != nil {
		w.violate("%v", err)
		return
	}
	for _, set := range w.sets {
		for i := range terms.Len() {
			name := terms.Name(i)
			got := statusOf(w.ws.Status.VersionedSubsetStatuses[set.version], name)
			want := w.active(set.version, name)
			missing := terms.Limit(i).Of(w.replicas)
			if missing != spread.Unlimited {
				missing = max(missing-want, 0)
			}
			if got == nil && want == 0 {
				continue
			}
			if got == nil || got.Replicas != want || got.MissingReplicas != missing {
				w.violate("liveness: %s of %s has %d pods and %d missing, the status says %+v", name, set.version, want, missing, got)
			}
		}
	}
}

func statusOf(row []appsv1alpha1.WorkloadSpreadSubsetStatus, name string) *appsv1alpha1.WorkloadSpreadSubsetStatus {
	for i := range row {
		if row[i].Name == name {
			return &row[i]
		}
	}
	return nil
}

// specified is the split of a workload of n pods: every subset in order takes what its limit allows.
func (w *World) specified(n int32) []int32 {
	split, total := make([]int32, len(w.limits)), n
	for i, s := range specOf(w.limits).Subsets {
		limit, err := spread.ParseLimit(s.MaxReplicas)
		if err != nil {
			w.violate("%v", err)
		}
		take := limit.Of(total)
		if take == spread.Unlimited || take > n {
			take = n
		}
		split[i] = take
		n -= take
	}
	return split
}

// checkSplit compares the split with the specified one: at most so many pods may be elsewhere.
func (w *World) checkSplit(allowed int) {
	terms, err := spread.ParseTerms(&w.ws.Spec)
	if err != nil {
		w.violate("%v", err)
		return
	}
	version, want := w.newest().version, w.specified(w.replicas)
	var elsewhere int32
	have := make([]int32, terms.Len())
	for i := range terms.Len() {
		have[i] = w.active(version, terms.Name(i))
		elsewhere += max(want[i]-have[i], 0)
	}
	if elsewhere > int32(allowed) { //nolint:gosec // a handful
		w.violate("liveness: the split of %s is %d, specified is %d; %d creations failed that could not be recognised", version, have, want, allowed)
	}
}
