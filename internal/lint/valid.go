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
		d.spread, errs, warnings, err = validSpread(raw)
	} else {
		d.sidecars, errs, warnings, err = validSidecar(raw)
	}
	if err != nil {
		if !d.mistyped() {
			d.problems = append(d.problems, problem{rule: ruleInvalid, at: d.root, message: fmt.Sprintf("it cannot be read as a %s: %v", d.kind, err)})
		}
		return
	}
	d.refused(errs)
	for _, w := range warnings {
		d.problems = append(d.problems, problem{rule: ruleInvalid, severity: Warning, at: d.root, message: w})
	}
}

// refused notes what validation refuses, at the place in the text.
func (d *document) refused(errs field.ErrorList) {
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

func validSpread(raw []byte) (*appsv1alpha1.WorkloadSpread, field.ErrorList, []string, error) {
	ws := new(appsv1alpha1.WorkloadSpread)
	if err := json.Unmarshal(raw, ws); err != nil {
		return nil, nil, nil, err
	}
	errs := validation.WorkloadSpread(ws, nil)
	virtual, warnings := validation.WorkloadSpreadVirtual(ws, provider.NewCatalog(nil), nil)
	for _, v := range virtual {
		known := false
		for _, e := range errs {
			known = known || e.Field == v.Field
		}
		if !known {
			errs = append(errs, v)
		}
	}
	return ws, errs, warnings, nil
}

func validSidecar(raw []byte) (*sidecar.SidecarSet, field.ErrorList, []string, error) {
	s := new(sidecar.SidecarSet)
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, nil, nil, err
	}
	sidecar.Default(&s.Spec)
	if errs := validation.SidecarSet(s); len(errs) > 0 {
		return nil, errs, nil, nil // not to be compared with others
	}
	return s, nil, validation.Warnings(s), nil
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
