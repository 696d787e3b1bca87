package sidecar

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/test/lab"
)

// uids returns the pods of an app, to see later that they are the same ones.
func (f *fixture) uids(app string) map[types.UID]bool {
	f.Helper()
	out := map[types.UID]bool{}
	for _, p := range f.pods(app) {
		out[p.UID] = true
	}
	return out
}

func (f *fixture) sameUIDs(app string, before map[types.UID]bool) {
	f.Helper()
	for _, p := range f.pods(app) {
		if !before[p.UID] {
			f.Errorf("pod %s is a new one", p.Name)
		}
	}
}

// watchUnavailable checks at every change of a pod that no more pods are unavailable for the sake of an
// upgrade than are allowed: those whose container was given an image that it does not run, or that are
// not ready with it. Pods that are made meanwhile are not its business. The returned function ends it,
// and returns how many writes of an image it saw.
func (f *fixture) watchUnavailable(app, container, image string, most int) func() int {
	f.Helper()
	ctx, cancel := context.WithCancel(f.ctx)
	var list corev1.PodList
	selector := client.MatchingLabels{"app": app}
	if err := kube.List(ctx, &list, client.InNamespace(f.ns), selector); err != nil {
		f.Fatal(err)
	}
	w, err := kube.Watch(ctx, &corev1.PodList{}, client.InNamespace(f.ns), selector, &client.ListOptions{Raw: resourceVersion(list.ResourceVersion)})
	if err != nil {
		f.Fatal(err)
	}
	down, given := map[types.UID]bool{}, map[types.UID]bool{}
	known := map[types.UID]bool{}
	for _, p := range list.Items {
		known[p.UID] = true
	}
	worst, failures := 0, 0
	var done sync.WaitGroup
	done.Go(func() {
		for e := range w.ResultChan() {
			p, ok := e.Object.(*corev1.Pod)
			if !ok || !known[p.UID] {
				continue
			}
			spec, status := imageOf(p, container)
			if spec == image {
				given[p.UID] = true
			}
			delete(down, p.UID)
			if e.Type != "DELETED" && p.DeletionTimestamp == nil && spec == image && (status != image || !isReady(p)) {
				down[p.UID] = true
			}
			worst = max(worst, len(down))
			if len(down) > most && failures == 0 {
				failures++
				f.Errorf("%d pods are unavailable, %d may be", len(down), most)
			}
		}
	})
	return func() int {
		f.Helper()
		cancel()
		done.Wait()
		f.Logf("at most %d of %d allowed were unavailable", worst, most)
		return len(given)
	}
}

func (f *fixture) onImage(app, container, image string) int {
	f.Helper()
	n := 0
	for _, p := range f.pods(app) {
		if spec, status := imageOf(&p, container); spec == image && status == image {
			n++
		}
	}
	return n
}

const slow = "300ms"

func slowly(p *corev1.PodTemplateSpec) { p.Annotations[lab.AnnotationRestartDelay] = slow }

func TestAnImageIsUpgradedInPlace(t *testing.T) {
	for name, tc := range map[string]struct{ spec, path string }{
		"an ordinary sidecar": {agent + "\nupdateStrategy: {maxUnavailable: 2}", "/spec/containers/0/image"},
		"a native sidecar":    {"selector: {matchLabels: {app: web}}\nupdateStrategy: {maxUnavailable: 2}\ninitContainers: [{name: agent, image: \"agent:1\", restartPolicy: Always}]", "/spec/initContainers/0/image"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.set("agent", tc.spec)
			f.known("agent")
			f.create(deployment("web", 6, slowly))
			f.running("web", 6)
			f.status("agent", 6, 6, 6)
			before := f.uids("web")
			checked := f.watchUnavailable("web", "agent", "agent:2", 2)
			f.patchSet("agent", fmt.Sprintf(`[{"op":"replace","path":%q,"value":"agent:2"}]`, tc.path))
			f.eventually("all run the new image", func() (bool, string) {
				n := f.onImage("web", "agent", "agent:2")
				return n == 6, fmt.Sprint(n)
			})
			f.status("agent", 6, 6, 6)
			checked()
			f.sameUIDs("web", before)
			for _, p := range f.pods("web") {
				for _, s := range p.Status.ContainerStatuses {
					if s.Name == "main" && s.RestartCount > 0 {
						t.Errorf("the pod's own container was restarted")
					}
				}
			}
		})
	}
}

