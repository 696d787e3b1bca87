package sidecarset

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/placement"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// IndexInjected is the field by which pods are found: the names of the sets that were injected.
const IndexInjected = "spillway.sidecarsets"

// Disown takes everything off a pod of another cluster, one that a virtual node's provider made here, by which it would be
// found: its sidecars are those of that cluster, whatever the sets here are called. cluster is this one
// (placement.FromElsewhere). It changes the pod.
func Disown(pod *corev1.Pod, cluster string) *corev1.Pod {
	if placement.FromElsewhere(pod, cluster) {
		pod.Labels, pod.Annotations = map[string]string{v1alpha1.LabelInject: v1alpha1.AdmissionDisabled}, nil
	}
	return pod
}

// Strip keeps of a pod what this controller reads. Most of a pod's size is in what it does not, and
// most pods have no sidecars. It changes the pod.
func Strip(pod *corev1.Pod) *corev1.Pod {
	pod.ManagedFields = nil
	spec := corev1.PodSpec{NodeName: pod.Spec.NodeName}
	status := corev1.PodStatus{Phase: pod.Status.Phase, Conditions: pod.Status.Conditions}
	if len(sidecar.ParseList(pod.Annotations)) == 0 {
		pod.Annotations = mirror(pod.Annotations)
		pod.Spec, pod.Status = spec, status
		return pod
	}
	delete(pod.Annotations, corev1.LastAppliedConfigAnnotation)
	spec.Containers, spec.InitContainers = bare(pod.Spec.Containers), bare(pod.Spec.InitContainers)
	status.ContainerStatuses, status.InitContainerStatuses = short(pod.Status.ContainerStatuses), short(pod.Status.InitContainerStatuses)
	pod.Spec, pod.Status = spec, status
	return pod
}

// mirror keeps the annotation that marks a kubelet's copy of a static pod.
func mirror(annotations map[string]string) map[string]string {
	if value, ok := annotations[corev1.MirrorPodAnnotationKey]; ok {
		return map[string]string{corev1.MirrorPodAnnotationKey: value}
	}
	return nil
}

func bare(list []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, len(list))
	for i := range list {
		out[i] = corev1.Container{Name: list[i].Name, Image: list[i].Image, RestartPolicy: list[i].RestartPolicy}
	}
	return out
}

func short(list []corev1.ContainerStatus) []corev1.ContainerStatus {
	out := make([]corev1.ContainerStatus, len(list))
	for i := range list {
		s := &list[i]
		out[i] = corev1.ContainerStatus{
			Name: s.Name, Image: s.Image, ImageID: s.ImageID, ContainerID: s.ContainerID, RestartCount: s.RestartCount, Ready: s.Ready,
		}
		if s.State.Running != nil {
			out[i].State.Running = &corev1.ContainerStateRunning{StartedAt: s.State.Running.StartedAt}
		}
	}
	return out
}
