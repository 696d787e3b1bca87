package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// TestAKilledReplicaInABurst: claims that died with the replica go to the retries of their pods.
func TestAKilledReplicaInABurst(t *testing.T) {
	for _, at := range []int{100, 300, 600} {
		t.Run(fmt.Sprintf("when %d pods exist", at), func(t *testing.T) {
			f := newFixture(t)
			f.create(half())
			safe := f.watchSafety("web", 500)
			f.create(deployment("web", 1000))
			f.eventually(fmt.Sprintf("%d pods exist", at), func() (bool, string) {
				n := len(f.pods("web"))
				return n >= at, strconv.Itoa(n)
			})
			victim := f.managers(false)[rand.IntN(2)] //nolint:gosec // either will do
			if err := cluster.KillContainer(f.ctx, system, victim, ""); err != nil {
				t.Fatal(err)
			}
			f.settled("web", "web", map[string]int{"own": 500, "virtual": 500})
			safe()
			f.bothReplicasReady()
		})
	}
}

// TestDeletedPodsAreReplacedWhereTheyWere: a random fifth of the pods is deleted at once.
func TestDeletedPodsAreReplacedWhereTheyWere(t *testing.T) {
	f := newFixture(t)
	f.create(half())
	safe := f.watchSafety("web", 50)
	f.create(deployment("web", 100))
	f.settled("web", "web", map[string]int{"own": 50, "virtual": 50})
	pods := f.pods("web")
	rand.Shuffle(len(pods), func(i, j int) { pods[i], pods[j] = pods[j], pods[i] })
	for _, p := range pods[:20] {
		if err := cluster.client.Delete(f.ctx, &p); err != nil {
			t.Fatal(err)
		}
	}
	f.awaitSplit("web", map[string]int{"own": 50, "virtual": 50})
	f.settled("web", "web", map[string]int{"own": 50, "virtual": 50})
	safe()
}

// TestAQuotaThatRefusesCreations: the places of creations refused after admission are not lost.
func TestAQuotaThatRefusesCreations(t *testing.T) {
	f := newFixture(t)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "few"}}
	quota.Spec.Hard = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("4")}
	f.create(quota)
	f.create(workloadSpread("web", "web", subset{"own", "50%"}, subset{"virtual", ""}))
	f.create(deployment("web", 10))
	f.eventually("creations are refused", func() (bool, string) {
		n := f.count("FailedCreate")
		return n >= 3, fmt.Sprintf("%d events", n)
	})
	if err := cluster.client.Patch(f.ctx, quota, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"hard":{"pods":"100"}}}`))); err != nil {
		t.Fatal(err)
	}
	f.settled("web", "web", map[string]int{"own": 5, "virtual": 5})
}

// count returns how often events of a reason occurred in the namespace.
func (f *fixture) count(reason string) int {
	f.Helper()
	var list corev1.EventList
	if err := cluster.client.List(f.ctx, &list, client.InNamespace(f.ns)); err != nil {
		f.Fatal(err)
	}
	n := 0
	for _, e := range list.Items {
		if e.Reason == reason {
			n += int(max(e.Count, 1))
		}
	}
	return n
}

// TestAnOutageBlocksNeitherTheSystemNorUs: with no replica left, pods of users wait, and those of
// kube-system and of Spillway itself do not.
func TestAnOutageBlocksNeitherTheSystemNorUs(t *testing.T) {
	f := newFixture(t)
	f.create(workloadSpread("web", "web", subset{"own", "50%"}, subset{"virtual", ""}))
	t.Cleanup(func() { f.withoutDeadline().scaleManager(2) })
	f.scaleManager(0)
	f.create(deployment("web", 4))
	f.eventually("creations fail", func() (bool, string) {
		n := f.count("FailedCreate")
		return n > 0, fmt.Sprint(n)
	})
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: f.ns, Namespace: metav1.NamespaceSystem},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "app:1"}}},
	}
	if err := cluster.client.Create(f.ctx, pod); err != nil {
		t.Errorf("a pod of kube-system was blocked: %v", err)
	} else if err := cluster.client.Delete(context.WithoutCancel(f.ctx), pod); err != nil {
		t.Error(err)
	}
	f.scaleManager(2)
	f.bothReplicasReady()
	f.settled("web", "web", map[string]int{"own": 2, "virtual": 2})
}

// withoutDeadline is for cleaning up after a test whose time ran out.
func (f *fixture) withoutDeadline() *fixture {
	return &fixture{T: f.T, ctx: context.WithoutCancel(f.ctx), ns: f.ns, patience: f.patience}
}

// scaleManager sets the number of replicas and waits until exactly so many are there: one that was
// told to stop still serves for a while.
func (f *fixture) scaleManager(replicas int32) {
	f.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "spillway"}}
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas))
	if err := cluster.client.Patch(f.ctx, d, patch); err != nil {
		f.Fatal(err)
	}
	f.eventually("the manager is scaled", func() (bool, string) {
		n := len(f.managers(true))
		return n == int(replicas), fmt.Sprint(n)
	})
}

func (f *fixture) bothReplicasReady() {
	f.Helper()
	f.eventually("both replicas are ready", func() (bool, string) {
		d := f.managerDeployment()
		return d.Status.ReadyReplicas == 2 && d.Status.Replicas == 2, fmt.Sprintf("%d of %d ready", d.Status.ReadyReplicas, d.Status.Replicas)
	})
}

func (f *fixture) managerDeployment() *appsv1.Deployment {
	f.Helper()
	var d appsv1.Deployment
	if err := cluster.client.Get(f.ctx, client.ObjectKey{Namespace: system, Name: "spillway"}, &d); err != nil {
		f.Fatal(err)
	}
	return &d
}

// TestAnUpgradeUnderLoadFailsNoCreation: the manager is rolled while pods are created. The new
// configuration ends claims after 12 s, and the test goes on to see that.
func TestAnUpgradeUnderLoadFailsNoCreation(t *testing.T) {
	f := newFixture(t)
	f.create(half())
	f.create(deployment("web", 200))
	done := make(chan error, 1)
	go func() {
		out, err := cluster.Helm(f.ctx, installArgs("--set", "config.ledger.claimExpiry=12s")...)
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		done <- err
	}()
	for n := int32(200); ; n = 500 - n { // between 200 and 300
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			f.scale("web", 250)
			f.settled("web", "web", map[string]int{"own": 125, "virtual": 125})
			f.noFailedCreate("web")
			f.claimsExpire()
			return
		default:
			f.scale("web", n)
			f.settled("web", "web", map[string]int{"own": int(n) / 2, "virtual": int(n) / 2})
		}
	}
}

// claimsExpire makes claims from which no pod comes, and watches them end.
func (f *fixture) claimsExpire() {
	f.Helper()
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "none"}}
	quota.Spec.Hard = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}
	f.create(quota)
	f.create(workloadSpread("lost", "lost", subset{"own", "2"}, subset{"virtual", "2"}))
	f.create(deployment("lost", 4))
	f.eventually("claims are outstanding", func() (bool, string) {
		s := f.statusOf("lost")
		return strings.Contains(s, "own=0+2"), s
	})
	if err := cluster.client.Delete(f.ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: f.ns, Name: "lost"}}); err != nil {
		f.Fatal(err)
	}
	f.eventually("claims have ended", func() (bool, string) {
		s := f.statusOf("lost")
		return s == "own=0+0 virtual=0+0 ", s
	})
	f.eventually("the user is told", func() (bool, string) {
		n := f.count(string(v1alpha1.ReasonCreatePodFailed))
		return n > 0, fmt.Sprint(n)
	})
}
