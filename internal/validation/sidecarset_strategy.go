package validation

import (
	"fmt"
	"regexp"

	appspub "github.com/openkruise/kruise-api/apps/pub"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func updateStrategy(u *appsv1alpha1.SidecarSetUpdateStrategy, path *field.Path) field.ErrorList {
	switch u.Type {
	case appsv1alpha1.NotUpdateSidecarSetStrategyType:
		return nil // nothing else is looked at
	case appsv1alpha1.RollingUpdateSidecarSetStrategyType:
	default:
		return field.ErrorList{field.NotSupported(path.Child("type"), u.Type, []appsv1alpha1.SidecarSetUpdateStrategyType{
			appsv1alpha1.RollingUpdateSidecarSetStrategyType, appsv1alpha1.NotUpdateSidecarSetStrategyType,
		})}
	}
	errs := share(u.Partition, path.Child("partition"))
	errs = append(errs, share(u.MaxUnavailable, path.Child("maxUnavailable"))...)
	if u.Selector != nil {
		at := path.Child("selector")
		if emptySelector(u.Selector) {
			errs = append(errs, field.Required(at, "an empty selector selects every pod: leave it out"))
		}
		errs = append(errs, labelSelector(u.Selector, at)...)
		if p := u.Partition; p != nil && (p.Type == intstr.String || p.IntVal != 0) {
			errs = append(errs, field.Forbidden(path.Child("partition"), "together with selector it is not clear which pods stay: use one of them"))
		}
	}
	errs = append(errs, priorityStrategy(u.PriorityStrategy, path.Child("priorityStrategy"))...)
	return append(errs, scatterStrategy(u.ScatterStrategy, path.Child("scatterStrategy"))...)
}

var percentage = regexp.MustCompile(`^[0-9]+%$`)

// share checks a number of pods or a whole percentage of them.
func share(v *intstr.IntOrString, path *field.Path) field.ErrorList {
	switch {
	case v == nil:
	case v.Type == intstr.Int && v.IntVal < 0:
		return field.ErrorList{field.Invalid(path, v.IntVal, "must be 0 or more, or a percentage such as 10%")}
	case v.Type == intstr.String && !percentage.MatchString(v.StrVal):
		return field.ErrorList{field.Invalid(path, v.StrVal, "must be an integer without quotes, or a whole percentage such as 10%")}
	}
	return nil
}

func priorityStrategy(p *appspub.UpdatePriorityStrategy, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	var errs field.ErrorList
	if len(p.WeightPriority) > 0 && len(p.OrderPriority) > 0 {
		errs = append(errs, field.Forbidden(path, "weightPriority and orderPriority exclude each other: use one of them"))
	}
	for i := range p.WeightPriority {
		w, at := &p.WeightPriority[i], path.Child("weightPriority").Index(i)
		if w.Weight < 0 || w.Weight > 100 {
			errs = append(errs, field.Invalid(at.Child("weight"), w.Weight, "must be between 0 and 100"))
		}
		if emptySelector(&w.MatchSelector) {
			errs = append(errs, field.Required(at.Child("matchSelector"), "select pods by their labels"))
		}
		errs = append(errs, labelSelector(&w.MatchSelector, at.Child("matchSelector"))...)
	}
	for i := range p.OrderPriority {
		if p.OrderPriority[i].OrderedKey == "" {
			errs = append(errs, field.Required(path.Child("orderPriority").Index(i).Child("orderedKey"), "name the label to order by"))
		}
	}
	return errs
}

func scatterStrategy(terms appsv1alpha1.UpdateScatterStrategy, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := make(map[appsv1alpha1.UpdateScatterTerm]bool)
	for i, t := range terms {
		if t.Key == "" {
			errs = append(errs, field.Required(path.Index(i).Child("key"), "name the label to scatter by"))
		}
		if seen[t] {
			errs = append(errs, field.Duplicate(path.Index(i), fmt.Sprintf("%s=%s", t.Key, t.Value)))
		}
		seen[t] = true
	}
	return errs
}
