package provider

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// LabelKosmosPod is the label by which Kosmos marks the pods that it creates in a lower cluster, with the value true.
const LabelKosmosPod = "kosmos-io/pod"

// makers are the kinds of the objects by which providers make pods in the lower cluster. Providers of which none is
// named here make pods without a controller: an owner that lives in the upper cluster would have the lower one
// collect them as garbage.
var makers = map[schema.GroupKind]bool{
	{Group: "offloading.liqo.io", Kind: "ShadowPod"}:          true,
	{Group: "multicluster.admiralty.io", Kind: "PodChaperon"}: true,
}

// MadeHere reports whether a workload of this cluster made the pod, and not the provider of a virtual node in
// another one: it has a controller, and that is no provider's.
func MadeHere(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && !makers[schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind()]
}
