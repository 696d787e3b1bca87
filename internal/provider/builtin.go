package provider

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/clusterselector"
	config "github.com/spillway-project/spillway/api/config/v1alpha1"
)

// Names of the built-in profiles.
const (
	TensileKube = "tensile-kube"
	Kosmos      = "kosmos"
	Liqo        = "liqo"
	Admiralty   = "admiralty"
	AlibabaECI  = "alibaba-eci"
	AzureACI    = "azure-aci"
	AWSFargate  = "aws-fargate"
	HuaweiCCI   = "huawei-cci"
	TencentEKS  = "tencent-eks"
	Generic     = "generic"
)

// The marks that virtual-kubelet's own library sets: the label of its nodes, their taint, and the reason in the
// status of a pod that a provider refused.
const (
	typeLabel      = "type"
	typeValue      = "virtual-kubelet"
	providerTaint  = "virtual-kubelet.io/provider"
	providerFailed = "ProviderFailed"
)

// builtin returns the profiles in the order in which they are tried; generic is last.
func builtin() []config.VirtualNodeProfile {
	return []config.VirtualNodeProfile{
		tensileKube(), kosmos(), liqo(), admiralty(), alibabaECI(), azureACI(), awsFargate(), huaweiCCI(), tencentEKS(), generic(),
	}
}

// tensileKube is recognised by the label clusterID beside that of virtual-kubelet: a convention, which its own
// webhook knows too. It looks at the label virtual-pod of a pod before it updates or deletes the lower one.
//
// It restores required node affinity only: with a pin on the pod, preferences and pod affinity of the hand-over are
// passed over (recoverSelectors in its source).
func tensileKube() config.VirtualNodeProfile {
	return config.VirtualNodeProfile{
		Name: TensileKube,
		Nodes: []config.VirtualNodeMatch{{Selector: &metav1.LabelSelector{
			MatchLabels:      map[string]string{typeLabel: typeValue},
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "clusterID", Operator: metav1.LabelSelectorOpExists}},
		}}},
		Tolerations: []corev1.Toleration{anyOf(providerTaint)},
		Labels:      map[string]string{"virtual-pod": "true"},
		HandOver: &config.HandOver{Annotation: clusterselector.AnnotationTensileKube, Fields: fieldNames(
			clusterselector.NodeSelector, clusterselector.RequiredNodeAffinity, clusterselector.Tolerations)},
		Unsupported:  unsupported(ProjectedVolume),
		StuckReasons: []string{providerFailed},
	}
}

// kosmos restores as tensile-kube does, and spread constraints too.
func kosmos() config.VirtualNodeProfile {
	return config.VirtualNodeProfile{
		Name:        Kosmos,
		Nodes:       byLabel("kosmos.io/node", "true"),
		Tolerations: []corev1.Toleration{exactly("kosmos.io/node", "true", corev1.TaintEffectNoSchedule)},
		HandOver: &config.HandOver{Annotation: clusterselector.AnnotationKosmos, Fields: fieldNames(
			clusterselector.NodeSelector, clusterselector.RequiredNodeAffinity, clusterselector.Tolerations, clusterselector.TopologySpreadConstraints)},
		Unsupported:  unsupported(),
		StuckReasons: []string{providerFailed},
	}
}

// liqo reflects tolerations and spread constraints, and nothing else of a pod's constraints.
func liqo() config.VirtualNodeProfile {
	return config.VirtualNodeProfile{
		Name:         Liqo,
		Nodes:        byLabel("liqo.io/type", "virtual-node"),
		Tolerations:  []corev1.Toleration{exactly("virtual-node.liqo.io/not-allowed", "true", corev1.TaintEffectNoExecute)},
		Carries:      fieldNames(clusterselector.Tolerations, clusterselector.TopologySpreadConstraints),
		Unsupported:  unsupported(),
		StuckReasons: []string{providerFailed, "OffloadingBackOff", "OffloadingAborted"},
	}
}

// admiralty sends the whole pod down, so that the lower scheduler sees its constraints.
func admiralty() config.VirtualNodeProfile {
	return config.VirtualNodeProfile{
		Name: Admiralty,
		Nodes: append(byLabel(providerTaint, "admiralty"), config.VirtualNodeMatch{
			Taint: &config.TaintMatch{Key: providerTaint, Value: "admiralty"}}),
		Tolerations:  []corev1.Toleration{exactly(providerTaint, "admiralty", corev1.TaintEffectNoSchedule)},
		Annotations:  map[string]string{"multicluster.admiralty.io/elect": ""},
		Carries:      fieldNames(clusterselector.AllFields()...),
		Unsupported:  unsupported(),
		StuckReasons: []string{providerFailed},
	}
}

