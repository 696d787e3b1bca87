package spread

import (
	"maps"
	"slices"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sameStatus compares two statuses as equality.Semantic does: every commit asks, and reflection costs
// more than all the arithmetic.
func sameStatus(a, b *appsv1alpha1.WorkloadSpreadStatus) bool {
	return a.ObservedGeneration == b.ObservedGeneration &&
		slices.EqualFunc(a.SubsetStatuses, b.SubsetStatuses, sameSubset) &&
		maps.EqualFunc(a.VersionedSubsetStatuses, b.VersionedSubsetStatuses, func(x, y []appsv1alpha1.WorkloadSpreadSubsetStatus) bool {
			return slices.EqualFunc(x, y, sameSubset)
		})
}

func sameSubset(a, b appsv1alpha1.WorkloadSpreadSubsetStatus) bool {
	return a.Name == b.Name && a.Replicas == b.Replicas && a.MissingReplicas == b.MissingReplicas &&
		slices.EqualFunc(a.Conditions, b.Conditions, sameCondition) &&
		maps.EqualFunc(a.CreatingPods, b.CreatingPods, sameTime) && maps.EqualFunc(a.DeletingPods, b.DeletingPods, sameTime)
}

func sameCondition(a, b appsv1alpha1.WorkloadSpreadSubsetCondition) bool {
	return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message &&
		sameTime(a.LastTransitionTime, b.LastTransitionTime)
}

func sameTime(a, b metav1.Time) bool { return a.Equal(&b) }
