package clusterselector

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Restore puts the constraints of a pod back into its spec, and reports whether there was anything to restore.
// annotation is where the provider looks for a selection; if the pod has a record, that of the record is used
// instead. Labels and annotations stay as they are.
//
// What the selection names replaces what the pod has. What it does not name is cleared if the record says that it
// was moved, and kept otherwise. From fields that were not moved, what the record says was added is subtracted.
// Restoring twice is restoring once, as long as nobody changes the pod in between.
//
// On an error the pod is unchanged, and its constraints are not known: it must not run. The error is a *FormatError
// that names annotation, field and position.
func Restore(pod *corev1.Pod, annotation string) (bool, error) {
	record, recorded, err := ParseRecord(pod.Annotations)
	if err != nil {
		return false, err
	}
	if recorded {
		return true, restore(pod, &record)
	}
	if _, ok := pod.Annotations[annotation]; !ok {
		return false, nil
	}
	selection, fields, err := read(pod.Annotations, annotation)
	if err != nil {
		return false, err
	}
	has := selectionOf(&pod.Spec)
	has.Merge(selection, fields).write(&pod.Spec)
	return true, nil
}

// RestoreAdmitted is Restore for an admission webhook in the lower cluster. The tolerations that the API server
// added before it called the webhook (IsDefaultToleration) stay, behind the restored ones: removed they would only
// be added again, and the webhook called again for that.
//
// Restoring twice is restoring once. On an error the pod is unchanged and must be refused.
func RestoreAdmitted(pod *corev1.Pod, annotation string) (bool, error) {
	defaults := without(pod.Spec.Tolerations, func(t corev1.Toleration) bool { return !IsDefaultToleration(t) })
	restored, err := Restore(pod, annotation)
	if err != nil || !restored {
		return restored, err
	}
	out := slices.Clone(pod.Spec.Tolerations)
	for _, t := range defaults {
		if !slices.ContainsFunc(out, func(have corev1.Toleration) bool { return holdsOff(have, t.Key) }) {
			out = append(out, t)
		}
	}
	if len(out) > len(pod.Spec.Tolerations) {
		pod.Spec.Tolerations = out
	}
	return true, nil
}

func restore(pod *corev1.Pod, record *Record) error {
	if record.Annotation != "" {
		selection, fields, err := read(pod.Annotations, record.Annotation)
		if err != nil {
			return err
		}
		has := selectionOf(&pod.Spec)
		for _, key := range record.Moved {
			switch key { // whole, so that empty structures come back too
			case string(NodeSelector):
				has.NodeSelector = selection.NodeSelector
			case "affinity":
				has.Affinity = selection.Affinity
			case string(Tolerations):
				has.Tolerations = selection.Tolerations
			case string(TopologySpreadConstraints):
				has.TopologySpreadConstraints = selection.TopologySpreadConstraints
			}
		}
		fields = slices.DeleteFunc(fields, func(f Field) bool { return slices.Contains(record.Moved, f.key()) })
		has.Merge(selection, fields).write(&pod.Spec)
	}
	if !slices.Contains(record.Moved, "affinity") {
		pod.Spec.Affinity = record.Added.subtract(pod.Spec.Affinity)
	}
	if !slices.Contains(record.Moved, string(Tolerations)) {
		pod.Spec.Tolerations = remove(pod.Spec.Tolerations, record.Added.Tolerations)
	}
	return nil
}

// Undo takes a placement back in the upper cluster: Restore, and besides labels and annotations that were added
// go, a selection of the user's own stands in its annotation again, and the record goes. The API server's default
// tolerations stay, which it would only add again. It reports whether there was a record. It is for a pod that is
// made from the manifest of one that was placed.
//
// On an error the pod is unchanged; the error is that of Restore.
func Undo(pod *corev1.Pod) (bool, error) {
	record, recorded, err := ParseRecord(pod.Annotations)
	if err != nil || !recorded {
		return false, err
	}
	defaults := remove(without(pod.Spec.Tolerations, func(t corev1.Toleration) bool { return !IsDefaultToleration(t) }), record.Added.Tolerations)
	if err := restore(pod, &record); err != nil {
		return false, err
	}
	if slices.Contains(record.Moved, string(Tolerations)) && len(defaults) > 0 {
		pod.Spec.Tolerations = append(slices.Clone(pod.Spec.Tolerations), defaults...)
	}
	pod.Labels = removePairs(pod.Labels, record.Added.Labels)
	if record.Annotation != "" {
		delete(pod.Annotations, record.Annotation)
		if record.Own != nil {
			annotate(pod, record.Annotation, *record.Own)
		}
	}
	delete(pod.Annotations, AnnotationRecord)
	pod.Annotations = removePairs(pod.Annotations, record.Added.Annotations)
	if len(pod.Annotations) == 0 {
		pod.Annotations = nil
	}
	return true, nil
}

