package sidecar

import (
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// DeepCopy returns a copy that shares nothing.
func (s *SidecarSet) DeepCopy() *SidecarSet {
	if s == nil {
		return nil
	}
	out := &SidecarSet{TypeMeta: s.TypeMeta}
	s.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	s.Status.DeepCopyInto(&out.Status)
	out.Spec = s.Spec.deepCopy()
	return out
}

// DeepCopyObject implements runtime.Object.
func (s *SidecarSet) DeepCopyObject() runtime.Object { return s.DeepCopy() }

// DeepCopyObject implements runtime.Object.
func (l *SidecarSetList) DeepCopyObject() runtime.Object {
	out := &SidecarSetList{TypeMeta: l.TypeMeta}
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	if l.Items != nil {
		out.Items = make([]SidecarSet, len(l.Items))
		for i := range l.Items {
			out.Items[i] = *l.Items[i].DeepCopy()
		}
	}
	return out
}

func (s *Spec) deepCopy() Spec {
	// The fields that kruise-api has too are copied by its own code.
	shared := (&appsv1alpha1.SidecarSetSpec{
		Selector: s.Selector, NamespaceSelector: s.NamespaceSelector, Volumes: s.Volumes,
		UpdateStrategy: s.UpdateStrategy, InjectionStrategy: s.InjectionStrategy,
		ImagePullSecrets: s.ImagePullSecrets, RevisionHistoryLimit: s.HistoryLimit, PatchPodMetadata: s.PatchPodMetadata,
	}).DeepCopy()
	return Spec{
		Namespace: s.Namespace,
		Selector:  shared.Selector, NamespaceSelector: shared.NamespaceSelector, Volumes: shared.Volumes,
		UpdateStrategy: shared.UpdateStrategy, InjectionStrategy: shared.InjectionStrategy,
		ImagePullSecrets: shared.ImagePullSecrets, HistoryLimit: shared.RevisionHistoryLimit, PatchPodMetadata: shared.PatchPodMetadata,
		InitContainers: copyContainers(s.InitContainers), Containers: copyContainers(s.Containers),
	}
}

func copyContainers(list []Container) []Container {
	if list == nil {
		return nil
	}
	out := make([]Container, len(list))
	for i := range list {
		out[i] = list[i].DeepCopy()
	}
	return out
}

// DeepCopy returns a copy that shares nothing.
func (c *Container) DeepCopy() Container {
	out := *c
	out.Container = *c.Container.DeepCopy()
	if c.ShareVolumeDevicePolicy != nil {
		policy := *c.ShareVolumeDevicePolicy
		out.ShareVolumeDevicePolicy = &policy
	}
	out.TransferEnv = (&appsv1alpha1.SidecarContainer{TransferEnv: c.TransferEnv}).DeepCopy().TransferEnv
	out.ResourcesPolicy = c.ResourcesPolicy.deepCopy()
	if c.Unknown != nil {
		out.Unknown = runtime.DeepCopyJSON(c.Unknown)
	}
	return out
}

func (p *ResourcesPolicy) deepCopy() *ResourcesPolicy {
	if p == nil {
		return nil
	}
	out := *p
	for _, e := range []**ResourceExpr{&out.ResourcesExpr.Limits, &out.ResourcesExpr.Requests} {
		if *e != nil {
			inner := **e
			*e = &inner
		}
	}
	return &out
}

// core returns the part of a sidecar that goes into a pod, as a copy.
func (c *Container) core() corev1.Container { return *c.Container.DeepCopy() }
