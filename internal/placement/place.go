// Package placement writes a subset onto a pod. It is pure: pod and subset in, changed pod out.
//
// The order is fixed: the subset's patch, then its node terms and tolerations (the pin), then the
// records. For a subset of virtual nodes the user's constraints are set aside first (placeVirtual). The patch comes before the pin, so that a patch that nulls affinity.nodeAffinity, as real
// manifests do, cannot remove the pin; at the end the pin is verified to be there. Every step is
// idempotent: a pod that has been placed comes out as it went in.
package placement

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/provider"
)

// Plan is what to write onto a pod.
type Plan struct {
	// Subset is the chosen subset, as the spec has it.
	Subset *appsv1alpha1.WorkloadSpreadSubset
	// Record goes into the annotation AnnotationMatched.
	Record v1alpha1.Record
	// Cost is the pod deletion cost; nil for none.
	Cost *int32
	// Virtual is the kind of virtual nodes that the subset is of; nil for own nodes.
	Virtual *provider.Profile
	// Cluster is the cluster that places the pod, for the record of a placement on virtual nodes
	// (clusterselector.Record).
	Cluster string
	// Tolerations that the pod needs beside those of the subset and of Virtual: those of other virtual
	// nodes in the subset.
	Tolerations []corev1.Toleration
	// Avoid are nodes of the subset that the pod is kept off, in order.
	Avoid []string
	// Hold: on virtual nodes, the pod stays on its node while that is not ready, however long that takes.
	Hold bool
}

// Place writes the plan onto the pod. A placement into another subset, which a copied manifest may
// bring along, is undone first if it is recorded how (clusterselector.Record). On an error the pod is in an
// undefined state and must be dropped; the error names the subset, the field and what is wrong.
func Place(pod *corev1.Pod, plan Plan) error {
	if err := settle(pod, plan); err != nil {
		return err
	}
	if plan.Virtual != nil {
		plan.Subset = avoiding(plan.Subset, plan.Avoid)
		return placeVirtual(pod, plan)
	}
	if err := patch(pod, plan.Subset); err != nil {
		return err
	}
	pin(pod, plan.Subset)
	tolerate(pod, plan.Subset.Tolerations)
	tolerate(pod, plan.Tolerations)
	record(pod, plan)
	return verify(pod, plan.Subset)
}

// patch applies the subset's patch.
func patch(pod *corev1.Pod, subset *appsv1alpha1.WorkloadSpreadSubset) error {
	class := pod.Spec.PriorityClassName
	if err := Patch(pod, subset.Patch.Raw); err != nil {
		return fmt.Errorf("subset %q: patch: %w", subset.Name, err)
	}
	if pod.Spec.PriorityClassName != class {
		// The Priority plugin runs again after webhooks and computes both from the class. It refuses
		// values that belong to another one.
		pod.Spec.Priority, pod.Spec.PreemptionPolicy = nil, nil
	}
	return nil
}

// Adopt records an assignment on a pod that runs already, and applies the metadata of the subset's patch
// if metadata is set. Its spec stays as it is: a running pod's cannot be changed.
//
// A plan without a subset only writes the cost.
func Adopt(pod *corev1.Pod, plan Plan, metadata bool) error {
	if plan.Subset == nil {
		writeCost(pod, plan.Cost)
		return nil
	}
	if metadata && len(plan.Subset.Patch.Raw) > 0 {
		var whole struct {
			Metadata json.RawMessage `json:"metadata,omitempty"`
		}
		if err := json.Unmarshal(plan.Subset.Patch.Raw, &whole); err != nil {
			return fmt.Errorf("subset %q: patch: %w", plan.Subset.Name, err)
		}
		if len(whole.Metadata) > 0 {
			if err := Patch(pod, fmt.Appendf(nil, `{"metadata":%s}`, whole.Metadata)); err != nil {
				return fmt.Errorf("subset %q: patch: %w", plan.Subset.Name, err)
			}
		}
	}
	record(pod, plan)
	return nil
}

// Unchanged reports whether the subset's patch would leave the pod as it is, annotations aside.
func Unchanged(pod *corev1.Pod, subset *appsv1alpha1.WorkloadSpreadSubset) bool {
	patched := pod.DeepCopy()
	if err := Patch(patched, subset.Patch.Raw); err != nil {
		return false
	}
	patched.Annotations = pod.Annotations
	return equality.Semantic.DeepEqual(pod, patched)
}

// Strip removes a record that is not backed by a claim: a copied manifest must not count towards a
// subset. It reports whether there was one.
func Strip(pod *corev1.Pod) bool {
	if _, ok := pod.Annotations[v1alpha1.AnnotationMatched]; !ok {
		return false
	}
	delete(pod.Annotations, v1alpha1.AnnotationMatched)
	if ownCost(pod) {
		delete(pod.Annotations, v1alpha1.PodDeletionCost)
	}
	delete(pod.Annotations, v1alpha1.AnnotationDeletionCost)
	return true
}

// tolerate adds the tolerations that the pod does not have yet.
func tolerate(pod *corev1.Pod, tolerations []corev1.Toleration) {
	for _, t := range tolerations {
		pod.Spec.Tolerations = addMissing(pod.Spec.Tolerations, *t.DeepCopy())
	}
}

// addMissing appends an element unless an equal one is there.
func addMissing[T any](list []T, element T) []T {
	if slices.ContainsFunc(list, func(have T) bool { return equality.Semantic.DeepEqual(have, element) }) {
		return list
	}
	return append(list, element)
}

// record writes the annotations, last: they override whatever the patch put there.
func record(pod *corev1.Pod, plan Plan) {
	if pod.Annotations == nil {
		pod.Annotations = make(map[string]string)
	}
	pod.Annotations[v1alpha1.AnnotationMatched] = plan.Record.Encode()
	writeCost(pod, plan.Cost)
}

// writeCost leaves a cost of the user's own alone.
func writeCost(pod *corev1.Pod, cost *int32) {
	if _, theirs := pod.Annotations[v1alpha1.PodDeletionCost]; cost == nil || (theirs && !ownCost(pod)) {
		return
	}
	if pod.Annotations == nil {
		pod.Annotations = make(map[string]string)
	}
	text := strconv.Itoa(int(*cost))
	pod.Annotations[v1alpha1.PodDeletionCost] = text
	pod.Annotations[v1alpha1.AnnotationDeletionCost] = text
}

// ownCost reports whether the pod's deletion cost is one that Spillway wrote.
func ownCost(pod *corev1.Pod) bool {
	ours, ok := pod.Annotations[v1alpha1.AnnotationDeletionCost]
	return ok && pod.Annotations[v1alpha1.PodDeletionCost] == ours
}
