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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/spread"
)

// api is a model of the API server: one WorkloadSpread, its pods, one counter of revisions. It is
// shared by several ledgers, as by several webhook replicas.
type api struct {
	mu       sync.Mutex
	revision uint64
	ws       *appsv1alpha1.WorkloadSpread
	pods     map[types.UID]*spread.Pod
	replicas int32
	demand   ledger.Demand
	changed  chan struct{}

	writes, conflicts int
	// loseAnswer says which writes are applied although the writer gets an error.
	loseAnswer func(write int) bool
}

var key = types.NamespacedName{Namespace: "ns", Name: "ws"}

func newAPI(replicas int32, limits ...string) *api {
	ws := &appsv1alpha1.WorkloadSpread{}
	ws.Namespace, ws.Name, ws.UID, ws.Generation = key.Namespace, key.Name, "uid-1", 1
	for i, l := range limits {
		s := appsv1alpha1.WorkloadSpreadSubset{Name: string(rune('a' + i))}
		if l != "" {
			v := intstr.Parse(l)
			s.MaxReplicas = &v
		}
		ws.Spec.Subsets = append(ws.Spec.Subsets, s)
	}
	a := &api{revision: 1, ws: ws, pods: map[types.UID]*spread.Pod{}, replicas: replicas, changed: make(chan struct{})}
	a.demand = ledger.Demand{Replicas: replicas, Generation: 1, Settled: true}
	ws.ResourceVersion = "1"
	return a
}

func (a *api) Live(_ context.Context, _ types.NamespacedName) (*appsv1alpha1.WorkloadSpread, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ws == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "workloadspreads"}, key.Name)
	}
	return a.ws.DeepCopy(), nil
}

func (a *api) Cached(ctx context.Context, k types.NamespacedName) (*appsv1alpha1.WorkloadSpread, error) {
	return a.Live(ctx, k)
}

func (a *api) UpdateStatus(_ context.Context, ws *appsv1alpha1.WorkloadSpread) (*appsv1alpha1.WorkloadSpread, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ws.ResourceVersion != a.ws.ResourceVersion {
		a.conflicts++
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: "workloadspreads"}, key.Name, errors.New("newer"))
	}
	a.revision++
	a.writes++
	a.ws = a.ws.DeepCopy()
	a.ws.Status = *ws.Status.DeepCopy()
	a.ws.ResourceVersion = strconv.FormatUint(a.revision, 10)
	if a.loseAnswer != nil && a.loseAnswer(a.writes) {
		return nil, apierrors.NewTimeoutError("answer lost", 0)
	}
	return a.ws.DeepCopy(), nil
}

func (a *api) View(types.NamespacedName) spread.View {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := spread.View{Revision: a.revision}
	for _, p := range a.pods {
		v.Pods = append(v.Pods, p)
	}
	return v
}

func (a *api) Changed(types.NamespacedName) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

func (a *api) ListSpread(context.Context, *appsv1alpha1.WorkloadSpread) (spread.View, error) {
	return a.View(key), nil
}

func (a *api) ListOwner(context.Context, *appsv1alpha1.WorkloadSpread, ledger.Owner) (spread.View, error) {
	return a.View(key), nil
}

func (a *api) Gone(types.UID, uint64) (int32, bool) { return 0, true }

func (a *api) Replicas(context.Context, *appsv1alpha1.WorkloadSpread) (int32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.replicas, nil
}

func (a *api) Turnover(context.Context, *appsv1alpha1.WorkloadSpread) (spread.Turnover, error) {
	return spread.Turnover{}, nil
}

func (a *api) Demand(context.Context, ledger.Owner) (ledger.Demand, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.demand, nil
}

func (a *api) Committed(types.NamespacedName, int, float64, error)    {}
func (a *api) ClaimsEnded(types.NamespacedName, v1alpha1.Reason, int) {}

// store creates the pod of a grant.
func (a *api) store(n int, g ledger.Grant) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.revision++
	uid := types.UID(fmt.Sprint("pod-", n))
	p := &spread.Pod{Name: string(uid), UID: uid, Version: "v1", Active: true, Owner: "rs"}
	if g.Outcome == spread.Placed {
		p.Subset, p.Token = g.Terms.Name(g.Subset), g.Token
	}
	a.pods[uid] = p
	a.wake()
}

