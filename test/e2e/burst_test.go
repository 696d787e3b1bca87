package e2e

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/state"
)

// half is a WorkloadSpread of two percent subsets, both limited.
func half() *appsv1alpha1.WorkloadSpread {
	return workloadSpread("web", "web", subset{"own", "50%"}, subset{"virtual", "50%"})
}

// TestAThousandReplicas goes through the life of a large Deployment, with two replicas serving.
func TestAThousandReplicas(t *testing.T) {
	f := newFixture(t)
	f.create(half())
	watched := f.watchStatus("web")
	safe := f.watchSafety("web", 500)
	start, mark := time.Now(), cluster.audit.Mark()
	f.create(deployment("web", 1000))
	f.settled("web", "web", map[string]int{"own": 500, "virtual": 500})
	writes, requests := watched(), f.requestsSince(mark)
	f.figure("1,000 pods by one Deployment, two percent subsets, two replicas: ready and exact after %s, %d status writes",
		time.Since(start).Round(100*time.Millisecond), writes)
	if writes > 150 {
		t.Errorf("%d status writes for 1,000 pods, want at most 150", writes)
	}
	if n := requests["patch pods"]; n > 0 {
		t.Errorf("%d deletion costs were written after the creation; all requests: %v", n, requests)
	}
	f.noFailedCreate("web")

	f.scale("web", 300)
	f.settled("web", "web", map[string]int{"own": 150, "virtual": 150})
	f.scale("web", 1000)
	f.settled("web", "web", map[string]int{"own": 500, "virtual": 500})
	f.setImage("web", "app:2")
	f.settled("web", "web", map[string]int{"own": 500, "virtual": 500})
	safe()
}

func (f *fixture) setImage(name, image string) {
	f.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":%q}]}}}}`, image)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: f.ns, Name: name}}
	if err := cluster.client.Patch(f.ctx, d, client.RawPatch("application/strategic-merge-patch+json", patch)); err != nil {
		f.Fatal(err)
	}
}

// managers lists the manager's pods, those that are stopping only if asked to.
func (f *fixture) managers(stopping bool) []string {
	f.Helper()
	var list corev1.PodList
	if err := cluster.client.List(f.ctx, &list, client.InNamespace(system), client.MatchingLabels{"app.kubernetes.io/name": "spillway"}); err != nil {
		f.Fatal(err)
	}
	var names []string
	for _, p := range list.Items {
		if stopping || p.DeletionTimestamp == nil {
			names = append(names, p.Name)
		}
	}
	sort.Strings(names)
	return names
}

// watchStatus counts how often the status of a WorkloadSpread is written, until the returned
// function is called.
func (f *fixture) watchStatus(name string) func() int {
	f.Helper()
	w, err := cluster.client.Watch(f.ctx, &appsv1alpha1.WorkloadSpreadList{}, client.InNamespace(f.ns))
	if err != nil {
		f.Fatal(err)
	}
	n, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		for e := range w.ResultChan() {
			if ws, ok := e.Object.(*appsv1alpha1.WorkloadSpread); ok && ws.Name == name && e.Type == watch.Modified {
				n++
			}
		}
	}()
	return func() int { w.Stop(); <-done; return n }
}

// requestsSince counts the manager's requests after a mark, by "verb resource".
func (f *fixture) requestsSince(mark int64) map[string]int {
	f.Helper()
	all, err := cluster.audit.Since(mark)
	if err != nil {
		f.Fatal(err)
	}
	out := map[string]int{}
	for r, n := range all {
		out[r.What] += n
	}
	return out
}

// watchSafety watches pods and fails if a subset of one version ever has more active pods than limit,
// which no admission may bring about while the limit does not fall.
func (f *fixture) watchSafety(app string, limit int) func() {
	f.Helper()
	w, err := cluster.client.Watch(f.ctx, &corev1.PodList{}, client.InNamespace(f.ns), client.MatchingLabels{"app": app})
	if err != nil {
		f.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		where := map[string]string{}
		active := map[string]int{}
		for e := range w.ResultChan() {
			p, ok := e.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			record, _ := v1alpha1.ParseRecord(p.Annotations)
			place := p.Labels["pod-template-hash"] + "/" + record.Subset
			if e.Type == watch.Deleted || !state.IsActive(p) {
				place = ""
			}
			active[where[p.Name]]--
			where[p.Name] = place
			active[place]++
			if place != "" && active[place] > limit {
				f.Errorf("%s has %d active pods, the limit is %d", place, active[place], limit)
			}
		}
	})
	return func() { w.Stop(); wg.Wait() }
}

// noFailedCreate checks that no creation of a pod was refused.
func (f *fixture) noFailedCreate(app string) {
	f.Helper()
	var events corev1.EventList
	if err := cluster.client.List(f.ctx, &events, client.InNamespace(f.ns)); err != nil {
		f.Fatal(err)
	}
	for _, e := range events.Items {
		if e.Reason == "FailedCreate" && strings.HasPrefix(e.InvolvedObject.Name, app) {
			f.Errorf("a creation failed: %s", e.Message)
		}
	}
}
