package simulation

import (
	"fmt"
	"math/rand/v2"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
)

// World is one schedule: everything there is, and who goes on next.
type World struct {
	plan
	rng     *rand.Rand
	now     time.Duration
	current *actor
	actors  []*actor
	idle    []*coroutine
	spans   []*span

	// The API server: one counter of revisions, the objects, and what its watches tell.
	revision uint64
	ws       *appsv1alpha1.WorkloadSpread
	born     uint64 // revision at which ws was created
	edited   uint64 // revision of the last edit of its spec
	editedAt time.Duration
	uids     int
	wsLog    []*appsv1alpha1.WorkloadSpread // nil: deleted
	pods     []*pod
	podLog   []podEvent

	// The workload: a Deployment and its ReplicaSets, the newest last.
	replicas int32
	sets     []*replicaSet
	demands  []demandEvent

	processes []*process
	creations []*creation         // under way
	claims    map[string]*claimed // by stem
	entered   []*claimed          // those that were committed
	serial    int

	quiet        bool // disturbances have ended
	disturbances int
	refusing     int  // creations that a quota is going to refuse
	moved        bool // something excuses a split other than the specified one
	adopted      bool // pods were adopted, each into the subset of its node
	hindered     int  // dead claims that could not be recognised in time

	violation string
	tracing   bool
	trace     []string
	steps     int
}

// Result is what a schedule came to.
type Result struct {
	// Violation says which promise was broken; empty for none.
	Violation string
	// Trace tells what happened, if it was asked for.
	Trace []string
	Steps int
	// Exact: nothing excused a split other than the specified one, which therefore was checked.
	Exact bool
}

// Pool keeps what schedules that run one after another can share.
type Pool struct{ idle []*coroutine }

// Run goes through the schedule of a seed.
func (p *Pool) Run(seed uint64, tracing bool) Result {
	w := newWorld(seed)
	w.idle, w.tracing = p.idle, tracing
	w.begin()
	for w.violation == "" && !w.over() {
		w.step()
	}
	w.comeToRest()
	result := Result{Violation: w.violation, Trace: w.trace, Steps: w.steps, Exact: !w.moved}
	for len(w.actors) > 0 {
		w.kill(w.actors[0])
	}
	p.idle = w.idle
	return result
}

func newWorld(seed uint64) *World {
	r := rand.New(rand.NewPCG(seed, 0x5b111a7)) //nolint:gosec // a schedule that can be repeated
	return &World{plan: drawPlan(r), rng: r, claims: make(map[string]*claimed), now: time.Second}
}

// begin creates the objects and the processes.
func (w *World) begin() {
	w.disturbances = w.plan.disturbances
	w.replicas = w.plan.replicas
	w.tell("limits %q, %d replicas, %d processes", w.limits, w.replicas, w.plan.processes)
	w.newReplicaSet()
	w.sets[0].scale(w, w.replicas)
	w.moved = w.barring // pods that have a place elsewhere
	if w.late {
		w.moved = true
		for range w.rng.IntN(int(w.replicas) + 1) {
			w.store(&creation{set: w.sets[0], version: w.sets[0].version})
		}
		w.sets[0].expected = w.revision // the controller knows its pods
	}
	w.createSpread()
	for i := range w.plan.processes {
		p := &process{name: string(rune('A' + i))}
		w.processes = append(w.processes, p)
		w.boot(p)
	}
	w.processes[0].leads = true
}

// over reports whether there is nothing left to disturb.
func (w *World) over() bool { return w.disturbances <= 0 || w.steps > 2000 }

// step lets one thing happen.
func (w *World) step() {
	w.steps++
	w.advance(time.Duration(w.rng.IntN(4)) * time.Millisecond)
	switch roll := w.rng.IntN(100); {
	case roll < 15:
		w.deliver(w.processes[w.rng.IntN(len(w.processes))])
	case roll < 22 && w.faults():
		w.disturbances--
		w.disturb()
	case roll < 35:
		w.control()
	default:
		if !w.goOn() && !w.control() {
			w.skip()
		}
	}
	w.timeOut()
}

// goOn resumes one of the actors that can go on, and reports whether there was one.
func (w *World) goOn() bool {
	n := 0
	var chosen *actor
	for _, a := range w.actors {
		if w.runnable(a) {
			if n++; w.rng.IntN(n) == 0 {
				chosen = a
			}
		}
	}
	if chosen != nil {
		w.resume(chosen)
	}
	return chosen != nil
}

// skip moves the time to where something can go on. Watches rarely take that long.
func (w *World) skip() {
	for _, p := range w.processes {
		if !w.faults() || !w.chance(4) {
			w.deliverAll(p)
		}
	}
	next := w.now + 10*time.Second
	for _, a := range w.actors {
		if at := a.wakes; at > w.now && at < next {
			next = at
		}
		if a.process != nil && a.process.frozen > w.now && a.process.frozen < next {
			next = a.process.frozen
		}
	}
	for _, s := range w.spans {
		next = min(next, s.ends)
	}
	for _, s := range w.sets {
		if s.retryAt > w.now {
			next = min(next, s.retryAt)
		}
	}
	for _, p := range w.processes {
		if p.nextPass > w.now {
			next = min(next, p.nextPass)
		}
	}
	w.advance(max(next-w.now, time.Millisecond))
}

// faults reports whether things may still go wrong.
func (w *World) faults() bool { return !w.quiet }

// chance is true once in n times.
func (w *World) chance(n int) bool { return w.rng.IntN(n) == 0 }

func (w *World) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d))) }

// violate ends the schedule: a promise is broken.
func (w *World) violate(format string, args ...any) {
	if w.violation == "" {
		w.violation = fmt.Sprintf(format, args...)
		w.tell("VIOLATION: %s", w.violation)
	}
}

// tell adds to the trace.
func (w *World) tell(format string, args ...any) {
	if !w.tracing {
		return
	}
	who := "-"
	if w.current != nil {
		who = w.current.name
	}
	w.trace = append(w.trace, fmt.Sprintf("%4d %9.3fs  %-22s %s", w.steps, w.now.Seconds(), who, fmt.Sprintf(format, args...)))
}
