package rollout

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// A hot sidecar is a pair of containers. At rest one works and the other idles on the empty image. An
// upgrade gives the new image to the one that idles, which takes over; when it is ready, the former one
// is reset to the empty image. Between the two, neither idles.

// turn upgrades a pair.
func (e *edit) turn(s *sidecar.Container, pair []part) {
	target, other := e.target(s, pair)
	working := sidecar.ParseWorking(e.annotations)
	version := e.set.Object.ResourceVersion
	if s.Image == other.container.Image {
		if target.container.Image == s.UpgradeStrategy.HotUpgradeEmptyImage {
			return // at rest on this image already
		}
		// Back to the image that the other one still runs: it takes the work back.
		e.setImage(target, s.UpgradeStrategy.HotUpgradeEmptyImage)
		e.hand(working, s.Name, other, version, "0")
		e.version(target, "0", version)
		return
	}
	former := e.annotations[v1alpha1.AnnotationSidecarVersionPrefix+other.container.Name]
	e.setImage(target, s.Image)
	e.hand(working, s.Name, target, version, former)
	e.annotations[v1alpha1.AnnotationSidecarVersionAltPrefix+other.container.Name] = version
}

// hand gives the work to a container.
func (e *edit) hand(working map[string]string, name string, to part, version, alternative string) {
	working[name] = to.container.Name
	e.annotations[v1alpha1.AnnotationSidecarWorking] = sidecar.EncodeStates(working)
	e.version(to, version, alternative)
}

func (e *edit) version(p part, version, alternative string) {
	e.annotations[v1alpha1.AnnotationSidecarVersionPrefix+p.container.Name] = version
	e.annotations[v1alpha1.AnnotationSidecarVersionAltPrefix+p.container.Name] = alternative
}

// target chooses the container that gets the new image: one that idles, else one that does not run
// while the other does, else the older one.
func (e *edit) target(s *sidecar.Container, pair []part) (target, other part) {
	h := historyOf(e.pod, e.set.Name())
	healthy := func(p part) bool {
		applied, _ := p.applied(h, e.now)
		return p.ready() && applied
	}
	empty := s.UpgradeStrategy.HotUpgradeEmptyImage
	first, second := pair[0], pair[1]
	switch {
	case first.container.Image == empty:
		return first, second
	case second.container.Image == empty:
		return second, first
	case !healthy(first) && healthy(second):
		return first, second
	case !healthy(second) && healthy(first):
		return second, first
	case workingOf(e.pod, s) == first.container.Name:
		return second, first
	default:
		return first, second
	}
}

func workingOf(pod *corev1.Pod, s *sidecar.Container) string {
	if name, ok := sidecar.ParseWorking(pod.Annotations)[s.Name]; ok {
		return name
	}
	first, _ := sidecar.Hot(s.Name)
	return first
}

// reset makes the change that ends the hot upgrades of a pod, and false while one is not ready to end:
// until every other sidecar of the set runs its image, and whatever serves beside the former
// containers is ready.
func reset(set *sidecar.Set, pod *corev1.Pod, now time.Time) (Change, bool) {
	h := historyOf(pod, set.Name())
	formers := make(map[string]part) // by container
	alternates := make(map[string]string)
	empties := make(map[string]string)
	ripe := true
	set.Sidecars(func(s *sidecar.Container, native bool) {
		parts := locate(pod, s, native)
		if parts == nil {
			ripe = false
			return
		}
		former := -1
		if s.IsHot() && !idles(s, parts) {
			working := workingOf(pod, s)
			former = 0
			if parts[0].container.Name == working {
				former = 1
			}
			name := parts[former].container.Name
			formers[name], alternates[name], empties[name] = parts[former], working, s.UpgradeStrategy.HotUpgradeEmptyImage
		}
		for i := range parts {
			if applied, _ := parts[i].applied(h, now); i != former && (!applied || native && !parts[i].ready()) {
				ripe = false
			}
		}
	})
	if !ripe || len(formers) == 0 || !IsReady(pod) && !readyBut(pod, formers) {
		return Change{}, false
	}
	e := newEdit(set, pod, now)
	for name, p := range formers {
		e.setImage(p, empties[name])
		e.annotations[v1alpha1.AnnotationSidecarVersionPrefix+name] = "0"
		e.annotations[v1alpha1.AnnotationSidecarVersionAltPrefix+alternates[name]] = "0"
	}
	return Change{Kind: Reset, Pod: pod, Patch: e.patch()}, true
}

func idles(s *sidecar.Container, pair []part) bool {
	empty := s.UpgradeStrategy.HotUpgradeEmptyImage
	return pair[0].container.Image == empty || pair[1].container.Image == empty
}

// readyBut reports whether all containers are ready but some.
func readyBut(pod *corev1.Pod, but map[string]part) bool {
	if len(pod.Status.ContainerStatuses) == 0 || pod.Status.Phase != corev1.PodRunning {
		return false
	}
	for i := range pod.Status.ContainerStatuses {
		s := &pod.Status.ContainerStatuses[i]
		if _, except := but[s.Name]; !except && !s.Ready {
			return false
		}
	}
	return true
}
