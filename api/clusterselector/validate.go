package clusterselector

import (
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Validate returns what an API server would refuse in the constraints: those that are moved into an annotation never
// reach the one above, and the one below is asked when the pod has its node already. path is where the selection
// stands, such as spec. Stash and Restore do not validate.
//
// The rules are those of package k8s.io/kubernetes/pkg/apis/core/validation for a pod that is created, named at each
// function here, as far as every version from 1.30 on has them, with its features as they are by default: what any API
// server takes is not refused. So these are left out: values of labels in node affinity, which older ones do not look at
// (and whether those of Gt and Lt are numbers, at which none looks); matchLabelKeys and mismatchLabelKeys, which depend
// on features and on the pod's labels.
// Keys that this package does not know (Extra) have no rules.
func (s Selection) Validate(path *field.Path) field.ErrorList {
	errs := validateLabels(s.NodeSelector, path.Child("nodeSelector"))
	if s.Affinity != nil {
		errs = append(errs, validateAffinity(s.Affinity, path.Child("affinity"))...)
	}
	for i := range s.Tolerations {
		errs = append(errs, validateToleration(&s.Tolerations[i], path.Child("tolerations").Index(i))...)
	}
	return append(errs, validateSpread(s.TopologySpreadConstraints, path.Child("topologySpreadConstraints"))...)
}

// validateLabels: ValidatePodSpec, for spec.nodeSelector.
func validateLabels(labels map[string]string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		errs = append(errs, metav1validation.ValidateLabelName(key, path.Key(key))...)
		errs = append(errs, invalid(path.Key(key), labels[key], validation.IsValidLabelValue(labels[key]))...)
	}
	return errs
}

const requiredField, preferredField = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"

// validateAffinity: validateAffinity, validatePodAffinity, validatePodAntiAffinity.
func validateAffinity(a *corev1.Affinity, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n := a.NodeAffinity; n != nil {
		errs = validateNodeAffinity(n, path.Child("nodeAffinity"))
	}
	if p := a.PodAffinity; p != nil {
		errs = append(errs, validatePodTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAffinity"))...)
	}
	if p := a.PodAntiAffinity; p != nil {
		errs = append(errs, validatePodTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAntiAffinity"))...)
	}
	return errs
}

// validateNodeAffinity: validateNodeAffinity, ValidatePreferredSchedulingTerms.
func validateNodeAffinity(n *corev1.NodeAffinity, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		errs = validateNodeTerms(n.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms, path.Child(requiredField, "nodeSelectorTerms"))
	}
	for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
		t, at := &n.PreferredDuringSchedulingIgnoredDuringExecution[i], path.Child(preferredField).Index(i)
		errs = append(errs, validateWeight(t.Weight, at.Child("weight"))...)
		errs = append(errs, validateNodeTerm(&t.Preference, at.Child("preference"))...)
	}
	return errs
}

// validatePodTerms: validatePodAffinityTerms, validateWeightedPodAffinityTerms.
func validatePodTerms(must []corev1.PodAffinityTerm, should []corev1.WeightedPodAffinityTerm, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range must {
		errs = append(errs, validatePodTerm(&must[i], path.Child(requiredField).Index(i))...)
	}
	for i := range should {
		at := path.Child(preferredField).Index(i)
		errs = append(errs, validateWeight(should[i].Weight, at.Child("weight"))...)
		errs = append(errs, validatePodTerm(&should[i].PodAffinityTerm, at.Child("podAffinityTerm"))...)
	}
	return errs
}

// validateNodeTerms: ValidateNodeSelector.
func validateNodeTerms(terms []corev1.NodeSelectorTerm, path *field.Path) field.ErrorList {
	if len(terms) == 0 {
		return field.ErrorList{field.Required(path, "at least one term belongs here")}
	}
	var errs field.ErrorList
	for i := range terms {
		errs = append(errs, validateNodeTerm(&terms[i], path.Index(i))...)
	}
	return errs
}

