package simulation

import (
	"flag"
	"testing"
)

var (
	seed      = flag.Uint64("sim.seed", 0, "run this schedule only, and show its trace")
	dev       = flag.Int("sim.dev", 0, "")
	schedules = flag.Int("sim.schedules", 100_000, "number of schedules")
)

func TestSimulation(t *testing.T) {
	if *seed != 0 {
		show(t, new(Pool).Run(*seed, true))
		return
	}
	var pool Pool
	exact, steps := 0, 0
	for s := range uint64(*schedules) {
		r := pool.Run(s+1, false)
		steps += r.Steps
		if r.Exact {
			exact++
		}
		if r.Violation != "" {
			show(t, pool.Run(s+1, true))
			t.Fatalf("replay: go test ./test/simulation -run TestSimulation -sim.seed=%d", s+1)
		}
	}
	t.Logf("%d schedules, %d steps, %d with the exact split to be checked", *schedules, steps, exact)
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
