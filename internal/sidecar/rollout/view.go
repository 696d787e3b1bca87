package rollout

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// Manages reports whether the set looks after a pod that lives in one of its namespaces: it is alive,
// selected, and the set was injected.
func Manages(set *sidecar.Set, pod *corev1.Pod) bool {
	return IsActive(pod) && set.SelectsPod(labels.Set(pod.Labels)) && slices.Contains(sidecar.ParseList(pod.Annotations), set.Name())
}

// IsActive reports whether a pod is neither terminating nor at its end.
func IsActive(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// view is what matters of a pod for a set.
type view struct {
	pod *corev1.Pod
	// updated: the record has the set's hash.
	updated bool
	// upgradable: nothing but images differs, and every container is there.
	upgradable bool
	// whole: every container is there.
	whole bool
	// revision is the one that the pod records.
	revision string
	// resize: the pod is upgradable because its resources can be changed in place.
	resize bool
	// consistent: every sidecar runs the image of its spec, as far as can be told.
	consistent bool
	// busy: a sidecar that is ready does not run the image of its spec yet.
	busy bool
	// available: the pod and the set's native sidecars are ready.
	available bool
	// idle: of each hot pair one container runs the empty image.
	idle bool
	// drifted: the hash is the set's, the revision is not.
	drifted bool
	// again is when the view may change by time alone, or zero.
	again time.Duration
}

// ready is the readiness of the pod for the set, as its status counts it.
func (v *view) ready() bool { return v.available && v.consistent && v.idle }

func look(set *sidecar.Set, revision string, pod *corev1.Pod, now time.Time) view {
	v := view{pod: pod, whole: true, consistent: true, idle: true, available: IsReady(pod)}
	record := recordOf(pod, v1alpha1.AnnotationSidecarHash, set.Name())
	bare := recordOf(pod, v1alpha1.AnnotationSidecarHashWithoutImage, set.Name())
	v.updated, v.revision = record.Hash == set.Hash, record.ControllerRevision
	v.drifted = v.updated && record.ControllerRevision != "" && record.ControllerRevision != revision
	v.upgradable = bare.Hash == set.WithoutImage
	history := historyOf(pod, set.Name())
	set.Sidecars(func(s *sidecar.Container, native bool) {
		parts := locate(pod, s, native)
		if parts == nil {
			v.upgradable, v.whole = false, false
			return
		}
		idle := !s.IsHot()
		for _, p := range parts {
			applied, again := p.applied(history, now)
			v.consistent = v.consistent && applied
			v.busy = v.busy || !applied && p.ready()
			v.available = v.available && (!native || p.ready())
			idle = idle || p.container.Image == s.UpgradeStrategy.HotUpgradeEmptyImage
			if again > 0 && (v.again == 0 || again < v.again) {
				v.again = again
			}
		}
		v.idle = v.idle && idle
	})
	return v
}

// resizable makes a pod upgradable if its resources can be changed in place.
func (v *view) resizable(of func(revision string) bool) {
	if !v.updated && !v.upgradable && v.whole && v.revision != "" && of != nil && of(v.revision) {
		v.upgradable, v.resize = true, true
	}
}

// recordOf returns what a set put into a pod. One that cannot be read is of no version: the pod has to be
// replaced.
func recordOf(pod *corev1.Pod, key, set string) sidecar.InjectionRecord {
	records, err := sidecar.ParseRecords(pod.Annotations, key)
	if err != nil {
		return sidecar.InjectionRecord{}
	}
	return records[set]
}

// IsReady reports whether a pod runs and serves.
func IsReady(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodRunning && readyCondition(pod) != nil
}

// readyCondition returns the condition Ready if it is true.
func readyCondition(pod *corev1.Pod) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

// part is a container of a pod that belongs to a set.
type part struct {
	list      string // "containers" or "initContainers"
	index     int
	container *corev1.Container
	status    *corev1.ContainerStatus // nil while there is none
}

func (p *part) ready() bool { return p.status != nil && p.status.Ready }

// locate finds the containers of a sidecar: one, or the two of a hot pair. It returns nil if one is
// missing.
func locate(pod *corev1.Pod, s *sidecar.Container, native bool) []part {
	names := []string{s.Name}
	if s.IsHot() {
		first, second := sidecar.Hot(s.Name)
		names = []string{first, second}
	}
	list, containers, statuses := "containers", pod.Spec.Containers, pod.Status.ContainerStatuses
	if native {
		list, containers, statuses = "initContainers", pod.Spec.InitContainers, pod.Status.InitContainerStatuses
	}
	var out []part
	for _, name := range names {
		i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == name })
		if i < 0 {
			return nil
		}
		p := part{list: list, index: i, container: &containers[i]}
		if j := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == name }); j >= 0 {
			p.status = &statuses[j]
		}
		out = append(out, p)
	}
	return out
}
