package virtual

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// profile is how one kind of provider marks its nodes.
type profile struct {
	labels map[string]string
	taints []corev1.Taint
}

// profiles are the kinds of virtual nodes that can be played.
var profiles = map[string]profile{
	// No taint: the stock deployment switches it off. clusterID is the label that its selectors go by.
	"tensile-kube": {labels: map[string]string{
		"type": "virtual-kubelet", "kubernetes.io/role": "agent",
		"node-role.kubernetes.io/local-virtual-kubelet": "true",
	}},
	"kosmos": {
		labels: map[string]string{"kosmos.io/node": "true", "kubernetes.io/role": "agent"},
		taints: []corev1.Taint{{Key: "kosmos.io/node", Value: "true", Effect: corev1.TaintEffectNoSchedule}},
	},
	// NoExecute: taking a pod's permission away ejects it.
	"liqo": {
		labels: map[string]string{
			"liqo.io/type": "virtual-node", "type": "virtual-kubelet", "kubernetes.io/role": "agent",
			"node.kubernetes.io/exclude-from-external-load-balancers": "true", "storage.liqo.io/available": "true",
		},
		taints: []corev1.Taint{{Key: "virtual-node.liqo.io/not-allowed", Value: "true", Effect: corev1.TaintEffectNoExecute}},
	},
	"generic": {
		labels: map[string]string{"type": "virtual-kubelet", "kubernetes.io/role": "agent"},
		taints: []corev1.Taint{{Key: "virtual-kubelet.io/provider", Value: "lab", Effect: corev1.TaintEffectNoSchedule}},
	},
}

// dress gives a node object the marks of its profile and those that were added to it.
func dress(object *corev1.Node, spec NodeSpec) error {
	chosen, ok := profiles[spec.Profile]
	if !ok {
		return fmt.Errorf("there is no profile %q", spec.Profile)
	}
	object.Labels = map[string]string{
		corev1.LabelHostname: spec.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
	}
	maps.Copy(object.Labels, chosen.labels)
	// What names the cluster behind the node differs from node to node.
	switch spec.Profile {
	case "tensile-kube":
		object.Labels["clusterID"] = spec.Name
	case "liqo":
		object.Labels["liqo.io/remote-cluster-id"] = spec.Name
	case "kosmos":
		object.Annotations = map[string]string{"kosmos-io/owned-by-cluster": spec.Name}
	}
	maps.Copy(object.Labels, spec.Labels)
	object.Spec.Taints = append(append([]corev1.Taint{}, chosen.taints...), spec.Taints...)
	object.Status.Capacity, object.Status.Allocatable = spec.Capacity, spec.Capacity
	return nil
}