func alibabaECI() config.VirtualNodeProfile {
	return config.VirtualNodeProfile{
		Name:         AlibabaECI,
		Nodes:        byTaint(providerTaint, "alibabacloud"),
		Tolerations:  []corev1.Toleration{exactly(providerTaint, "alibabacloud", corev1.TaintEffectNoSchedule)},
		Labels:       map[string]string{"alibabacloud.com/eci": "true"},
		Unsupported:  unsupported(),
		StuckReasons: []string{providerFailed},
	}
}

// azureACI mounts Azure Files only, which a claim does not tell: every claim is one too many.
func azureACI() config.VirtualNodeProfile {
	return config.VirtualNodeProfile{
		Name:         AzureACI,
		Nodes:        append(byTaint(providerTaint, "azure"), byTaint("azure.com/aci", "")...),
		Tolerations:  []corev1.Toleration{exactly(providerTaint, "azure", corev1.TaintEffectNoSchedule), anyOf("azure.com/aci")},
		Unsupported:  unsupported(HostAliases, PersistentVolume),
		StuckReasons: []string{providerFailed},
	}
}

// awsFargate needs a label or namespace of a Fargate profile besides, which are the cluster's own: configure them.
func awsFargate() config.VirtualNodeProfile {
	return config.VirtualNodeProfile{
		Name:        AWSFargate,
		Nodes:       byLabel("eks.amazonaws.com/compute-type", "fargate"),
		NodePerPod:  true,
		Tolerations: []corev1.Toleration{exactly("eks.amazonaws.com/compute-type", "fargate", corev1.TaintEffectNoSchedule)},
		Unsupported: unsupported(GPU),
	}
}

// huaweiCCI has no mark but the name of its node; one label is of its first version, the other of its second.
func huaweiCCI() config.VirtualNodeProfile {
	return config.VirtualNodeProfile{
		Name: HuaweiCCI,
		Nodes: []config.VirtualNodeMatch{{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{typeLabel: typeValue, corev1.LabelHostname: "bursting-node"}},
		}},
		Tolerations:  []corev1.Toleration{anyOf(providerTaint)},
		Labels:       map[string]string{"virtual-kubelet.io/burst-to-cci": "enforce", "bursting.cci.io/burst-to-cci": "enforce"},
		Unsupported:  unsupported(),
		StuckReasons: []string{providerFailed},
	}
}

func tencentEKS() config.VirtualNodeProfile {
	return config.VirtualNodeProfile{
		Name:        TencentEKS,
		Nodes:       byLabel(corev1.LabelInstanceTypeStable, "eklet"),
		Tolerations: []corev1.Toleration{anyOf("eks.tke.cloud.tencent.com/eklet")},
		Unsupported: unsupported(),
	}
}

// generic is any node of virtual-kubelet's library. What its provider reads is not known: constraints stay on the pod.
func generic() config.VirtualNodeProfile {
	return config.VirtualNodeProfile{
		Name:         Generic,
		Nodes:        byLabel(typeLabel, typeValue),
		Tolerations:  []corev1.Toleration{anyOf(providerTaint)},
		Unsupported:  unsupported(),
		StuckReasons: []string{providerFailed},
	}
}

func byLabel(key, value string) []config.VirtualNodeMatch {
	return []config.VirtualNodeMatch{{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}}}
}

func byTaint(key, value string) []config.VirtualNodeMatch {
	return []config.VirtualNodeMatch{{Taint: &config.TaintMatch{Key: key, Value: value}}}
}

// anyOf tolerates the taint whatever its value, but does not keep a pod on a node that evicts.
func anyOf(key string) corev1.Toleration {
	return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}
}

func exactly(key, value string, effect corev1.TaintEffect) corev1.Toleration {
	return corev1.Toleration{Key: key, Operator: corev1.TolerationOpEqual, Value: value, Effect: effect}
}

func fieldNames(fields ...clusterselector.Field) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = string(f)
	}
	return out
}

// unsupported is what no virtual node can be trusted with, since it is not the machine that a pod means, and more.
func unsupported(more ...string) []string {
	return append([]string{DaemonSet, HostPath, HostNetwork, HostPID, Privileged}, more...)
}
