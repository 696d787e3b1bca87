package sidecar

import (
	"hash/fnv"
	"math"
	"strconv"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Pin is the revision that new pods get instead of the current spec.
type Pin struct {
	// RevisionName wins over CustomVersion.
	RevisionName, CustomVersion string
}

// PinOf returns the pin of a set, and false if it has none.
func PinOf(spec *Spec) (Pin, bool) {
	r := spec.InjectionStrategy.Revision
	if r == nil {
		return Pin{}, false
	}
	var out Pin
	if r.RevisionName != nil {
		out.RevisionName = *r.RevisionName
	}
	if r.CustomVersion != nil {
		out.CustomVersion = *r.CustomVersion
	}
	return out, out != Pin{}
}

// Pinned says whether a new pod gets the pinned revision. draw gives the pod's nonce when the decision
// is by share; it is asked for only then. The share of pods with an ordinal is exact for any number of
// them; for others it is that of a fair draw, the same each time the pod passes.
func (s *Set) Pinned(pod *corev1.Pod, draw func() string) bool {
	if _, ok := PinOf(&s.Object.Spec); !ok {
		return false
	}
	update := &s.Object.Spec.UpdateStrategy
	if update.Paused || s.Object.Spec.InjectionStrategy.Revision.Policy != appsv1alpha1.PartialSidecarSetInjectRevisionPolicy {
		return true
	}
	if update.Selector != nil && !s.SelectsUpgrade(pod.Labels) {
		return true
	}
	percent, ok := wholePercent(update.Partition)
	switch {
	case !ok || percent <= 0:
		return false
	case percent >= 100:
		return true
	}
	if n, ok := ordinal(pod); ok {
		return (n+1)*percent/100 > n*percent/100
	}
	return share(draw(), s.Name()) < float64(percent)/100
}

// wholePercent reads a percentage; other partitions do not hold back injection.
func wholePercent(v *intstr.IntOrString) (int, bool) {
	if v == nil || v.Type != intstr.String {
		return 0, false
	}
	digits, ok := strings.CutSuffix(v.StrVal, "%")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil
}

// ordinal is the number of a pod of a StatefulSet or a like controller.
func ordinal(pod *corev1.Pod) (int, bool) {
	text, ok := pod.Labels["apps.kubernetes.io/pod-index"]
	if !ok {
		owner := metav1.GetControllerOfNoCopy(pod)
		if owner == nil || pod.Name == "" {
			return 0, false
		}
		if text, ok = strings.CutPrefix(pod.Name, owner.Name+"-"); !ok {
			return 0, false
		}
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && n < math.MaxInt32
}

// share maps a nonce and a set to a number from 0 up to 1. Sets are independent of each other.
func share(nonce, set string) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(nonce + "/" + set)) // never fails
	// FNV's high bits are poor for short texts: a multiplication spreads them.
	mixed := h.Sum64()
	mixed ^= mixed >> 33
	mixed *= 0xff51afd7ed558ccd
	mixed ^= mixed >> 33
	return float64(mixed>>11) / (1 << 53)
}

// Draw returns the nonce that the pod carries, else stores a new one on it.
func Draw(pod *corev1.Pod, nonce func() string) string {
	if stored := pod.Annotations[v1alpha1.AnnotationDraw]; stored != "" {
		return stored
	}
	if pod.Annotations == nil {
		pod.Annotations = make(map[string]string)
	}
	pod.Annotations[v1alpha1.AnnotationDraw] = nonce()
	return pod.Annotations[v1alpha1.AnnotationDraw]
}
