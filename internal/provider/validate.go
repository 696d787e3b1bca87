package provider

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-project/spillway/api/clusterselector"
	config "github.com/spillway-project/spillway/api/config/v1alpha1"
	"github.com/spillway-project/spillway/api/v1alpha1"
)

// outages are the modes of v1alpha1.AnnotationOutage.
var outages = []string{v1alpha1.OutageHold, v1alpha1.OutageReplace}

// Validate checks the configuration of virtual nodes. Each error names the field, the value and the remedy.
func Validate(c *config.VirtualNodes, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := make(map[string]bool, len(c.Profiles))
	for i := range c.Profiles {
		at := path.Child("profiles").Index(i)
		if seen[c.Profiles[i].Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), c.Profiles[i].Name))
		}
		seen[c.Profiles[i].Name] = true
		errs = append(errs, validateProfile(&c.Profiles[i], at)...)
	}
	if c.Outage != "" && !slices.Contains(outages, c.Outage) {
		errs = append(errs, field.NotSupported(path.Child("outage"), c.Outage, outages))
	}
	if known := NewCatalog(c.Profiles).Names(); len(c.RestoredBelow) > 0 {
		errs = append(errs, oneOf(c.RestoredBelow, known, path.Child("restoredBelow"))...)
	}
	for i, key := range c.FixedIPAnnotations {
		errs = append(errs, validateKey(key, path.Child("fixedIPAnnotations").Index(i))...)
	}
	return errs
}

func validateProfile(p *config.VirtualNodeProfile, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, m := range validation.IsDNS1123Label(p.Name) {
		errs = append(errs, field.Invalid(path.Child("name"), p.Name, "must be the name of a profile: "+m))
	}
	for i := range p.Nodes {
		errs = append(errs, validateMatch(&p.Nodes[i], path.Child("nodes").Index(i))...)
	}
	for i := range p.Tolerations {
		errs = append(errs, validateToleration(&p.Tolerations[i], path.Child("tolerations").Index(i))...)
	}
	for _, key := range sorted(p.Labels) {
		at := path.Child("labels").Key(key)
		errs = append(errs, validateKey(key, at)...)
		for _, m := range validation.IsValidLabelValue(p.Labels[key]) {
			errs = append(errs, field.Invalid(at, p.Labels[key], m))
		}
	}
	for _, key := range sorted(p.Annotations) {
		errs = append(errs, validateKey(key, path.Child("annotations").Key(key))...)
	}
	if h := p.HandOver; h != nil {
		errs = append(errs, validateKey(h.Annotation, path.Child("handOver", "annotation"))...)
		if strings.HasPrefix(h.Annotation, "spillway-project.io/") || strings.HasPrefix(h.Annotation, "apps.kruise.io/") {
			errs = append(errs, field.Invalid(path.Child("handOver", "annotation"), h.Annotation, "is Spillway's own: name the annotation that the provider reads"))
		}
		errs = append(errs, oneOf(h.Fields, fieldNames(clusterselector.AllFields()...), path.Child("handOver", "fields"))...)
	}
	errs = append(errs, oneOf(p.Carries, fieldNames(clusterselector.AllFields()...), path.Child("carries"))...)
	errs = append(errs, oneOf(p.Unsupported, Features(), path.Child("unsupported"))...)
	if slices.Contains(p.StuckReasons, "") {
		errs = append(errs, field.Invalid(path.Child("stuckReasons"), "", "would match every pod: give a status reason"))
	}
	return errs
}

func validateMatch(m *config.VirtualNodeMatch, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	selects := m.Selector != nil && len(m.Selector.MatchLabels)+len(m.Selector.MatchExpressions) > 0
	if !selects && m.Taint == nil {
		errs = append(errs, field.Required(path, "it would match every node: give selector (with matchLabels or matchExpressions) or taint"))
	}
	if m.Selector != nil {
		if _, err := metav1.LabelSelectorAsSelector(m.Selector); err != nil {
			errs = append(errs, field.Invalid(path.Child("selector"), metav1.FormatLabelSelector(m.Selector), err.Error()))
		}
	}
	if m.Taint != nil {
		errs = append(errs, validateKey(m.Taint.Key, path.Child("taint", "key"))...)
		errs = append(errs, validateEffect(m.Taint.Effect, path.Child("taint", "effect"))...)
	}
	return errs
}

func validateToleration(t *corev1.Toleration, path *field.Path) field.ErrorList {
	errs := validateEffect(t.Effect, path.Child("effect"))
	switch t.Operator {
	case "", corev1.TolerationOpEqual:
		errs = append(errs, validateKey(t.Key, path.Child("key"))...)
	case corev1.TolerationOpExists:
		if t.Value != "" {
			errs = append(errs, field.Invalid(path.Child("value"), t.Value, "has no meaning with operator Exists: leave it out, or use operator Equal"))
		}
		if t.Key != "" {
			errs = append(errs, validateKey(t.Key, path.Child("key"))...)
		}
	default:
		errs = append(errs, field.NotSupported(path.Child("operator"), t.Operator, []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
	}
	if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
		errs = append(errs, field.Invalid(path.Child("tolerationSeconds"), *t.TolerationSeconds, "needs effect NoExecute"))
	}
	return errs
}

func validateEffect(e corev1.TaintEffect, path *field.Path) field.ErrorList {
	switch e {
	case "", corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		return nil
	default:
		return field.ErrorList{field.NotSupported(path, e, []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute})}
	}
}

// validateKey checks the key of a label, taint or annotation.
func validateKey(key string, path *field.Path) field.ErrorList {
	if key == "" {
		return field.ErrorList{field.Required(path, "give a key, such as example.com/name")}
	}
	var errs field.ErrorList
	for _, m := range validation.IsQualifiedName(strings.ToLower(key)) {
		errs = append(errs, field.Invalid(path, key, m))
	}
	return errs
}

func oneOf(values, allowed []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, v := range values {
		if !slices.Contains(allowed, v) {
			errs = append(errs, field.NotSupported(path.Index(i), v, allowed))
		}
	}
	return errs
}

func sorted(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for key := range m {
		out = append(out, key)
	}
	slices.Sort(out)
	return out
}
