package placement

import (
	"cmp"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/provider"
)

// Directive is where a pod without a WorkloadSpread may run, as the pod itself or its namespace says.
type Directive struct {
	// Placement is one of own, virtual and any; none if nothing is asked for.
	Placement v1alpha1.Placement
	// Profile that the directive is narrowed to; nil for none.
	Profile *provider.Profile
	// Source is where the placement was found: object and field, for messages.
	Source string
	// Cluster is the one that places the pod (Plan.Cluster).
	Cluster string
}

// Refusal is why a pod cannot get what is asked for: the fault of its author, not of ours.
type Refusal struct {
	// Reason in the common vocabulary.
	Reason v1alpha1.Reason
	// Message names object, field and value, and the remedy.
	Message string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Message }

// DirectiveOf reads KeyPlacement and KeyProvider, each by itself: from the pod's annotations, its labels, the
// namespace's annotations, its labels, the first that has the key. The error is a *Refusal.
func DirectiveOf(pod *corev1.Pod, namespace *corev1.Namespace, catalog *provider.Catalog) (Directive, error) {
	value, source := lookUp(pod, namespace, v1alpha1.KeyPlacement)
	d := Directive{Placement: v1alpha1.Placement(value), Source: source}
	refuse := func(format string, args ...any) (Directive, error) {
		return Directive{}, &Refusal{v1alpha1.ReasonPlacementInvalid, fmt.Sprintf(format, args...)}
	}
	switch d.Placement {
	case v1alpha1.PlacementNone, v1alpha1.PlacementOwn:
		return d, nil
	case v1alpha1.PlacementVirtual, v1alpha1.PlacementAny:
	case v1alpha1.PlacementOwnFirst:
		return refuse("%s: %q takes a WorkloadSpread for the pod's workload, with a subset of own nodes before one of virtual nodes: create one and remove this, or use %s, %s or %s",
			source, value, v1alpha1.PlacementOwn, v1alpha1.PlacementVirtual, v1alpha1.PlacementAny)
	default:
		return refuse("%s: %q is no placement: use %s (kept off virtual nodes), %s (only on virtual nodes) or %s (both)",
			source, value, v1alpha1.PlacementOwn, v1alpha1.PlacementVirtual, v1alpha1.PlacementAny)
	}
	name, from := lookUp(pod, namespace, v1alpha1.KeyProvider)
	if name == "" {
		return d, nil
	}
	if d.Profile = catalog.ByName(name); d.Profile == nil {
		return refuse("%s: %q is no profile of virtual nodes: use one of %s, or add one to the configuration (virtualNodes.profiles)",
			from, name, strings.Join(catalog.Names(), ", "))
	}
	return d, nil
}

// lookUp returns the value of the first that has the key, and where that is.
func lookUp(pod *corev1.Pod, namespace *corev1.Namespace, key string) (value, source string) {
	for _, at := range []struct {
		of, field string
		in        map[string]string
	}{
		{podName(pod, namespace.Name), "annotations", pod.Annotations}, {podName(pod, namespace.Name), "labels", pod.Labels},
		{"Namespace " + namespace.Name, "annotations", namespace.Annotations}, {"Namespace " + namespace.Name, "labels", namespace.Labels},
	} {
		if v, ok := at.in[key]; ok {
			return v, fmt.Sprintf("%s: metadata.%s[%s]", at.of, at.field, key)
		}
	}
	return "", ""
}

// podName names a pod that may not have its name yet.
func podName(pod *corev1.Pod, namespace string) string {
	return fmt.Sprintf("Pod %s/%s", namespace, cmp.Or(pod.Name, pod.GenerateName+"*"))
}
