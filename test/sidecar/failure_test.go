package sidecar

import (
	"fmt"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// leader is the manager's pod that runs the controllers.
func (f *fixture) leader() string {
	f.Helper()
	var lease coordinationv1.Lease
	if err := kube.Get(f.ctx, client.ObjectKey{Namespace: system, Name: "spillway-leader"}, &lease); err != nil {
		f.Fatal(err)
	}
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	name, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
	return name
}

// TestTheLeaderDiesInARollout: the next one goes on, and knows what the first one wrote.
func TestTheLeaderDiesInARollout(t *testing.T) {
	f := newFixture(t)
	const pods, most = 200, 10
	f.set("agent", agent+fmt.Sprintf("\nupdateStrategy: {maxUnavailable: %d}", most))
	f.known("agent")
	f.create(deployment("web", pods, slowly))
	f.running("web", pods)
	f.status("agent", pods, pods, pods)
	checked := f.watchUnavailable("web", "agent", "agent:2", most)
	f.image("agent", "agent:2")
	f.eventually("the rollout is under way", func() (bool, string) {
		n := f.onImage("web", "agent", "agent:2")
		return n > 20, fmt.Sprint(n)
	})
	if err := cluster.KillContainer(f.ctx, system, f.leader(), ""); err != nil {
		t.Fatal(err)
	}
	f.eventually("all run the new image", func() (bool, string) {
		n := f.onImage("web", "agent", "agent:2")
		return n == pods, fmt.Sprint(n)
	})
	f.status("agent", pods, pods, pods)
	checked()
	f.eventually("both replicas are ready", func() (bool, string) { return f.ready() == 2, fmt.Sprint(f.ready()) })
}

// TestPodsThatLeaveARollout: relabelled, deleted or never started, none of them holds it up.
func TestPodsThatLeaveARollout(t *testing.T) {
	f := newFixture(t)
	f.set("agent", agent+"\nupdateStrategy: {maxUnavailable: 2}")
	f.known("agent")
	f.create(deployment("web", 10, slowly))
	f.running("web", 10)
	f.image("agent", "agent:2")
	f.eventually("the rollout is under way", func() (bool, string) {
		n := f.onImage("web", "agent", "agent:2")
		return n > 0, fmt.Sprint(n)
	})
	pods := f.pods("web")
	for i := range pods[:6] {
		var err error
		if i%2 == 0 {
			err = kube.Delete(f.ctx, &pods[i])
		} else { // its ReplicaSet lets it go and makes another one
			err = kube.Patch(f.ctx, &pods[i], client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"app":"left"}}}`)))
		}
		if client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
	}
	f.status("agent", 10, 10, 10)
	for _, p := range f.pods("web") {
		if spec, _ := imageOf(&p, "agent"); spec != "agent:2" || p.Status.Phase != corev1.PodRunning {
			t.Errorf("pod %s has %s", p.Name, spec)
		}
	}
}
