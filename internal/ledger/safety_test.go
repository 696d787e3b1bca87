package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/spread"
)

// lagging is one replica's sight of the model: its caches show what was true some time ago.
type lagging struct {
	*api
	mu     sync.Mutex
	rand   *rand.Rand
	cached *appsv1alpha1.WorkloadSpread
	view   spread.View
}

// stale says that a cache is not refreshed this time.
func (l *lagging) stale() bool { return l.rand.IntN(3) > 0 }

func (l *lagging) Cached(ctx context.Context, k types.NamespacedName) (*appsv1alpha1.WorkloadSpread, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cached == nil || !l.stale() {
		ws, err := l.api.Live(ctx, k)
		if err != nil {
			return nil, err
		}
		l.cached = ws
	}
	return l.cached, nil
}

func (l *lagging) View(k types.NamespacedName) spread.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view.Revision == 0 || !l.stale() {
		l.view = l.api.View(k)
	}
	return l.view
}

// UpdateStatus checks the promise at every commit: where a write adds claims, active pods and claims
// stay within the limit. The truth is the model's, not the counts in the status.
func (l *lagging) UpdateStatus(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (*appsv1alpha1.WorkloadSpread, error) {
	l.api.mu.Lock()
	if ws.ResourceVersion == l.api.ws.ResourceVersion {
		l.api.checkSafety(ws)
	}
	l.api.mu.Unlock()
	return l.api.UpdateStatus(ctx, ws)
}

// checkSafety is called with the lock held. What counts is what is or can still become a pod: active
// pods, claims that are not dead, and creations under way whose claim was released in the place of a
// dead one.
func (a *api) checkSafety(ws *appsv1alpha1.WorkloadSpread) {
	terms, err := spread.ParseTerms(&ws.Spec)
	if err != nil {
		a.unsafe = append(a.unsafe, err.Error())
		return
	}
	for i, s := range ws.Status.VersionedSubsetStatuses["v1"] {
		added := false
		usage := map[spread.Token]bool{}
		for t := range s.CreatingPods {
			added = added || !a.hasClaim(s.Name, t)
			if !a.dead[spread.Token(t)] {
				usage[spread.Token(t)] = true
			}
		}
		for _, p := range a.pods {
			if p.Subset == s.Name {
				usage[p.Token] = true
			}
		}
		for _, g := range a.slow {
			if g.Outcome == spread.Placed && g.Terms.Name(g.Subset) == s.Name {
				usage[g.Token] = true
			}
		}
		if limit := terms.Limit(i).Of(a.replicas); limit != spread.Unlimited && added && len(usage) > int(limit) {
			a.unsafe = append(a.unsafe, fmt.Sprintf("subset %s: %d active and claimed, the limit is %d", s.Name, len(usage), limit))
		}
	}
}

// hasClaim reports whether the stored status holds a claim.
func (a *api) hasClaim(subset, token string) bool {
	for _, s := range a.ws.Status.VersionedSubsetStatuses["v1"] {
		if _, ok := s.CreatingPods[token]; ok && s.Name == subset {
			return true
		}
	}
	return false
}

func (a *api) laggingReplica(seed uint64) *ledger.Ledger {
	r := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // a test that can be repeated
	var mu sync.Mutex
	l := &lagging{api: a, rand: r}
	return ledger.New(ledger.Options{
		Spreads: l, Pods: l, Workloads: a, Recorder: a, Clock: clock.RealClock{}, DemandWait: 10 * time.Millisecond,
		Stem: func() string {
			mu.Lock()
			defer mu.Unlock()
			return fmt.Sprintf("%08s", strconv.FormatUint(rand.Uint64()%2821109907456, 36)) //nolint:gosec // unique is enough
		},
	})
}

// TestNoCommitExceedsALimit runs two replicas with stale caches through lost answers, refused and lost
// creations and deletions, as a ReplicaSet's controller would: never more pods alive and under
// creation than wanted. At the end every place is taken that the promise does not forbid.
func TestNoCommitExceedsALimit(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // as above
			limits := [][]string{{"50%", "50%"}, {"50%", ""}, {"5", "5", ""}, {"30%", "30%", "40%"}}[r.IntN(4)]
			a := newAPI(20, limits...)
			a.loseAnswer = func(write int) bool { return write%7 == int(seed%7) }
			replicas := []*ledger.Ledger{a.laggingReplica(seed), a.laggingReplica(seed + 1000)}
			for n := range 8 {
				a.controllerPass(t, r, n*100, replicas)
				if r.IntN(3) == 0 {
					a.remove(func(*spread.Pod) bool { return r.IntN(5) == 0 })
				}
				a.age(3 * time.Second)
			}
			for _, u := range a.unsafe {
				t.Error(u)
			}
		})
	}
}

// controllerPass creates the pods that are missing, all at once, and waits for all of them. Some
// creations are refused after admission, and some take longer than the pass.
func (a *api) controllerPass(t *testing.T, r *rand.Rand, from int, replicas []*ledger.Ledger) {
	t.Helper()
	a.mu.Lock()
	missing := int(a.demand.Replicas) - len(a.pods) - len(a.slow)
	a.mu.Unlock()
	for n, g := range a.slow {
		if r.IntN(2) == 0 {
			a.store(n, g)
			delete(a.slow, n)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	brief, end := context.WithTimeout(ctx, 300*time.Millisecond) // a webhook's request is bounded too
	defer end()
	var wg sync.WaitGroup
	for i := range missing {
		l, fate := replicas[r.IntN(2)], r.IntN(6)
		wg.Go(func() {
			g, err := l.Claim(brief, a.request())
			switch {
			case errors.Is(err, ledger.ErrUnproven), errors.Is(err, context.DeadlineExceeded): // the controller comes again
			case err != nil:
				t.Errorf("pod %d: %v", from+i, err)
			case fate == 0: // refused after admission, or the answer was lost
				a.mu.Lock()
				a.dead[g.Token] = true
				a.mu.Unlock()
			case fate == 1: // still under creation when the others are stored
				a.mu.Lock()
				a.slow[from+i] = g
				a.mu.Unlock()
			default:
				a.store(from+i, g)
			}
		})
	}
	wg.Wait()
}
