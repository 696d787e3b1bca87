// Package restore is the mutating webhook of the member role: in the lower cluster it gives pods that the provider of
// a virtual node created the constraints back that the upper cluster set aside, before the scheduler sees them.
//
// It needs nothing but the pod: no client, no cache. Only pods with a provider's mark are sent here; the
// registration sees to that.
package restore

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/delta"
	"github.com/spillway-project/spillway/internal/provider"
	"github.com/spillway-project/spillway/webhooks/review"
)

// Path is where the webhook is served.
const Path = "/restore-pods"

// Restorer restores the constraints of pods while they are created.
type Restorer struct {
	// Cluster is this one (clusterselector.Record). Where pods are placed as well it must be known, lest a pod get
	// back here what was just set aside for the cluster below. Empty takes every record for another cluster's.
	Cluster string
	Differ  *delta.Differ
}

// Review implements review.Reviewer.
func (r *Restorer) Review(_ context.Context, request *admissionv1.AdmissionRequest) (review.Verdict, error) {
	if request.Operation != admissionv1.Create || request.SubResource != "" || request.Resource.Resource != "pods" {
		return review.Verdict{Reason: v1alpha1.ReasonNotManaged}, nil
	}
	var received corev1.Pod
	if err := kjson.UnmarshalCaseSensitivePreserveInts(request.Object.Raw, &received); err != nil {
		return review.Verdict{}, &review.Fault{Code: http.StatusBadRequest, Reason: v1alpha1.ReasonBadReview, Err: fmt.Errorf("decode the pod: %w", err)}
	}
	restored := received.DeepCopy()
	reason, err := r.restore(restored)
	if wrong := new(clusterselector.FormatError); errors.As(err, &wrong) {
		return review.Refuse(metav1.StatusReasonInvalid, http.StatusUnprocessableEntity,
			fmt.Sprintf("the constraints that the pod brings from another cluster cannot be restored: %v", err)), nil
	}
	if err != nil {
		return review.Verdict{}, fmt.Errorf("restore the constraints of the pod: %w", err)
	}
	verdict := review.Verdict{Reason: reason}
	if reason != v1alpha1.ReasonRestored {
		return verdict, nil
	}
	if verdict.Patch, err = r.Differ.Between(request.Object.Raw, &received, restored); err != nil {
		return review.Verdict{}, fmt.Errorf("make the patch: %w", err)
	}
	return verdict, nil
}

// restore changes the pod to what it should be, and says what it found.
func (r *Restorer) restore(pod *corev1.Pod) (v1alpha1.Reason, error) {
	if provider.MadeHere(pod) {
		return v1alpha1.ReasonMadeHere, nil
	}
	record, recorded, err := clusterselector.ParseRecord(pod.Annotations)
	switch {
	case err != nil:
		return "", err
	case recorded && record.Cluster != "" && record.Cluster == r.Cluster:
		return v1alpha1.ReasonPlacedHere, nil
	}
	found, err := clusterselector.RestoreAdmitted(pod, annotation(pod))
	switch {
	case err != nil:
		return "", err
	case !found:
		return v1alpha1.ReasonNothingHandedOver, nil
	}
	return v1alpha1.ReasonRestored, nil
}

// annotation is where a pod without a record has its constraints: where the provider whose mark it has looks for
// them, else where another one does.
func annotation(pod *corev1.Pod) string {
	order := []string{clusterselector.AnnotationTensileKube, clusterselector.AnnotationKosmos}
	if pod.Labels[provider.LabelKosmosPod] == "true" {
		order[0], order[1] = order[1], order[0]
	}
	for _, key := range order {
		if _, ok := pod.Annotations[key]; ok {
			return key
		}
	}
	return order[0]
}
