package lint

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/internal/sidecar"
)

var (
	subsetType    = reflect.TypeFor[appsv1alpha1.WorkloadSpreadSubset]()
	selectorType  = reflect.TypeFor[metav1.LabelSelector]()
	containerType = reflect.TypeFor[sidecar.Container]()
)

// fields finds fields that do not exist, and where they were meant to be.
func fields(d *document, _ hints) []problem {
	var out []problem
	d.walk(func(p *place) {
		if p.of == nil {
			out = append(out, d.unknown(p))
		}
	})
	return out
}

// aliases are other names of fields: those of version v1beta1, and what people write.
var aliases = map[string]string{
	"requiredNodeSelector": "requiredNodeSelectorTerm", "preferredNodeSelector": "preferredNodeSelectorTerms", "targetReference": "targetRef",
	"nodeSelectorTerm": "requiredNodeSelectorTerm", "replicas": "maxReplicas", "max": "maxReplicas",
}

// unknown explains a field that does not exist.
func (d *document) unknown(p *place) problem {
	key, in := p.name(), p.in
	out := problem{at: p.key, value: valueOf(p.node)}
	known := fieldsOf(in.of)
	switch {
	case key == "nodeSelector" && in.of == subsetType && p.node.Kind == yaml.MappingNode && !isEmpty(p.node):
		return d.selector(out, p)
	case key == "template" && in.in != nil && in.in.of == podType && p.node.Kind == yaml.MappingNode:
		return d.template(out, p)
	}
	if right := spelled(key, known, in.node, false); right != "" {
		return misspelled(out, p, right)
	}
	if to := destination(p); to != nil {
		return d.misplaced(out, p, to)
	}
	if right := spelled(key, known, in.node, true); right != "" {
		return misspelled(out, p, right)
	}
	if scalar := p.node.Kind == yaml.ScalarNode && !isNull(p.node); scalar && in.of == metaType {
		into := "annotations"
		if get(in.node, into) == nil && get(in.node, "labels") != nil {
			into = "labels"
		}
		return slipped(out, p, into)
	} else if scalar && in.of == selectorType {
		return slipped(out, p, "matchLabels")
	}
	out.rule = ruleUnknown
	out.message = fmt.Sprintf("%s has no field %s%s", describe(in), key, ignored(in))
	if p.inside(containerType) {
		out.severity = Note
		out.message = fmt.Sprintf("%s has no field %s that Spillway knows: it reaches the pod as it is", describe(in), key)
		out.remedy = "check the spelling"
		return out
	}
	out.remedy = "remove it; the fields are " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")
	if len(known) > 16 {
		out.remedy = "remove it"
	}
	return out
}

// selector makes a node selector of a subset, which exists in a pod only, its node term.
func (d *document) selector(out problem, p *place) problem {
	subset, labels := p.in.node, p.node
	out.rule = ruleMisplaced
	out.message = "a subset has no field nodeSelector, so it has no effect"
	out.remedy = "say it as requiredNodeSelectorTerm"
	if have := get(subset, "requiredNodeSelectorTerm"); have != nil && !isEmpty(have) {
		return out
	}
	out.fix = func() *yaml.Node {
		list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for i := 0; i+1 < len(labels.Content); i += 2 {
			value := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{labels.Content[i+1]}}
			list.Content = append(list.Content, mapping(text("key"), labels.Content[i], text("operator"), text("In"), text("values"), value))
		}
		term := mapping(text("matchExpressions"), list)
		take(subset, "requiredNodeSelectorTerm")
		put(subset, text("requiredNodeSelectorTerm"), term, "nodeSelector")
		take(subset, "nodeSelector")
		return term
	}
	return out
}

// template takes a patch that is written like one of a workload for what it should be: one of a pod.
func (d *document) template(out problem, p *place) problem {
	spec, patch, template := p.in.node, p.in.in.node, p.node
	out.rule = ruleMisplaced
	out.message = "a pod has no template, so it has no effect: the patch is one of a pod, not of its workload"
	out.remedy = "write what is under template into the patch itself"
	if len(spec.Content) > 2 || get(patch, "metadata") != nil {
		return out
	}
	out.fix = func() *yaml.Node {
		take(patch, "spec")
		patch.Content = append(slices.Clone(patch.Content), template.Content...)
		return patch
	}
	return out
}

// describe names a structure for people.
func describe(p *place) string {
	switch {
	case p.in == nil:
		return "the object"
	case p.of == podType:
		return "a pod"
	case p.of == subsetType:
		return "a subset"
	case p.key == nil:
		return "an element of " + p.in.name()
	default:
		return p.name()
	}
}

func ignored(p *place) string {
	if p.inside(podType) {
		return ", so it has no effect"
	}
	return ""
}

func misspelled(out problem, p *place, right string) problem {
	out.rule, out.message, out.remedy = ruleMisspelled, fmt.Sprintf("%s has no field %s%s", describe(p.in), p.name(), ignored(p.in)), "write "+right
	key, node := p.key, p.node
	out.fix = func() *yaml.Node {
		key.Value = right
		return node
	}
	return out
}