// validateNodeTerm: ValidateNodeSelectorTerm. A term without anything in it is allowed.
func validateNodeTerm(t *corev1.NodeSelectorTerm, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range t.MatchExpressions {
		errs = append(errs, validateNodeLabel(&t.MatchExpressions[i], path.Child("matchExpressions").Index(i))...)
	}
	for i := range t.MatchFields {
		errs = append(errs, validateNodeField(&t.MatchFields[i], path.Child("matchFields").Index(i))...)
	}
	return errs
}

// validateNodeLabel: ValidateNodeSelectorRequirement, without the values.
func validateNodeLabel(r *corev1.NodeSelectorRequirement, path *field.Path) field.ErrorList {
	errs := metav1validation.ValidateLabelName(r.Key, path.Child("key"))
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			errs = append(errs, field.Required(path.Child("values"), "operators In and NotIn take at least one value"))
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			errs = append(errs, field.Forbidden(path.Child("values"), "operators Exists and DoesNotExist take no values"))
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			errs = append(errs, field.Invalid(path.Child("values"), r.Values, "operators Gt and Lt take one value"))
		}
	default:
		errs = append(errs, field.NotSupported(path.Child("operator"), r.Operator, []corev1.NodeSelectorOperator{
			corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn, corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist, corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt}))
	}
	return errs
}

// validateNodeField: ValidateNodeFieldSelectorRequirement.
func validateNodeField(r *corev1.NodeSelectorRequirement, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			errs = append(errs, field.Invalid(path.Child("values"), r.Values, "a field takes one value: use a term, or a requirement, for each"))
		}
	default:
		errs = append(errs, field.NotSupported(path.Child("operator"), r.Operator, []corev1.NodeSelectorOperator{corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn}))
	}
	if r.Key != metav1.ObjectNameField {
		return append(errs, field.NotSupported(path.Child("key"), r.Key, []string{metav1.ObjectNameField}))
	}
	for i, name := range r.Values {
		errs = append(errs, invalid(path.Child("values").Index(i), name, validation.IsDNS1123Subdomain(name))...)
	}
	return errs
}

// validateWeight: ValidatePreferredSchedulingTerms, validateWeightedPodAffinityTerms.
func validateWeight(weight int32, path *field.Path) field.ErrorList {
	if weight < 1 || weight > 100 {
		return field.ErrorList{field.Invalid(path, weight, validation.InclusiveRangeError(1, 100))}
	}
	return nil
}

// validatePodTerm: validatePodAffinityTerm, without the keys of labels to match.
func validatePodTerm(t *corev1.PodAffinityTerm, path *field.Path) field.ErrorList {
	errs := validateSelector(t.LabelSelector, path.Child("labelSelector"))
	errs = append(errs, validateSelector(t.NamespaceSelector, path.Child("namespaceSelector"))...)
	for i, name := range t.Namespaces {
		errs = append(errs, invalid(path.Child("namespaces").Index(i), name, validation.IsDNS1123Label(name))...)
	}
	if t.TopologyKey == "" {
		return append(errs, field.Required(path.Child("topologyKey"), "a label of nodes belongs here"))
	}
	return append(errs, metav1validation.ValidateLabelName(t.TopologyKey, path.Child("topologyKey"))...)
}

// validateSelector: ValidatePodAffinityTermSelector, validateTopologySpreadConstraints.
func validateSelector(s *metav1.LabelSelector, path *field.Path) field.ErrorList {
	return metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, path)
}

