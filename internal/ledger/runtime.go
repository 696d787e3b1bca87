package ledger

import (
	"context"
	"time"

	"k8s.io/utils/clock"
)

// Runtime is what a ledger runs on: what goes on beside its callers, and how they wait. Everything that
// blocks passes through it or through a port, so whoever brings both decides alone in which order
// things happen: the simulation does.
type Runtime interface {
	// Go runs f beside the caller.
	Go(f func())
	// Wait returns when one of the channels is closed, a nil one never being, or after limit; 0 is no
	// limit.
	Wait(limit time.Duration, first, second <-chan struct{})
	// Until returns a context that ends at the deadline, by the ledger's clock.
	Until(deadline time.Time) (context.Context, context.CancelFunc)
}

// goroutines is the Runtime of production.
type goroutines struct{ clock clock.Clock }

func (goroutines) Go(f func()) { go f() }

func (g goroutines) Wait(limit time.Duration, first, second <-chan struct{}) {
	var over <-chan time.Time
	if limit > 0 {
		timer := g.clock.NewTimer(limit)
		defer timer.Stop()
		over = timer.C()
	}
	select {
	case <-first:
	case <-second:
	case <-over:
	}
}

func (goroutines) Until(deadline time.Time) (context.Context, context.CancelFunc) {
	return context.WithDeadline(context.Background(), deadline)
}
