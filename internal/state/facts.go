package state

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/workload"
)

// FromPod reduces a pod to what the arithmetic needs, and names the WorkloadSpread that it is
// recorded on (the zero name for none).
func FromPod(pod *corev1.Pod) (types.NamespacedName, *spread.Pod) {
	out := &spread.Pod{
		Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
		Version:  workload.VersionIgnored,
		Revision: workload.RevisionOf(pod.Labels),
		Active:   IsActive(pod),
		Bound:    pod.Spec.NodeName != "",
		Node:     pod.Spec.NodeName,
		Started:  ran(pod),
		Created:  pod.CreationTimestamp.Unix(),
		Trouble:  troubleOf(pod),
		Standing: standingOf(pod),
	}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		out.Owner = ref.UID
		gk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
		out.Version = workload.VersionOf(gk, pod.Labels)
		kind, _ := (*workload.Kinds)(nil).Lookup(gk) // only built-in kinds are known to heed the cost
		out.Cost.Heeded = kind.DeletionCost
	}
	if OptedOut(pod) { // it is counted, but nothing is done to it
		out.Cost.Heeded, out.Trouble = false, spread.Trouble{}
	}
	record, ok := v1alpha1.ParseRecord(pod.Annotations)
	if !ok || out.Owner == "" { // a pod without a controller is never placed: a copied record
		setCost(pod, out)
		return types.NamespacedName{}, out
	}
	out.Subset, out.Token = record.Subset, spread.Token(record.UID)
	setCost(pod, out)
	return types.NamespacedName{Namespace: pod.Namespace, Name: record.Name}, out
}

// OptedOut reports whether a pod's label keeps Spillway away from it.
func OptedOut(pod *corev1.Pod) bool {
	return pod.Labels[v1alpha1.LabelAdmission] == v1alpha1.AdmissionDisabled
}

// IsActive reports whether a pod counts: not terminating, and neither succeeded nor failed.
func IsActive(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// troubleOf reads why a pod that never ran does not start.
//
// A pod with a node has the condition PodScheduled False only if a virtual kubelet copied it up from below. A refusal has
// no time of its own: it counts from when the pod got its node.
func troubleOf(pod *corev1.Pod) spread.Trouble {
	if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodPending {
		return spread.Trouble{}
	}
	bound := pod.Spec.NodeName != ""
	if bound && ran(pod) {
		return spread.Trouble{}
	}
	since := pod.CreationTimestamp.Time
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		switch {
		case c.Type != corev1.PodScheduled:
		case c.Status == corev1.ConditionTrue:
			since = c.LastTransitionTime.Time
		case c.Status == corev1.ConditionFalse && (bound || c.Reason == corev1.PodReasonUnschedulable):
			return spread.Trouble{Since: max(c.LastTransitionTime.Unix(), 1), Reason: corev1.PodReasonUnschedulable, Message: c.Message}
		}
	}
	if !bound || pod.Status.Reason == "" {
		return spread.Trouble{}
	}
	return spread.Trouble{Since: max(since.Unix(), 1), Reason: pod.Status.Reason, Message: fmt.Sprintf("%s: %s", pod.Status.Reason, pod.Status.Message)}
}

// ran reports whether a container of the pod runs or has run.
func ran(pod *corev1.Pod) bool {
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			if c := &statuses[i]; c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil {
				return true
			}
		}
	}
	return false
}

func standingOf(pod *corev1.Pod) spread.Standing {
	var s spread.Standing
	switch pod.Status.Phase {
	case corev1.PodPending:
	case corev1.PodRunning:
		s.Phase = 2
	default:
		s.Phase = 1
	}
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			s.Ready, s.ReadySince = true, c.LastTransitionTime.Unix()
		}
	}
	for i := range pod.Status.ContainerStatuses {
		s.Restarts = max(s.Restarts, pod.Status.ContainerStatuses[i].RestartCount)
	}
	return s
}

// setCost reads a pod's deletion cost, and whether it is Spillway's to change.
func setCost(pod *corev1.Pod, out *spread.Pod) {
	value, ok := pod.Annotations[v1alpha1.PodDeletionCost]
	if !ok {
		return
	}
	out.Cost.Value = value
	if ours, written := pod.Annotations[v1alpha1.AnnotationDeletionCost]; written {
		out.Cost.Written = ours == value
		out.Cost.Ours = out.Cost.Written
		return
	}
	out.Cost.Ours = v1alpha1.IsRecorded(pod.Annotations) && !out.Token.IsOurs() && isOpenKruises(value)
}

// isOpenKruises reports whether a cost is one that OpenKruise writes: a multiple of 100, as many as a
// WorkloadSpread has subsets.
func isOpenKruises(value string) bool {
	const step, most = 100, 10_000
	n, err := strconv.Atoi(value)
	return err == nil && n != 0 && n%step == 0 && n <= most && n >= -most
}
