package validation

import (
	"fmt"
	"regexp"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// SidecarSet checks a defaulted object by itself.
func SidecarSet(s *sidecar.SidecarSet) field.ErrorList {
	spec := field.NewPath("spec")
	errs := sidecarSetName(s.Name, field.NewPath("metadata", "name"))
	errs = append(errs, sidecarAnnotations(s, field.NewPath("metadata", "annotations"))...)
	errs = append(errs, sidecarScope(&s.Spec, spec)...)
	errs = append(errs, injectionStrategy(&s.Spec.InjectionStrategy, spec.Child("injectionStrategy"))...)
	errs = append(errs, updateStrategy(&s.Spec.UpdateStrategy, spec.Child("updateStrategy"))...)
	errs = append(errs, sidecars(&s.Spec, spec)...)
	errs = append(errs, patchPodMetadata(s.Spec.PatchPodMetadata, spec.Child("patchPodMetadata"))...)
	if n := s.Spec.HistoryLimit; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(spec.Child("revisionHistoryLimit"), *n, "must be 0 or more"))
	}
	return errs
}

// SidecarSetUpdate checks a changed object. What was wrong with the stored one already may stay: it was
// accepted by an earlier version, or by OpenKruise.
func SidecarSetUpdate(s, old *sidecar.SidecarSet) field.ErrorList {
	before := make(map[string]bool)
	for _, err := range SidecarSet(old) {
		before[err.Error()] = true
	}
	var errs field.ErrorList
	for _, err := range SidecarSet(s) {
		if !before[err.Error()] {
			errs = append(errs, err)
		}
	}
	errs = append(errs, keepsUpgradeType(s.Spec.Containers, old.Spec.Containers, field.NewPath("spec", "containers"))...)
	errs = append(errs, keepsUpgradeType(s.Spec.InitContainers, old.Spec.InitContainers, field.NewPath("spec", "initContainers"))...)
	was, is := old.Annotations[v1alpha1.AnnotationSidecarBase], s.Annotations[v1alpha1.AnnotationSidecarBase]
	if was != "" && was != is {
		errs = append(errs, field.Forbidden(field.NewPath("metadata", "annotations").Key(v1alpha1.AnnotationSidecarBase),
			fmt.Sprintf("a canary of %q cannot become one of %q: create another SidecarSet", was, is)))
	}
	return errs
}

// keepsUpgradeType: a pod has one container for a cold sidecar and two for a hot one.
func keepsUpgradeType(list, old []sidecar.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	types := make(map[string]appsv1alpha1.SidecarContainerUpgradeType, len(old))
	for i := range old {
		types[old[i].Name] = old[i].UpgradeStrategy.UpgradeType
	}
	for i := range list {
		is := list[i].UpgradeStrategy.UpgradeType
		if was, ok := types[list[i].Name]; ok && was != is {
			errs = append(errs, field.Forbidden(path.Index(i).Child("upgradeStrategy", "upgradeType"),
				fmt.Sprintf("it cannot change from %s to %s while pods have the container: give the sidecar another name", was, is)))
		}
	}
	return errs
}

var sidecarSetNames = regexp.MustCompile(`^[a-zA-Z0-9-]+$`)

func sidecarSetName(name string, path *field.Path) field.ErrorList {
	if sidecarSetNames.MatchString(name) && len(name) <= 63 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, name, "must consist of letters, digits and dashes and have at most 63 characters: it becomes part of label values")}
}

func sidecarAnnotations(s *sidecar.SidecarSet, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if _, err := sidecar.PriorityOf(s.Annotations); err != nil {
		errs = append(errs, field.Invalid(path.Key(v1alpha1.AnnotationPriority), s.Annotations[v1alpha1.AnnotationPriority], "must be an integer, such as 10 or -5"))
	}
	if text, ok := s.Annotations[v1alpha1.AnnotationReplaceUninjected]; ok {
		v := intstr.Parse(text)
		errs = append(errs, share(&v, path.Key(v1alpha1.AnnotationReplaceUninjected))...)
	}
	canary, base := s.Annotations[v1alpha1.AnnotationSidecarCanary], s.Annotations[v1alpha1.AnnotationSidecarBase]
	if canary != "true" {
		return errs
	}
	at := path.Key(v1alpha1.AnnotationSidecarBase)
	switch {
	case base == "":
		errs = append(errs, field.Required(at, "name the SidecarSet that this canary replaces"))
	case base == s.Name:
		errs = append(errs, field.Invalid(at, base, "a SidecarSet cannot be its own canary: name another one"))
	}
	if t := s.Spec.UpdateStrategy.Type; t != appsv1alpha1.NotUpdateSidecarSetStrategyType {
		errs = append(errs, field.Invalid(field.NewPath("spec", "updateStrategy", "type"), t, "a canary only serves new pods: write NotUpdate"))
	}
	return errs
}

