package provider

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// What a provider may be unable to run: the values of a profile's unsupported.
const (
	DaemonSet        = "DaemonSet"
	HostPath         = "HostPath"
	HostNetwork      = "HostNetwork"
	HostPID          = "HostPID"
	HostAliases      = "HostAliases"
	Privileged       = "Privileged"
	ProjectedVolume  = "ProjectedVolume"
	EnvReference     = "EnvReference"
	PersistentVolume = "PersistentVolume"
	GPU              = "GPU"
)

// Features lists all that a profile can name as unsupported.
func Features() []string {
	return []string{DaemonSet, HostPath, HostNetwork, HostPID, HostAliases, Privileged, ProjectedVolume, EnvReference, PersistentVolume, GPU}
}

// ClaimState says how a PersistentVolumeClaim stands to the virtual nodes.
type ClaimState int

const (
	// ClaimUnknown: nothing is known of the claim. It is not held against the pod.
	ClaimUnknown ClaimState = iota
	// ClaimReachable: the virtual nodes can mount it, or it is bound only after the pod has a node.
	ClaimReachable
	// ClaimElsewhere: it is bound to a volume of a node or zone that no virtual node is in.
	ClaimElsewhere
	// ClaimImmediate: it is not bound yet, and will be without regard to where the pod goes.
	ClaimImmediate
)

// Surroundings is what the pod alone does not tell.
type Surroundings struct {
	// Claims are the states of the claims in the pod's namespace, by name.
	Claims map[string]ClaimState
	// Resources that the virtual nodes of the subset offer; nil if that is not known.
	Resources map[corev1.ResourceName]bool
	// FixedIPAnnotations give a pod a fixed address (configuration virtualNodes.fixedIPAnnotations).
	FixedIPAnnotations []string
}

// Obstacle is why a pod cannot run on a virtual node.
type Obstacle struct {
	// Reason in the common vocabulary.
	Reason v1alpha1.Reason
	// Field of the pod, as a path.
	Field string
	// Message says what is in the way, for people.
	Message string
}

// Obstacles returns everything that keeps a pod off the nodes of the profile, none if it may go there. The order is
// always the same.
func (p *Profile) Obstacles(pod *corev1.Pod, s Surroundings) []Obstacle {
	e := examination{profile: p, pod: pod, s: s}
	e.whole()
	e.volumes()
	e.containers()
	e.annotations()
	return e.found
}

// examination collects obstacles.
type examination struct {
	profile *Profile
	pod     *corev1.Pod
	s       Surroundings
	found   []Obstacle
}

// refuses reports whether the provider cannot run something.
func (e *examination) refuses(feature string) bool {
	return slices.Contains(e.profile.Unsupported, feature)
}

func (e *examination) add(reason v1alpha1.Reason, field, format string, args ...any) {
	e.found = append(e.found, Obstacle{reason, field, fmt.Sprintf(format, args...) + ", which " + e.profile.Name + " cannot run"})
}

// whole looks at the pod as a whole.
func (e *examination) whole() {
	spec := &e.pod.Spec
	for i, o := range e.pod.OwnerReferences {
		if o.Controller != nil && *o.Controller && o.Kind == "DaemonSet" && e.refuses(DaemonSet) {
			e.add(v1alpha1.ReasonOwnedByDaemonSet, fmt.Sprintf("metadata.ownerReferences[%d]", i), "the pod is one of DaemonSet %s", o.Name)
		}
	}
	if spec.HostNetwork && e.refuses(HostNetwork) {
		e.add(v1alpha1.ReasonHostNamespace, "spec.hostNetwork", "the pod uses the node's network")
	}
	if spec.HostPID && e.refuses(HostPID) {
		e.add(v1alpha1.ReasonHostNamespace, "spec.hostPID", "the pod sees the node's processes")
	}
	if len(spec.HostAliases) > 0 && e.refuses(HostAliases) {
		e.add(v1alpha1.ReasonHostAliases, "spec.hostAliases", "the pod has entries for /etc/hosts")
	}
}

