package placement

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/provider"
)

// Fulfil writes a directive onto a pod, and returns what its author should know. A placement that the pod brought
// along from the manifest it was made of is undone first.
//
//   - own: the pod keeps off the virtual nodes of every profile (provider.Survey.Exclude).
//   - virtual: the pod is pinned to the nodes of one profile: the one that is named, else the first in the catalog's
//     order of which there are nodes. It is made ready for them as in a subset (placeVirtual). One that its
//     provider cannot run is refused.
//   - any: the pod tolerates the taints of the profile that is named, else of all.
//
// It may be done twice. On an error the pod must be dropped. The error is a *Refusal, for constraints that are invalid
// too, or one of package clusterselector about the pod's annotations.
func Fulfil(pod *corev1.Pod, d Directive, survey *provider.Survey, s provider.Surroundings) (warnings []string, err error) {
	switch d.Placement {
	case v1alpha1.PlacementOwn:
		return nil, keepOff(pod, d, survey)
	case v1alpha1.PlacementAny:
		return nil, allow(pod, d, survey.Catalog())
	case v1alpha1.PlacementVirtual:
		profile, pin, warnings, err := kind(d, survey)
		if err != nil {
			return nil, err
		}
		lost, err := send(pod, d, profile, pin, s)
		return append(warnings, lost...), err
	default:
		return nil, nil
	}
}

// Withdraw undoes what a directive did to the pod from whose manifest this one was made, if nothing is asked for
// any more. What cannot be read is left as it is.
func Withdraw(pod *corev1.Pod) {
	if done, recorded, err := clusterselector.ParseRecord(pod.Annotations); err == nil && recorded && done.Placement != "" {
		_, _ = clusterselector.Undo(pod)
	}
}

// Recorded reports whether a pod brings along a record of a placement, by a WorkloadSpread or a directive.
func Recorded(pod *corev1.Pod) bool {
	_, placed := pod.Annotations[clusterselector.AnnotationRecord]
	return placed || v1alpha1.IsRecorded(pod.Annotations)
}

// begin undoes another placement than the one that is wanted, and returns the record to go on from.
func begin(pod *corev1.Pod, d Directive, want clusterselector.Record) (clusterselector.Record, error) {
	want.Placement, want.Cluster = string(d.Placement), d.Cluster
	done, recorded, err := clusterselector.ParseRecord(pod.Annotations)
	switch {
	case err != nil:
		return done, fmt.Errorf("%s: %w", d.Source, err)
	case recorded && done.Cluster == want.Cluster && done.Placement == want.Placement && done.Provider == want.Provider && done.Annotation == want.Annotation:
		return done, nil
	}
	if _, err := clusterselector.Undo(pod); err != nil {
		return done, fmt.Errorf("%s: undo the placement that the pod has already: %w", d.Source, err)
	}
	return want, nil
}

// end writes the record.
func end(pod *corev1.Pod, d Directive, done clusterselector.Record) error {
	if pod.Annotations == nil {
		pod.Annotations = make(map[string]string)
	}
	pod.Annotations[clusterselector.AnnotationRecord] = done.Encode()
	if err := clusterselector.CheckSize(pod.Annotations); err != nil {
		return fmt.Errorf("%s: %w", d.Source, err)
	}
	return nil
}

func keepOff(pod *corev1.Pod, d Directive, survey *provider.Survey) error {
	done, err := begin(pod, d, clusterselector.Record{})
	if err != nil {
		return err
	}
	before := pod.Spec.DeepCopy()
	setTerms(pod, survey.Exclude(requiredTerms(pod), pod.Spec.Tolerations))
	done.Added = done.Added.Join(clusterselector.Difference(before, &pod.Spec))
	return end(pod, d, done)
}

func allow(pod *corev1.Pod, d Directive, catalog *provider.Catalog) error {
	tolerations, want := catalog.Tolerations(), clusterselector.Record{}
	if d.Profile != nil {
		tolerations, want.Provider = d.Profile.Tolerations, d.Profile.Name
	}
	done, err := begin(pod, d, want)
	if err != nil {
		return err
	}
	before := pod.Spec.DeepCopy()
	tolerate(pod, tolerations)
	done.Added = done.Added.Join(clusterselector.Difference(before, &pod.Spec))
	return end(pod, d, done)
}

// kind finds the profile for virtual nodes, and the terms of its nodes.
func kind(d Directive, survey *provider.Survey) (*provider.Profile, []corev1.NodeSelectorTerm, []string, error) {
	profile, occurring := d.Profile, survey.Profiles()
	var warnings []string
	switch {
	case profile != nil:
	case len(occurring) == 0:
		return nil, nil, nil, &Refusal{v1alpha1.ReasonNoVirtualNode, fmt.Sprintf(
			"%s: there is no virtual node now, so it is not known which kind the pod is to be made ready for: name it by %s (one of %s), or create the pod again when there is one",
			d.Source, v1alpha1.KeyProvider, strings.Join(survey.Catalog().Names(), ", "))}
	default:
		profile = occurring[0]
		if len(occurring) > 1 {
			warnings = []string{fmt.Sprintf("%s: there are virtual nodes of %s: the pod goes to those of %s. Name the kind by %s",
				d.Source, names(occurring), profile.Name, v1alpha1.KeyProvider)}
		}
	}
	pin := survey.Pin(profile)
	if len(pin) == 0 {
		return nil, nil, nil, &Refusal{v1alpha1.ReasonNoVirtualNode, fmt.Sprintf(
			"%s: there is no virtual node of %s now, and no label by which one could be told: create the pod again when there is one, or give the profile a selector (virtualNodes.profiles)",
			d.Source, profile.Name)}
	}
	return profile, pin, warnings, nil
}

