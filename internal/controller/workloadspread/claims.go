package workloadspread

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// Claims knows since when this leader has seen each claim, by its own monotonic clock: the times in
// the status come from other machines. A new leader starts over, which only makes claims last longer.
type Claims struct {
	Clock clock.PassiveClock
	// Expiry is the age at which a claim ends.
	Expiry time.Duration

	mu    sync.Mutex
	since map[types.NamespacedName]map[Claim]time.Time
}

// Due returns the claims that have been outstanding for Expiry, and the time until the next one will
// have been (0 for none).
func (c *Claims) Due(key types.NamespacedName, outstanding []Claim) (due []Claim, next time.Duration) {
	now := c.Clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since == nil {
		c.since = make(map[types.NamespacedName]map[Claim]time.Time)
	}
	before, kept := c.since[key], make(map[Claim]time.Time, len(outstanding))
	for _, o := range outstanding {
		at, known := before[o]
		if !known {
			at = now
		}
		kept[o] = at
		rest := c.Expiry - now.Sub(at)
		switch {
		case rest <= 0:
			due = append(due, o)
		case next == 0 || rest < next:
			next = rest
		}
	}
	c.since[key] = kept
	if len(kept) == 0 {
		delete(c.since, key)
	}
	return due, next
}

// Forget drops what is known of a WorkloadSpread that is gone.
func (c *Claims) Forget(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.since, key)
}
