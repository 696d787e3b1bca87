package sidecarset

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/lint"
	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/state"
	"github.com/spillway-project/spillway/internal/validation"
	"github.com/spillway-project/spillway/webhooks/review"
)

// +kubebuilder:rbac:groups="",namespace=system,resources=configmaps,verbs=get
// +kubebuilder:rbac:groups="",namespace=system,resources=podtemplates,verbs=create

// Validator refuses SidecarSets that cannot work.
type Validator struct {
	// Sets are the others.
	Sets *state.SidecarSets
	// Revisions are those that a set may pin.
	Revisions *state.Revisions
	// Live reads the ConfigMap of the whitelist, in the namespace of the revisions.
	Live client.Reader
	// Pods checks containers and volumes as parts of a pod.
	Pods PodChecker
}

// Review implements review.Reviewer.
func (v *Validator) Review(ctx context.Context, request *admissionv1.AdmissionRequest) (review.Verdict, error) {
	if !concerns(request) {
		return review.Verdict{}, nil
	}
	s, refusal := decode(request.Object.Raw)
	if refusal != nil {
		return *refusal, nil
	}
	sidecar.Default(&s.Spec)
	var old *sidecar.SidecarSet
	if request.Operation == admissionv1.Update {
		if old, refusal = decode(request.OldObject.Raw); refusal == nil {
			sidecar.Default(&old.Spec)
			if s.DeletionTimestamp != nil || unchanged(s, old) {
				return review.Verdict{}, nil // what OpenKruise accepted stays writable in all but its spec
			}
		}
	}
	errs, err := v.check(ctx, s, old)
	if err != nil {
		return review.Verdict{}, review.Unavailable(v1alpha1.ReasonUnavailable, err)
	}
	if len(errs) > 0 {
		status := apierrors.NewInvalid(schema.GroupKind{Group: sidecar.GroupVersion.Group, Kind: sidecar.Kind}, s.Name, errs).Status()
		return review.Verdict{Refusal: &status, Reason: v1alpha1.ReasonInvalidSpec}, nil
	}
	out := review.Verdict{Warnings: append(validation.Warnings(s), lint.Warnings(request.Object.Raw)...)}
	if pin, missing, err := v.missingPin(ctx, s); err != nil {
		return review.Verdict{}, review.Unavailable(v1alpha1.ReasonUnavailable, err)
	} else if missing {
		out.Warnings = append(out.Warnings, fmt.Sprintf(
			"spec.injectionStrategy.revision: no ControllerRevision of this SidecarSet has name %q or custom version %q yet; until one has, pods get the current spec",
			pin.RevisionName, pin.CustomVersion))
	}
	return out, nil
}

// unchanged reports whether nothing changes that a check looks at.
func unchanged(s, old *sidecar.SidecarSet) bool {
	return equality.Semantic.DeepEqual(s.Spec, old.Spec) && reflect.DeepEqual(s.Labels, old.Labels) && reflect.DeepEqual(s.Annotations, old.Annotations)
}

// check gathers what is wrong. What was wrong before, and is not touched, may stay.
func (v *Validator) check(ctx context.Context, s, old *sidecar.SidecarSet) (field.ErrorList, error) {
	var errs field.ErrorList
	if old == nil {
		errs = validation.SidecarSet(s)
	} else {
		errs = validation.SidecarSetUpdate(s, old)
	}
	if len(errs) > 0 {
		return errs, nil // the rest would only repeat it
	}
	errs = v.conflicts(s, old)
	more, err := v.metadata(ctx, s, old)
	if err != nil {
		return nil, err
	}
	errs = append(errs, more...)
	errs = append(errs, v.canary(s)...)
	if old != nil {
		if more, err = v.newPin(ctx, s, old); err != nil {
			return nil, err
		}
		errs = append(errs, more...)
	}
	if len(errs) > 0 || old != nil && samePod(s, old) {
		return errs, nil
	}
	return v.Pods.Check(ctx, &s.Spec)
}

func samePod(s, old *sidecar.SidecarSet) bool {
	return equality.Semantic.DeepEqual(s.Spec.Containers, old.Spec.Containers) &&
		equality.Semantic.DeepEqual(s.Spec.InitContainers, old.Spec.InitContainers) &&
		equality.Semantic.DeepEqual(s.Spec.Volumes, old.Spec.Volumes)
}

