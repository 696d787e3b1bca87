package simulation

import (
	"fmt"
	"slices"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// disturb does one of the things that may go wrong, or change, in this schedule.
func (w *World) disturb() {
	k := kind(w.rng.IntN(int(kinds)))
	if !w.on[k] {
		return
	}
	p := w.processes[w.rng.IntN(len(w.processes))]
	switch k {
	case scaleUp:
		w.resize(min(w.replicas+1+w.rng.Int32N(4), 10))
	case scaleDown:
		w.resize(max(w.replicas-1-w.rng.Int32N(4), 0))
	case rollOut:
		if len(w.sets) < 3 {
			w.newReplicaSet().scale(w, 0)
		}
	case editSpec, recreate:
		w.rewrite(k == recreate)
	case deletePods:
		w.deletePods(1 + w.rng.IntN(3))
	case refuse:
		w.refusing += 1 + w.rng.IntN(3)
	default:
		w.hurt(k, p)
	}
}

// hurt disturbs a process, or the time.
func (w *World) hurt(k kind, p *process) {
	switch k {
	case crash:
		if !p.down {
			w.crash(p)
		}
	case freeze:
		p.frozen = w.now + w.upTo(15*time.Second)
		w.tell("%s is frozen until %.3fs", p.name, p.frozen.Seconds())
	case changeLeader:
		w.changeLeader(p)
	case setClock:
		if !slices.ContainsFunc(w.actors, func(a *actor) bool { return a.process == p }) {
			p.skew = w.upTo(4*time.Minute) - 2*time.Minute
			w.tell("the clock of %s jumps to %s", p.name, p.skew)
		}
	case leap:
		w.advance(w.upTo(100 * time.Second))
	case lag:
		p.stuck = w.now + w.upTo(30*time.Second)
		w.tell("the watches of %s bring nothing until %.3fs", p.name, p.stuck.Seconds())
	}
}

// resize changes the Deployment's replicas.
func (w *World) resize(n int32) {
	before, after := w.specified(w.replicas), w.specified(n)
	for i := range before {
		if after[i] < before[i] {
			w.moved = true // which pods go, or are in a subset that the new size wants less of
		}
	}
	w.replicas = n
	w.revision++
	w.tell("the Deployment wants %d", n)
	for _, p := range w.processes {
		p.dirty = true // the controller watches workloads too
	}
}

// rewrite edits the WorkloadSpread, or deletes it for another one to come.
func (w *World) rewrite(anew bool) {
	if w.ws == nil {
		return
	}
	w.moved = true
	if anew {
		w.tell("the WorkloadSpread is deleted")
		w.put(nil)
		return
	}
	i := w.rng.IntN(len(w.limits))
	w.limits = slices.Clone(w.limits)
	w.limits[i] = drawLimits(w.rng, w.percent)[0]
	edited := *w.ws
	edited.Spec, edited.Generation = specOf(w.limits), edited.Generation+1
	w.put(&edited)
	w.edited, w.editedAt = w.revision, w.now
	w.tell("limits are %q", w.limits)
}

// createSpread creates the WorkloadSpread, or another one of its name.
func (w *World) createSpread() {
	w.uids++
	ws := &appsv1alpha1.WorkloadSpread{Spec: specOf(w.limits)}
	ws.Namespace, ws.Name, ws.Generation = key.Namespace, key.Name, 1
	ws.UID = types.UID(fmt.Sprint("uid-", w.uids))
	w.put(ws)
	w.born = w.revision
	w.tell("a WorkloadSpread is created")
}

func specOf(limits []string) appsv1alpha1.WorkloadSpreadSpec {
	var spec appsv1alpha1.WorkloadSpreadSpec
	for i, l := range limits {
		s := appsv1alpha1.WorkloadSpreadSubset{Name: string(rune('a' + i))}
		if l != "" {
			v := intstr.Parse(l)
			s.MaxReplicas = &v
		}
		spec.Subsets = append(spec.Subsets, s)
	}
	return spec
}

// deletePods begins the end of some pods, wherever they are.
func (w *World) deletePods(n int) {
	for range n {
		if len(w.pods) > 0 {
			if p := w.pods[w.rng.IntN(len(w.pods))]; p.Active {
				w.terminate(p)
			}
		}
	}
}

// changeLeader makes a process the leader. The one before exits, or does not know yet: it is frozen
// and goes on when it wakes.
func (w *World) changeLeader(p *process) {
	if p.down || p.leads || p.deposed {
		return
	}
	for _, old := range w.processes {
		switch {
		case !old.leads || old.down:
		case w.chance(2):
			w.crash(old)
		default:
			old.deposed = true
			old.frozen = max(old.frozen, w.now+w.upTo(20*time.Second))
		}
	}
	p.leads, p.dirty = true, true
	w.tell("%s leads", p.name)
}
