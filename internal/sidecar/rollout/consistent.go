package rollout

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// history is what a pod's sidecars were before the last upgrade by a set.
type history struct {
	theirs sidecar.InPlaceState // OpenKruise's, image IDs only
	ours   sidecar.UpgradeState
}

func historyOf(pod *corev1.Pod, set string) history {
	return history{
		theirs: sidecar.ParseStates[sidecar.InPlaceState](pod.Annotations, v1alpha1.AnnotationSidecarInPlace)[set],
		ours:   sidecar.ParseStates[sidecar.UpgradeState](pod.Annotations, v1alpha1.AnnotationUpgradeState)[set],
	}
}

// settled is how long a replaced container runs until an image name that says otherwise is not
// believed any more: a runtime may report the name under which it got the same content first. A
// container that crashed and was started again from its former spec is replaced well within it.
const settled = 30 * time.Second

// applied reports whether the container runs the image of its spec. again is when the answer may change
// by time alone.
//
// Names are no proof: registries have mirrors, short names and tags that move, and some runtimes report
// the digest of a configuration. So what is compared first is what cannot lie, then what the container
// was when its image was changed.
func (p *part) applied(h history, now time.Time) (applied bool, again time.Duration) {
	if p.status == nil {
		return false, 0
	}
	want, runs := sidecar.ParseImage(p.container.Image), sidecar.ParseImage(p.status.Image)
	id := sidecar.ParseImage(p.status.ImageID)
	before, known := h.ours[p.container.Name]
	switch {
	case want.Digest != "" && (want.Digest == id.Digest || want.Digest == runs.Digest):
		return true, 0
	case known:
		return p.replaced(&before, want, runs, now)
	case h.theirs.LastContainerStatuses == nil:
		return true, 0 // never upgraded: it was started from its spec
	}
	last, ok := h.theirs.LastContainerStatuses[p.container.Name]
	if !ok || last.ImageID != p.status.ImageID {
		return true, 0
	}
	return want.Same(runs), 0
}

// replaced compares the container with what it was when its image was changed.
func (p *part) replaced(before *sidecar.ContainerState, want, runs sidecar.Image, now time.Time) (bool, time.Duration) {
	former := sidecar.ParseImage(before.Image)
	if want.Same(runs) && !former.Same(runs) {
		return true, 0 // the new name, which was not there before
	}
	fresh := p.status.RestartCount > before.RestartCount || p.status.ContainerID != before.ContainerID && p.status.ContainerID != ""
	if !fresh {
		return false, 0
	}
	if want.Resembles(runs) && (!former.Same(runs) || former.Same(want)) {
		return true, 0
	}
	// It was replaced, and its image still has the former name.
	if p.status.State.Running == nil {
		return false, 0
	}
	if age := now.Sub(p.status.State.Running.StartedAt.Time); age < settled {
		return false, settled - age
	}
	return true, 0
}

// stateOf records what the container is now, before its image is changed.
func (p *part) stateOf(now time.Time) sidecar.ContainerState {
	out := sidecar.ContainerState{Image: p.container.Image, Changed: stamp(now)}
	if p.status != nil {
		out.ContainerID, out.RestartCount = p.status.ContainerID, p.status.RestartCount
	}
	return out
}
