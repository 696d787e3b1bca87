package simulation

import (
	"errors"
	"time"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/spread"
)

// control lets one of the controllers do what is due, and reports whether there was something.
func (w *World) control() bool {
	turns := [...]func() bool{w.syncOne, w.deploy, w.passOne, w.removeOne, w.repair}
	first := w.rng.IntN(len(turns))
	for i := range turns {
		if turns[(first+i)%len(turns)]() {
			return true
		}
	}
	return false
}

// syncOne starts a pass of a ReplicaSet's controller.
func (w *World) syncOne() bool {
	for _, s := range w.sets {
		if w.due(s) {
			w.sync(s)
			return true
		}
	}
	return false
}

// removeOne completes the end of a pod.
func (w *World) removeOne() bool {
	for _, p := range w.pods {
		if !p.Active {
			w.terminate(p)
			return true
		}
	}
	return false
}

// repair restarts what has crashed or lost its lease, and creates the WorkloadSpread again.
func (w *World) repair() bool {
	if w.ws == nil {
		w.createSpread()
		return true
	}
	leaders := 0
	for _, p := range w.processes {
		switch {
		case p.deposed && p.frozen <= w.now && !p.passing:
			w.crash(p) // a manager that has lost its lease exits
			return true
		case p.down && (w.quiet || w.chance(3)):
			w.boot(p)
			return true
		case p.leads && !p.deposed:
			leaders++
		}
	}
	if leaders > 0 {
		return false
	}
	for _, p := range w.processes {
		if !p.down && !p.deposed {
			p.leads, p.dirty = true, true
			w.tell("%s leads", p.name)
			return true
		}
	}
	return false
}

// passOne starts a pass of a leader's controller.
func (w *World) passOne() bool {
	for _, p := range w.processes {
		if p.leads && !p.down && !p.passing && p.frozen <= w.now && (p.dirty || (p.nextPass > 0 && p.nextPass <= w.now)) {
			p.passing, p.dirty, p.nextPass = true, false, 0
			w.spawn(p.name+" leader", p, func() {
				defer func() { p.passing = false }()
				w.pass(p)
			})
			return true
		}
	}
	return false
}

// pass is what the controller of WorkloadSpreads does around the ledger.
func (w *World) pass(p *process) {
	const retry = time.Second
	ws := p.ws
	if ws == nil {
		p.retries = false
		p.expiry.Forget(key)
		p.ledger.Forget(key)
		return
	}
	ctx := w.deadline(w.now+30*time.Second, p.skew)
	if ws.Status.ObservedGeneration != ws.Generation || w.strays() {
		if err := w.adopt(ctx, p, ws); err != nil {
			w.tell("adoption fails: %v", err)
			p.nextPass, p.retries = w.now+retry, !errors.Is(err, ledger.ErrGone)
			return
		}
	}
	seen, err := p.ledger.Observe(ctx, ws, spread.Sight{})
	if errors.Is(err, ledger.ErrGone) {
		return
	}
	next := retry
	p.retries = err != nil
	if err == nil {
		var ended int
		ended, next, err = p.expiry.End(ctx, p.ledger, seen.Spread)
		if ended > 0 {
			w.tell("%d claims have had their time", ended)
		}
	}
	switch {
	case err != nil:
		w.tell("the pass fails: %v", err)
		p.retries = true
		p.nextPass = w.now + retry
	case next > 0:
		p.nextPass = w.now + next
	}
}
