package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VirtualNodes configures how virtual nodes are recognised and served.
type VirtualNodes struct {
	// handOver makes pods that go to virtual nodes ready for the nodes' provider: their constraints move
	// into the annotation that it reads, and they get what it asks for. Default true.
	HandOver *bool `json:"handOver,omitempty"`
	// outage says what becomes of pods on virtual nodes that are not ready, where a WorkloadSpread does not say it
	// itself: Hold (they stay, however long that takes) or Replace (Kubernetes evicts them, and new ones pass the
	// subset over while none of its nodes is ready). Default Replace.
	// +kubebuilder:validation:Enum=Hold;Replace
	Outage string `json:"outage,omitempty"`
	// restoredBelow names profiles in whose lower clusters Spillway runs in the member role: all constraints are
	// handed over and arrive. A profile without a hand-over of its own gets one, by the annotation clusterSelector.
	// Default: none.
	// +listType=atomic
	RestoredBelow []string `json:"restoredBelow,omitempty"`
	// profiles are kinds of virtual nodes in addition to the built-in ones, and before them: the first that matches
	// a node wins. One with the name of a built-in profile takes its place.
	// +listType=atomic
	Profiles []VirtualNodeProfile `json:"profiles,omitempty"`
	// fixedIPAnnotations are keys of annotations that give a pod a fixed address. Such a pod is not placed into a subset
	// of virtual nodes; one that asks for virtual nodes itself is refused. Default: none.
	// +listType=atomic
	FixedIPAnnotations []string `json:"fixedIPAnnotations,omitempty"`
}

// VirtualNodeProfile says how a kind of virtual node is recognised and served.
type VirtualNodeProfile struct {
	// name is unique: a DNS label.
	// +required
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name,omitempty"`
	// nodes are alternatives by which a node is recognised. Without one, only an annotation on a WorkloadSpread
	// names the profile.
	// +listType=atomic
	Nodes []VirtualNodeMatch `json:"nodes,omitempty"` //nolint:kubeapilinter // a match may have a selector, a taint, or both
	// nodePerPod says that a node comes with each pod. Those that exist tell neither whether the next one will be ready, nor
	// what it offers.
	NodePerPod bool `json:"nodePerPod,omitempty"`
	// tolerations that a pod needs.
	// +listType=atomic
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// labels that a pod needs. A value that the pod has already stays.
	Labels map[string]string `json:"labels,omitempty"`
	// annotations that a pod needs. A value that the pod has already stays.
	Annotations map[string]string `json:"annotations,omitempty"`
	// handOver says where the provider looks for a pod's constraints. Without it they stay on the pod, and the
	// upper scheduler compares them with the virtual node.
	HandOver *HandOver `json:"handOver,omitempty"`
	// carries lists the fields that reach the lower pod by the provider's own means.
	// +listType=atomic
	Carries []string `json:"carries,omitempty"`
	// unsupported lists what the provider cannot run: DaemonSet, HostPath, HostNetwork, HostPID, HostAliases,
	// Privileged, ProjectedVolume, EnvReference, PersistentVolume or GPU.
	// +listType=atomic
	Unsupported []string `json:"unsupported,omitempty"`
	// stuckReasons are values of a bound pod's status.reason that say that the provider refused it.
	// +listType=atomic
	StuckReasons []string `json:"stuckReasons,omitempty"`
}

// VirtualNodeMatch recognises a node: everything that is given has to hold.
type VirtualNodeMatch struct {
	// selector compares the node's labels.
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// taint is one that the node has.
	Taint *TaintMatch `json:"taint,omitempty"`
}

// TaintMatch recognises a taint.
type TaintMatch struct {
	// key of the taint.
	Key string `json:"key,omitempty"`
	// value of the taint. Empty: any.
	Value string `json:"value,omitempty"`
	// effect of the taint. Empty: any.
	Effect corev1.TaintEffect `json:"effect,omitempty"`
}

// HandOver says how constraints reach the lower pod.
type HandOver struct {
	// annotation that they are moved to.
	Annotation string `json:"annotation,omitempty"`
	// fields that the provider itself restores from there, by their paths in the spec, such as nodeSelector or
	// affinity.podAntiAffinity. All are moved; of the others users are told that they are not honoured.
	// +listType=atomic
	Fields []string `json:"fields,omitempty"`
}
