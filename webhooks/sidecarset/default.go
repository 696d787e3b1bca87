// Package sidecarset holds the mutating and the validating webhook of SidecarSets.
package sidecarset

import (
	"context"
	"fmt"
	"net/http"
	"reflect"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/delta"
	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/webhooks/review"
)

// Paths at which the webhooks are served.
const (
	DefaultPath  = "/mutate-sidecarsets"
	ValidatePath = "/validate-sidecarsets"
)

// Defaulter fills in defaults and writes the hashes.
type Defaulter struct {
	Differ *delta.Differ
}

// Review implements review.Reviewer.
func (d *Defaulter) Review(_ context.Context, request *admissionv1.AdmissionRequest) (review.Verdict, error) {
	if !concerns(request) {
		return review.Verdict{}, nil
	}
	received, refusal := decode(request.Object.Raw)
	if refusal != nil {
		return *refusal, nil
	}
	defaulted := received.DeepCopy()
	sidecar.Default(&defaulted.Spec)
	hashes, err := sidecar.HashesOf(&defaulted.Spec)
	if err != nil {
		return review.Verdict{}, fmt.Errorf("SidecarSet %s: %w", received.Name, err)
	}
	if kept, ok := keptHashes(request, defaulted); ok {
		hashes = kept
	}
	if defaulted.Annotations == nil {
		defaulted.Annotations = make(map[string]string)
	}
	defaulted.Annotations[v1alpha1.AnnotationSidecarHash] = hashes.Hash
	defaulted.Annotations[v1alpha1.AnnotationSidecarHashWithoutImage] = hashes.WithoutImage
	patch, err := d.Differ.Between(request.Object.Raw, received, defaulted)
	if err != nil {
		return review.Verdict{}, fmt.Errorf("make the patch: %w", err)
	}
	return review.Verdict{Patch: patch}, nil
}

// keptHashes returns the stored hashes when the containers do not change: a version that knows more
// fields of containers may have made them, and pods carry the same.
func keptHashes(request *admissionv1.AdmissionRequest, s *sidecar.SidecarSet) (sidecar.Hashes, bool) {
	if request.Operation != admissionv1.Update {
		return sidecar.Hashes{}, false
	}
	old, refusal := decode(request.OldObject.Raw)
	if refusal != nil {
		return sidecar.Hashes{}, false
	}
	stored := sidecar.Hashes{
		Hash:         old.Annotations[v1alpha1.AnnotationSidecarHash],
		WithoutImage: old.Annotations[v1alpha1.AnnotationSidecarHashWithoutImage],
	}
	sidecar.Default(&old.Spec)
	same := reflect.DeepEqual(old.Spec.Containers, s.Spec.Containers) && reflect.DeepEqual(old.Spec.InitContainers, s.Spec.InitContainers)
	return stored, same && stored.Hash != "" && stored.WithoutImage != ""
}

func concerns(request *admissionv1.AdmissionRequest) bool {
	return request.SubResource == "" && (request.Operation == admissionv1.Create || request.Operation == admissionv1.Update)
}

// decode reads a SidecarSet. What is none is refused.
func decode(raw []byte) (*sidecar.SidecarSet, *review.Verdict) {
	var s sidecar.SidecarSet
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &s); err != nil {
		verdict := review.Refuse(metav1.StatusReasonBadRequest, http.StatusBadRequest, fmt.Sprintf("read the SidecarSet: %v", err))
		return nil, &verdict
	}
	return &s, nil
}
