package workloadspread

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/resolve"
	"github.com/spillway-project/spillway/internal/spread"
)

// sight gathers what the adaptation looks at.
func (p *pass) sight(ctx context.Context) (spread.Sight, error) {
	s := spread.Sight{Holds: p.Holds, Numbered: p.kind.Ordinals}
	sites, err := p.Sites.Of(ctx, p.ws)
	if err != nil || !p.terms.Adaptive() || !resolve.Virtual(sites) {
		return s, err
	}
	s.Ground = resolve.Ground(sites)
	if s.Barred, err = p.judge(ctx, sites); err != nil {
		return s, fmt.Errorf("find out which pods cannot run on virtual nodes: %w", err)
	}
	return s, nil
}

// judge finds out, of pods that have been unable to start for long enough to be moved, which subsets of virtual nodes they
// could not run on either: to make those anew would only lose their place. Each is looked at once in a while.
func (p *pass) judge(ctx context.Context, sites []resolve.Site) (map[types.UID]map[string]v1alpha1.Reason, error) {
	now := p.Clock.Now()
	known, unknown := p.judged.of(p.key, p.ws.Generation, now), make(map[types.UID]bool)
	out := make(map[types.UID]map[string]v1alpha1.Reason)
	for _, pod := range p.Pods.View(p.key).Pods {
		if !pod.Active || pod.Trouble.Since == 0 || now.Sub(time.Unix(pod.Trouble.Since, 0)) < p.terms.Critical {
			continue
		}
		if bars, ok := known[pod.UID]; ok {
			out[pod.UID] = bars
			continue
		}
		unknown[pod.UID] = true
	}
	if len(unknown) == 0 {
		return out, nil
	}
	found, err := p.Pods.Barred(ctx, p.ws, p.Sites, sites, unknown)
	if err != nil {
		return nil, err //nolint:wrapcheck // wrapped by sight
	}
	for uid := range unknown {
		bars, there := found[uid]
		if !there { // gone, or not the target's any more: nothing of ours to move
			bars = p.everywhere()
		}
		out[uid] = bars
	}
	p.judged.keep(p.key, p.ws.Generation, now, out)
	return out, nil
}

// everywhere bars all subsets.
func (p *pass) everywhere() map[string]v1alpha1.Reason {
	out := make(map[string]v1alpha1.Reason, p.terms.Len())
	for i := range p.terms.Len() {
		out[p.terms.Name(i)] = v1alpha1.ReasonNotManaged
	}
	return out
}

// eligibility remembers, by WorkloadSpread and generation, what the pods that cannot start could not run on. Nodes and
// claims change: after a while all are looked at again. The zero value is ready for use.
type eligibility struct {
	mu  sync.Mutex
	all map[types.NamespacedName]judgedPods
}

type judgedPods struct {
	generation int64
	until      time.Time
	pods       map[types.UID]map[string]v1alpha1.Reason
}

// judgedLife is how long what is known of pods is used.
const judgedLife = 30 * time.Second

// of returns what is known under a generation; it must not be changed.
func (e *eligibility) of(key types.NamespacedName, generation int64, now time.Time) map[types.UID]map[string]v1alpha1.Reason {
	e.mu.Lock()
	defer e.mu.Unlock()
	if have := e.all[key]; have.generation == generation && now.Before(have.until) {
		return have.pods
	}
	return nil
}

// keep replaces what is known: pods that start, or are gone, are forgotten.
func (e *eligibility) keep(key types.NamespacedName, generation int64, now time.Time, pods map[types.UID]map[string]v1alpha1.Reason) {
	e.mu.Lock()
	defer e.mu.Unlock()
	until := now.Add(judgedLife)
	if have := e.all[key]; have.generation == generation && now.Before(have.until) {
		until = have.until
	}
	if e.all == nil {
		e.all = make(map[types.NamespacedName]judgedPods)
	}
	e.all[key] = judgedPods{generation, until, pods}
}

func (e *eligibility) forget(key types.NamespacedName) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.all, key)
}
