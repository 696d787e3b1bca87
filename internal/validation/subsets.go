package validation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/spillway-project/spillway/internal/placement"
	"github.com/spillway-project/spillway/internal/spread"
)

func subsets(list []appsv1alpha1.WorkloadSpreadSubset, path *field.Path) field.ErrorList {
	if len(list) == 0 {
		return field.ErrorList{field.Required(path, "give at least one subset")}
	}
	var errs field.ErrorList
	first := make(map[string]int, len(list))
	for i := range list {
		s, at := &list[i], path.Index(i)
		switch earlier, dup := first[s.Name]; {
		case s.Name == "":
			errs = append(errs, field.Required(at.Child("name"), "name the subset; the name appears in status and on pods"))
		case dup:
			errs = append(errs, &field.Error{
				Type: field.ErrorTypeDuplicate, Field: at.Child("name").String(), BadValue: s.Name,
				Detail: fmt.Sprintf("subsets[%d] has this name already: rename one of them", earlier),
			})
		default:
			first[s.Name] = i
		}
		errs = append(errs, nodeTerms(s, at)...)
		errs = append(errs, tolerations(s.Tolerations, at.Child("tolerations"))...)
		errs = append(errs, patch(s.Patch.Raw, at.Child("patch"))...)
	}
	return errs
}

// nodeTerms checks the terms by the rules of the scheduler's own parser.
func nodeTerms(s *appsv1alpha1.WorkloadSpreadSubset, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t := s.RequiredNodeSelectorTerm; t != nil {
		path := at.Child("requiredNodeSelectorTerm")
		if len(t.MatchExpressions) == 0 && len(t.MatchFields) == 0 {
			errs = append(errs, field.Required(path, "an empty term matches no node: give matchExpressions, or remove the term"))
		}
		_, err := nodeaffinity.NewNodeSelector(&corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{*t}}, field.WithPath(path))
		errs = append(errs, fieldErrors(err, path, t)...)
	}
	preferred := at.Child("preferredNodeSelectorTerms")
	for i, t := range s.PreferredNodeSelectorTerms {
		if t.Weight < 1 || t.Weight > 100 {
			errs = append(errs, field.Invalid(preferred.Index(i).Child("weight"), t.Weight, "must be between 1 and 100"))
		}
	}
	_, err := nodeaffinity.NewPreferredSchedulingTerms(s.PreferredNodeSelectorTerms, field.WithPath(preferred))
	return append(errs, fieldErrors(err, preferred, s.PreferredNodeSelectorTerms)...)
}

// fieldErrors takes the aggregate of field errors apart that component-helpers returns.
func fieldErrors(err error, path *field.Path, value any) field.ErrorList {
	if err == nil {
		return nil
	}
	var errs field.ErrorList
	all := []error{err}
	if a, ok := err.(interface{ Errors() []error }); ok {
		all = a.Errors()
	}
	for _, e := range all {
		if fe, ok := e.(*field.Error); ok { //nolint:errorlint // as above
			fe.Field = strings.Replace(fe.Field, ".nodeSelectorTerms[0]", "", 1) // the list is ours, not the user's
			errs = append(errs, fe)
			continue
		}
		errs = append(errs, field.Invalid(path, value, e.Error()))
	}
	return errs
}

