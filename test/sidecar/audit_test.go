package sidecar

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

func resourceVersion(v string) *metav1.ListOptions { return &metav1.ListOptions{ResourceVersion: v} }

// revisions lists those of a set, oldest first.
func (f *fixture) revisions(name string) []appsv1.ControllerRevision {
	f.Helper()
	var list appsv1.ControllerRevisionList
	if err := kube.List(f.ctx, &list, client.InNamespace(system), client.MatchingLabels{v1alpha1.LabelSidecarSetName: f.named(name)}); err != nil {
		f.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b appsv1.ControllerRevision) int { return int(a.Revision - b.Revision) })
	return list.Items
}

// TestPodsWithoutSidecarsAreToldAndReplaced, at the rate that the set allows.
func TestPodsWithoutSidecarsAreToldAndReplaced(t *testing.T) {
	f := newFixture(t)
	f.create(deployment("web", 4))
	f.running("web", 4)
	two := intstr.FromInt32(2)
	f.create(&policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &two, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	})
	f.set("agent", agent)
	f.eventually("an event tells of pods without sidecars", func() (bool, string) {
		n := f.events(string(v1alpha1.ReasonUninjected), f.named("agent"))
		return n > 0, fmt.Sprint(n)
	})
	f.status("agent", 0, 0, 0)
	f.patchSet("agent", fmt.Sprintf(`[{"op":"add","path":"/metadata/annotations/%s","value":"25%%"}]`, strings.ReplaceAll(v1alpha1.AnnotationReplaceUninjected, "/", "~1")))
	f.status("agent", 4, 4, 4)
	f.running("web", 4)
}

// TestReplacingEnds: what the webhook never sees is not evicted again and again.
func TestReplacingEnds(t *testing.T) {
	f := newFixture(t)
	f.create(deployment("web", 1))
	f.running("web", 1)
	// From now on the webhook does not see pods of this namespace, but nothing says so to the audit.
	f.blind()
	before := f.uids("web")
	if _, err := f.trySet("agent", agent, func(s *sidecar.SidecarSet) {
		s.Annotations = map[string]string{v1alpha1.AnnotationReplaceUninjected: "100%"}
	}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the pod is replaced", func() (bool, string) {
		for uid := range f.uids("web") {
			if !before[uid] {
				return true, ""
			}
		}
		return false, "the same one"
	})
	evicted := func() int {
		var events corev1.EventList
		if err := kube.List(f.ctx, &events, client.InNamespace(f.ns)); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range events.Items {
			if e.Reason == string(v1alpha1.ReasonReplaced) {
				n++
			}
		}
		return n
	}
	f.running("web", 1)
	n := evicted()
	f.rounds(3)
	if more := evicted() - n; more > 1 {
		t.Errorf("%d pods were evicted after the first", more)
	}
}
