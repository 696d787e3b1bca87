package validation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/placement"
)

// WorkloadSpreadTemplate checks that each subset can be written onto a pod of the target as it is now.
// template may be nil: the target need not exist yet.
func WorkloadSpreadTemplate(ws *appsv1alpha1.WorkloadSpread, template *corev1.PodTemplateSpec) field.ErrorList {
	if template == nil {
		return nil
	}
	var errs field.ErrorList
	for i := range ws.Spec.Subsets {
		s := &ws.Spec.Subsets[i]
		path := field.NewPath("spec", "subsets").Index(i).Child("patch")
		pod := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
		err := placement.Place(pod, placement.Plan{Subset: s, Record: v1alpha1.Record{Name: ws.Name, Subset: s.Name}})
		if err == nil {
			err = sound(pod)
		}
		if err != nil {
			errs = append(errs, field.Invalid(path, brief(s.Patch.Raw), fmt.Sprintf("a pod of the target with this patch could not be created: %v", err)))
		}
	}
	return errs
}

// sound checks what a patch easily breaks of a pod. The API server checks everything, but only when the
// pod is created.
func sound(pod *corev1.Pod) error {
	volumes := make(map[string]bool, len(pod.Spec.Volumes))
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		sources, err := sourcesOf(v)
		switch {
		case err != nil:
			return err
		case len(sources) > 1:
			return fmt.Errorf("volume %q has more than one source (%s): to replace one, put \"$retainKeys\": [\"name\", \"%s\"] into the patch's volume",
				v.Name, strings.Join(sources, ", "), sources[len(sources)-1])
		}
		volumes[v.Name] = true
	}
	if len(pod.Spec.Containers) == 0 {
		return fmt.Errorf("it has no containers left")
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Image == "" {
			return fmt.Errorf("container %q has no image: is its name in the patch that of one of the target's containers?", c.Name)
		}
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				return fmt.Errorf("container %q mounts volume %q, which the pod does not have", c.Name, m.Name)
			}
		}
	}
	return nil
}

// sourcesOf names the sources that a volume has.
func sourcesOf(v *corev1.Volume) ([]string, error) {
	raw, err := json.Marshal(v.VolumeSource)
	if err != nil {
		return nil, fmt.Errorf("volume %q: %w", v.Name, err)
	}
	var sources map[string]json.RawMessage
	if err := json.Unmarshal(raw, &sources); err != nil {
		return nil, fmt.Errorf("volume %q: %w", v.Name, err)
	}
	var names []string
	for name := range sources {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// Live is what a WorkloadSpread is compared with for warnings.
type Live struct {
	// Nodes of the cluster; nil for not known.
	Nodes []*corev1.Node
	// Paths is why replicasPathList does not resolve on the target; nil when it does, or there is no
	// target yet.
	Paths error
}

// WorkloadSpreadWarnings returns what will work, but perhaps not as its author means.
func WorkloadSpreadWarnings(ws *appsv1alpha1.WorkloadSpread, live Live) []string {
	var out []string
	if live.Paths != nil {
		out = append(out, fmt.Sprintf("spec.targetFilter.replicasPathList: %v: until this is mended, percentages cannot be computed", live.Paths))
	}
	for i := range ws.Spec.Subsets {
		s := &ws.Spec.Subsets[i]
		path := field.NewPath("spec", "subsets").Index(i)
		for _, name := range besidePin(s) {
			out = append(out, fmt.Sprintf("%s of subset %q sets %s beside node terms or tolerations of the subset, which are added after it: the pod gets both. Leave it to one of them",
				path.Child("patch"), s.Name, name))
		}
		if t := s.RequiredNodeSelectorTerm; t != nil && live.Nodes != nil && !slices.ContainsFunc(live.Nodes, func(n *corev1.Node) bool { return matchesTerm(t, n) }) {
			out = append(out, fmt.Sprintf("%s: no node matches it now: pods of subset %q will wait until one does", path.Child("requiredNodeSelectorTerm"), s.Name))
		}
	}
	return out
}

func matchesTerm(t *corev1.NodeSelectorTerm, n *corev1.Node) bool {
	selector, err := nodeaffinity.NewNodeSelector(&corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{*t}})
	return err == nil && selector.Match(n)
}

// besidePin names the scheduling fields that a patch sets although the subset has a pin of its own. Of tolerations, which
// a patch replaces in any case, package lint warns.
func besidePin(s *appsv1alpha1.WorkloadSpreadSubset) []string {
	if s.RequiredNodeSelectorTerm == nil && len(s.PreferredNodeSelectorTerms) == 0 && len(s.Tolerations) == 0 {
		return nil
	}
	var patch struct {
		Spec map[string]json.RawMessage `json:"spec"`
	}
	if json.Unmarshal(s.Patch.Raw, &patch) != nil {
		return nil // an error elsewhere
	}
	var out []string
	for _, name := range []string{"affinity", "nodeSelector"} {
		if v, ok := patch.Spec[name]; ok && string(v) != "null" {
			out = append(out, "spec."+name)
		}
	}
	return out
}
