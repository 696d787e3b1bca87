package review

import (
	"context"
	"net/http"
	"sync"
)

// Gate knows which requests are under way, so that a replica that was told to stop can finish them. The
// zero value is open. It is safe for concurrent use.
//
// The API server keeps connections for reuse, and goes on using them although the endpoint is no
// longer ready. Once the gate is closing, every answer asks for its connection to be closed; the next
// request then opens one to an endpoint that is ready.
type Gate struct {
	mu      sync.Mutex
	under   int
	closing bool
	idle    chan struct{}
}

// enter counts a request until the returned function is called.
func (g *Gate) enter(w http.ResponseWriter) func() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.under++
	if g.closing {
		w.Header().Set("Connection", "close")
	}
	return g.leave
}

func (g *Gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.under--; g.under == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// Close makes answers from now on ask for their connections to be closed.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closing = true
}

// Idle waits until no request is under way, or until the context ends: then it returns its error.
func (g *Gate) Idle(ctx context.Context) error {
	g.mu.Lock()
	if g.under == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.idle == nil {
		g.idle = make(chan struct{})
	}
	idle := g.idle
	g.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
