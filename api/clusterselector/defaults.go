package clusterselector

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// DefaultSeconds is how long the API server's admission plugin DefaultTolerationSeconds lets a pod stay on a node
// that is not ready or unreachable, in seconds.
const DefaultSeconds int64 = 300

// MaxAnnotations is the size that the API server allows all annotations of an object together, keys and values, in
// bytes (k8s.io/apimachinery TotalAnnotationSizeLimitB).
const MaxAnnotations = 256 << 10

// IsDefaultToleration reports whether a toleration is one of the two that the API server adds to every pod without
// one of its own: not ready and unreachable, NoExecute, for DefaultSeconds. They say nothing of the user's
// wishes, and each cluster adds its own: they are not handed down.
func IsDefaultToleration(t corev1.Toleration) bool {
	return (t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable) &&
		t.Operator == corev1.TolerationOpExists && t.Value == "" && t.Effect == corev1.TaintEffectNoExecute &&
		t.TolerationSeconds != nil && *t.TolerationSeconds == DefaultSeconds
}

// StandsOutage reports whether a toleration holds while a node is not ready or unreachable. The API server adds
// its defaults to a pod without such ones, so they stay on the upper pod when its constraints are moved.
func StandsOutage(t corev1.Toleration) bool {
	if t.Effect != "" && t.Effect != corev1.TaintEffectNoExecute {
		return false
	}
	if t.Key == "" {
		return t.Operator == corev1.TolerationOpExists
	}
	return (t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable) &&
		(t.Operator == corev1.TolerationOpExists || t.Value == "")
}

// holdsOff reports whether the API server adds no default toleration of a taint's key to a pod that has t. It looks
// neither at the operator nor at the value (plugin DefaultTolerationSeconds).
func holdsOff(t corev1.Toleration, key string) bool {
	return (t.Key == "" || t.Key == key) && (t.Effect == "" || t.Effect == corev1.TaintEffectNoExecute)
}

// ErrTooLarge is the error of annotations that the API server would refuse; tell it by errors.Is.
var ErrTooLarge = errors.New("more than the API server allows")

// CheckSize returns an error (ErrTooLarge) if annotations are larger than MaxAnnotations. It names the largest one.
func CheckSize(annotations map[string]string) error {
	total, largest := 0, ""
	for key, value := range annotations {
		total += len(key) + len(value)
		if size, most := len(key)+len(value), len(largest)+len(annotations[largest]); size > most || (size == most && key < largest) {
			largest = key
		}
	}
	if total <= MaxAnnotations {
		return nil
	}
	return fmt.Errorf("metadata.annotations hold %d bytes, %w, which is %d: the largest is %s with %d bytes: shorten it, or the constraints that are moved there",
		total, ErrTooLarge, MaxAnnotations, largest, len(annotations[largest]))
}

// without returns a list without the elements that match. A list that was empty stays what it was; one that
// becomes empty is nil.
func without[T any](list []T, match func(T) bool) []T {
	if !slices.ContainsFunc(list, match) {
		return list
	}
	var out []T
	for _, element := range list {
		if !match(element) {
			out = append(out, element)
		}
	}
	return out
}
