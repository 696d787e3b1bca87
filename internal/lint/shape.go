package lint

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// duplicates finds keys that are given twice.
func duplicates(d *document, _ hints) []problem {
	var out []problem
	each(d.root, func(n *yaml.Node) {
		if n.Kind != yaml.MappingNode {
			return
		}
		last := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if earlier, ok := last[key]; ok {
				k := n.Content[earlier]
				out = append(out, problem{
					rule: ruleDuplicate, at: k, value: key, message: fmt.Sprintf("the key %s is given again in line %d, which wins", key, n.Content[i].Line+d.chunk.line),
					remedy: "remove one", fix: func() *yaml.Node {
						if at := slices.Index(n.Content, k); at >= 0 {
							n.Content = slices.Delete(slices.Clone(n.Content), at, at+2)
						}
						return nil
					},
				})
			}
			last[key] = i
		}
	})
	return out
}

// versions finds other versions of the group, and kinds in another case.
func versions(d *document, _ hints) []problem {
	var out []problem
	set := func(n *yaml.Node, value string) func() *yaml.Node {
		return func() *yaml.Node {
			n.Value = value
			return n
		}
	}
	if v := get(d.root, "apiVersion"); v.Value != group+"/v1alpha1" {
		out = append(out, problem{rule: ruleVersion, at: v, value: v.Value, message: "Spillway serves " + group + "/v1alpha1", remedy: "use that", fix: set(v, group+"/v1alpha1")})
	}
	if k := get(d.root, "kind"); k.Value != d.kind {
		out = append(out, problem{rule: ruleMisspelled, at: k, value: k.Value, message: "there is no such kind", remedy: "write " + d.kind, fix: set(k, d.kind)})
	}
	return out
}

// nestedSubsets finds elements of lists inside a subset that are subsets themselves: their indentation slipped. One
// at a time: the next may be inside the one that was moved.
func nestedSubsets(d *document, _ hints) []problem {
	subsets := at(d.root, "spec", "subsets")
	if d.kind != kindSpread || subsets == nil || subsets.Kind != yaml.SequenceNode {
		return nil
	}
	for i, s := range subsets.Content {
		var found []problem
		each(s, func(in *yaml.Node) {
			if in.Kind != yaml.SequenceNode || len(found) > 0 {
				return
			}
			for _, n := range in.Content {
				if !isSubset(n) {
					continue
				}
				found = []problem{{
					rule: ruleNestedSubset, at: n, value: get(n, "name").Value,
					message: fmt.Sprintf("subset %q stands inside subset %q, in a list of something else, which ignores it", get(n, "name").Value, nameOf(s)),
					remedy:  "indent it as far as the subset before it", fix: func() *yaml.Node {
						in.Content = slices.DeleteFunc(slices.Clone(in.Content), func(e *yaml.Node) bool { return e == n })
						subsets.Content = slices.Insert(slices.Clone(subsets.Content), i+1, n)
						return n
					},
				}}
				return
			}
		})
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// isSubset reports whether a node has a name and a field that only subsets have.
func isSubset(n *yaml.Node) bool {
	name := get(n, "name")
	return name != nil && name.Kind == yaml.ScalarNode && slices.ContainsFunc([]string{"patch", "maxReplicas", "requiredNodeSelectorTerm", "preferredNodeSelectorTerms"},
		func(key string) bool { return get(n, key) != nil })
}

func nameOf(n *yaml.Node) string {
	if name := get(n, "name"); name != nil {
		return name.Value
	}
	return ""
}
