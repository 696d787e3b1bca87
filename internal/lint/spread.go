package lint

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/internal/provider"
)

// subsetsOf returns the subsets of a WorkloadSpread that are mappings.
func subsetsOf(d *document) []*yaml.Node {
	if d.kind != kindSpread {
		return nil
	}
	list := at(d.root, "spec", "subsets")
	if list == nil || list.Kind != yaml.SequenceNode {
		return nil
	}
	var out []*yaml.Node
	for _, s := range list.Content {
		if s.Kind == yaml.MappingNode {
			out = append(out, s)
		}
	}
	return out
}

// constraints of a pod that a patch can take away, and where they are in its spec.
var constraints = [][]string{
	{"affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"}, {"affinity", "nodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution"},
	{"affinity", "nodeAffinity"}, {"affinity", "podAffinity"}, {"affinity", "podAntiAffinity"}, {"affinity"},
	{"nodeSelector"}, {"tolerations"}, {"topologySpreadConstraints"},
}

// nulls finds patches that remove a pod's constraints.
func nulls(d *document, _ hints) []problem {
	var out []problem
	for _, s := range subsetsOf(d) {
		spec := at(s, "patch", "spec")
		for _, path := range constraints {
			in := at(spec, path[:len(path)-1]...)
			key := path[len(path)-1]
			value := get(in, key)
			if !isNull(value) {
				continue
			}
			out = append(out, problem{
				rule: ruleNulls, at: keyOf(in, key), value: "null",
				message: fmt.Sprintf("the patch of subset %q takes %s from each pod: in OpenKruise the subset's own pin too, in Spillway what the workload asks for",
					nameOf(s), strings.Join(path, ".")),
				remedy: "remove it: on virtual nodes the constraints are handed over to the lower cluster",
				fix: func() *yaml.Node {
					take(in, key)
					d.prune(in)
					return nil
				},
			})
		}
	}
	return out
}

// replacedTolerations finds tolerations in patches.
func replacedTolerations(d *document, _ hints) []problem {
	var out []problem
	for _, s := range subsetsOf(d) {
		spec := at(s, "patch", "spec")
		list := get(spec, "tolerations")
		if list == nil || list.Kind != yaml.SequenceNode || len(list.Content) == 0 || strings.Contains(valueOf(list), "$patch") {
			continue
		}
		p := problem{
			rule: ruleTolerations, at: keyOf(spec, "tolerations"), value: valueOf(list),
			message: fmt.Sprintf("the patch of subset %q replaces the tolerations of each pod, because the list has no merge key", nameOf(s)),
			remedy:  "move them to the tolerations of the subset, which are added to those of the pod",
		}
		if have := get(s, "tolerations"); have == nil || isNull(have) || have.Kind == yaml.SequenceNode {
			p.fix = func() *yaml.Node {
				k, v := take(spec, "tolerations")
				have := get(s, "tolerations")
				if have == nil || isNull(have) {
					take(s, "tolerations")
					put(s, k, v, "patch")
					have = v
				} else {
					appendMissing(have, v)
				}
				d.prune(spec)
				return have
			}
		}
		out = append(out, p)
	}
	return out
}

// besidePins finds constraints that a patch sets although the subset has terms of its own.
func besidePins(d *document, _ hints) []problem {
	var out []problem
	for _, s := range subsetsOf(d) {
		if get(s, "requiredNodeSelectorTerm") == nil && get(s, "preferredNodeSelectorTerms") == nil {
			continue
		}
		spec := at(s, "patch", "spec")
		for _, key := range []string{"affinity", "nodeSelector"} {
			if value := get(spec, key); value != nil && !isEmpty(value) && holds(value) {
				out = append(out, problem{
					rule: ruleBesidePin, at: keyOf(spec, key), value: valueOf(value),
					message: fmt.Sprintf("the patch of subset %q sets %s beside the subset's own node terms: a pod gets both, and no node may fulfil both", nameOf(s), key),
					remedy:  "say it in the terms of the subset",
				})
			}
		}
	}
	return out
}

// holds reports whether there is anything but null in a node.
func holds(n *yaml.Node) bool {
	found := false
	each(n, func(n *yaml.Node) {
		if n.Kind == yaml.MappingNode {
			for i := 1; i < len(n.Content); i += 2 {
				found = found || n.Content[i].Kind == yaml.ScalarNode && !isNull(n.Content[i]) || n.Content[i].Kind == yaml.SequenceNode
			}
		}
	})
	return found
}