func (v *Validator) conflicts(s, old *sidecar.SidecarSet) field.ErrorList {
	var others []*sidecar.SidecarSet
	for _, other := range v.Sets.All() {
		others = append(others, other.Object)
	}
	errs := validation.SidecarSetConflicts(s, others)
	if old == nil || len(errs) == 0 {
		return errs
	}
	return beyond(errs, validation.SidecarSetConflicts(old, others))
}

// beyond returns the errors that are not among others.
func beyond(errs, others field.ErrorList) field.ErrorList {
	known := make(map[string]bool, len(others))
	for _, err := range others {
		known[err.Error()] = true
	}
	var out field.ErrorList
	for _, err := range errs {
		if !known[err.Error()] {
			out = append(out, err)
		}
	}
	return out
}

// metadata checks annotations that the set patches against the whitelist, if it patches any.
func (v *Validator) metadata(ctx context.Context, s, old *sidecar.SidecarSet) (field.ErrorList, error) {
	if len(s.Spec.PatchPodMetadata) == 0 {
		return nil, nil
	}
	var list *validation.Whitelist
	var config corev1.ConfigMap
	err := v.Live.Get(ctx, client.ObjectKey{Namespace: v.Revisions.Namespace, Name: v1alpha1.SidecarConfigMap}, &config)
	switch text, ok := config.Data[v1alpha1.SidecarWhitelistKey]; {
	case apierrors.IsNotFound(err):
	case err != nil:
		return nil, fmt.Errorf("read ConfigMap %s/%s: %w", v.Revisions.Namespace, v1alpha1.SidecarConfigMap, err)
	case ok:
		if list, err = validation.ParseWhitelist(text); err != nil {
			return field.ErrorList{field.Forbidden(field.NewPath("spec", "patchPodMetadata"), err.Error())}, nil
		}
	}
	errs := validation.SidecarSetMetadata(s, list)
	if old != nil {
		errs = beyond(errs, validation.SidecarSetMetadata(old, list))
	}
	return errs, nil
}

// canary checks that the base exists and is no canary itself.
func (v *Validator) canary(s *sidecar.SidecarSet) field.ErrorList {
	base := s.Annotations[v1alpha1.AnnotationSidecarBase]
	if s.Annotations[v1alpha1.AnnotationSidecarCanary] != "true" {
		return nil
	}
	path := field.NewPath("metadata", "annotations").Key(v1alpha1.AnnotationSidecarBase)
	switch of := v.Sets.Get(base); {
	case of == nil:
		return field.ErrorList{field.NotFound(path, base)}
	case of.Base != "":
		return field.ErrorList{field.Invalid(path, base, fmt.Sprintf("it is a canary itself: name its base %q", of.Base))}
	}
	return nil
}

// newPin refuses a pin that was changed to a revision that does not exist. At creation that is no more
// than a warning, so that a repository can hold set and pin together.
func (v *Validator) newPin(ctx context.Context, s, old *sidecar.SidecarSet) (field.ErrorList, error) {
	was, _ := sidecar.PinOf(&old.Spec)
	pin, missing, err := v.missingPin(ctx, s)
	if err != nil || !missing || pin == was {
		return nil, err
	}
	path, value := field.NewPath("spec", "injectionStrategy", "revision", "revisionName"), pin.RevisionName
	if value == "" {
		path, value = field.NewPath("spec", "injectionStrategy", "revision", "customVersion"), pin.CustomVersion
	}
	return field.ErrorList{field.NotFound(path, value)}, nil
}

// missingPin reports whether the set pins a revision that neither exists nor is about to.
func (v *Validator) missingPin(ctx context.Context, s *sidecar.SidecarSet) (sidecar.Pin, bool, error) {
	pin, ok := sidecar.PinOf(&s.Spec)
	if !ok || pin.RevisionName == "" && pin.CustomVersion == s.Labels[v1alpha1.LabelSidecarCustomVersion] {
		return pin, false, nil
	}
	if compiled, err := sidecar.Compile(s); err == nil {
		if name, _, err := compiled.Revision(); err == nil && name == pin.RevisionName {
			return pin, false, nil
		}
	}
	_, err := v.Revisions.Find(ctx, s.Name, pin)
	if errors.Is(err, state.ErrNoRevision) {
		return pin, true, nil
	}
	return pin, false, err
}