// TestDigests: images by digest, whose containers report nothing but digests.
func TestDigests(t *testing.T) {
	f := newFixture(t)
	digest := func(c byte) string {
		return "agent@sha256:" + fmt.Sprintf("%064d", 0)[:63] + string(c)
	}
	f.set("agent", fmt.Sprintf("selector: {matchLabels: {app: web}}\nupdateStrategy: {maxUnavailable: 1}\ncontainers: [{name: agent, image: %q}]", digest('a')))
	f.known("agent")
	f.create(deployment("web", 3))
	f.running("web", 3)
	f.image("agent", digest('b'))
	f.status("agent", 3, 3, 3)
	if n := f.onImage("web", "agent", digest('b')); n != 3 {
		t.Errorf("%d pods run the new image", n)
	}
}

func TestPartitionPauseAndSelector(t *testing.T) {
	f := newFixture(t)
	f.set("agent", agent+"\nupdateStrategy: {maxUnavailable: 100%, partition: 4}")
	f.known("agent")
	f.create(deployment("web", 6))
	f.running("web", 6)
	f.status("agent", 6, 6, 6)
	f.image("agent", "agent:2")
	f.status("agent", 6, 2, 6)
	f.patchSet("agent", `[{"op":"add","path":"/spec/updateStrategy/paused","value":true},{"op":"replace","path":"/spec/updateStrategy/partition","value":0}]`)
	f.status("agent", 6, 2, 6)
	pod := f.pods("web")[0]
	chosen := &pod
	for _, p := range f.pods("web") {
		if spec, _ := imageOf(&p, "agent"); spec == "agent:1" {
			chosen = &p
		}
	}
	if err := kube.Patch(f.ctx, chosen, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"canary":"yes"}}}`))); err != nil {
		t.Fatal(err)
	}
	f.patchSet("agent", `[{"op":"replace","path":"/spec/updateStrategy/paused","value":false},{"op":"add","path":"/spec/updateStrategy/selector","value":{"matchLabels":{"canary":"yes"}}}]`)
	f.status("agent", 6, 3, 6)
	f.patchSet("agent", `[{"op":"remove","path":"/spec/updateStrategy/selector"}]`)
	f.status("agent", 6, 6, 6)
}

// TestABrokenImageStopsAtMaxUnavailable, and a good one goes on from there.
func TestABrokenImageStopsAtMaxUnavailable(t *testing.T) {
	f := newFixture(t)
	f.set("agent", agent+"\nupdateStrategy: {maxUnavailable: 2}")
	f.known("agent")
	f.create(deployment("web", 6))
	f.running("web", 6)
	checked := f.watchUnavailable("web", "agent", "agent"+lab.BrokenImage, 2)
	f.image("agent", "agent"+lab.BrokenImage)
	f.status("agent", 6, 2, 4)
	if n := checked(); n != 2 {
		t.Errorf("%d pods were given the broken image", n)
	}
	f.image("agent", "agent:3")
	f.status("agent", 6, 6, 6)
}

func TestAHotUpgrade(t *testing.T) {
	f := newFixture(t)
	f.set("mesh", `
selector: {matchLabels: {app: web}}
updateStrategy: {maxUnavailable: 1}
containers: [{name: mesh, image: "mesh:1", upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: "empty:1"}}]
`)
	f.known("mesh")
	f.create(deployment("web", 3))
	f.running("web", 3)
	f.status("mesh", 3, 3, 3)
	images := func(first, second string) {
		t.Helper()
		f.eventually(fmt.Sprintf("the pairs run %s and %s", first, second), func() (bool, string) {
			n := 0
			for _, p := range f.pods("web") {
				_, a := imageOf(&p, "mesh-1")
				_, b := imageOf(&p, "mesh-2")
				if a == first && b == second {
					n++
				}
			}
			return n == 3, fmt.Sprint(n)
		})
		f.status("mesh", 3, 3, 3)
	}
	images("mesh:1", "empty:1")
	f.image("mesh", "mesh:2")
	images("empty:1", "mesh:2")
	if n := f.events(string(v1alpha1.ReasonResetSucceed), f.pods("web")[0].Name); n == 0 {
		t.Error("no event tells that the upgrade is finished")
	}
	// A broken image, and back to the one that the other container still runs.
	f.image("mesh", "mesh"+lab.BrokenImage)
	f.eventually("one pair is in trouble", func() (bool, string) {
		s := f.get("mesh").Status
		return s.UpdatedPods == 1 && s.ReadyPods == 2, fmt.Sprintf("%+v", s)
	})
	f.image("mesh", "mesh:2")
	images("empty:1", "mesh:2")
}

// TestWhatCannotBeUpgraded: more than images changed; the pods say so, until they are replaced.
func TestWhatCannotBeUpgraded(t *testing.T) {
	f := newFixture(t)
	f.set("agent", agent)
	f.known("agent")
	f.create(deployment("web", 2))
	f.running("web", 2)
	f.patchSet("agent", `[{"op":"add","path":"/spec/containers/0/env","value":[{"name":"A","value":"b"}]}]`)
	condition := func(want corev1.ConditionStatus) {
		t.Helper()
		f.eventually("the condition of all pods is "+string(want), func() (bool, string) {
			seen := ""
			for _, p := range f.pods("web") {
				for _, c := range p.Status.Conditions {
					if c.Type == v1alpha1.ConditionSidecarSetUpgradable {
						seen += string(c.Status) + c.Message
						if c.Status != want {
							return false, seen
						}
					}
				}
			}
			return seen != "", seen
		})
	}
	condition(corev1.ConditionFalse)
	f.eventually("an event tells", func() (bool, string) {
		n := f.events(string(v1alpha1.ReasonNotUpgradablePods), f.named("agent"))
		return n > 0, fmt.Sprint(n)
	})
	f.patchSet("agent", `[{"op":"remove","path":"/spec/containers/0/env"}]`)
	condition(corev1.ConditionTrue)
	// A container more: what runs waits for its replacement.
	f.patchSet("agent", `[{"op":"add","path":"/spec/containers/-","value":{"name":"second","image":"second:1"}}]`)
	f.status("agent", 2, 0, 2)
	for _, p := range f.pods("web") {
		if err := kube.Delete(f.ctx, &p); err != nil {
			t.Fatal(err)
		}
	}
	f.status("agent", 2, 2, 2)
}

// TestResourcesInPlace: a set that asks for it changes resources of running pods too.
func TestResourcesInPlace(t *testing.T) {
	f := newFixture(t)
	_, err := f.trySet("agent", `