// remove deletes the pods that pick returns true for, and returns how many.
func (a *api) remove(pick func(*spread.Pod) bool) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for uid, p := range a.pods {
		if pick(p) {
			delete(a.pods, uid)
			n++
		}
	}
	a.revision++
	a.wake()
	return n
}

func (a *api) wake() {
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *api) spread() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[string]int{}
	for _, p := range a.pods {
		out[p.Subset]++
	}
	return out
}

// replica is one webhook replica over the model.
func (a *api) replica() *ledger.Ledger {
	return ledger.New(ledger.Options{
		Spreads: a, Pods: a, Workloads: a, Recorder: a, Clock: clock.RealClock{}, DemandWait: 10 * time.Millisecond,
		Stem: func() string { return fmt.Sprintf("%08s", strconv.FormatUint(rand.Uint64()%2821109907456, 36)) },
	})
}

func (a *api) request() ledger.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return ledger.Request{
		Spread: a.ws, Version: "v1", Ranked: true,
		Owner: ledger.Owner{Namespace: "ns", Name: "rs", UID: "rs", Demand: a.demand.Replicas},
	}
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// burst creates pods through the replicas, all at once.
func burst(t *testing.T, a *api, from, n int, replicas ...*ledger.Ledger) {
	t.Helper()
	ctx := deadline(t)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			g, err := replicas[i%len(replicas)].Claim(ctx, a.request())
			if err != nil {
				t.Errorf("pod %d: %v", i, err)
				return
			}
			a.store(from+i, g)
		})
	}
	wg.Wait()
}

func expect(t *testing.T, a *api, want map[string]int) {
	t.Helper()
	if got := a.spread(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("spread %v, want %v", got, want)
	}
}

func TestABurstThroughTwoReplicasIsExactAndSharesWrites(t *testing.T) {
	a := newAPI(1000, "50%", "50%")
	burst(t, a, 0, 1000, a.replica(), a.replica())
	expect(t, a, map[string]int{"a": 500, "b": 500})
	if a.writes >= 500 {
		t.Errorf("%d writes for 1,000 pods: claims do not share them", a.writes)
	}
	t.Logf("%d writes, %d conflicts", a.writes, a.conflicts)
}

func TestALostAnswerTakesNoSecondPlace(t *testing.T) {
	a := newAPI(100, "50%", "50%")
	a.loseAnswer = func(write int) bool { return write%3 == 1 }
	burst(t, a, 0, 100, a.replica(), a.replica())
	expect(t, a, map[string]int{"a": 50, "b": 50})
}

func TestAScaleUpCountsFromTheFirstPod(t *testing.T) {
	a := newAPI(10, "50%", "")
	r := a.replica()
	burst(t, a, 0, 10, r)
	a.mu.Lock()
	a.replicas, a.demand.Replicas, a.demand.Generation = 20, 20, 2
	a.mu.Unlock()
	burst(t, a, 10, 10, r)
	expect(t, a, map[string]int{"a": 10, "b": 10})
}

func TestThePlaceOfADeletedPodGoesToItsReplacement(t *testing.T) {
	a := newAPI(100, "50%", "50%")
	r1, r2 := a.replica(), a.replica()
	burst(t, a, 0, 100, r1, r2)
	n := a.remove(func(p *spread.Pod) bool { return p.Subset == "a" && p.Token[0]%3 == 0 })
	burst(t, a, 100, n, r1, r2)
	expect(t, a, map[string]int{"a": 50, "b": 50})
}

// TestPlacesOfLostCreationsGoToTheirRetries: claims of a killed replica, whose answers never reached
// the API server, are told from living ones by the owner's demand.
func TestPlacesOfLostCreationsGoToTheirRetries(t *testing.T) {
	a := newAPI(20, "50%", "")
	r := a.replica()
	burst(t, a, 0, 6, r)
	old := a.request()
	for range 4 { // claimed, never stored
		if _, err := a.replica().Claim(deadline(t), old); err != nil {
			t.Fatal(err)
		}
	}
	a.age(5 * time.Second)
	for i := range 14 { // one after the other, as a controller retries
		burst(t, a, 100+i, 1, r)
	}
	expect(t, a, map[string]int{"a": 10, "b": 10})
}

// age moves the times of all claims into the past.
func (a *api) age(by time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ws = a.ws.DeepCopy()
	for _, subsets := range a.ws.Status.VersionedSubsetStatuses {
		for i := range subsets {
			for k, at := range subsets[i].CreatingPods {
				subsets[i].CreatingPods[k] = metav1.NewTime(at.Add(-by))
			}
		}
	}
	a.revision++
	a.ws.ResourceVersion = strconv.FormatUint(a.revision, 10)
}