// key is the key of the selection that the field is in.
func (f Field) key() string {
	switch f {
	case NodeSelector, Tolerations, TopologySpreadConstraints:
		return string(f)
	default:
		return "affinity"
	}
}

// selectionOf shares the memory of the spec; unlike Of it leaves nothing out.
func selectionOf(spec *corev1.PodSpec) Selection {
	return Selection{NodeSelector: spec.NodeSelector, Affinity: spec.Affinity, Tolerations: spec.Tolerations, TopologySpreadConstraints: spec.TopologySpreadConstraints}
}

// Difference returns what a spec got in node affinity and tolerations, where after was made from before by adding
// at the ends of lists only.
func Difference(before, after *corev1.PodSpec) Added {
	var out Added
	if len(after.Tolerations) > len(before.Tolerations) {
		out.Tolerations = slices.Clone(after.Tolerations[len(before.Tolerations):])
	}
	was, is := node(before.Affinity), node(after.Affinity)
	if n := len(was.PreferredDuringSchedulingIgnoredDuringExecution); len(is.PreferredDuringSchedulingIgnoredDuringExecution) > n {
		out.Preferred = slices.Clone(is.PreferredDuringSchedulingIgnoredDuringExecution[n:])
	}
	had, has := terms(was), terms(is)
	for i := range has {
		added := AddedTerm{Term: i, New: i >= len(had)}
		var old corev1.NodeSelectorTerm
		if !added.New {
			old = had[i]
		}
		added.MatchExpressions = tail(has[i].MatchExpressions, len(old.MatchExpressions))
		added.MatchFields = tail(has[i].MatchFields, len(old.MatchFields))
		if added.New || len(added.MatchExpressions)+len(added.MatchFields) > 0 {
			out.Required = append(out.Required, added)
		}
	}
	switch {
	case after.Affinity == nil:
	case before.Affinity == nil:
		out.Created = "affinity"
	case before.Affinity.NodeAffinity == nil && after.Affinity.NodeAffinity != nil:
		out.Created = "nodeAffinity"
	case was.RequiredDuringSchedulingIgnoredDuringExecution == nil && is.RequiredDuringSchedulingIgnoredDuringExecution != nil:
		out.Created = "required"
	}
	return out
}

// Join adds what a later pass over the same pod added. Where it had to add terms again, because something had
// removed them, it knows best.
func (a Added) Join(later Added) Added {
	if len(later.Required)+len(later.Preferred) > 0 {
		a.Created, a.Required, a.Preferred = later.Created, later.Required, later.Preferred
	}
	for _, t := range later.Tolerations {
		if !slices.ContainsFunc(a.Tolerations, func(have corev1.Toleration) bool { return equality.Semantic.DeepEqual(have, t) }) {
			a.Tolerations = append(a.Tolerations, t)
		}
	}
	a.Labels, a.Annotations = join(a.Labels, later.Labels), join(a.Annotations, later.Annotations)
	return a
}

func join(a, b map[string]string) map[string]string {
	if len(b) == 0 {
		return a
	}
	out := maps.Clone(b)
	maps.Copy(out, a)
	return out
}

func node(a *corev1.Affinity) corev1.NodeAffinity {
	if a == nil || a.NodeAffinity == nil {
		return corev1.NodeAffinity{}
	}
	return *a.NodeAffinity
}

func terms(n corev1.NodeAffinity) []corev1.NodeSelectorTerm {
	if n.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return n.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

func tail[T any](list []T, n int) []T {
	if len(list) <= n {
		return nil
	}
	return slices.Clone(list[n:])
}
