package sidecar

import (
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Default fills in every field that is not set, as OpenKruise does: hashes are computed of the result.
func Default(spec *Spec) {
	u := &spec.UpdateStrategy
	orElse(&u.Type, appsv1alpha1.RollingUpdateSidecarSetStrategyType)
	pointTo(&u.MaxUnavailable, intstr.FromInt32(1))
	pointTo(&u.Partition, intstr.FromInt32(0))
	pointTo(&spec.HistoryLimit, 10)
	for i := range spec.PatchPodMetadata {
		orElse(&spec.PatchPodMetadata[i].PatchPolicy, appsv1alpha1.SidecarSetRetainPatchPolicy)
	}
	if r := spec.InjectionStrategy.Revision; r != nil {
		orElse(&r.Policy, appsv1alpha1.AlwaysSidecarSetInjectRevisionPolicy)
	}
	for i := range spec.Containers {
		orElse(&spec.Containers[i].PodInjectPolicy, appsv1alpha1.BeforeAppContainerType)
		defaultSidecar(&spec.Containers[i])
	}
	for i := range spec.InitContainers {
		orElse(&spec.InitContainers[i].PodInjectPolicy, appsv1alpha1.AfterAppContainerType)
		defaultSidecar(&spec.InitContainers[i])
	}
	for i := range spec.Volumes {
		defaultVolume(&spec.Volumes[i].VolumeSource)
	}
}

func orElse[T ~string](field *T, value T) {
	if *field == "" {
		*field = value
	}
}

func pointTo[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

func defaultSidecar(c *Container) {
	orElse(&c.UpgradeStrategy.UpgradeType, appsv1alpha1.SidecarContainerColdUpgrade)
	orElse(&c.ShareVolumePolicy.Type, appsv1alpha1.ShareVolumePolicyDisabled)
	for i := range c.TransferEnv {
		if from := c.TransferEnv[i].SourceContainerNameFrom; from != nil && from.FieldRef != nil {
			orElse(&from.FieldRef.APIVersion, "v1")
		}
	}
	if c.ResourcesPolicy != nil && c.ResourcesPolicy.TargetContainersNameRegex == "" {
		c.ResourcesPolicy.TargetContainersNameRegex = ".*"
	}
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = corev1.PullIfNotPresent
		if ref := ParseImage(c.Image); ref.Tag == "latest" || ref.Tag == "" && ref.Digest == "" {
			c.ImagePullPolicy = corev1.PullAlways
		}
	}
	orElse(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	orElse(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		orElse(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && from.FieldRef != nil {
			orElse(&from.FieldRef.APIVersion, "v1")
		}
	}
	roundUp(c.Resources.Limits)
	roundUp(c.Resources.Requests)
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		defaultProbe(p)
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				defaultHTTP(h.HTTPGet)
			}
		}
	}
}

// roundUp rounds quantities to what the API stores: milli units.
func roundUp(list corev1.ResourceList) {
	for name, q := range list {
		q.RoundUp(resource.Milli)
		list[name] = q
	}
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	for _, f := range []struct {
		field *int32
		value int32
	}{{&p.TimeoutSeconds, 1}, {&p.PeriodSeconds, 10}, {&p.SuccessThreshold, 1}, {&p.FailureThreshold, 3}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	defaultHTTP(p.HTTPGet)
}

func defaultHTTP(a *corev1.HTTPGetAction) {
	if a == nil {
		return
	}
	orElse(&a.Path, "/")
	orElse(&a.Scheme, corev1.URISchemeHTTP)
}

const defaultMode = int32(0o644)

func defaultVolume(v *corev1.VolumeSource) {
	if *v == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if v.HostPath != nil {
		pointTo(&v.HostPath.Type, corev1.HostPathUnset)
	}
	if v.Secret != nil {
		pointTo(&v.Secret.DefaultMode, defaultMode)
	}
	if v.ConfigMap != nil {
		pointTo(&v.ConfigMap.DefaultMode, defaultMode)
	}
	if v.DownwardAPI != nil {
		pointTo(&v.DownwardAPI.DefaultMode, defaultMode)
		defaultDownward(v.DownwardAPI.Items)
	}
	if v.Projected == nil {
		return
	}
	pointTo(&v.Projected.DefaultMode, defaultMode)
	for i := range v.Projected.Sources {
		s := &v.Projected.Sources[i]
		if s.DownwardAPI != nil {
			defaultDownward(s.DownwardAPI.Items)
		}
		if s.ServiceAccountToken != nil {
			pointTo(&s.ServiceAccountToken.ExpirationSeconds, 3600)
		}
	}
}

func defaultDownward(files []corev1.DownwardAPIVolumeFile) {
	for i := range files {
		if files[i].FieldRef != nil {
			orElse(&files[i].FieldRef.APIVersion, "v1")
		}
	}
}
