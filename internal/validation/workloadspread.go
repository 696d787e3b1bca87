// Package validation says what is wrong with a WorkloadSpread, as functions from an object to a
// field.ErrorList. The webhook and the command-line tools share them. Every message names the value
// and the remedy.
package validation

import (
	"fmt"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-project/spillway/internal/workload"
)

// WorkloadSpread checks a new object. kinds are the workloads that may be spread; nil for the built-in
// ones.
func WorkloadSpread(ws *appsv1alpha1.WorkloadSpread, kinds *workload.Kinds) field.ErrorList {
	spec := field.NewPath("spec")
	errs := targetRef(ws.Spec.TargetReference, kinds, spec.Child("targetRef"))
	errs = append(errs, targetFilter(ws.Spec.TargetFilter, spec.Child("targetFilter"))...)
	errs = append(errs, subsets(ws.Spec.Subsets, spec.Child("subsets"))...)
	errs = append(errs, limits(ws.Spec.Subsets, spec.Child("subsets"))...)
	errs = append(errs, numbers(ws, kinds, spec.Child("subsets"))...)
	errs = append(errs, strategy(ws, spec.Child("scheduleStrategy"))...)
	return errs
}

// WorkloadSpreadUpdate checks a changed object. The target may not change: its counts would be those
// of another workload.
func WorkloadSpreadUpdate(ws, old *appsv1alpha1.WorkloadSpread, kinds *workload.Kinds) field.ErrorList {
	errs := WorkloadSpread(ws, kinds)
	is, was := ws.Spec.TargetReference, old.Spec.TargetReference
	if is == nil || was == nil {
		return errs
	}
	if groupKind(is) != groupKind(was) || is.Name != was.Name {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "targetRef"), fmt.Sprintf(
			"the target may not change from %s %q to %s %q: create another WorkloadSpread for it and delete this one",
			was.Kind, was.Name, is.Kind, is.Name)))
	}
	return errs
}

func groupKind(t *appsv1alpha1.TargetReference) schema.GroupKind {
	return schema.FromAPIVersionAndKind(t.APIVersion, t.Kind).GroupKind()
}

func targetRef(t *appsv1alpha1.TargetReference, kinds *workload.Kinds, path *field.Path) field.ErrorList {
	if t == nil {
		return field.ErrorList{field.Required(path, "name the workload to spread: apiVersion, kind and name")}
	}
	var errs field.ErrorList
	for _, f := range []struct{ name, value, example string }{
		{"apiVersion", t.APIVersion, "apps/v1"}, {"kind", t.Kind, "Deployment"}, {"name", t.Name, "web"},
	} {
		if f.value == "" {
			errs = append(errs, field.Required(path.Child(f.name), "for example "+f.example))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	if _, err := schema.ParseGroupVersion(t.APIVersion); err != nil {
		return field.ErrorList{field.Invalid(path.Child("apiVersion"), t.APIVersion, "write group/version, for example apps/v1")}
	}
	if _, ok := kinds.Target(groupKind(t)); !ok {
		errs = append(errs, field.Invalid(path.Child("kind"), t.Kind, fmt.Sprintf(
			"%s is no workload that can be spread: use one of %s, or have it put into the allow-list (key %s)",
			groupKind(t), kinds.Names(), workload.AllowListKey)))
	}
	return errs
}

// numbers checks the limits of workloads that number their pods: a percentage would move the ranges.
func numbers(ws *appsv1alpha1.WorkloadSpread, kinds *workload.Kinds, path *field.Path) field.ErrorList {
	if ws.Spec.TargetReference == nil {
		return nil
	}
	if k, ok := kinds.Target(groupKind(ws.Spec.TargetReference)); !ok || !k.Ordinals {
		return nil
	}
	var errs field.ErrorList
	for i := range ws.Spec.Subsets {
		if m := ws.Spec.Subsets[i].MaxReplicas; m != nil && m.Type == intstr.String {
			errs = append(errs, field.Invalid(path.Index(i).Child("maxReplicas"), m.String(),
				"the pods of a StatefulSet go to subsets by their number: give a number of pods instead of a percentage"))
		}
	}
	return errs
}

func targetFilter(f *appsv1alpha1.TargetFilter, path *field.Path) field.ErrorList {
	if f == nil {
		return nil
	}
	errs := metav1validation.ValidateLabelSelector(f.Selector, metav1validation.LabelSelectorValidationOptions{}, path.Child("selector"))
	for i, p := range f.ReplicasPathList {
		if p == "" {
			errs = append(errs, field.Invalid(path.Child("replicasPathList").Index(i), p, "give a dot-separated path to an integer, for example spec.replicas"))
		}
	}
	return errs
}

func strategy(ws *appsv1alpha1.WorkloadSpread, path *field.Path) field.ErrorList {
	s := ws.Spec.ScheduleStrategy
	var errs field.ErrorList
	switch s.Type {
	case "", appsv1alpha1.FixedWorkloadSpreadScheduleStrategyType, appsv1alpha1.AdaptiveWorkloadSpreadScheduleStrategyType:
	default:
		errs = append(errs, field.NotSupported(path.Child("type"), s.Type, []appsv1alpha1.WorkloadSpreadScheduleStrategyType{
			appsv1alpha1.FixedWorkloadSpreadScheduleStrategyType, appsv1alpha1.AdaptiveWorkloadSpreadScheduleStrategyType,
		}))
	}
	if s.Adaptive == nil {
		return errs
	}
	if s.Type != appsv1alpha1.AdaptiveWorkloadSpreadScheduleStrategyType {
		errs = append(errs, field.Invalid(path.Child("type"), s.Type, "must be Adaptive when adaptive is set: change the type or remove adaptive"))
	}
	if n := len(ws.Spec.Subsets); n > 1 && ws.Spec.Subsets[n-1].MaxReplicas != nil {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "subsets").Index(n-1).Child("maxReplicas"),
			"the last subset of an Adaptive spread takes what the others cannot: remove its maxReplicas"))
	}
	if c := s.Adaptive.RescheduleCriticalSeconds; c != nil && *c < 0 {
		errs = append(errs, field.Invalid(path.Child("adaptive", "rescheduleCriticalSeconds"), *c, "give seconds ≥ 0; 0 turns rescheduling off"))
	}
	return errs
}