func names(profiles []*provider.Profile) string {
	out := make([]string, len(profiles))
	for i, p := range profiles {
		out[i] = p.Name
	}
	return strings.Join(out, ", ")
}

// send does what placeVirtual does, without a subset.
func send(pod *corev1.Pod, d Directive, profile *provider.Profile, pin []corev1.NodeSelectorTerm, s provider.Surroundings) ([]string, error) {
	if obstacles := profile.Obstacles(pod, s); len(obstacles) > 0 {
		return nil, ineligible(d, obstacles)
	}
	done, err := begin(pod, d, clusterselector.Record{Provider: profile.Name, Annotation: profile.HandOver()})
	if err != nil {
		return nil, err
	}
	lost := NotHonoured(pod, Plan{Virtual: profile})
	if key := profile.HandOver(); key != "" {
		moved, err := handOver(pod, key)
		if err == nil && moved.Own != nil {
			err = checkText(pod, key)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Source, err)
		}
		done.Own, done.Moved = moved.Own, moved.Moved
	}
	before := pod.Spec.DeepCopy()
	setTerms(pod, cross(requiredTerms(pod), pin))
	tolerate(pod, profile.Tolerations)
	added := clusterselector.Difference(before, &pod.Spec)
	pod.Labels, added.Labels = supplement(pod.Labels, profile.Labels)
	pod.Annotations, added.Annotations = supplement(pod.Annotations, profile.Annotations)
	done.Added = done.Added.Join(added)
	if err := end(pod, d, done); err != nil {
		return nil, err
	}
	var warnings []string
	for _, f := range lost {
		warnings = append(warnings, fmt.Sprintf("%s: spec.%s is not honoured below: %s does not pass it on", d.Source, f, profile.Name))
	}
	return warnings, pinned(pod, d, pin)
}

// ineligible tells all that is in the way, and the reason of the first.
func ineligible(d Directive, obstacles []provider.Obstacle) error {
	why := make([]string, len(obstacles))
	for i, o := range obstacles {
		why[i] = o.Field + ": " + o.Message
	}
	return &Refusal{obstacles[0].Reason, fmt.Sprintf("%s is %s, but %s: remove that from the pod, or set %s to %s on it",
		d.Source, d.Placement, strings.Join(why, "; "), v1alpha1.KeyPlacement, v1alpha1.PlacementOwn)}
}

// pinned checks that every term of the pod that selects anything has the pin.
func pinned(pod *corev1.Pod, d Directive, pin []corev1.NodeSelectorTerm) error {
	for _, t := range requiredTerms(pod) {
		if len(t.MatchExpressions)+len(t.MatchFields) > 0 && !within(&t, pin) {
			return fmt.Errorf("%s: the pin to virtual nodes did not reach every term of the pod", d.Source)
		}
	}
	return nil
}

// cross returns the terms of a pod, each with every alternative of a pin; without terms, the pin. One that has an
// alternative already, and an empty one, which selects nothing, stay as they are. New terms are at the end.
func cross(terms, pin []corev1.NodeSelectorTerm) []corev1.NodeSelectorTerm {
	var out []corev1.NodeSelectorTerm
	if len(terms) == 0 {
		for i := range pin {
			out = append(out, *pin[i].DeepCopy())
		}
		return out
	}
	for i := range terms {
		out = append(out, *terms[i].DeepCopy())
	}
	for i := range terms {
		if len(terms[i].MatchExpressions)+len(terms[i].MatchFields) == 0 || within(&terms[i], pin) {
			continue
		}
		for k := range pin {
			t := terms[i].DeepCopy()
			for _, e := range pin[k].MatchExpressions {
				t.MatchExpressions = addMissing(t.MatchExpressions, *e.DeepCopy())
			}
			for _, f := range pin[k].MatchFields {
				t.MatchFields = addMissing(t.MatchFields, *f.DeepCopy())
			}
			if k == 0 {
				out[i] = *t
			} else {
				out = append(out, *t)
			}
		}
	}
	return out
}

// within reports whether a term has all of an alternative of the pin.
func within(t *corev1.NodeSelectorTerm, pin []corev1.NodeSelectorTerm) bool {
	return slices.ContainsFunc(pin, func(p corev1.NodeSelectorTerm) bool {
		return containsAll(t.MatchExpressions, p.MatchExpressions) && containsAll(t.MatchFields, p.MatchFields)
	})
}

// requiredTerms returns the alternatives of which a node must fulfil one; none if any node will do.
func requiredTerms(pod *corev1.Pod) []corev1.NodeSelectorTerm {
	a := pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

func setTerms(pod *corev1.Pod, terms []corev1.NodeSelectorTerm) {
	if len(terms) == 0 {
		return
	}
	if pod.Spec.Affinity == nil {
		pod.Spec.Affinity = &corev1.Affinity{}
	}
	if pod.Spec.Affinity.NodeAffinity == nil {
		pod.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	node := pod.Spec.Affinity.NodeAffinity
	if node.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		node.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{}
	}
	node.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms = terms
}
