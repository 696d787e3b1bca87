package simulation

import (
	"fmt"
	"iter"
	"runtime/debug"
	"time"
)

// An actor is something that goes on in steps: a request, a controller's pass, a goroutine of a ledger.
// It runs alone until it pauses.
type actor struct {
	name    string
	process *process // whose crash ends it; nil for none
	routine *coroutine
	start   func()

	// What it waits for: a time (0 for none) or the end of one of the channels. ready overrides.
	ready         bool
	wakes         time.Duration
	first, second <-chan struct{}

	killed, ended bool

	outdated string // resource version that a conflict has refused, until the object is read again
	replicas int32  // of the workload, as last read by it or for it
	parent   *actor // that started it
}

// killed unwinds an actor whose process has crashed.
type killed struct{}

// coroutine runs one actor after another: making one costs more than a whole schedule's step.
type coroutine struct {
	next  func() (struct{}, bool)
	yield func(struct{}) bool
	job   func()
	fault any
	stack []byte
}

func newCoroutine() *coroutine {
	c := &coroutine{}
	c.next, _ = iter.Pull(func(yield func(struct{}) bool) {
		c.yield = yield
		for {
			c.run()
			if !yield(struct{}{}) {
				return
			}
		}
	})
	return c
}

func (c *coroutine) run() {
	defer func() {
		if r := recover(); r != nil && r != (killed{}) {
			c.fault, c.stack = r, debug.Stack()
		}
	}()
	c.job()
}

// spawn adds an actor; it starts when it is first chosen.
func (w *World) spawn(name string, p *process, f func()) *actor {
	a := &actor{name: name, process: p, start: f, ready: true, parent: w.current}
	w.actors = append(w.actors, a)
	return a
}

// resume lets an actor go on until it pauses or ends.
func (w *World) resume(a *actor) {
	outer := w.current
	w.current = a
	if a.routine == nil {
		a.routine = w.idleRoutine()
		a.routine.job = func() {
			defer func() { a.ended = true }()
			a.start()
		}
	}
	c := a.routine
	c.next()
	w.current = outer
	if a.ended {
		w.remove(a)
		w.idle = append(w.idle, c)
	}
	if c.fault != nil {
		w.violate("panic in %s: %v\n%s", a.name, c.fault, c.stack)
		c.fault = nil
	}
}

func (w *World) idleRoutine() *coroutine {
	if n := len(w.idle); n > 0 {
		c := w.idle[n-1]
		w.idle = w.idle[:n-1]
		return c
	}
	return newCoroutine()
}

func (w *World) remove(a *actor) {
	for i, other := range w.actors {
		if other == a {
			w.actors = append(w.actors[:i], w.actors[i+1:]...)
			return
		}
	}
}

// kill ends an actor where it stands.
func (w *World) kill(a *actor) {
	a.killed = true
	if a.routine == nil {
		a.ended = true
		w.remove(a)
		return
	}
	w.resume(a)
	if !a.ended {
		panic(fmt.Sprintf("actor %s survived its end", a.name))
	}
}

// suspend gives the turn away until the actor is resumed.
func (w *World) suspend() {
	a := w.current
	if !a.killed {
		a.routine.yield(struct{}{})
	}
	if a.killed {
		panic(killed{})
	}
}

// pause is a point where anything may happen in between; now and then it takes long.
func (w *World) pause() {
	a := w.current
	a.ready = true
	if w.faults() && w.chance(40) {
		a.ready, a.wakes = false, w.now+w.upTo(4*time.Second)
	}
	w.suspend()
	a.ready, a.wakes = false, 0
}

// wait suspends the actor until a channel is closed or a time has passed.
func (w *World) wait(limit time.Duration, first, second <-chan struct{}) {
	a := w.current
	a.ready, a.wakes, a.first, a.second = false, 0, first, second
	if limit > 0 {
		a.wakes = w.now + limit
	}
	w.suspend()
	a.wakes, a.first, a.second = 0, nil, nil
}

// runnable reports whether an actor can go on.
func (w *World) runnable(a *actor) bool {
	if a.process != nil && a.process.frozen > w.now {
		return false
	}
	return a.ready || (a.wakes > 0 && a.wakes <= w.now) || closed(a.first) || closed(a.second)
}

func closed(c <-chan struct{}) bool {
	if c == nil {
		return false
	}
	select {
	case <-c:
		return true
	default:
		return false
	}
}
