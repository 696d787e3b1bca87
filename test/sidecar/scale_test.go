package sidecar

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestAThousandPods: 10 % at a time, checked at every change of a pod, one write for each, while pods are
// deleted at random.
func TestAThousandPods(t *testing.T) {
	f := newFixtureFor(t, 12*time.Minute)
	f.set("agent", agent+"\nupdateStrategy: {maxUnavailable: 10%}")
	f.known("agent")
	f.create(deployment("web", 1000, slowly))
	f.running("web", 1000)
	f.status("agent", 1000, 1000, 1000)
	checked := f.watchUnavailable("web", "agent", "agent:2", 100)
	before := f.generations("web")
	start := time.Now()
	f.image("agent", "agent:2")
	deleted := 0
	for deleted < 50 {
		pods := f.pods("web")
		for range 10 {
			p := pods[rand.IntN(len(pods))] //nolint:gosec // any will do
			if err := kube.Delete(f.ctx, &p); client.IgnoreNotFound(err) != nil {
				t.Fatal(err)
			}
			deleted++
		}
	}
	f.eventually("all run the new image", func() (bool, string) {
		n := f.onImage("web", "agent", "agent:2")
		return n == 1000, fmt.Sprint(n)
	})
	f.status("agent", 1000, 1000, 1000)
	given := checked()
	f.figure("1,000 pods, image changed with maxUnavailable 10 %%, %d deleted meanwhile: done after %s; %d pods were upgraded in place",
		deleted, time.Since(start).Round(100*time.Millisecond), given)
	for uid, generation := range f.generations("web") {
		if was, ok := before[uid]; ok && generation != was+1 {
			t.Errorf("a pod's spec was written %d times", generation-was)
		}
	}
}

// generations of pods: each write of a spec raises one.
func (f *fixture) generations(app string) map[string]int64 {
	f.Helper()
	out := map[string]int64{}
	for _, p := range f.pods(app) {
		out[string(p.UID)] = p.Generation
	}
	return out
}

func (f *fixture) managers() []string {
	f.Helper()
	var list corev1.PodList
	if err := kube.List(f.ctx, &list, client.InNamespace(system), client.MatchingLabels{"app.kubernetes.io/name": "spillway"}); err != nil {
		f.Fatal(err)
	}
	var names []string
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			names = append(names, p.Name)
		}
	}
	return names
}

// ready counts the manager's pods that are ready.
func (f *fixture) ready() int {
	f.Helper()
	var list corev1.PodList
	if err := kube.List(f.ctx, &list, client.InNamespace(system), client.MatchingLabels{"app.kubernetes.io/name": "spillway"}); err != nil {
		f.Fatal(err)
	}
	n := 0
	for i := range list.Items {
		if isReady(&list.Items[i]) {
			n++
		}
	}
	return n
}

// memory of the manager's processes, as the kernel tells it.
func (f *fixture) memory() string {
	f.Helper()
	pods, err := cluster.Pods(f.ctx)
	if err != nil {
		f.Fatal(err)
	}
	var out []string
	for _, pod := range pods {
		if pod.Namespace != system {
			continue
		}
		for _, c := range pod.Containers {
			raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID))
			if err != nil {
				f.Fatal(err)
			}
			for line := range strings.SplitSeq(string(raw), "\n") {
				if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
					out = append(out, strings.TrimSpace(rest))
				}
			}
		}
	}
	return strings.Join(out, " and ")
}
