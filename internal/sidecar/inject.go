package sidecar

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Choice is a set that a pod gets, as it is or as a revision has it.
type Choice struct {
	// Set whose spec is injected.
	*Set
	// Revision is the name of the revision that this spec is.
	Revision string
}

// Report says what an injection did.
type Report struct {
	// Injected are the names of the sets that put something into the pod.
	Injected []string
	// Unknown are the fields of injected containers that corev1.Container lacks, by container.
	Unknown map[string]map[string]any
	// Warnings are for the author of the pod.
	Warnings []string
	// Skipped are metadata patches that could not be applied.
	Skipped []Skipped
}

// Skipped is a metadata patch that was not applied.
type Skipped struct {
	Set, Annotation string
	Err             error
}

// Refusal is the error of a pod that cannot be injected, for its author.
type Refusal struct {
	Reason  v1alpha1.Reason
	Message string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Message }

func refuse(reason v1alpha1.Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Inject merges sets, in their order, into a pod, which it changes. A *Refusal leaves the pod in an
// undefined state. A set whose containers the pod has already is left alone, so a second pass changes
// nothing.
func Inject(pod *corev1.Pod, choices []Choice, now time.Time) (Report, error) {
	in := injection{pod: pod, original: pod.DeepCopy(), choices: choices, now: metav1.NewTime(now.UTC().Truncate(time.Second))}

	// 1. Metadata, also of sets that are there already: an entry applied twice is applied once.
	for _, c := range choices {
		in.metadata(c)
	}
	// 2. Containers, each made of the pod as it came: no sidecar sees another one's mounts.
	var before, after, initial []placed
	for _, c := range choices {
		if in.present(c) {
			continue
		}
		made, err := in.build(c)
		if err != nil {
			return in.report, err
		}
		before, after = append(before, made.before...), append(after, made.after...)
		initial = append(initial, made.initial...)
		if len(made.before)+len(made.after)+len(made.initial) > 0 {
			in.fresh = append(in.fresh, c)
		}
	}
	if len(in.fresh) == 0 {
		return in.report, nil
	}
	// 3. The pod's lists.
	in.placeContainers(before, after)
	in.placeInitContainers(initial)
	for _, c := range in.fresh {
		if err := in.volumes(c); err != nil {
			return in.report, err
		}
		in.secrets(c)
	}
	// 4. The records.
	in.annotate()
	return in.report, nil
}

type injection struct {
	pod      *corev1.Pod // as it becomes
	original *corev1.Pod // as it came
	choices  []Choice
	fresh    []Choice // those that the pod does not have yet
	now      metav1.Time
	report   Report
	origin   map[string]string // of volumes that were added: the set
}

// placed is a container on its way into the pod.
type placed struct {
	corev1.Container
	first bool // before the pod's own
}

// present reports whether the pod has every container of a set, and its record.
func (in *injection) present(c Choice) bool {
	if !slices.Contains(ParseList(in.original.Annotations), c.Name()) {
		return false
	}
	all := true
	check := func(list []Container, isInit bool, of []corev1.Container) {
		for i := range list {
			for _, name := range realNames(&list[i], isInit) {
				at := slices.IndexFunc(of, func(k corev1.Container) bool { return k.Name == name })
				all = all && at >= 0 && IsInjected(&of[at])
			}
		}
	}
	check(c.Object.Spec.Containers, false, in.original.Spec.Containers)
	check(c.Object.Spec.InitContainers, true, in.original.Spec.InitContainers)
	return all
}

// expands reports whether a sidecar becomes a pair. Plain init containers never do.
func expands(c *Container, isInit bool) bool { return c.IsHot() && (!isInit || c.IsNative()) }

// realNames are the names of the containers that a sidecar becomes.
func realNames(c *Container, isInit bool) []string {
	if expands(c, isInit) {
		first, second := Hot(c.Name)
		return []string{first, second}
	}
	return []string{c.Name}
}

// IsInjected reports whether a container of a pod is a sidecar.
func IsInjected(c *corev1.Container) bool {
	return slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == v1alpha1.EnvInjected && e.Value == "true" })
}