func sidecarScope(spec *sidecar.Spec, path *field.Path) field.ErrorList {
	scoped := spec.Namespace != "" || !emptySelector(spec.NamespaceSelector)
	var errs field.ErrorList
	switch at := path.Child("selector"); {
	case spec.Selector == nil:
		errs = append(errs, field.Required(at, "select pods by their labels"))
	case emptySelector(spec.Selector) && !scoped:
		errs = append(errs, field.Required(at, "an empty selector would inject into every pod of the cluster: select pods by labels, or give a namespace or namespaceSelector"))
	default:
		errs = append(errs, labelSelector(spec.Selector, at)...)
	}
	if spec.NamespaceSelector != nil {
		at := path.Child("namespaceSelector")
		if emptySelector(spec.NamespaceSelector) {
			errs = append(errs, field.Required(at, "an empty selector selects every namespace: leave it out"))
		}
		errs = append(errs, labelSelector(spec.NamespaceSelector, at)...)
	}
	return errs
}

func emptySelector(s *metav1.LabelSelector) bool {
	return s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0
}

func labelSelector(s *metav1.LabelSelector, path *field.Path) field.ErrorList {
	return metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, path)
}

func injectionStrategy(s *appsv1alpha1.SidecarSetInjectionStrategy, path *field.Path) field.ErrorList {
	r := s.Revision
	if r == nil {
		return nil
	}
	path = path.Child("revision")
	var errs field.ErrorList
	if (r.RevisionName == nil || *r.RevisionName == "") && (r.CustomVersion == nil || *r.CustomVersion == "") {
		errs = append(errs, field.Required(path.Child("revisionName"), "name a ControllerRevision of this SidecarSet, or its customVersion"))
	}
	switch r.Policy {
	case "", appsv1alpha1.AlwaysSidecarSetInjectRevisionPolicy, appsv1alpha1.PartialSidecarSetInjectRevisionPolicy:
	default:
		errs = append(errs, field.NotSupported(path.Child("policy"), r.Policy, []appsv1alpha1.SidecarSetInjectRevisionPolicy{
			appsv1alpha1.AlwaysSidecarSetInjectRevisionPolicy, appsv1alpha1.PartialSidecarSetInjectRevisionPolicy,
		}))
	}
	return errs
}

func patchPodMetadata(list []appsv1alpha1.SidecarSetPatchPodMetadata, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := make(map[string]bool)
	for i := range list {
		p, at := &list[i], path.Index(i)
		if len(p.Annotations) == 0 {
			errs = append(errs, field.Required(at.Child("annotations"), "give at least one annotation"))
		}
		errs = append(errs, annotationKeys(p.Annotations, at.Child("annotations"))...)
		for key, value := range p.Annotations {
			if seen[key] {
				errs = append(errs, field.Duplicate(at.Child("annotations").Key(key), key))
			}
			seen[key] = true
			if p.PatchPolicy != appsv1alpha1.SidecarSetMergePatchJsonPatchPolicy {
				continue
			}
			if _, err := sidecar.MergePatch("{}", value); err != nil {
				errs = append(errs, field.Invalid(at.Child("annotations").Key(key), value, "with policy MergePatchJson the value must be JSON: "+err.Error()))
			}
		}
		switch p.PatchPolicy {
		case appsv1alpha1.SidecarSetRetainPatchPolicy, appsv1alpha1.SidecarSetOverwritePatchPolicy, appsv1alpha1.SidecarSetMergePatchJsonPatchPolicy:
		default:
			errs = append(errs, field.NotSupported(at.Child("patchPolicy"), p.PatchPolicy, []appsv1alpha1.SidecarSetPatchPolicyType{
				appsv1alpha1.SidecarSetRetainPatchPolicy, appsv1alpha1.SidecarSetOverwritePatchPolicy, appsv1alpha1.SidecarSetMergePatchJsonPatchPolicy,
			}))
		}
	}
	return errs
}

// annotationKeys checks the syntax of keys, and that none is one of the records on pods.
func annotationKeys(annotations map[string]string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for key := range annotations {
		for _, message := range utilvalidation.IsQualifiedName(strings.ToLower(key)) {
			errs = append(errs, field.Invalid(path.Key(key), key, message))
		}
		if strings.HasPrefix(key, "kruise.io/sidecarset-") || strings.Contains(key, ".sidecarset.kruise.io/") {
			errs = append(errs, field.Forbidden(path.Key(key), "this annotation records what was injected: choose another key"))
		}
	}
	return errs
}

// Warnings returns what is allowed and probably not meant.
func Warnings(s *sidecar.SidecarSet) []string {
	var out []string
	u := &s.Spec.UpdateStrategy
	rolling := u.Type == appsv1alpha1.RollingUpdateSidecarSetStrategyType
	if rolling && isZero(u.MaxUnavailable) && isZero(u.Partition) && !u.Paused {
		out = append(out, "spec.updateStrategy.maxUnavailable is 0: pods that are ready will never be upgraded; write 1 or more, or 10%")
	}
	for i := range s.Spec.Containers {
		if s.Spec.Containers[i].RestartPolicy != nil && *s.Spec.Containers[i].RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, fmt.Sprintf("spec.containers[%d].restartPolicy: Always makes a native sidecar only under initContainers", i))
		}
	}
	return out
}

func isZero(v *intstr.IntOrString) bool {
	return v == nil || v.Type == intstr.Int && v.IntVal == 0 || v.Type == intstr.String && strings.Trim(v.StrVal, "0") == "%"
}
