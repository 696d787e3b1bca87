package virtual

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// manners are how one kind of provider makes a lower pod of an upper one, and how it speaks of it. They are played with
// the defects that the real ones have.
type manners struct {
	// lower makes the lower pod.
	lower func(upper *corev1.Pod) *corev1.Pod
	// heedsDeletion tells whether the end of an upper pod reaches the lower one; nil: always.
	heedsDeletion func(upper *corev1.Pod) bool
	// statusOnly: labels and annotations do not come up with a status.
	statusOnly bool
	// recreates: a pod that is lost below is created again, and its upper one stays.
	recreates bool
}

const (
	tensileLabel, kosmosLabel = "virtual-pod", "kosmos-io/pod"
	// genericLabel is the label of pods that a provider of no known kind creates.
	genericLabel = "lab.spillway-project.io/virtual-pod"

	liqoTaint = "virtual-node.liqo.io/not-allowed"
)

var providerManners = map[string]manners{
	// Volumes of tokens of old are dropped, those of today are not. Without the label above, updates and
	// deletions are forgotten.
	"tensile-kube": {
		lower: func(upper *corev1.Pod) *corev1.Pod {
			lower := bare(upper)
			lower.Labels[tensileLabel] = "true"
			dropVolumes(lower, "default-token")
			restore(lower, "clusterSelector", false)
			return lower
		},
		heedsDeletion: func(upper *corev1.Pod) bool { return upper.Labels[tensileLabel] == "true" },
	},
	// Tokens become secrets; the leaf cluster's own will do.
	"kosmos": {
		lower: func(upper *corev1.Pod) *corev1.Pod {
			lower := bare(upper)
			lower.Labels[kosmosLabel] = "true"
			lower.Spec.SchedulerName = ""
			dropVolumes(lower, "kube-api-access")
			restore(lower, "kosmos.io/cluster-selector", true)
			return lower
		},
	},
	// Affinity and node selector stay behind; tolerations go, but for Liqo's own; spread constraints go.
	"liqo": {
		lower: func(upper *corev1.Pod) *corev1.Pod {
			lower := bare(upper)
			dropVolumes(lower, "kube-api-access")
			lower.Spec.Affinity, lower.Spec.NodeSelector, lower.Spec.SchedulerName = nil, nil, ""
			lower.Spec.HostNetwork, lower.Spec.HostPID, lower.Spec.HostIPC = false, false, false
			lower.Spec.Tolerations = slices.DeleteFunc(lower.Spec.Tolerations, func(t corev1.Toleration) bool { return t.Key == liqoTaint })
			return lower
		},
		statusOnly: true, recreates: true,
	},
	// A provider that knows nothing of scheduling below.
	"generic": {
		lower: func(upper *corev1.Pod) *corev1.Pod {
			lower := bare(upper)
			lower.Labels[genericLabel] = "true"
			dropVolumes(lower, "kube-api-access")
			lower.Spec.Affinity, lower.Spec.NodeSelector, lower.Spec.SchedulerName = nil, nil, ""
			lower.Spec.Tolerations, lower.Spec.TopologySpreadConstraints = nil, nil
			return lower
		},
	},
}

// bare is a copy without what belongs to the upper cluster.
func bare(upper *corev1.Pod) *corev1.Pod {
	lower := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: upper.Namespace, Name: upper.Name, Labels: map[string]string{}, Annotations: map[string]string{},
	}, Spec: *upper.Spec.DeepCopy()}
	maps.Copy(lower.Labels, upper.Labels)
	maps.Copy(lower.Annotations, upper.Annotations)
	lower.Spec.NodeName = ""
	return lower
}

// dropVolumes removes volumes by the start of their names, and their mounts.
func dropVolumes(pod *corev1.Pod, prefix string) {
	pod.Spec.Volumes = slices.DeleteFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return strings.HasPrefix(v.Name, prefix) })
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			list[i].VolumeMounts = slices.DeleteFunc(list[i].VolumeMounts, func(m corev1.VolumeMount) bool { return strings.HasPrefix(m.Name, prefix) })
		}
	}
}

// handedOver is what the two providers read from their annotation.
type handedOver struct {
	NodeSelector              map[string]string                 `json:"nodeSelector,omitempty"`
	Affinity                  *corev1.Affinity                  `json:"affinity,omitempty"`
	Tolerations               []corev1.Toleration               `json:"tolerations,omitempty"`
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
}

// restore restores what these providers restore, in their way: text that cannot be read is taken for none, which
// clears; preferred node affinity and pod affinity are only taken over where the pod has none.
func restore(pod *corev1.Pod, annotation string, spread bool) {
	var from handedOver
	text := pod.Annotations[annotation]
	readable := text != "" && json.Unmarshal([]byte(text), &from) == nil
	if !readable {
		from = handedOver{}
	}
	spec := &pod.Spec
	spec.NodeSelector, spec.Tolerations = from.NodeSelector, from.Tolerations
	if spread {
		spec.TopologySpreadConstraints = from.TopologySpreadConstraints
	}
	switch {
	case !readable:
		if spec.Affinity != nil && spec.Affinity.NodeAffinity != nil {
			spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = nil
		}
	case spec.Affinity == nil:
		spec.Affinity = from.Affinity
	case from.Affinity == nil || from.Affinity.NodeAffinity == nil:
		spec.Affinity.NodeAffinity = nil
	case spec.Affinity.NodeAffinity == nil:
		spec.Affinity.NodeAffinity = from.Affinity.NodeAffinity
	default:
		spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = from.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
}