// tolerations checks by the rules of the Pod API.
func tolerations(list []corev1.Toleration, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, t := range list {
		at := path.Index(i)
		if t.Key != "" {
			errs = append(errs, metav1validation.ValidateLabelName(t.Key, at.Child("key"))...)
		} else if t.Operator != corev1.TolerationOpExists {
			errs = append(errs, field.Invalid(at.Child("operator"), t.Operator, "must be Exists when there is no key"))
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
		case corev1.TolerationOpExists:
			if t.Value != "" {
				errs = append(errs, field.Invalid(at.Child("value"), t.Value, "must be empty with the operator Exists"))
			}
		default:
			if t.Operator != "Lt" && t.Operator != "Gt" { // newer clusters compare numbers
				errs = append(errs, field.NotSupported(at.Child("operator"), t.Operator, []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
			}
		}
		switch t.Effect {
		case "", corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		default:
			errs = append(errs, field.NotSupported(at.Child("effect"), t.Effect, []corev1.TaintEffect{
				corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute,
			}))
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			errs = append(errs, field.Invalid(at.Child("effect"), t.Effect, "must be NoExecute when tolerationSeconds is set"))
		}
	}
	return errs
}

// patch checks that the patch is JSON, that it makes a pod of a pod, and that clusterSelector, if
// the patch sets it, is JSON that a virtual node can read.
func patch(raw []byte, path *field.Path) field.ErrorList {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	if raw[0] != '{' {
		return field.ErrorList{field.Invalid(path, brief(raw), "must be an object shaped like a pod, for example {\"metadata\":{\"labels\":{…}}}")}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "sample"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}}}
	if err := placement.Patch(pod, raw); err != nil {
		return field.ErrorList{field.Invalid(path, brief(raw), err.Error())}
	}
	var errs field.ErrorList
	meta := path.Child("metadata")
	errs = append(errs, metav1validation.ValidateLabels(pod.Labels, meta.Child("labels"))...)
	for _, key := range []string{"clusterSelector", "kosmos.io/cluster-selector"} {
		if text, ok := pod.Annotations[key]; ok {
			if err := validJSON(text); err != nil {
				errs = append(errs, field.Invalid(meta.Child("annotations").Key(key), text, err.Error()))
			}
		}
	}
	return errs
}

func validJSON(text string) error {
	var v map[string]any
	err := json.Unmarshal([]byte(text), &v)
	switch e := err.(type) { //nolint:errorlint // the decoder returns these unwrapped
	case nil:
		return nil
	case *json.SyntaxError:
		return fmt.Errorf("is not valid JSON at character %d: %s", e.Offset, e.Error())
	default:
		return fmt.Errorf("must be a JSON object with the scheduling constraints to hand down, for example {\"nodeSelector\":{…}}: %w", err)
	}
}

func brief(raw []byte) string {
	const most = 200
	if len(raw) <= most {
		return string(raw)
	}
	return strings.ToValidUTF8(string(raw[:most]), "") + "…"
}

// limits checks maxReplicas of each subset and of all together: one kind of value; percentages sum
// up to at most 100, to exactly 100 when the last subset is limited.
func limits(list []appsv1alpha1.WorkloadSpreadSubset, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	var kind *intstr.Type
	var sum int32
	percent, last := false, len(list)-1
	for i := range list {
		m, at := list[i].MaxReplicas, path.Index(i).Child("maxReplicas")
		l, err := spread.ParseLimit(m)
		switch {
		case err != nil:
			errs = append(errs, field.Invalid(at, m.String(), err.Error()))
			continue
		case m == nil:
			continue
		case kind != nil && *kind != m.Type:
			errs = append(errs, field.Invalid(at, m.String(), "all subsets must use numbers, or all percentages"))
			continue
		}
		kind = &m.Type
		if l.IsPercent() {
			percent = true
			if sum += l.Of(100); sum > 100 {
				errs = append(errs, field.Invalid(at, m.String(), fmt.Sprintf("the percentages up to here add up to %d%%: lower them to 100%% at most", sum)))
				return errs
			}
		}
	}
	if percent && len(errs) == 0 && last >= 0 && list[last].MaxReplicas != nil && sum != 100 {
		errs = append(errs, field.Invalid(path.Index(last).Child("maxReplicas"), list[last].MaxReplicas.String(), fmt.Sprintf(
			"the percentages add up to %d%%, so some pods would have no subset: make them 100%%, or remove the last subset's maxReplicas", sum)))
	}
	if percent && len(errs) == 0 {
		for i := range last {
			if list[i].MaxReplicas == nil {
				errs = append(errs, field.Required(path.Index(i).Child("maxReplicas"), "only the last subset may go without a percentage when others have one"))
			}
		}
	}
	return errs
}
