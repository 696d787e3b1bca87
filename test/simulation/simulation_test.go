package simulation

import (
	"flag"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seed      = flag.Uint64("sim.seed", 0, "run only this schedule, and show its trace")
	first     = flag.Uint64("sim.first", 1, "seed of the first schedule")
	schedules = flag.Uint64("sim.schedules", 100_000, "number of schedules")
	progress  = flag.Duration("sim.progress", 0, "how often to tell how far it is; 0 for never")
)

// TestSimulation runs schedules until one breaks a promise.
func TestSimulation(t *testing.T) {
	if *seed != 0 {
		show(t, new(Pool).Run(*seed, true))
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // many small worlds, all of them short-lived
	var next, exact, steps, broken atomic.Uint64
	next.Store(*first)
	end, start := *first+*schedules, time.Now()
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			var pool Pool
			for s := next.Add(1) - 1; s < end && broken.Load() == 0; s = next.Add(1) - 1 {
				r := pool.Run(s, false)
				steps.Add(uint64(r.Steps))
				if r.Exact {
					exact.Add(1)
				}
				if r.Violation != "" {
					broken.CompareAndSwap(0, s)
				}
			}
		})
	}
	stop := tellProgress(t, &next, start)
	workers.Wait()
	stop()
	t.Logf("%d schedules, %d steps, the exact split checked in %d; %.0f schedules/s",
		min(next.Load(), end)-*first, steps.Load(), exact.Load(), float64(*schedules)/time.Since(start).Seconds())
	if s := broken.Load(); s != 0 {
		show(t, new(Pool).Run(s, true))
		t.Errorf("replay: go test ./test/simulation -run TestSimulation -sim.seed=%d", s)
	}
}

// tellProgress tells how far it is until the returned function is called.
func tellProgress(t *testing.T, next *atomic.Uint64, start time.Time) (stop func()) {
	t.Helper()
	if *progress <= 0 {
		return func() {}
	}
	ticker, done := time.NewTicker(*progress), make(chan struct{})
	var teller sync.WaitGroup
	teller.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				n := next.Load() - *first
				t.Logf("%d of %d schedules, %.0f/s", n, *schedules, float64(n)/time.Since(start).Seconds())
			}
		}
	})
	return func() { ticker.Stop(); close(done); teller.Wait() }
}

func show(t *testing.T, r Result) {
	t.Helper()
	for _, line := range r.Trace {
		t.Log(line)
	}
	if r.Violation != "" {
		t.Error(r.Violation)
	}
}

// TestASeedIsASchedule: the same seed gives the same trace, whatever ran before.
func TestASeedIsASchedule(t *testing.T) {
	var pool Pool
	for s := range uint64(300) {
		once, again := pool.Run(s+1, true), new(Pool).Run(s+1, true)
		if !slices.Equal(once.Trace, again.Trace) || once.Steps != again.Steps {
			for i := range min(len(once.Trace), len(again.Trace)) {
				if once.Trace[i] != again.Trace[i] {
					t.Fatalf("seed %d, line %d:\n%s\n%s", s+1, i, once.Trace[i], again.Trace[i])
				}
			}
			t.Fatalf("seed %d: %d and %d lines", s+1, len(once.Trace), len(again.Trace))
		}
		if quiet := pool.Run(s+1, false); quiet.Steps != once.Steps {
			t.Fatalf("seed %d: tracing changes the schedule: %d and %d steps", s+1, once.Steps, quiet.Steps)
		}
	}
}
