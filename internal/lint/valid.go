package lint

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/spillway-project/spillway/internal/provider"
	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/validation"
)

// validate reads the corrected document as an object and notes what the webhook would refuse or warn of. What cannot
// be read was found by its type before, or is noted now.
func (d *document) validate() {
	plain, err := write(d.root, d.compact)
	if err != nil {
		d.problems = append(d.problems, problem{rule: ruleInvalid, at: d.root, message: err.Error()})
		return
	}
	raw, err := kyaml.ToJSON([]byte(plain))
	if err != nil {
		d.problems = append(d.problems, problem{rule: ruleInvalid, at: d.root, message: fmt.Sprintf("it is no object: %v", err)})
		return
	}
	var errs field.ErrorList
	var warnings []string
	if d.kind == kindSpread {
		errs, warnings, err = validSpread(raw)
	} else {
		errs, warnings, err = validSidecar(raw)
	}
	if err != nil {
		if !d.mistyped() {
			d.problems = append(d.problems, problem{rule: ruleInvalid, at: d.root, message: fmt.Sprintf("it cannot be read as a %s: %v", d.kind, err)})
		}
		return
	}
	for _, e := range errs {
		p := problem{rule: ruleInvalid, at: d.find(e.Field), field: e.Field, message: e.ErrorBody()}
		if e.Field == "spec.targetRef.kind" && e.Type == field.ErrorTypeInvalid {
			p.severity = Note // the cluster's allow-list may have it
		}
		if original, ok := d.was[p.at]; ok && original != "" && strings.HasSuffix(e.Field, lastOf(original)) {
			p.field = original
		}
		d.problems = append(d.problems, p)
	}
	for _, w := range warnings {
		d.problems = append(d.problems, problem{rule: ruleInvalid, severity: Warning, at: d.root, message: w})
	}
}

func lastOf(path string) string { return path[strings.LastIndexAny(path, ".[")+1:] }

// mistyped reports whether a value of a wrong type has been found that is not corrected.
func (d *document) mistyped() bool {
	for _, p := range d.problems {
		if p.rule == ruleType && !p.fixed {
			return true
		}
	}
	return false
}

func validSpread(raw []byte) (field.ErrorList, []string, error) {
	var ws appsv1alpha1.WorkloadSpread
	if err := json.Unmarshal(raw, &ws); err != nil {
		return nil, nil, err
	}
	errs := validation.WorkloadSpread(&ws, nil)
	virtual, warnings := validation.WorkloadSpreadVirtual(&ws, provider.NewCatalog(nil), nil)
	for _, v := range virtual {
		known := false
		for _, e := range errs {
			known = known || e.Field == v.Field
		}
		if !known {
			errs = append(errs, v)
		}
	}
	return errs, warnings, nil
}

func validSidecar(raw []byte) (field.ErrorList, []string, error) {
	var s sidecar.SidecarSet
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, nil, err
	}
	sidecar.Default(&s.Spec)
	errs := validation.SidecarSet(&s)
	if len(errs) > 0 {
		return errs, nil, nil
	}
	return nil, validation.Warnings(&s), nil
}

var step = regexp.MustCompile(`\[([^\]]*)\]|[^.\[\]]+`)

// find returns the node at a path as validation writes it, or the nearest around it.
func (d *document) find(path string) *yaml.Node {
	n := d.root
	for _, m := range step.FindAllStringSubmatch(path, -1) {
		next := (*yaml.Node)(nil)
		if i, err := strconv.Atoi(m[1]); err == nil && n.Kind == yaml.SequenceNode {
			if i >= 0 && i < len(n.Content) {
				next = n.Content[i]
			}
		} else if key := m[1] + m[0]; m[1] != "" {
			next = get(n, m[1])
		} else {
			next = get(n, key)
		}
		if next == nil {
			break
		}
		n = next
	}
	return n
}

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

// together looks at the documents as a whole: the labels that a SidecarSet selects should be set by someone, if
// there is a spread at all.
func together(docs []*document) {
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