// validateToleration: ValidateTolerations. Lt and Gt are a feature (TaintTolerationComparisonOperators) that this cluster
// or the one below may have.
func validateToleration(t *corev1.Toleration, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Key != "" {
		errs = metav1validation.ValidateLabelName(t.Key, path.Child("key"))
	} else if t.Operator != corev1.TolerationOpExists {
		errs = append(errs, field.Invalid(path.Child("operator"), t.Operator, "without a key only Exists is possible, for all taints"))
	}
	switch t.Operator {
	case "", corev1.TolerationOpEqual:
		errs = append(errs, invalid(path.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))...)
	case corev1.TolerationOpExists:
		if t.Value != "" {
			errs = append(errs, field.Invalid(path.Child("value"), t.Value, "operator Exists takes no value"))
		}
	case corev1.TolerationOpLt, corev1.TolerationOpGt:
		if _, err := strconv.ParseInt(t.Value, 10, 64); err != nil {
			errs = append(errs, field.Invalid(path.Child("value"), t.Value, "operators Lt and Gt take a whole number"))
		}
	default:
		errs = append(errs, field.NotSupported(path.Child("operator"), t.Operator, []corev1.TolerationOperator{
			corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpLt, corev1.TolerationOpGt}))
	}
	switch t.Effect {
	case "", corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
	default:
		errs = append(errs, field.NotSupported(path.Child("effect"), t.Effect, []corev1.TaintEffect{
			corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}))
	}
	if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
		errs = append(errs, field.Invalid(path.Child("effect"), t.Effect, "tolerationSeconds goes with NoExecute only"))
	}
	return errs
}

// validateSpread: validateTopologySpreadConstraints, without the keys of labels to match. The topology key need not have
// the form of a label's.
func validateSpread(constraints []corev1.TopologySpreadConstraint, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	type kind struct {
		key    string
		action corev1.UnsatisfiableConstraintAction
	}
	seen := make(map[kind]bool, len(constraints))
	for i := range constraints {
		c, at := &constraints[i], path.Index(i)
		errs = append(errs, validateSpreadConstraint(c, at)...)
		if k := (kind{c.TopologyKey, c.WhenUnsatisfiable}); seen[k] {
			errs = append(errs, field.Duplicate(at.Child("topologyKey"), c.TopologyKey))
		} else {
			seen[k] = true
		}
	}
	return errs
}

func validateSpreadConstraint(c *corev1.TopologySpreadConstraint, path *field.Path) field.ErrorList {
	errs := validateSelector(c.LabelSelector, path.Child("labelSelector"))
	if c.MaxSkew < 1 {
		errs = append(errs, field.Invalid(path.Child("maxSkew"), c.MaxSkew, "it has to be greater than 0"))
	}
	if c.TopologyKey == "" {
		errs = append(errs, field.Required(path.Child("topologyKey"), "a label of nodes belongs here"))
	}
	switch c.WhenUnsatisfiable {
	case corev1.DoNotSchedule, corev1.ScheduleAnyway:
	default:
		errs = append(errs, field.NotSupported(path.Child("whenUnsatisfiable"), c.WhenUnsatisfiable,
			[]corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.ScheduleAnyway}))
	}
	if c.MinDomains != nil && *c.MinDomains < 1 {
		errs = append(errs, field.Invalid(path.Child("minDomains"), *c.MinDomains, "it has to be greater than 0"))
	}
	if c.MinDomains != nil && c.WhenUnsatisfiable != corev1.DoNotSchedule {
		errs = append(errs, field.Invalid(path.Child("minDomains"), *c.MinDomains, "it goes with whenUnsatisfiable: DoNotSchedule only"))
	}
	errs = append(errs, validatePolicy(c.NodeAffinityPolicy, path.Child("nodeAffinityPolicy"))...)
	return append(errs, validatePolicy(c.NodeTaintsPolicy, path.Child("nodeTaintsPolicy"))...)
}

// validatePolicy: validateNodeInclusionPolicy.
func validatePolicy(p *corev1.NodeInclusionPolicy, path *field.Path) field.ErrorList {
	if p == nil || *p == corev1.NodeInclusionPolicyHonor || *p == corev1.NodeInclusionPolicyIgnore {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, *p, []corev1.NodeInclusionPolicy{corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore})}
}

// invalid makes an error of each message about a value.
func invalid(path *field.Path, value string, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, message := range messages {
		errs = append(errs, field.Invalid(path, value, message))
	}
	return errs
}
