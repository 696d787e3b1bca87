package ledger

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/spillway-project/spillway/internal/spread"
)

// Expiry ends claims from which no pod came. It knows since when this leader has seen each claim, by
// its own monotonic clock: the times in the status come from other machines. A new leader starts
// over, which only makes claims last longer.
type Expiry struct {
	Clock clock.PassiveClock
	// Life is the age at which a claim ends. It must exceed the time that the API server gives a
	// request, or a place is given away while its pod is still being stored.
	Life time.Duration

	mu    sync.Mutex
	since map[types.NamespacedName]map[Outstanding]time.Time
}

// Outstanding is a claim that stands in a status.
type Outstanding struct {
	Version string
	Token   spread.Token
}

// End ends the claims of a WorkloadSpread, as read by the caller, whose time is up and whose pods a
// live list does not show: the view may lag, and what it does not show may exist. It returns how many
// those were, and the time until the next one will be due (0 for none).
func (e *Expiry) End(ctx context.Context, l *Ledger, ws *appsv1alpha1.WorkloadSpread) (int, time.Duration, error) {
	due, next := e.due(keyOf(ws), ClaimsOf(ws))
	if len(due) == 0 {
		return 0, next, nil
	}
	view, err := l.Pods.ListSpread(ctx, ws)
	if err != nil {
		return 0, 0, fmt.Errorf("look for the pods of claims that end: %w", err)
	}
	seen := make(map[spread.Token]bool, 2*len(view.Pods))
	for _, p := range view.Pods {
		seen[p.Token], seen[spread.Token(p.Name)] = true, true
	}
	ended := make(map[string][]spread.Token)
	lost := 0
	for _, c := range due {
		if !seen[c.Token] {
			ended[c.Version] = append(ended[c.Version], c.Token)
			lost++
		}
	}
	if lost == 0 {
		return 0, next, nil
	}
	if err := l.Expire(ctx, ws, ended); err != nil {
		return 0, 0, fmt.Errorf("end claims: %w", err)
	}
	return lost, next, nil
}

// due returns the claims that have been outstanding for Life, and the time until the next one will
// have been (0 for none).
func (e *Expiry) due(key types.NamespacedName, claims []Outstanding) (due []Outstanding, next time.Duration) {
	now := e.Clock.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.since == nil {
		e.since = make(map[types.NamespacedName]map[Outstanding]time.Time)
	}
	before, kept := e.since[key], make(map[Outstanding]time.Time, len(claims))
	for _, o := range claims {
		at, known := before[o]
		if !known {
			at = now
		}
		kept[o] = at
		rest := e.Life - now.Sub(at)
		switch {
		case rest <= 0:
			due = append(due, o)
		case next == 0 || rest < next:
			next = rest
		}
	}
	e.since[key] = kept
	if len(kept) == 0 {
		delete(e.since, key)
	}
	return due, next
}

// Forget drops what is known of a WorkloadSpread that is gone.
func (e *Expiry) Forget(key types.NamespacedName) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.since, key)
}

// ClaimsOf lists the claims of a status, in one order.
func ClaimsOf(ws *appsv1alpha1.WorkloadSpread) []Outstanding {
	var all []Outstanding
	for version, subsets := range ws.Status.VersionedSubsetStatuses {
		for i := range subsets {
			for token := range subsets[i].CreatingPods {
				all = append(all, Outstanding{version, spread.Token(token)})
			}
		}
	}
	slices.SortFunc(all, func(a, b Outstanding) int {
		return cmp.Or(cmp.Compare(a.Version, b.Version), cmp.Compare(a.Token, b.Token))
	})
	return all
}
