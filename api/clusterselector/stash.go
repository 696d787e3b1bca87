package clusterselector

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Stash moves the constraints of a pod into the annotation and clears them from its spec. It returns the record
// of that, which the caller completes (Record.Provider, Subset, Added) and writes under AnnotationRecord.
//
// Tolerations that hold during an outage of the node (StandsOutage) are handed down, unless they are the API
// server's defaults, and stay on the pod too. A selection that already stands in the annotation is the user's own:
// the fields that it names win, those that it lacks come from the pod (Selection.Merge).
//
// A pod that has a record for this annotation already is left as it is, and its record is returned. Errors name the
// annotation, the field and the position (*FormatError), or the size of the annotations; the pod is unchanged then.
func Stash(pod *corev1.Pod, annotation string) (Record, error) {
	record, recorded, err := ParseRecord(pod.Annotations)
	if err != nil {
		return Record{}, err
	}
	if recorded {
		return stashed(pod, record, annotation)
	}
	record = Record{Annotation: annotation, Moved: moved()}
	selection := Of(&pod.Spec)
	if text, ok := pod.Annotations[annotation]; ok {
		record.Own = &text
		if selection, err = merged(selection, text, annotation); err != nil {
			return Record{}, err
		}
	}
	text := selection.Encode()
	if err := checkWith(pod.Annotations, annotation, text); err != nil {
		return Record{}, err
	}
	clearSpec(&pod.Spec)
	annotate(pod, annotation, text)
	return record, nil
}

// stashed checks that a pod which has a record also has what the record says.
func stashed(pod *corev1.Pod, record Record, annotation string) (Record, error) {
	if record.Annotation != annotation {
		return Record{}, fmt.Errorf("annotation %s says that the constraints were moved to %q, not to %q: undo that first",
			AnnotationRecord, record.Annotation, annotation)
	}
	if _, _, err := read(pod.Annotations, annotation); err != nil {
		return Record{}, err
	}
	return record, nil
}

// Combine merges a selection that somebody wrote into the annotation after Stash over the one that Stash wrote, as
// Stash merges one that stood there before. stashed is the text that Stash left. It is for what a subset's patch
// does to the annotation; if that removed it, the constraints come back.
func Combine(pod *corev1.Pod, annotation, stashed string) error {
	text, ok := pod.Annotations[annotation]
	switch {
	case ok && text == stashed:
		return nil
	case !ok:
		annotate(pod, annotation, stashed)
		return nil
	}
	selection, _, err := Parse(stashed)
	if err != nil {
		return named(err, annotation)
	}
	if selection, err = merged(selection, text, annotation); err != nil {
		return err
	}
	annotate(pod, annotation, selection.Encode())
	return nil
}

// merged puts a user's text over a selection. Blank text names no field.
func merged(selection Selection, text, annotation string) (Selection, error) {
	if strings.TrimSpace(text) == "" {
		return selection, nil
	}
	own, fields, err := Parse(text)
	if err != nil {
		return Selection{}, named(err, annotation)
	}
	return selection.Merge(own, fields), nil
}

// read parses the selection in an annotation, which must be there.
func read(annotations map[string]string, annotation string) (Selection, []Field, error) {
	text, ok := annotations[annotation]
	if !ok {
		wrong := formatError("", "", 0, fmt.Errorf("it is missing, although annotation %s says that the constraints are there", AnnotationRecord))
		return Selection{}, nil, named(wrong, annotation)
	}
	selection, fields, err := Parse(text)
	return selection, fields, named(err, annotation)
}

// named completes a FormatError with the annotation that holds the text.
func named(err error, annotation string) error {
	wrong := new(FormatError)
	if errors.As(err, &wrong) {
		wrong.Annotation = annotation
	}
	return err
}

// clearSpec removes what a selection carries. The tolerations that must stay do.
func clearSpec(spec *corev1.PodSpec) {
	keep := slices.DeleteFunc(slices.Clone(spec.Tolerations), func(t corev1.Toleration) bool { return !StandsOutage(t) })
	Selection{}.write(spec)
	if len(keep) > 0 {
		spec.Tolerations = keep
	}
}

func annotate(pod *corev1.Pod, key, value string) {
	if pod.Annotations == nil {
		pod.Annotations = make(map[string]string)
	}
	pod.Annotations[key] = value
}

// checkWith checks the size of annotations as if one had another value.
func checkWith(annotations map[string]string, key, value string) error {
	with := map[string]string{key: value}
	for k, v := range annotations {
		if k != key {
			with[k] = v
		}
	}
	return CheckSize(with)
}