selector: {matchLabels: {app: web}}
updateStrategy: {maxUnavailable: 1}
containers: [{name: agent, image: "agent:1", resources: {requests: {cpu: 100m}, limits: {cpu: 200m}}}]
`, func(s *sidecar.SidecarSet) {
		s.Annotations = map[string]string{v1alpha1.AnnotationInPlaceResize: "true"}
	})
	if err != nil {
		t.Fatal(err)
	}
	f.known("agent")
	f.create(deployment("web", 3))
	// By reporting resources a kubelet shows that it can change them; own nodes do not report them.
	for _, p := range f.running("web", 3) {
		var ops []string
		for i := range p.Status.ContainerStatuses {
			ops = append(ops, fmt.Sprintf(`{"op":"add","path":"/status/containerStatuses/%d/resources","value":{}}`, i))
		}
		patch := client.RawPatch(types.JSONPatchType, []byte("["+strings.Join(ops, ",")+"]"))
		if err := kube.Status().Patch(f.ctx, &p, patch); err != nil {
			t.Fatal(err)
		}
	}
	before := f.uids("web")
	f.patchSet("agent", `[{"op":"replace","path":"/spec/containers/0/resources","value":{"requests":{"cpu":"150m"},"limits":{"cpu":"300m"}}},{"op":"replace","path":"/spec/containers/0/image","value":"agent:2"}]`)
	f.status("agent", 3, 3, 3)
	f.sameUIDs("web", before)
	for _, p := range f.pods("web") {
		if c := p.Spec.Containers[0]; c.Image != "agent:2" || c.Resources.Limits.Cpu().String() != "300m" {
			t.Errorf("pod %s has %s with %v", p.Name, c.Image, c.Resources)
		}
	}
	// What resize cannot do stays for new pods.
	f.patchSet("agent", `[{"op":"remove","path":"/spec/containers/0/resources/limits"}]`)
	f.status("agent", 3, 0, 3)
}

// TestRevisionsAreKept: numbers, a rollback, and the limit.
func TestRevisionsAreKept(t *testing.T) {
	f := newFixture(t)
	f.set("agent", agent+"\nrevisionHistoryLimit: 2")
	f.known("agent")
	first := f.get("agent").Status.LatestRevision
	for _, image := range []string{"agent:2", "agent:3", "agent:4"} {
		before := f.get("agent").Status.LatestRevision
		f.image("agent", image)
		f.eventually("a new revision", func() (bool, string) {
			now := f.get("agent").Status.LatestRevision
			return now != before, now
		})
	}
	f.eventually("two revisions are left", func() (bool, string) {
		list := f.revisions("agent")
		return len(list) == 2 && list[1].Revision == 4, fmt.Sprint(len(list))
	})
	f.image("agent", "agent:3")
	f.eventually("the former one is the newest again", func() (bool, string) {
		list := f.revisions("agent")
		last := list[len(list)-1]
		return last.Revision == 5 && f.get("agent").Status.LatestRevision == last.Name, fmt.Sprint(last.Revision)
	})
	f.image("agent", "agent:1")
	f.eventually("the first one has its name again", func() (bool, string) {
		now := f.get("agent").Status.LatestRevision
		return now == first, now
	})
}
