// Package simulation runs the ledger through random schedules, in one thread and on a clock of its own.
//
// Several webhook replicas, leaders, a Deployment's and its ReplicaSets' controllers and the creations
// of pods are coroutines over a model of the API server. The code that decides is the one of
// production: whole ledgers (internal/ledger), with their group commit, evidence and expiry. Everything
// in them that blocks passes through a port or the ledger's Runtime, and both are here, so that a
// seed fixes which coroutine goes on at each step, what fails, and what time it is.
//
// Input: a seed. Output: the promises of the ledger that the schedule broke, and a trace of what
// happened. The promises are those of docs/architecture.md: safety at every write of a status,
// liveness once disturbances have ended.
//
//	go test ./test/simulation -run TestSimulation -sim.seed=123   # one schedule, with its trace
//	go test ./test/simulation -run TestSimulation -sim.schedules=1000000
package simulation
