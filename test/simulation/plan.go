package simulation

import (
	"fmt"
	"math/rand/v2"
)

// plan is what a schedule starts from, and what may go wrong in it. Every schedule has some of the
// disturbances only: all of them at once hide from one another.
type plan struct {
	limits       []string
	percent      bool
	replicas     int32
	processes    int
	disturbances int
	late         bool // pods ran before the WorkloadSpread was created
	slowStart    bool // the controllers create pods in batches that double, and are known to
	homeless     bool // pods without an assignment run on nodes of no subset
	barring      bool // some subsets cannot take some pods
	on           [kinds]bool
}

// kind is a way of disturbing.
type kind int

const (
	scaleUp kind = iota
	scaleDown
	rollOut
	editSpec
	recreate
	deletePods
	refuse
	crash
	freeze
	changeLeader
	setClock
	leap
	lag
	failCalls
	loseAnswers
	slowCreations
	admitTwice
	copyTokens
	kinds
)

func drawPlan(r *rand.Rand) plan {
	p := plan{
		replicas:     int32(1 + r.IntN(8)), //nolint:gosec // small
		processes:    1 + r.IntN(3),
		disturbances: 2 + r.IntN(24),
	}
	for k := range p.on {
		p.on[k] = r.IntN(2) == 0
	}
	p.percent = r.IntN(2) == 0
	p.limits = drawLimits(r, p.percent)
	// What excuses a split other than the specified one is kept out of most schedules.
	for _, k := range []kind{scaleDown, editSpec, recreate} {
		p.on[k] = p.on[k] && r.IntN(2) == 0
	}
	p.late = r.IntN(8) == 0
	p.homeless = r.IntN(2) == 0
	p.slowStart = r.IntN(2) == 0
	p.barring = r.IntN(6) == 0
	return p
}

// drawLimits returns the limits of two to four subsets; the last one often has none.
func drawLimits(r *rand.Rand, percent bool) []string {
	limits := make([]string, 2+r.IntN(3))
	rest := 100
	for i := range limits {
		switch {
		case i == len(limits)-1 && r.IntN(3) > 0, r.IntN(16) == 0:
			limits[i] = ""
		case percent && i == len(limits)-1 && r.IntN(2) == 0:
			limits[i] = fmt.Sprint(rest, "%")
		case percent:
			share := r.IntN(rest/2+1) + rest/4
			rest -= share
			limits[i] = fmt.Sprint(share, "%")
		default:
			limits[i] = fmt.Sprint(r.IntN(4))
		}
	}
	return limits
}