func TestAnUncertainPlaceIsNotGivenAway(t *testing.T) {
	a := newAPI(4, "2", "2")
	for range 4 {
		if _, err := a.replica().Claim(deadline(t), a.request()); err != nil {
			t.Fatal(err)
		}
	}
	a.age(5 * time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := a.replica().Claim(ctx, a.request())
	if !errors.Is(err, ledger.ErrUnproven) {
		t.Errorf("one of four claims is dead, in a or in b: got %v, want ErrUnproven", err)
	}
}

func TestARequestThatEndsGivesItsClaimBack(t *testing.T) {
	a := newAPI(1, "1")
	gate := make(chan struct{})
	blocked := &slowSpreads{api: a, gate: gate}
	l := ledger.New(ledger.Options{
		Spreads: blocked, Pods: a, Workloads: a, Recorder: a, Clock: clock.RealClock{}, Stem: func() string { return "aaaaaaaa" },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := l.Claim(ctx, a.request()); done <- err }()
	<-blocked.writing(gate)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the context's error", err)
	}
	close(gate)
	wait(t, "the claim to be withdrawn", func() bool {
		ws, _ := a.Live(t.Context(), key)
		return ws.Status.SubsetStatuses != nil && ws.Status.SubsetStatuses[0].MissingReplicas == 1 && a.writesSeen() >= 2
	})
}

func (a *api) writesSeen() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.writes
}

// slowSpreads holds writes until the gate opens.
type slowSpreads struct {
	*api
	gate    chan struct{}
	once    sync.Once
	started chan struct{}
	init    sync.Once
}

func (s *slowSpreads) writing(chan struct{}) <-chan struct{} {
	s.init.Do(func() { s.started = make(chan struct{}) })
	return s.started
}

func (s *slowSpreads) UpdateStatus(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (*appsv1alpha1.WorkloadSpread, error) {
	s.writing(nil)
	s.once.Do(func() { close(s.started) })
	<-s.gate
	return s.api.UpdateStatus(ctx, ws)
}

func TestADeletedSpreadIsGone(t *testing.T) {
	a := newAPI(1, "1")
	r := a.request()
	a.mu.Lock()
	a.ws = nil
	a.mu.Unlock()
	if _, err := a.replica().Claim(deadline(t), r); !errors.Is(err, ledger.ErrGone) {
		t.Errorf("got %v, want ErrGone", err)
	}
}

func TestARecreatedSpreadIsAnotherOne(t *testing.T) {
	a := newAPI(1, "1")
	r := a.request()
	a.mu.Lock()
	a.ws = a.ws.DeepCopy()
	a.ws.UID = "uid-2"
	a.mu.Unlock()
	if _, err := a.replica().Claim(deadline(t), r); !errors.Is(err, ledger.ErrGone) {
		t.Errorf("got %v, want ErrGone", err)
	}
}

func TestADryRunReservesNothing(t *testing.T) {
	a := newAPI(2, "1", "")
	for range 3 {
		g, err := a.replica().Preview(deadline(t), a.request())
		if err != nil || g.Outcome != spread.Placed || g.Subset != 0 {
			t.Fatalf("got %+v, %v; want subset a", g, err)
		}
	}
	if a.writes != 0 {
		t.Errorf("%d writes", a.writes)
	}
}

func TestObserveWritesOnlyWhatChanged(t *testing.T) {
	a := newAPI(2, "50%", "")
	r := a.replica()
	burst(t, a, 0, 2, r)
	for range 3 {
		if _, err := r.Observe(deadline(t), a.request().Spread, spread.Sight{}); err != nil {
			t.Fatal(err)
		}
	}
	before := a.writesSeen()
	if _, err := r.Observe(deadline(t), a.request().Spread, spread.Sight{}); err != nil {
		t.Fatal(err)
	}
	if a.writesSeen() != before {
		t.Error("an observation that changes nothing was written")
	}
	ws, _ := a.Live(t.Context(), key)
	if ws.Status.ObservedGeneration != 1 || len(ws.Status.VersionedSubsetStatuses["v1"][0].CreatingPods) != 0 {
		t.Errorf("not observed: %+v", ws.Status)
	}
}

// wait polls until the condition holds or the test's time is up.
func wait(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx := deadline(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("timed out waiting for %s", what)
		case <-tick.C:
		}
	}
}
