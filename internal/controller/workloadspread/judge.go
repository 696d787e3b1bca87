package workloadspread

import (
	"context"
	"fmt"
	"maps"
	"sync"

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

// judge finds out, of pods that cannot start, which subsets of virtual nodes they could not run on either: to make those
// anew would only lose their place. Each is looked at once.
func (p *pass) judge(ctx context.Context, sites []resolve.Site) (map[types.UID]map[string]v1alpha1.Reason, error) {
	known, unknown := p.judged.of(p.key, p.ws.Generation), make(map[types.UID]bool)
	out := make(map[types.UID]map[string]v1alpha1.Reason)
	for _, pod := range p.Pods.View(p.key).Pods {
		if !pod.Active || pod.Trouble.Since == 0 {
			continue
		}
		if bars, ok := known[pod.UID]; ok {
			out[pod.UID] = bars
			continue
		}
		unknown[pod.UID] = true
	}
	if len(unknown) > 0 {
		found, err := p.Pods.Barred(ctx, p.ws, p.Sites, sites, unknown)
		if err != nil {
			return nil, err //nolint:wrapcheck // wrapped by sight
		}
		maps.Copy(out, found)
	}
	p.judged.keep(p.key, p.ws.Generation, out)
	return out, nil
}

// eligibility remembers, by WorkloadSpread and generation, what the pods that cannot start could not run on. The zero
// value is ready for use.
type eligibility struct {
	mu  sync.Mutex
	all map[types.NamespacedName]judgedPods
}

type judgedPods struct {
	generation int64
	pods       map[types.UID]map[string]v1alpha1.Reason
}

// of returns what is known under a generation; it must not be changed.
func (e *eligibility) of(key types.NamespacedName, generation int64) map[types.UID]map[string]v1alpha1.Reason {
	e.mu.Lock()
	defer e.mu.Unlock()
	if have := e.all[key]; have.generation == generation {
		return have.pods
	}
	return nil
}

// keep replaces what is known: pods that start, or are gone, are forgotten.
func (e *eligibility) keep(key types.NamespacedName, generation int64, pods map[types.UID]map[string]v1alpha1.Reason) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(pods) == 0 {
		delete(e.all, key)
		return
	}
	if e.all == nil {
		e.all = make(map[types.NamespacedName]judgedPods)
	}
	e.all[key] = judgedPods{generation, pods}
}

func (e *eligibility) forget(key types.NamespacedName) { e.keep(key, 0, nil) }
