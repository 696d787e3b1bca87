package placement

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
)

// handOver moves the constraints into an annotation, or finds that a pass before this one has, and returns the record
// to go on from. Without an annotation nothing is moved. The webhook runs before the API server validates a pod, so that
// what is moved would be looked at below only, when the pod has its node: it is validated here. The error is a *Refusal
// then.
func handOver(pod *corev1.Pod, annotation string) (clusterselector.Record, error) {
	done, recorded, err := clusterselector.ParseRecord(pod.Annotations)
	if err != nil || annotation == "" {
		return done, err
	}
	if !recorded { // else the spec is the placement's, and the API server's to validate
		spec := &pod.Spec
		own := clusterselector.Selection{NodeSelector: spec.NodeSelector, Affinity: spec.Affinity,
			Tolerations: spec.Tolerations, TopologySpreadConstraints: spec.TopologySpreadConstraints}
		if err := refuseInvalid(own.Validate(field.NewPath("spec"))); err != nil {
			return done, err
		}
	}
	return clusterselector.Stash(pod, annotation)
}

// checkText validates the constraints that somebody wrote into the annotation, with those that were moved there. The
// error is a *Refusal.
func checkText(pod *corev1.Pod, annotation string) error {
	selection, _, err := clusterselector.Parse(pod.Annotations[annotation])
	if err != nil {
		return fmt.Errorf("annotation %s: %w", annotation, err)
	}
	return refuseInvalid(selection.Validate(field.NewPath("metadata", "annotations").Key(annotation)))
}

// refuseInvalid makes a *Refusal of what is invalid.
func refuseInvalid(errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return &Refusal{v1alpha1.ReasonConstraintInvalid, fmt.Sprintf(
		"%v: the pod would be refused behind the virtual node: correct that in the template of its workload, or where the annotation is written", errs.ToAggregate())}
}
