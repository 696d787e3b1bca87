package ledger

import (
	"context"
	"sync"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
)

// account is the queue of one WorkloadSpread in this replica. It exists while there is something
// in it.
type account struct {
	mu      sync.Mutex
	pending []operation
	running bool
	// newest is what this replica wrote or read last: the informer may not have it yet.
	newest *appsv1alpha1.WorkloadSpread
	wrote  time.Time
	// spacing is the time that this replica leaves between two writes; 0 for the configured one.
	spacing time.Duration

	arrivals map[*claimOp]arrival
	proofs   map[string]*proof // by version
}

// account returns the queue of a WorkloadSpread, opening it when there is none.
func (l *Ledger) account(key types.NamespacedName) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[key]
	if a == nil {
		a = &account{arrivals: make(map[*claimOp]arrival), proofs: make(map[string]*proof)}
		l.accounts[key] = a
	}
	return a
}

// Forget drops what is kept of a WorkloadSpread that was deleted.
func (l *Ledger) Forget(key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.accounts[key]; a != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if !a.running && len(a.arrivals) == 0 {
			delete(l.accounts, key)
		}
	}
}

// submit queues an operation and waits for its answer or the end of its context.
func (l *Ledger) submit(op operation) (Grant, error) {
	r := op.base()
	a := l.account(r.key)
	a.mu.Lock()
	a.pending = append(a.pending, op)
	if !a.running {
		a.running = true
		l.Runtime.Go(func() { l.drain(r.key, a) })
	}
	a.mu.Unlock()

	return r.wait(l.Runtime)
}

// drain commits batch after batch until nothing is pending.
func (l *Ledger) drain(key types.NamespacedName, a *account) {
	for {
		l.pace(a)
		a.mu.Lock()
		ops := a.pending
		a.pending = nil
		if len(ops) == 0 {
			a.running = false
			a.mu.Unlock()
			return
		}
		a.mu.Unlock()
		b := batch{l: l, a: a, key: key, ops: ops}
		began := l.Clock.Now()
		b.commit()
		a.yield(b.met, l.Clock.Since(began))
	}
}

// yieldMost bounds the time that a replica leaves to the others.
const yieldMost = 150 * time.Millisecond

// yield makes the replicas of a burst take turns: one that met another's write leaves as much time as its
// own took. Otherwise each would find, time after time, that the other has just written, and what the
// conflicts cost would be the most of it.
func (a *account) yield(met bool, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spacing = 0
	if met {
		a.spacing = min(took, yieldMost)
	}
}

// pace keeps writes of one WorkloadSpread the configured time apart.
func (l *Ledger) pace(a *account) {
	a.mu.Lock()
	wait := max(l.Spacing, a.spacing) - l.Clock.Since(a.wrote)
	idle := len(a.pending) == 0
	a.mu.Unlock()
	if wait > 0 && !idle {
		l.Runtime.Wait(wait, nil, nil)
	}
}

// known returns the newest copy that this replica has, or nil.
func (a *account) known() *appsv1alpha1.WorkloadSpread {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.newest
}

// learn keeps a copy if it is newer than what is known.
func (a *account) learn(ws *appsv1alpha1.WorkloadSpread, written bool, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.newest == nil || a.newest.UID != ws.UID || revisionOf(ws) > revisionOf(a.newest) {
		a.newest = ws
	}
	if written {
		a.wrote = now
	}
}

// contextOf returns a context that lasts as long as the longest of the operations' deadlines.
func (l *Ledger) contextOf(ops []operation) (context.Context, context.CancelFunc) {
	now := l.Clock.Now()
	latest := now
	for _, op := range ops {
		deadline, ok := op.base().ctx.Deadline()
		if !ok {
			deadline = now.Add(withdrawTimeout)
		}
		if deadline.After(latest) {
			latest = deadline
		}
	}
	return l.Runtime.Until(latest)
}
