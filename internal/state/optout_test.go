package state

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// TestNothingIsDoneToPodsThatOptedOut: they are neither adopted nor moved, and get no cost.
func TestNothingIsDoneToPodsThatOptedOut(t *testing.T) {
	stuck := pod("a", 1, func(p *corev1.Pod) {
		p.Labels[v1alpha1.LabelAdmission] = v1alpha1.AdmissionDisabled
		p.Status.Phase = corev1.PodPending
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", LastTransitionTime: metav1.Unix(1000, 0)}}
	})
	if key, got := FromPod(stuck); key.Name != "ws" || !got.Active || got.Trouble.Since != 0 || got.Cost.Heeded {
		t.Errorf("it counts, and that is all: %+v", got)
	}
	runs := pod("b", 1, func(p *corev1.Pod) {
		p.Labels[v1alpha1.LabelAdmission] = v1alpha1.AdmissionDisabled
		p.Annotations, p.Spec.NodeName = nil, "n"
	})
	if _, is := StrayOf(runs); is {
		t.Error("a pod that opted out is to be adopted")
	}
}
