package rollout

import (
	"k8s.io/apimachinery/pkg/util/intstr"
)

// scaled is a number of pods, or a percentage of them rounded up. What cannot be read, or is not
// given, is the default.
func scaled(v *intstr.IntOrString, of, otherwise int) int {
	if v == nil {
		return otherwise
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, of, true)
	if err != nil {
		return otherwise
	}
	return max(n, 0)
}

// Scaled is a number of pods, or a percentage of them rounded up, from text; false if it is neither.
func Scaled(text string, of int) (int, bool) {
	v := intstr.Parse(text)
	n, err := intstr.GetScaledValueFromIntOrPercent(&v, of, true)
	return max(n, 0), err == nil
}

// partition is the number of pods to keep. A percentage below 100 leaves at least one pod to upgrade,
// or nothing could ever be tried.
func partition(v *intstr.IntOrString, of int) int {
	n := min(scaled(v, of, 0), of)
	if v != nil && v.Type == intstr.String && v.StrVal != "100%" && n == of && of > 1 {
		if percent, ok := Scaled(v.StrVal, 100); ok && percent < 100 {
			return of - 1
		}
	}
	return n
}