// placeContainers puts sidecars around the pod's own containers.
func (in *injection) placeContainers(before, after []placed) {
	in.pod.Spec.Containers = slices.Concat(bare(before), in.pod.Spec.Containers, bare(after))
}

// placeInitContainers puts init containers around the pod's own, those of all sets by name.
func (in *injection) placeInitContainers(initial []placed) {
	slices.SortStableFunc(initial, func(a, b placed) int { return cmp.Compare(a.Name, b.Name) })
	var before, after []placed
	for _, c := range initial {
		if c.first {
			before = append(before, c)
		} else {
			after = append(after, c)
		}
	}
	if len(initial) > 0 {
		in.pod.Spec.InitContainers = slices.Concat(bare(before), in.pod.Spec.InitContainers, bare(after))
	}
}

func bare(list []placed) []corev1.Container {
	out := make([]corev1.Container, len(list))
	for i := range list {
		out[i] = list[i].Container
	}
	return out
}

// secrets adds those that the pod does not name yet.
func (in *injection) secrets(c Choice) {
	for _, s := range c.Object.Spec.ImagePullSecrets {
		if !slices.Contains(in.pod.Spec.ImagePullSecrets, s) {
			in.pod.Spec.ImagePullSecrets = append(in.pod.Spec.ImagePullSecrets, s)
		}
	}
}

// annotate records the sets. Records that cannot be read are replaced: they are Spillway's own.
func (in *injection) annotate() {
	hashes := in.records(v1alpha1.AnnotationSidecarHash)
	bareHashes := in.records(v1alpha1.AnnotationSidecarHashWithoutImage)
	names := ParseList(in.pod.Annotations)
	working := ParseWorking(in.pod.Annotations)
	versions := map[string]string{}
	for _, c := range in.fresh {
		record := InjectionRecord{UpdateTimestamp: in.now, SidecarSetName: c.Name(), SidecarList: c.SidecarNames(), Hash: c.Hash, ControllerRevision: c.Revision}
		hashes[c.Name()] = record
		record.Hash, record.ControllerRevision = c.WithoutImage, ""
		bareHashes[c.Name()] = record
		names = append(names, c.Name())
		c.Sidecars(func(s *Container, _ bool) {
			if s.IsHot() {
				first, second := Hot(s.Name)
				working[s.Name] = first
				maps.Copy(versions, map[string]string{
					v1alpha1.AnnotationSidecarVersionPrefix + first: "1", v1alpha1.AnnotationSidecarVersionAltPrefix + first: "0",
					v1alpha1.AnnotationSidecarVersionPrefix + second: "0", v1alpha1.AnnotationSidecarVersionAltPrefix + second: "1",
				})
			}
		})
		in.report.Injected = append(in.report.Injected, c.Name())
	}
	in.set(v1alpha1.AnnotationSidecarHash, hashes.Encode())
	in.set(v1alpha1.AnnotationSidecarHashWithoutImage, bareHashes.Encode())
	in.set(v1alpha1.AnnotationSidecarList, EncodeList(names))
	if len(versions) > 0 {
		in.set(v1alpha1.AnnotationSidecarWorking, EncodeStates(working))
	}
	for key, value := range versions {
		in.set(key, value)
	}
}

func (in *injection) records(key string) Records {
	out, err := ParseRecords(in.pod.Annotations, key)
	if err != nil {
		in.report.Warnings = append(in.report.Warnings, fmt.Sprintf("%v: it is replaced", err))
		return Records{}
	}
	return out
}

func (in *injection) set(key, value string) {
	if in.pod.Annotations == nil {
		in.pod.Annotations = make(map[string]string)
	}
	in.pod.Annotations[key] = value
}
