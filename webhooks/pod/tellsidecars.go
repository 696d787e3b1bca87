package pod

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/metrics"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// SidecarEvents tells people by events on the SidecarSet, and counts. Of a burst only the first event
// of a kind is sent.
type SidecarEvents struct {
	recorder recorder.EventRecorder
	metrics  *metrics.Sidecar
	once     Events // for its memory of what was told
}

// NewSidecarEvents returns a SidecarTeller.
func NewSidecarEvents(to recorder.EventRecorder, m *metrics.Sidecar, c clock.PassiveClock) *SidecarEvents {
	return &SidecarEvents{recorder: to, metrics: m, once: Events{Clock: c}}
}

// SidecarsInjected implements SidecarTeller.
func (e *SidecarEvents) SidecarsInjected(set *sidecar.Set) {
	e.metrics.Injected(set.Name(), v1alpha1.ReasonInjected)
}

// RevisionMissing implements SidecarTeller.
func (e *SidecarEvents) RevisionMissing(set *sidecar.Set, err error) {
	e.metrics.Injected(set.Name(), v1alpha1.ReasonRevisionMissing)
	if e.first(set, "", v1alpha1.ReasonRevisionMissing) {
		e.recorder.Eventf(set.Object, nil, corev1.EventTypeWarning, string(v1alpha1.ReasonRevisionMissing), action,
			"Pods get the current spec: %v. Correct spec.injectionStrategy.revision", err)
	}
}

// MetadataSkipped implements SidecarTeller.
func (e *SidecarEvents) MetadataSkipped(set *sidecar.Set, skipped sidecar.Skipped) {
	e.metrics.Injected(set.Name(), v1alpha1.ReasonMetadataSkipped)
	if e.first(set, skipped.Annotation, v1alpha1.ReasonMetadataSkipped) {
		e.recorder.Eventf(set.Object, nil, corev1.EventTypeWarning, string(v1alpha1.ReasonMetadataSkipped), action,
			"Annotation %s of pods is left as it is: %v", skipped.Annotation, skipped.Err)
	}
}

func (e *SidecarEvents) first(set *sidecar.Set, of string, reason v1alpha1.Reason) bool {
	return e.once.first(told{set.Object.UID, of, reason})
}
