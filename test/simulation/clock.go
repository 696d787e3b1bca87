package simulation

import (
	"context"
	"time"

	"k8s.io/utils/clock"
)

// epoch is when every schedule begins.
var epoch = time.Unix(1_800_000_000, 0)

// wall is a process's clock. Only what a ledger may use of it works: whatever waits goes through its
// Runtime.
type wall struct {
	clock.Clock
	w *World
	p *process
}

// Now returns the time as the process's machine sees it.
func (c wall) Now() time.Time { return epoch.Add(c.w.now + c.p.skew) }

// Since returns the time passed since t.
func (c wall) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// monotonic is a clock that nobody sets.
type monotonic struct{ w *World }

// Now returns the time since the schedule began.
func (c monotonic) Now() time.Time { return epoch.Add(c.w.now) }

// Since returns the time passed since t.
func (c monotonic) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// turns implements ledger.Runtime for one process: what waits gives its turn away.
type turns struct {
	w *World
	p *process
}

// Go adds an actor to the process.
func (r turns) Go(f func()) { r.w.spawn(r.p.name+" background", r.p, f) }

// Wait suspends the current actor.
func (r turns) Wait(limit time.Duration, first, second <-chan struct{}) {
	r.w.wait(limit, first, second)
}

// Until returns a context with a deadline by the process's clock.
func (r turns) Until(deadline time.Time) (context.Context, context.CancelFunc) {
	c := r.w.deadline(deadline.Sub(epoch)-r.p.skew, r.p.skew)
	return c, func() { c.end(context.Canceled) }
}

// span is a context in the world's time.
type span struct {
	w    *World
	ends time.Duration
	skew time.Duration // of the clock by which the deadline is told
	done chan struct{}
	err  error
}

// deadline opens a context that ends at a time of the world.
func (w *World) deadline(ends, skew time.Duration) *span {
	s := &span{w: w, ends: ends, skew: skew, done: make(chan struct{})}
	w.spans = append(w.spans, s)
	if ends <= w.now {
		s.end(context.DeadlineExceeded)
	}
	return s
}

// Deadline implements context.Context.
func (s *span) Deadline() (time.Time, bool) { return epoch.Add(s.ends + s.skew), true }

// Done implements context.Context.
func (s *span) Done() <-chan struct{} { return s.done }

// Err implements context.Context.
func (s *span) Err() error { return s.err }

// Value implements context.Context.
func (s *span) Value(any) any { return nil }

func (s *span) end(err error) {
	if s.err == nil {
		s.err = err
		close(s.done)
	}
}

// advance moves the time on and ends what ends by then.
func (w *World) advance(by time.Duration) {
	w.now += by
	open := w.spans[:0]
	for _, s := range w.spans {
		if s.ends <= w.now {
			s.end(context.DeadlineExceeded)
		}
		if s.err == nil {
			open = append(open, s)
		}
	}
	w.spans = open
}