func (e *examination) volumes() {
	for i := range e.pod.Spec.Volumes {
		v := &e.pod.Spec.Volumes[i]
		field := fmt.Sprintf("spec.volumes[%d]", i)
		switch {
		case v.HostPath != nil && e.refuses(HostPath):
			e.add(v1alpha1.ReasonHostPath, field+".hostPath", "volume %s is the path %s of a node", v.Name, v.HostPath.Path)
		case v.Projected != nil && e.refuses(ProjectedVolume) && !strings.HasPrefix(v.Name, "kube-api-access-"): // every pod has that one
			e.add(v1alpha1.ReasonVolumeUnsupported, field+".projected", "volume %s is projected", v.Name)
		case v.PersistentVolumeClaim != nil:
			e.claim(v.PersistentVolumeClaim.ClaimName, field+".persistentVolumeClaim")
		case v.Ephemeral != nil && e.refuses(PersistentVolume):
			e.add(v1alpha1.ReasonVolumeUnsupported, field+".ephemeral", "volume %s is a persistent volume", v.Name)
		}
	}
}

func (e *examination) claim(name, field string) {
	switch state := e.s.Claims[name]; {
	case state == ClaimElsewhere:
		e.add(v1alpha1.ReasonVolumeElsewhere, field, "claim %s is bound to a volume that no virtual node can reach", name)
	case state == ClaimImmediate:
		e.add(v1alpha1.ReasonVolumeImmediate, field, "claim %s is bound before the pod has a node (use a storage class with WaitForFirstConsumer)", name)
	case e.refuses(PersistentVolume):
		e.add(v1alpha1.ReasonVolumeUnsupported, field, "claim %s is a persistent volume", name)
	}
}

func (e *examination) containers() {
	for _, list := range []struct {
		field string
		of    []corev1.Container
	}{{"spec.initContainers", e.pod.Spec.InitContainers}, {"spec.containers", e.pod.Spec.Containers}} {
		for i := range list.of {
			e.container(&list.of[i], fmt.Sprintf("%s[%d]", list.field, i))
		}
	}
}

func (e *examination) container(c *corev1.Container, field string) {
	if s := c.SecurityContext; s != nil && s.Privileged != nil && *s.Privileged && e.refuses(Privileged) {
		e.add(v1alpha1.ReasonPrivileged, field+".securityContext.privileged", "container %s is privileged", c.Name)
	}
	if len(c.EnvFrom) > 0 && e.refuses(EnvReference) {
		e.add(v1alpha1.ReasonEnvUnsupported, field+".envFrom", "container %s takes its environment from other objects", c.Name)
	}
	for i := range c.Env {
		if f := c.Env[i].ValueFrom; f != nil && (f.ConfigMapKeyRef != nil || f.SecretKeyRef != nil) && e.refuses(EnvReference) {
			e.add(v1alpha1.ReasonEnvUnsupported, fmt.Sprintf("%s.env[%d].valueFrom", field, i), "container %s takes %s from another object", c.Name, c.Env[i].Name)
		}
	}
	wanted := maps.Clone(c.Resources.Limits)
	if wanted == nil {
		wanted = corev1.ResourceList{}
	}
	maps.Copy(wanted, c.Resources.Requests)
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		quantity := wanted[name]
		if !quantity.IsZero() && e.lacks(name) {
			e.add(v1alpha1.ReasonResourceMissing, field+".resources", "container %s asks for %s", c.Name, name)
		}
	}
}

// lacks reports whether a resource is one of a node's own and the virtual nodes do not offer it. Those of Kubernetes
// itself, such as cpu, every node has.
func (e *examination) lacks(name corev1.ResourceName) bool {
	domain, kind, extended := strings.Cut(string(name), "/")
	if !extended || domain == "kubernetes.io" {
		return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) && e.s.Resources != nil && !e.s.Resources[name]
	}
	if strings.Contains(kind, "gpu") && e.refuses(GPU) {
		return true
	}
	return e.s.Resources != nil && !e.s.Resources[name]
}

func (e *examination) annotations() {
	for _, key := range e.s.FixedIPAnnotations {
		if _, ok := e.pod.Annotations[key]; ok {
			e.add(v1alpha1.ReasonFixedIP, fmt.Sprintf("metadata.annotations[%s]", key), "the pod has a fixed address")
		}
	}
}
