package sidecar

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// volumes adds the volumes that a set's containers mount themselves. A volume of the same name and
// content is shared; with other content nobody can say which one the containers mean.
func (in *injection) volumes(c Choice) error {
	mounted := make(map[string]bool)
	for _, list := range [][]Container{c.Object.Spec.Containers, c.Object.Spec.InitContainers} {
		for i := range list {
			for _, m := range list[i].VolumeMounts {
				mounted[m.Name] = true
			}
			for _, d := range list[i].VolumeDevices {
				mounted[d.Name] = true
			}
		}
	}
	for i := range c.Object.Spec.Volumes {
		v := &c.Object.Spec.Volumes[i]
		if !mounted[v.Name] {
			continue
		}
		if err := in.volume(c, v); err != nil {
			return err
		}
	}
	return nil
}

func (in *injection) volume(c Choice, v *corev1.Volume) error {
	for i := range in.pod.Spec.Volumes {
		present := &in.pod.Spec.Volumes[i]
		if present.Name != v.Name {
			continue
		}
		if equality.Semantic.DeepEqual(present, v) {
			return nil
		}
		owner := "the pod itself"
		if other := in.origin[v.Name]; other != "" {
			owner = "SidecarSet " + other
		}
		return refuse(v1alpha1.ReasonVolumeConflict,
			"pod %s: volume %q of SidecarSet %s differs from the one that %s brings: rename one of them, or make them equal",
			podName(in.original), v.Name, c.Name(), owner)
	}
	in.pod.Spec.Volumes = append(in.pod.Spec.Volumes, *v.DeepCopy())
	if in.origin == nil {
		in.origin = make(map[string]string)
	}
	in.origin[v.Name] = c.Name()
	return nil
}
