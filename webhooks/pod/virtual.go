package pod

import (
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/internal/placement"
	"github.com/spillway-project/spillway/internal/resolve"
	"github.com/spillway-project/spillway/webhooks/review"
)

// ground completes a plan by what the subset's nodes are.
func ground(plan *placement.Plan, site *resolve.Site) {
	plan.Virtual, plan.Tolerations, plan.Hold = site.Profile, site.Nature.Tolerations(), site.Hold
}

// lost returns the fields of the pod's constraints that do not reach the lower pod, and what the user should know of
// it. The pod is as it came.
func lost(pod *corev1.Pod, plan placement.Plan) (fields []clusterselector.Field, warnings []string) {
	fields = placement.NotHonoured(pod, plan)
	for _, f := range fields {
		warnings = append(warnings, fmt.Sprintf("subset %q is of virtual nodes: spec.%s is not honoured below: %s does not pass it on", plan.Record.Subset, f, plan.Virtual.Name))
	}
	return fields, warnings
}

// refused turns a pod that cannot have what it asks for, and constraints that cannot be read or kept, into a refusal:
// they are the pod's own fault, and without them it might run where its author forbade it, whatever the failure policy.
func refused(err error) (review.Verdict, bool) {
	if refusal := new(placement.Refusal); errors.As(err, &refusal) {
		verdict := review.Refuse(metav1.StatusReasonInvalid, http.StatusUnprocessableEntity, err.Error())
		verdict.Reason = refusal.Reason
		return verdict, true
	}
	if wrong := new(clusterselector.FormatError); !errors.As(err, &wrong) && !errors.Is(err, clusterselector.ErrTooLarge) {
		return review.Verdict{}, false
	}
	return review.Refuse(metav1.StatusReasonInvalid, http.StatusUnprocessableEntity, err.Error()), true
}
