package sidecarset

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// Attempts remembers pods whose write failed: each is tried again by itself, later and later, while the
// others go on. It is safe for concurrent use.
type Attempts struct {
	Clock clock.PassiveClock

	mu     sync.Mutex
	failed map[attempt]failure
}

type attempt struct {
	set string
	pod types.UID
}

type failure struct {
	times int
	until time.Time
	// unsure: the write may have been done although its answer was lost.
	unsure bool
}

// The pause after a failure: it doubles from the first to the last.
const (
	firstPause = time.Second
	lastPause  = 2 * time.Minute
)

// Failed notes a failure. unsure says that the write may have happened.
func (a *Attempts) Failed(set string, pod types.UID, unsure bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed == nil {
		a.failed = make(map[attempt]failure)
	}
	key := attempt{set, pod}
	f := a.failed[key]
	pause := min(firstPause<<min(f.times, 10), lastPause)
	a.failed[key] = failure{times: f.times + 1, until: a.Clock.Now().Add(pause), unsure: unsure}
}

// Done forgets the failures of a pod.
func (a *Attempts) Done(set string, pod types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.failed, attempt{set, pod})
}

// Waiting returns the pods of a set that are not to be tried yet, those whose state is unsure, and when
// the next may be tried. It forgets those that are not among the given.
func (a *Attempts) Waiting(set string, pods map[types.UID]bool) (waiting map[types.UID]bool, unsure []types.UID, next time.Duration) {
	now := a.Clock.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	waiting = make(map[types.UID]bool)
	for key, f := range a.failed {
		if key.set != set {
			continue
		}
		if !pods[key.pod] {
			delete(a.failed, key)
			continue
		}
		if f.unsure {
			unsure = append(unsure, key.pod)
		}
		if rest := f.until.Sub(now); rest > 0 {
			waiting[key.pod] = true
			if next == 0 || rest < next {
				next = rest
			}
		}
	}
	return waiting, unsure, next
}

// Sure notes that the state of a pod is known again.
func (a *Attempts) Sure(set string, pod types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := attempt{set, pod}
	if f, ok := a.failed[key]; ok {
		f.unsure = false
		a.failed[key] = f
	}
}