// providers looks at patches that write the constraints for tensile-kube.
func providers(d *document, _ hints) []problem {
	var out []problem
	wanted := provider.NewCatalog(nil).ByName(provider.TensileKube).Labels
	for _, s := range subsetsOf(d) {
		meta := at(s, "patch", "metadata")
		annotations := get(meta, "annotations")
		key := keyOf(annotations, clusterselector.AnnotationTensileKube)
		if key == nil || isNull(get(annotations, key.Value)) {
			continue
		}
		for label, value := range wanted {
			if at(meta, "labels", label) != nil {
				continue
			}
			p := problem{
				rule: ruleProvider, at: key, field: d.pathOf(meta),
				message: fmt.Sprintf("pods of subset %q are for tensile-kube, but lack the label %s=%s: its provider neither updates nor deletes the lower pod of one without it", nameOf(s), label, value),
				remedy:  fmt.Sprintf("add the label to the patch (unless virtualNodes.handOver is off Spillway does by itself): %s: %q", label, value),
			}
			if labels := get(meta, "labels"); labels == nil || isNull(labels) || labels.Kind == yaml.MappingNode {
				p.fix = func() *yaml.Node {
					labels := child(meta, "labels", "annotations")
					v := quoted(value)
					put(labels, text(label), v)
					return labels
				}
			}
			out = append(out, p)
		}
		out = append(out, static(s, key, get(annotations, key.Value))...)
	}
	return out
}

// static tells what a fixed text of constraints means.
func static(s, key, value *yaml.Node) []problem {
	_, named, err := clusterselector.Parse(value.Value)
	if err != nil || value.Kind != yaml.ScalarNode {
		return nil // validation tells
	}
	var out []problem
	if len(named) > 0 {
		var names []string
		for _, f := range named {
			names = append(names, string(f))
		}
		out = append(out, problem{
			rule: ruleStatic, at: key, value: valueOf(value),
			message: fmt.Sprintf("one text for all pods of subset %q: below they get its %s in place of their own, and the rest from the pod", nameOf(s), strings.Join(names, " and ")),
			remedy:  "leave out what the pods' own templates say",
		})
	}
	if keys := pinKeys(s); len(keys) > 0 {
		out = append(out, problem{
			rule: ruleStashedPin, at: keyOf(s, "requiredNodeSelectorTerm"), value: strings.Join(keys, ", "),
			message: fmt.Sprintf("if tensile-kube's own webhook runs too, it moves the pin of subset %q away", nameOf(s)),
			remedy:  "turn that webhook off, or start it with --ignore-selector-keys=" + strings.Join(keys, ","),
		})
	}
	return out
}

func pinKeys(s *yaml.Node) []string {
	list := at(s, "requiredNodeSelectorTerm", "matchExpressions")
	var out []string
	if list != nil && list.Kind == yaml.SequenceNode {
		for _, e := range list.Content {
			if key := get(e, "key"); key != nil {
				out = append(out, key.Value)
			}
		}
	}
	return out
}

// targets finds a spread without a target. The correction can only guess: the one workload of the text, else a
// Deployment with the spread's name.
func targets(d *document, h hints) []problem {
	spec := get(d.root, "spec")
	if d.kind != kindSpread || spec == nil || spec.Kind != yaml.MappingNode {
		return nil
	}
	if t := get(spec, "targetRef"); t != nil && !isEmpty(t) {
		return nil
	}
	guess, why := workloadRef{"apps/v1", "Deployment", h.nameFor(d)}, "check the name"
	if h.workload != nil {
		guess, why = *h.workload, "the workload in these files"
	}
	if guess.name == "" {
		guess.name = "NAME"
	}
	return []problem{{
		rule: ruleMissingTarget, at: keyOf(d.root, "spec"), field: "spec.targetRef", message: "no workload is named: the API server refuses the spread",
		remedy: "name apiVersion, kind and name of the workload: the correction is a guess", fix: func() *yaml.Node {
			take(spec, "targetRef")
			name := text(guess.name)
			name.LineComment = "# " + why
			ref := mapping(text("apiVersion"), text(guess.version), text("kind"), text(guess.kind), text("name"), name)
			first := ""
			if len(spec.Content) > 0 {
				first = spec.Content[0].Value
			}
			put(spec, text("targetRef"), ref, first)
			return ref
		},
	}}
}

// strategies finds settings of Adaptive under another type.
func strategies(d *document, _ hints) []problem {
	s := at(d.root, "spec", "scheduleStrategy")
	if d.kind != kindSpread || get(s, "adaptive") == nil || isNull(get(s, "adaptive")) {
		return nil
	}
	t := get(s, "type")
	if t != nil && !isNull(t) && t.Value != "" {
		return nil // validation tells
	}
	return []problem{{
		rule: ruleStrategy, at: keyOf(s, "adaptive"), message: "adaptive has settings, but the type is not Adaptive", remedy: "set type: Adaptive", fix: func() *yaml.Node {
			take(s, "type")
			v := text("Adaptive")
			put(s, text("type"), v, "adaptive")
			return v
		},
	}}
}

// unreachable finds subsets behind one that takes everything.
func unreachable(d *document, _ hints) []problem {
	if t := at(d.root, "spec", "scheduleStrategy", "type"); t != nil && t.Value == "Adaptive" {
		return nil
	}
	all := subsetsOf(d)
	for i, s := range all {
		if limit := get(s, "maxReplicas"); limit != nil && !isNull(limit) || i == len(all)-1 {
			continue
		}
		next := all[i+1]
		return []problem{{
			rule: ruleUnreachable, at: next, value: nameOf(next),
			message: fmt.Sprintf("subset %q is never reached: %q before it has no maxReplicas, and takes every pod", nameOf(next), nameOf(s)),
			remedy:  "limit the one before it, or set scheduleStrategy.type to Adaptive",
		}}
	}
	return nil
}
