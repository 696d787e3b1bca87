package rollout

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// Kind of a change.
type Kind string

// Kinds of changes.
const (
	// Upgrade brings a pod to the set's version.
	Upgrade Kind = "upgrade"
	// Reset ends a hot upgrade: the former container idles.
	Reset Kind = "reset"
)

// Change is a write of one pod.
type Change struct {
	Kind Kind
	Pod  *corev1.Pod
	// Patch is a JSON patch (RFC 6902).
	Patch []Operation
	// Resize holds new resources, by list and container. They are written to the subresource "resize",
	// before the patch.
	Resize map[string]map[string]corev1.ResourceRequirements
	// Skipped are metadata patches that do not fit the pod.
	Skipped []sidecar.Skipped
}

// Operation of a JSON patch: test, add, replace or remove.
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

func stamp(now time.Time) metav1.Time { return metav1.NewTime(now.UTC().Truncate(time.Second)) }

// edit collects what changes in a pod.
type edit struct {
	set         *sidecar.Set
	pod         *corev1.Pod
	now         time.Time
	annotations map[string]string // as they become
	images      []image
	states      sidecar.UpgradeState
	last        map[string]sidecar.LastStatus
}

type image struct {
	part
	becomes string
}

func newEdit(set *sidecar.Set, pod *corev1.Pod, now time.Time) *edit {
	h := historyOf(pod, set.Name())
	e := &edit{
		set: set, pod: pod, now: now, annotations: maps.Clone(pod.Annotations),
		states: maps.Clone(h.ours), last: maps.Clone(h.theirs.LastContainerStatuses),
	}
	if e.annotations == nil {
		e.annotations = make(map[string]string)
	}
	if e.states == nil {
		e.states = make(sidecar.UpgradeState)
	}
	if e.last == nil {
		e.last = make(map[string]sidecar.LastStatus)
	}
	return e
}

// setImage changes the image of a container, and records what it was.
func (e *edit) setImage(p part, to string) {
	if p.container.Image == to {
		return
	}
	e.images = append(e.images, image{p, to})
	e.states[p.container.Name] = p.stateOf(e.now)
	last := sidecar.LastStatus{}
	if p.status != nil {
		last.ImageID = p.status.ImageID
	}
	e.last[p.container.Name] = last
}

// upgrade makes the change that brings a pod to the set's version.
func upgrade(set *sidecar.Set, revision string, pod *corev1.Pod, resize bool, now time.Time) Change {
	e := newEdit(set, pod, now)
	out := Change{Kind: Upgrade, Pod: pod}
	if resize {
		out.Resize = e.resize()
	}
	set.Sidecars(func(s *sidecar.Container, native bool) {
		parts := locate(pod, s, native)
		if s.IsHot() {
			e.turn(s, parts)
			return
		}
		e.setImage(parts[0], s.Image)
	})
	records, err := sidecar.ParseRecords(pod.Annotations, v1alpha1.AnnotationSidecarHash)
	if err != nil {
		records = sidecar.Records{}
	}
	records[set.Name()] = sidecar.InjectionRecord{
		UpdateTimestamp: stamp(now), Hash: set.Hash, SidecarSetName: set.Name(), SidecarList: set.SidecarNames(), ControllerRevision: revision,
	}
	e.annotations[v1alpha1.AnnotationSidecarHash] = records.Encode()
	e.annotations, out.Skipped = sidecar.PatchMetadata(set.Name(), set.Object.Spec.PatchPodMetadata, e.annotations)
	out.Patch = e.patch()
	return out
}

// resize returns the resources of the set's containers, and moves the record that leaves images out: it
// covers them.
func (e *edit) resize() map[string]map[string]corev1.ResourceRequirements {
	out := make(map[string]map[string]corev1.ResourceRequirements)
	e.set.Sidecars(func(s *sidecar.Container, native bool) {
		for _, p := range locate(e.pod, s, native) {
			if out[p.list] == nil {
				out[p.list] = make(map[string]corev1.ResourceRequirements)
			}
			out[p.list][p.container.Name] = s.Resources
		}
	})
	records, err := sidecar.ParseRecords(e.pod.Annotations, v1alpha1.AnnotationSidecarHashWithoutImage)
	if err != nil {
		records = sidecar.Records{}
	}
	records[e.set.Name()] = sidecar.InjectionRecord{
		UpdateTimestamp: stamp(e.now), Hash: e.set.WithoutImage, SidecarSetName: e.set.Name(), SidecarList: e.set.SidecarNames(),
	}
	e.annotations[v1alpha1.AnnotationSidecarHashWithoutImage] = records.Encode()
	return out
}

// patch renders the edit. It tests the pod's identity, and whatever it replaces.
func (e *edit) patch() []Operation {
	if len(e.images) > 0 {
		e.record()
	}
	ops := []Operation{{"test", "/metadata/uid", string(e.pod.UID)}}
	for _, i := range e.images {
		at := fmt.Sprintf("/spec/%s/%d/", i.list, i.index)
		ops = append(ops, Operation{"test", at + "name", i.container.Name}, Operation{"test", at + "image", i.container.Image},
			Operation{"replace", at + "image", i.becomes})
	}
	if e.pod.Annotations == nil {
		return append(ops, Operation{"add", "/metadata/annotations", e.annotations})
	}
	for _, key := range slices.Sorted(maps.Keys(e.annotations)) {
		was, had := e.pod.Annotations[key]
		if is := e.annotations[key]; !had || was != is {
			at := "/metadata/annotations/" + pointer.Replace(key)
			if had {
				ops = append(ops, Operation{"test", at, was})
			}
			ops = append(ops, Operation{"add", at, is})
		}
	}
	return ops
}

var pointer = strings.NewReplacer("~", "~0", "/", "~1") // RFC 6901

// record writes what the changed containers were, for OpenKruise's readers and for ours.
func (e *edit) record() {
	name := e.set.Name()
	theirs := sidecar.ParseStates[sidecar.InPlaceState](e.pod.Annotations, v1alpha1.AnnotationSidecarInPlace)
	theirs[name] = sidecar.InPlaceState{Revision: e.set.Hash, UpdateTimestamp: stamp(e.now), LastContainerStatuses: e.last}
	e.annotations[v1alpha1.AnnotationSidecarInPlace] = sidecar.EncodeStates(theirs)
	ours := sidecar.ParseStates[sidecar.UpgradeState](e.pod.Annotations, v1alpha1.AnnotationUpgradeState)
	ours[name] = e.states
	e.annotations[v1alpha1.AnnotationUpgradeState] = sidecar.EncodeStates(ours)
}
