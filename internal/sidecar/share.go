package sidecar

import (
	"regexp"
	"slices"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

// apps visits the containers that were in the pod before: regular ones that nobody injected.
func (in *injection) apps(visit func(*corev1.Container)) {
	for i := range in.original.Spec.Containers {
		if c := &in.original.Spec.Containers[i]; !IsInjected(c) {
			visit(c)
		}
	}
}

// sharedMounts returns the mounts of the pod's containers whose paths the sidecar does not use, and
// the environment variables that their subPathExpr need.
func (in *injection) sharedMounts(s *Container) ([]corev1.VolumeMount, []corev1.EnvVar) {
	if s.ShareVolumePolicy.Type != appsv1alpha1.ShareVolumePolicyEnabled {
		return nil, nil
	}
	used := make(map[string]bool)
	for _, m := range s.VolumeMounts {
		used[m.MountPath] = true
	}
	for _, d := range s.VolumeDevices {
		used[d.DevicePath] = true
	}
	var mounts []corev1.VolumeMount
	var env []corev1.EnvVar
	in.apps(func(c *corev1.Container) {
		for _, m := range c.VolumeMounts {
			if used[m.MountPath] {
				continue
			}
			used[m.MountPath] = true
			mounts = append(mounts, *m.DeepCopy())
			for _, name := range references(m.SubPathExpr) {
				if e := findEnv(c.Env, name); e != nil {
					env = append(env, *e.DeepCopy())
				}
			}
		}
	})
	return mounts, env
}

// sharedDevices does the same for block devices.
func (in *injection) sharedDevices(s *Container, mounts []corev1.VolumeMount) []corev1.VolumeDevice {
	if s.ShareVolumeDevicePolicy == nil || s.ShareVolumeDevicePolicy.Type != appsv1alpha1.ShareVolumePolicyEnabled {
		return nil
	}
	used := make(map[string]bool)
	for _, m := range mounts {
		used[m.MountPath] = true
	}
	for _, d := range s.VolumeDevices {
		used[d.DevicePath] = true
	}
	var out []corev1.VolumeDevice
	in.apps(func(c *corev1.Container) {
		for _, d := range c.VolumeDevices {
			if !used[d.DevicePath] {
				used[d.DevicePath] = true
				out = append(out, d)
			}
		}
	})
	return out
}

var reference = regexp.MustCompile(`\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)`)

// references returns the names in $(NAME). $$(NAME) is text.
func references(expr string) []string {
	var out []string
	for _, m := range reference.FindAllStringSubmatch(strings.ReplaceAll(expr, "$$", ""), -1) {
		out = append(out, m[1])
	}
	return out
}

func findEnv(list []corev1.EnvVar, name string) *corev1.EnvVar {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// transferred returns the environment variables that the sidecar takes from the pod's containers. A
// variable may also come from a source's envFrom, whose keys only the kubelet knows: then the
// reference is copied.
func (in *injection) transferred(s *Container) ([]corev1.EnvVar, []corev1.EnvFromSource) {
	var env []corev1.EnvVar
	var froms []corev1.EnvFromSource
	for _, t := range s.TransferEnv {
		source := in.source(&t)
		if source == nil {
			continue
		}
		for _, name := range transferNames(&t) {
			if e := findEnv(source.Env, name); e != nil {
				env = append(env, *e.DeepCopy())
				continue
			}
			for _, f := range source.EnvFrom {
				known := slices.ContainsFunc(slices.Concat(s.EnvFrom, froms), func(o corev1.EnvFromSource) bool { return sameFrom(o, f) })
				if strings.HasPrefix(name, f.Prefix) && !known {
					froms = append(froms, *f.DeepCopy())
				}
			}
		}
	}
	return env, froms
}

func sameFrom(a, b corev1.EnvFromSource) bool { return encode(a) == encode(b) }

func transferNames(t *appsv1alpha1.TransferEnvVar) []string {
	names := slices.Clone(t.EnvNames)
	if t.EnvName != "" {
		names = append(names, t.EnvName)
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// source is the container that variables are taken from: a regular one, else an init container.
func (in *injection) source(t *appsv1alpha1.TransferEnvVar) *corev1.Container {
	name := t.SourceContainerName
	if t.SourceContainerNameFrom != nil && t.SourceContainerNameFrom.FieldRef != nil {
		name = fieldOf(in.original, t.SourceContainerNameFrom.FieldRef.FieldPath)
	}
	if c := find(in.original.Spec.Containers, name); c != nil {
		return c
	}
	return find(in.original.Spec.InitContainers, name)
}

// fieldOf reads metadata.name, metadata.labels['k'] or metadata.annotations['k'].
func fieldOf(pod *corev1.Pod, path string) string {
	if path == "metadata.name" {
		return pod.Name
	}
	kind, key, ok := SplitFieldPath(path)
	switch {
	case !ok:
		return ""
	case kind == "metadata.labels":
		return pod.Labels[key]
	default:
		return pod.Annotations[key]
	}
}

// SplitFieldPath takes metadata.labels['k'] or metadata.annotations['k'] apart.
func SplitFieldPath(path string) (kind, key string, ok bool) {
	kind, rest, ok := strings.Cut(path, "['")
	if !ok || kind != "metadata.labels" && kind != "metadata.annotations" {
		return "", "", false
	}
	key, ok = strings.CutSuffix(rest, "']")
	return kind, key, ok && key != ""
}
