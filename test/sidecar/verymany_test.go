package sidecar

import (
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/internal/sidecar"
)

// TestTenThousandSets: a manager that starts is ready soon, whatever is there.
func TestTenThousandSets(t *testing.T) {
	f := newFixtureFor(t, 12*time.Minute)
	const sets = 10000
	start := time.Now()
	f.many(sets)
	f.figure("%d SidecarSets created through the webhooks in %s", sets, time.Since(start).Round(time.Second))
	for _, name := range f.managers() {
		if err := cluster.KillContainer(f.ctx, system, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	start = time.Now()
	f.eventually("both replicas are down", func() (bool, string) {
		ready := f.ready()
		return ready == 0, fmt.Sprint(ready)
	})
	f.eventually("both replicas are ready again", func() (bool, string) {
		ready := f.ready()
		return ready == 2, fmt.Sprint(ready)
	})
	took := time.Since(start)
	f.figure("manager with %d SidecarSets: ready %s after it was killed, resident memory %s", sets, took.Round(100*time.Millisecond), f.memory())
	if took > 30*time.Second {
		t.Errorf("ready after %s, want 30 s", took)
	}
	// And it works: one pod, one of the sets.
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "one", Labels: map[string]string{"app": "many-77"}}}
	pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "app:1"}}
	start = time.Now()
	f.create(pod)
	f.figure("a pod that one of %d SidecarSets matches is created in %s", sets, time.Since(start).Round(time.Millisecond))
	if len(pod.Spec.Containers) != 2 {
		t.Errorf("the pod has containers %v", pod.Spec.Containers)
	}
}

// many creates sets that select a pod each. They go with the lab.
func (f *fixture) many(n int) {
	f.Helper()
	const parallel = 16
	next := make(chan int)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for i := range next {
				s := &sidecar.SidecarSet{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("many-%d", i)}}
				s.Spec.Namespace = f.ns
				s.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprintf("many-%d", i)}}
				s.Spec.Containers = []sidecar.Container{{Container: corev1.Container{Name: "agent", Image: "agent:1"}}}
				if err := kube.Create(f.ctx, s); err != nil {
					f.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}
