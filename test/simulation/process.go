package simulation

import (
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"

	configv1alpha1 "github.com/spillway-project/spillway/api/config/v1alpha1"
	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/spread"
)

// process is one replica of Spillway: its ledger and its caches.
type process struct {
	name   string
	ledger *ledger.Ledger
	expiry *ledger.Expiry
	down   bool
	frozen time.Duration // until then nothing in it goes on
	stuck  time.Duration // until then its watches bring nothing
	skew   time.Duration

	leads    bool
	retries  bool // its last pass failed
	deposed  bool // another one leads, which this one does not know
	passing  bool
	dirty    bool
	nextPass time.Duration

	ws       *appsv1alpha1.WorkloadSpread
	wsAt     int
	demandAt int
	podsAt   int
	view     spread.View
	began    uint64 // revision of its first list
	changed  chan struct{}
}

// settings are those of production.
var settings = func() configv1alpha1.Ledger {
	var c configv1alpha1.ManagerConfiguration
	c.Default()
	return c.Ledger
}()

// boot starts a process with nothing remembered. Its caches begin with a list, which may be a little old.
func (w *World) boot(p *process) {
	p.down, p.leads, p.deposed, p.passing = false, false, false, false
	p.frozen, p.stuck, p.nextPass, p.retries = 0, 0, 0, false
	if w.on[setClock] {
		p.skew = w.upTo(4*time.Minute) - 2*time.Minute
	}
	s := &server{w: w, p: p}
	p.ledger = ledger.New(ledger.Options{
		Spreads: s, Pods: s, Workloads: s, Recorder: s, Clock: wall{w: w, p: p}, Runtime: turns{w, p},
		Stem: w.stem, DemandWait: settings.DemandWait.Duration, Spacing: settings.CommitSpacing.Duration,
	})
	p.expiry = &ledger.Expiry{Clock: monotonic{w}, Life: settings.ClaimExpiry.Duration}
	p.view, p.podsAt, p.changed = spread.View{}, 0, make(chan struct{})
	w.deliverAll(p)
	p.began = w.revision
	w.tell("%s starts", p.name)
}

// crash ends a process and everything that goes on in it.
func (w *World) crash(p *process) {
	w.tell("%s crashes", p.name)
	p.down, p.leads, p.deposed = true, false, false
	for i := 0; i < len(w.actors); {
		if a := w.actors[i]; a.process == p {
			c := w.creationOf(a)
			w.kill(a)
			if c != nil {
				w.fail(c, "the webhook's answer never came")
			}
			i = 0
			continue
		}
		i++
	}
}

// deliver lets some of what happened reach one of a process's caches.
func (w *World) deliver(p *process) {
	if p.down || p.stuck > w.now {
		return
	}
	switch w.rng.IntN(4) {
	case 0:
		w.deliverSpread(p, p.wsAt+w.rng.IntN(len(w.wsLog)-p.wsAt+1))
	case 1:
		p.demandAt += w.rng.IntN(len(w.demands) - p.demandAt + 1)
	default:
		w.deliverPods(p, p.podsAt+w.rng.IntN(len(w.podLog)-p.podsAt+1))
	}
}

func (w *World) deliverAll(p *process) {
	if p.down || p.stuck > w.now {
		return
	}
	w.deliverSpread(p, len(w.wsLog))
	p.demandAt = len(w.demands)
	w.deliverPods(p, len(w.podLog))
}

func (w *World) deliverSpread(p *process, to int) {
	if to > p.wsAt {
		p.wsAt, p.ws, p.dirty = to, w.wsLog[to-1], true
	}
}

// deliverPods brings a view of pods up to an event, or to the present with a bookmark.
func (w *World) deliverPods(p *process, to int) {
	pods, changed := p.view.Pods, false
	for ; p.podsAt < to; p.podsAt++ {
		e := w.podLog[p.podsAt]
		if e.recorded {
			pods, changed = e.applyTo(pods, !changed), true
			if e.pod == nil {
				pods = append(pods, e.gone)
			}
		}
		p.view.Revision = e.revision
	}
	if p.podsAt == len(w.podLog) && (w.quiet || w.chance(2)) {
		p.view.Revision = w.revision
	}
	if changed {
		p.view.Pods, p.dirty = pods, true
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

// demandOf is what the process's cache says of a ReplicaSet, as resolve has it.
func (w *World) demandOf(p *process, s *replicaSet) int32 {
	n := int32(1)
	for _, e := range w.demands[:p.demandAt] {
		if e.set == s {
			n = max(e.replicas, 1)
		}
	}
	return n
}
