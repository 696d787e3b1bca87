package sidecar

import (
	"slices"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// built is what a set puts into the pod's lists of containers.
type built struct {
	before, after, initial []placed
}

// build makes the containers of a set for the pod.
func (in *injection) build(c Choice) (built, error) {
	var out built
	spec := &c.Object.Spec
	for i := range spec.Containers {
		made, err := in.container(c, &spec.Containers[i], false)
		if err != nil {
			return out, err
		}
		if spec.Containers[i].PodInjectPolicy == appsv1alpha1.BeforeAppContainerType {
			out.before = append(out.before, made...)
		} else {
			out.after = append(out.after, made...)
		}
	}
	for i := range spec.InitContainers {
		made, err := in.container(c, &spec.InitContainers[i], true)
		if err != nil {
			return out, err
		}
		for j := range made {
			made[j].first = spec.InitContainers[i].PodInjectPolicy == appsv1alpha1.BeforeAppContainerType
		}
		out.initial = append(out.initial, made...)
	}
	if len(spec.Containers) > 0 && endsByItself(in.original) {
		in.warnNeverEnds(c)
	}
	return out, nil
}

// container makes what one sidecar becomes: nothing if the pod has it already, else one container, or a
// pair.
func (in *injection) container(c Choice, s *Container, isInit bool) ([]placed, error) {
	missing, err := in.missing(c, s, isInit)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	made := s.core()
	if s.ResourcesPolicy != nil {
		if made.Resources, err = in.resources(c, s); err != nil {
			return nil, err
		}
	}
	mounts, expanded := in.sharedMounts(s)
	made.VolumeMounts = append(made.VolumeMounts, mounts...)
	made.VolumeDevices = append(made.VolumeDevices, in.sharedDevices(s, made.VolumeMounts)...)
	transferred, froms := in.transferred(s)
	made.Env = mergeEnv(made.Env, []corev1.EnvVar{{Name: v1alpha1.EnvInjected, Value: "true"}}, transferred, expanded)
	made.EnvFrom = append(made.EnvFrom, froms...)
	list := []placed{{Container: made}}
	if expands(s, isInit) {
		list = pair(made, s.UpgradeStrategy.HotUpgradeEmptyImage)
	}
	list = slices.DeleteFunc(list, func(p placed) bool { return !slices.Contains(missing, p.Name) })
	for i := range list {
		in.remember(list[i].Name, s.Unknown)
	}
	return list, nil
}

// missing returns the names of the containers that the pod does not have yet. A container of that name
// which nobody injected is the user's: nothing of it is overwritten.
func (in *injection) missing(c Choice, s *Container, isInit bool) ([]string, error) {
	var out []string
	lists := [][]corev1.Container{in.original.Spec.Containers, in.original.Spec.InitContainers}
	if isInit {
		slices.Reverse(lists)
	}
	for _, name := range realNames(s, isInit) {
		found := find(lists[0], name)
		switch {
		case found != nil && IsInjected(found):
			continue
		case found != nil || find(lists[1], name) != nil:
			return nil, refuse(v1alpha1.ReasonSidecarNameTaken,
				"pod %s has a container %q of its own, and SidecarSet %s injects one of this name: rename the container, or keep the pod out with label %s: %s",
				podName(in.original), name, c.Name(), v1alpha1.LabelInject, v1alpha1.AdmissionDisabled)
		}
		if other := in.injecting(c, name); other != "" {
			return nil, refuse(v1alpha1.ReasonSidecarNameTaken,
				"SidecarSets %s and %s both inject a container %q into pod %s: rename it in one of them, or make their selectors exclude each other",
				other, c.Name(), name, podName(in.original))
		}
		out = append(out, name)
	}
	return out, nil
}

// injecting returns the set before c that injects a container of this name.
func (in *injection) injecting(c Choice, name string) string {
	for _, other := range in.choices {
		if other.Set == c.Set {
			return ""
		}
		for i := range other.Object.Spec.Containers {
			if slices.Contains(realNames(&other.Object.Spec.Containers[i], false), name) {
				return other.Name()
			}
		}
		for i := range other.Object.Spec.InitContainers {
			if slices.Contains(realNames(&other.Object.Spec.InitContainers[i], true), name) {
				return other.Name()
			}
		}
	}
	return ""
}

func (in *injection) remember(name string, unknown map[string]any) {
	if len(unknown) == 0 {
		return
	}
	if in.report.Unknown == nil {
		in.report.Unknown = make(map[string]map[string]any)
	}
	in.report.Unknown[name] = unknown
}

// pair makes the two containers of a hot upgrade. The second idles.
func pair(c corev1.Container, idle string) []placed {
	first, second := Hot(c.Name)
	out := make([]placed, 2)
	for i, name := range []string{first, second} {
		out[i].Container = *c.DeepCopy()
		out[i].Name = name
		for _, v := range []struct{ env, prefix string }{
			{v1alpha1.EnvSidecarVersion, v1alpha1.AnnotationSidecarVersionPrefix},
			{v1alpha1.EnvSidecarVersionAlt, v1alpha1.AnnotationSidecarVersionAltPrefix},
		} {
			out[i].Env = append(out[i].Env, corev1.EnvVar{Name: v.env, ValueFrom: &corev1.EnvVarSource{
				FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['" + v.prefix + name + "']"},
			}})
		}
	}
	out[1].Image = idle
	return out
}

// mergeEnv appends lists; of one name the first stays. The sidecar's own are all kept.
func mergeEnv(own []corev1.EnvVar, more ...[]corev1.EnvVar) []corev1.EnvVar {
	out := slices.Clip(own)
	for _, list := range more {
		for _, e := range list {
			taken := slices.ContainsFunc(out, func(o corev1.EnvVar) bool {
				return o.Name == e.Name && (e.Name != v1alpha1.EnvInjected || o.Value == e.Value)
			})
			if !taken {
				out = append(out, e)
			}
		}
	}
	return out
}

func find(list []corev1.Container, name string) *corev1.Container {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

func podName(pod *corev1.Pod) string {
	name := pod.Name
	if name == "" {
		name = pod.GenerateName + "…"
	}
	if pod.Namespace == "" {
		return name
	}
	return pod.Namespace + "/" + name
}

func endsByItself(pod *corev1.Pod) bool {
	return pod.Spec.RestartPolicy == corev1.RestartPolicyNever || pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure
}

func (in *injection) warnNeverEnds(c Choice) {
	in.report.Warnings = append(in.report.Warnings, "SidecarSet "+c.Name()+" injects ordinary sidecars into a pod with restartPolicy "+
		string(in.original.Spec.RestartPolicy)+", which ends only when they end: make them native sidecars (initContainers with restartPolicy: Always)")
}
