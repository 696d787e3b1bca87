package clusterselector

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// The generators make what Go can hold, which is more than an API server would store: lists that are nil, empty or
// full, terms without content, operators of every kind.

// word is short, so that equal ones meet, and has what JSON has to escape.
var word = rapid.SampledFrom([]string{"", "a", "b", "zone", "gpu", `"`, "<&>", "ü", "\u2028", "a/b"})

func list[T any](t *rapid.T, label string, element *rapid.Generator[T]) []T {
	if rapid.Bool().Draw(t, label+" is nil") {
		return nil
	}
	return rapid.SliceOfN(element, 0, 3).Draw(t, label)
}

func optional[T any](t *rapid.T, label string, value *rapid.Generator[T]) *T {
	if rapid.Bool().Draw(t, label+" is nil") {
		return nil
	}
	v := value.Draw(t, label)
	return &v
}

func labels(t *rapid.T, label string) map[string]string {
	if rapid.Bool().Draw(t, label+" is nil") {
		return nil
	}
	return rapid.MapOfN(word, word, 0, 3).Draw(t, label)
}

var (
	requirement = rapid.Custom(func(t *rapid.T) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{
			Key: word.Draw(t, "key"),
			Operator: rapid.SampledFrom([]corev1.NodeSelectorOperator{corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn, corev1.NodeSelectorOpExists,
				corev1.NodeSelectorOpDoesNotExist, corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt}).Draw(t, "operator"),
			Values: list(t, "values", word),
		}
	})
	nodeTerm = rapid.Custom(func(t *rapid.T) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: list(t, "matchExpressions", requirement), MatchFields: list(t, "matchFields", requirement)}
	})
	labelSelector = rapid.Custom(func(t *rapid.T) metav1.LabelSelector {
		return metav1.LabelSelector{MatchLabels: labels(t, "matchLabels"), MatchExpressions: list(t, "expressions", rapid.Custom(func(t *rapid.T) metav1.LabelSelectorRequirement {
			return metav1.LabelSelectorRequirement{Key: word.Draw(t, "key"), Operator: metav1.LabelSelectorOpIn, Values: list(t, "values", word)}
		}))}
	})
	podTerm = rapid.Custom(func(t *rapid.T) corev1.PodAffinityTerm {
		return corev1.PodAffinityTerm{
			LabelSelector: optional(t, "labelSelector", labelSelector), Namespaces: list(t, "namespaces", word), TopologyKey: word.Draw(t, "topologyKey"),
			NamespaceSelector: optional(t, "namespaceSelector", labelSelector), MatchLabelKeys: list(t, "matchLabelKeys", word), MismatchLabelKeys: list(t, "mismatchLabelKeys", word),
		}
	})
	weighted = rapid.Custom(func(t *rapid.T) corev1.WeightedPodAffinityTerm {
		return corev1.WeightedPodAffinityTerm{Weight: rapid.Int32().Draw(t, "weight"), PodAffinityTerm: podTerm.Draw(t, "term")}
	})
	preferred = rapid.Custom(func(t *rapid.T) corev1.PreferredSchedulingTerm {
		return corev1.PreferredSchedulingTerm{Weight: rapid.Int32Range(0, 3).Draw(t, "weight"), Preference: nodeTerm.Draw(t, "preference")}
	})
	nodeAffinity = rapid.Custom(func(t *rapid.T) corev1.NodeAffinity {
		return corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: optional(t, "required", rapid.Custom(func(t *rapid.T) corev1.NodeSelector {
				return corev1.NodeSelector{NodeSelectorTerms: list(t, "terms", nodeTerm)}
			})),
			PreferredDuringSchedulingIgnoredDuringExecution: list(t, "preferred", preferred),
		}
	})
	affinity = rapid.Custom(func(t *rapid.T) corev1.Affinity {
		return corev1.Affinity{
			NodeAffinity: optional(t, "nodeAffinity", nodeAffinity),
			PodAffinity: optional(t, "podAffinity", rapid.Custom(func(t *rapid.T) corev1.PodAffinity {
				return corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: list(t, "required", podTerm), PreferredDuringSchedulingIgnoredDuringExecution: list(t, "preferred", weighted)}
			})),
			PodAntiAffinity: optional(t, "podAntiAffinity", rapid.Custom(func(t *rapid.T) corev1.PodAntiAffinity {
				return corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: list(t, "required", podTerm), PreferredDuringSchedulingIgnoredDuringExecution: list(t, "preferred", weighted)}
			})),
		}
	})
	toleration = rapid.Custom(func(t *rapid.T) corev1.Toleration {
		return corev1.Toleration{
			Key:      rapid.SampledFrom([]string{"", "a", corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable}).Draw(t, "key"),
			Operator: rapid.SampledFrom([]corev1.TolerationOperator{"", corev1.TolerationOpExists, corev1.TolerationOpEqual}).Draw(t, "operator"),
			Value:    rapid.SampledFrom([]string{"", "x"}).Draw(t, "value"),
			Effect:   rapid.SampledFrom([]corev1.TaintEffect{"", corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute}).Draw(t, "effect"),
			TolerationSeconds: optional(t, "seconds", rapid.SampledFrom([]int64{-1, 0, DefaultSeconds,
				1<<53 + 1})),
		}
	})
	constraint = rapid.Custom(func(t *rapid.T) corev1.TopologySpreadConstraint {
		policy := rapid.SampledFrom([]corev1.NodeInclusionPolicy{corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore})
		return corev1.TopologySpreadConstraint{
			MaxSkew: rapid.Int32().Draw(t, "maxSkew"), TopologyKey: word.Draw(t, "topologyKey"), WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: optional(t, "labelSelector", labelSelector), MinDomains: optional(t, "minDomains", rapid.Int32()),
			NodeAffinityPolicy: optional(t, "nodeAffinityPolicy", policy), NodeTaintsPolicy: optional(t, "nodeTaintsPolicy", policy), MatchLabelKeys: list(t, "matchLabelKeys", word),
		}
	})
	anyPod = rapid.Custom(func(t *rapid.T) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: labels(t, "labels")},
			Spec: corev1.PodSpec{
				NodeSelector: labels(t, "nodeSelector"), Affinity: optional(t, "affinity", affinity),
				Tolerations: list(t, "tolerations", toleration), TopologySpreadConstraints: list(t, "topologySpreadConstraints", constraint),
				SchedulerName: "theirs", Containers: []corev1.Container{{Name: "main"}},
			},
		}
	})
)
