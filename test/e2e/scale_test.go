package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// spec is a number of subsets with limits; the last ones are on the virtual node.
var specs = map[string][]subset{
	"three shares":             {{"own", "34%"}, {"virtual", "33%"}, {"rest", "33%"}},
	"five shares":              {{"own", "50%"}, {"v1", "20%"}, {"v2", "10%"}, {"v3", "10%"}, {"v4", ""}},
	"three numbers":            {{"own", "4"}, {"virtual", "3"}, {"rest", ""}},
	"five numbers, no room":    {{"own", "3"}, {"v1", "2"}, {"v2", "1"}, {"v3", "0"}, {"v4", ""}},
	"shares with an open tail": {{"own", "25%"}, {"virtual", "25%"}, {"rest", ""}},
}

// split computes the specified split: in order, up to the limits, shares rounded up.
func split(subsets []subset, n int) map[string]int {
	out, rest := map[string]int{}, n
	for _, s := range subsets {
		take := rest
		var limit int
		if strings.HasSuffix(s.max, "%") {
			if _, err := fmt.Sscanf(s.max, "%d%%", &limit); err == nil {
				take = min(take, (limit*n+99)/100)
			}
		} else if _, err := fmt.Sscanf(s.max, "%d", &limit); err == nil {
			take = min(take, limit)
		}
		if take > 0 {
			out[s.name] = take
		}
		rest -= take
	}
	return out
}

// TestEverySplitIsExact: up, down, through a rolling update, after deletions, with a quota in the way.
func TestEverySplitIsExact(t *testing.T) {
	for name, subsets := range specs {
		for _, n := range []int{10, 100} {
			t.Run(fmt.Sprintf("%s of %d", name, n), func(t *testing.T) {
				f := newFixture(t)
				f.create(workloadSpread("web", "web", subsets...))
				quota := &corev1.ResourceQuota{}
				quota.Name = "few"
				quota.Spec.Hard = corev1.ResourceList{corev1.ResourcePods: resource.MustParse(fmt.Sprint(n / 2))}
				f.create(quota)
				d := deployment("web", int32(n)) //nolint:gosec // 10 or 100
				f.create(d)
				f.eventually("creations are refused", func() (bool, string) { c := f.count("FailedCreate"); return c > 0, fmt.Sprint(c) })
				f.patch(quota, `{"spec":{"hard":{"pods":"1000"}}}`)
				f.settled("web", "web", split(subsets, n))

				f.patch(d, `{"spec":{"strategy":{"rollingUpdate":{"maxSurge":"25%"}}}}`)
				f.setImage("web", "app:2")
				f.settled("web", "web", split(subsets, n))

				pods := f.pods("web")
				rand.Shuffle(len(pods), func(i, j int) { pods[i], pods[j] = pods[j], pods[i] })
				for i := range pods[:n/5] {
					if err := cluster.client.Delete(f.ctx, &pods[i]); err != nil {
						t.Fatal(err)
					}
				}
				f.awaitSplit("web", split(subsets, n))
				f.settled("web", "web", split(subsets, n))

				// Of three shares not every size is part of the next (33/33/34 of 4 is 2/2/0): sizes that are.
				small := n / 5 * 2
				f.scale("web", int32(small)) //nolint:gosec // as above
				f.settled("web", "web", split(subsets, small))
			})
		}
	}
}

// TestFiveThousandReplicas: the largest burst. It leaves the rolling update to smaller ones.
func TestFiveThousandReplicas(t *testing.T) {
	const n = 5000
	f := newFixtureFor(t, 12*time.Minute)
	f.create(half())
	watched := f.watchStatus("web")
	safe := f.watchSafety("web", n/2)
	start, mark := time.Now(), cluster.audit.Mark()
	f.create(deployment("web", n))
	f.settled("web", "web", map[string]int{"own": n / 2, "virtual": n / 2})
	requests := f.requestsSince(mark)
	f.figure("5,000 pods by one Deployment, two percent subsets, two replicas: ready and exact after %s, %d status writes, %d patches of pods",
		time.Since(start).Round(time.Second), watched(), requests["patch pods"])
	f.noFailedCreate("web")
	f.scale("web", n/5)
	f.settled("web", "web", map[string]int{"own": n / 10, "virtual": n / 10})
	safe()
}

// TestAnIdleClusterCostsNothing: with 100 WorkloadSpreads and nothing going on, the managers ask for leases
// and renew watches.
func TestAnIdleClusterCostsNothing(t *testing.T) {
	f := newFixture(t)
	for i := range 100 {
		name := fmt.Sprintf("web-%d", i)
		f.create(workloadSpread(name, name, subset{"own", "50%"}, subset{"virtual", ""}))
		f.create(deployment(name, 1))
	}
	f.eventually("all are counted", func() (bool, string) {
		for i := range 100 {
			if s := f.statusOf(fmt.Sprintf("web-%d", i)); s != "own=1+0 virtual=0+0 " {
				return false, s
			}
		}
		return true, ""
	})
	// What is under way, costs, events and retries among it, ends: then a window is quiet. What is done again and again
	// is in all of them.
	const window = 12 * time.Second
	f.eventually(fmt.Sprintf("%s of idleness with 100 WorkloadSpreads", window), func() (bool, string) {
		mark := cluster.audit.Mark()
		select {
		case <-time.After(window):
		case <-f.ctx.Done():
		}
		all := f.requestsSince(mark)
		got := idle(maps.Clone(all))
		if len(got) == 0 {
			f.figure("idle with 100 WorkloadSpreads, %s, two replicas: %v", window, all)
		}
		return len(got) == 0, fmt.Sprint(got)
	})
}

// removedKinds are those that other tests define and remove again: who watched a kind goes on looking for it,
// ever more rarely.
var removedKinds = []string{"rollouts", "trainjobs", "clonesets"}

// idle leaves out what an idle manager may ask for.
func idle(requests map[string]int) map[string]int {
	for what := range requests {
		_, resource, _ := strings.Cut(what, " ")
		if resource == "leases" || strings.HasPrefix(what, "watch ") || slices.Contains(removedKinds, resource) {
			delete(requests, what)
		}
	}
	return requests
}