// spelled returns the one field that was meant: by another name or in another case; or, if near is set, with a letter
// or two wrong.
func spelled(key string, known map[string]reflect.Type, in *yaml.Node, near bool) string {
	var found []string
	for name := range known {
		switch {
		case indexOf(in, name) >= 0:
		case !near && (aliases[key] == name || strings.EqualFold(key, name)):
			return name
		case near && len(key) >= 4 && distance(strings.ToLower(key), strings.ToLower(name)) <= min(2, len(key)/4):
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

// distance counts the letters to add, remove or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := before
			if a[i] != b[j] {
				changed++
			}
			before, row[j+1] = row[j+1], min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// common are names that many structures have: that one around has it says nothing.
var common = []string{"apiVersion", "kind", "metadata", "spec", "status", "name", "namespace", "type", "key", "value", "values", "operator"}

// target is a structure that has the field, and the keys to get there from a place.
type target struct {
	in   *place
	keys []string
}

// destination finds the structure that a field was meant for: the nearest around it that has it, then metadata, spec,
// patch or selector in its own, then in that around it.
func destination(p *place) *target {
	key := p.name()
	has := func(q *place, t reflect.Type) bool {
		_, ok := fieldsOf(t)[key]
		return ok && q.isStruct()
	}
	for q := p.in.in; q != nil && !slices.Contains(common, key); q = q.in {
		if q.isStruct() && has(q, q.of) {
			return &target{in: q}
		}
	}
	if p.in.of == subsetType {
		for _, part := range []string{"spec", "metadata"} {
			if _, ok := fieldsOf(fieldsOf(podType)[part])[key]; ok && !slices.Contains(common, key) && isMapping(get(p.in.node, "patch")) && isMapping(at(p.in.node, "patch", part)) {
				return &target{p.in, []string{"patch", part}}
			}
		}
	}
	for _, q := range []*place{p.in, p.in.in} {
		if q == nil || !q.isStruct() {
			continue
		}
		inner := fieldsOf(q.of)
		for _, name := range []string{"metadata", "spec", "patch", "selector"} {
			t, ok := inner[name]
			if ok && isMapping(get(q.node, name)) && t.Kind() == reflect.Struct && has(q, t) && (!slices.Contains(common, key) || name == "patch") {
				return &target{q, []string{name}}
			}
		}
	}
	return nil
}

// misplaced moves a field. What is there already is not overwritten: lists are joined.
func (d *document) misplaced(out problem, p *place, to *target) problem {
	key, in, value := p.name(), p.in.node, p.node
	path := append(slices.Clone(to.keys), key)
	where := d.now[to.in.node]
	for _, k := range path {
		where = join(where, "", k)
	}
	out.rule = ruleMisplaced
	out.message = fmt.Sprintf("%s has no field %s%s", describe(p.in), key, ignored(p.in))
	there := at(to.in.node, path...)
	switch {
	case isEmpty(value):
		out.remedy = "remove it: it holds nothing"
		out.fix = func() *yaml.Node {
			take(in, key)
			d.prune(in)
			return nil
		}
	case there == nil, isNull(there), same(there, value), there.Kind == yaml.SequenceNode && value.Kind == yaml.SequenceNode:
		out.remedy = "move it to " + where
		out.fix = func() *yaml.Node { return d.move(in, key, to) }
	default:
		out.remedy = fmt.Sprintf("remove it, or what is at %s: one of them counts", where)
	}
	return out
}

// move takes a key to another structure, which may have it: as the same, or as a list that it is joined to.
func (d *document) move(in *yaml.Node, key string, to *target) *yaml.Node {
	dest := to.in.node
	for _, k := range to.keys {
		if dest = child(dest, k); dest == nil {
			return nil
		}
	}
	there := get(dest, key)
	k, v := take(in, key)
	switch {
	case there == nil || isNull(there):
		take(dest, key)
		put(dest, k, v, "patch")
		there = v
	case there.Kind == yaml.SequenceNode:
		appendMissing(there, v)
	}
	d.prune(in)
	return there
}

// isMapping reports whether a node is a mapping or can become one, because there is nothing.
func isMapping(n *yaml.Node) bool { return n == nil || isNull(n) || n.Kind == yaml.MappingNode }

func appendMissing(list, more *yaml.Node) {
	for _, n := range more.Content {
		if !slices.ContainsFunc(list.Content, func(have *yaml.Node) bool { return same(have, n) }) {
			list.Content = append(list.Content, n)
		}
	}
}

// slipped moves a value that stands beside annotations or labels into them.
func slipped(out problem, p *place, into string) problem {
	key, in := p.name(), p.in.node
	out.rule = ruleAnnotation
	out.message = fmt.Sprintf("%s has no field %s%s", describe(p.in), key, ignored(p.in))
	out.remedy = fmt.Sprintf("indent it into %s", into)
	if have := get(in, into); have != nil && (get(have, key) != nil || have.Kind != yaml.MappingNode && !isNull(have)) {
		out.remedy = fmt.Sprintf("remove it, or move it into %s", into)
		return out
	}
	out.fix = func() *yaml.Node {
		k, v := take(in, key)
		put(child(in, into), k, v)
		return v
	}
	return out
}

// prune removes a structure that has become empty, and those around it, up to the object's spec.
func (d *document) prune(n *yaml.Node) {
	for !slices.Contains([]*yaml.Node{d.root, get(d.root, "spec"), get(d.root, "metadata")}, n) && isEmpty(n) {
		var around *yaml.Node
		each(d.root, func(in *yaml.Node) {
			for i := 1; in.Kind == yaml.MappingNode && i < len(in.Content); i += 2 {
				if in.Content[i] == n {
					around = in
				}
			}
		})
		if around == nil {
			return
		}
		i := slices.Index(around.Content, n)
		around.Content = slices.Delete(slices.Clone(around.Content), i-1, i+1)
		n = around
	}
}
