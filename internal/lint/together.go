package lint

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/validation"
)

// hints are what other documents of the text tell.
type hints struct {
	// workload is the one that could be spread, if there is only one.
	workload *workloadRef
}

type workloadRef struct{ version, kind, name string }

func (hints) nameFor(d *document) string {
	if n := at(d.root, "metadata", "name"); n != nil {
		return n.Value
	}
	return ""
}

// workloads are the kinds that hints are taken from.
var workloads = map[string]bool{"Deployment": true, "StatefulSet": true, "ReplicaSet": true, "Job": true, "CloneSet": true}

func hintsOf(docs []*document) hints {
	var found []workloadRef
	for _, d := range docs {
		kind, version, name := get(d.root, "kind"), get(d.root, "apiVersion"), at(d.root, "metadata", "name")
		if kind != nil && version != nil && name != nil && workloads[kind.Value] {
			found = append(found, workloadRef{version.Value, kind.Value, name.Value})
		}
	}
	if len(found) != 1 {
		return hints{}
	}
	return hints{&found[0]}
}

// together looks at the documents as a whole.
func together(docs []*document) {
	rivals(docs)
	conflicts(docs)
	unselected(docs)
}

// rivals finds spreads that select the same pods.
func rivals(docs []*document) {
	for i, d := range docs {
		for _, other := range docs[:i] {
			a, b := d.spread, other.spread
			if a == nil || b == nil || a.Spec.TargetReference == nil || b.Spec.TargetReference == nil || a.Namespace != b.Namespace || a.Name == b.Name || !validation.Overlap(a, b) {
				continue
			}
			d.problems = append(d.problems, problem{
				rule: ruleRival, at: at(d.root, "spec", "targetRef"), value: a.Spec.TargetReference.Name,
				message: fmt.Sprintf("WorkloadSpread %s spreads this workload already", b.Name),
				remedy:  "change that one, or give both a targetFilter.selector with one label key and different values",
			})
		}
	}
}

// conflicts finds sidecars that cannot be in one pod.
func conflicts(docs []*document) {
	var before []*sidecar.SidecarSet
	for _, d := range docs {
		if d.sidecars != nil {
			d.refused(validation.SidecarSetConflicts(d.sidecars, before))
			before = append(before, d.sidecars)
		}
	}
}

// unselected finds sets that select labels which nobody sets, if there is a spread at all.
func unselected(docs []*document) {
	labels, spreads := map[string]string{}, false
	note := func(m *yaml.Node) {
		for i := 0; m != nil && m.Kind == yaml.MappingNode && i+1 < len(m.Content); i += 2 {
			labels[m.Content[i].Value] = m.Content[i+1].Value
		}
	}
	for _, d := range docs {
		spreads = spreads || d.kind == kindSpread
		for _, s := range subsetsOf(d) {
			note(at(s, "patch", "metadata", "labels"))
		}
		if d.kind == "" && d.root != nil {
			note(at(d.root, "metadata", "labels"))
			note(at(d.root, "spec", "template", "metadata", "labels"))
		}
	}
	for _, d := range docs {
		wanted := at(d.root, "spec", "selector", "matchLabels")
		if d.kind != kindSidecar || !spreads || wanted == nil || wanted.Kind != yaml.MappingNode {
			continue
		}
		for i := 0; i+1 < len(wanted.Content); i += 2 {
			k, v := wanted.Content[i], wanted.Content[i+1]
			if labels[k.Value] == v.Value {
				continue
			}
			d.problems = append(d.problems, problem{
				rule: ruleUnselected, at: k, value: v.Value,
				message: fmt.Sprintf("no subset and no workload in these files sets the label %s=%s, so none of their pods gets the sidecars", k.Value, v.Value),
				remedy:  fmt.Sprintf("set it where pods need them, such as in a subset: patch: {metadata: {labels: {%s: %q}}}", k.Value, v.Value),
			})
		}
	}
}
