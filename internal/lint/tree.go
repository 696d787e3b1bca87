package lint

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Nodes of a mapping are keys and values in turn.

// get returns the value of a key, nil if there is none.
func get(mapping *yaml.Node, key string) *yaml.Node {
	if i := indexOf(mapping, key); i >= 0 {
		return mapping.Content[i+1]
	}
	return nil
}

// at follows keys.
func at(node *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		if node = get(node, key); node == nil {
			return nil
		}
	}
	return node
}

func indexOf(mapping *yaml.Node, key string) int {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return -1
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// keyOf returns the node of a key.
func keyOf(mapping *yaml.Node, key string) *yaml.Node {
	if i := indexOf(mapping, key); i >= 0 {
		return mapping.Content[i]
	}
	return nil
}

// take removes a key and returns it with its value.
func take(mapping *yaml.Node, key string) (k, v *yaml.Node) {
	i := indexOf(mapping, key)
	if i < 0 {
		return nil, nil
	}
	k, v = mapping.Content[i], mapping.Content[i+1]
	mapping.Content = slices.Delete(slices.Clone(mapping.Content), i, i+2)
	return k, v
}

// put adds a key at the end, or before another one if that is there.
func put(mapping, key, value *yaml.Node, before ...string) {
	i := len(mapping.Content)
	for _, b := range before {
		if at := indexOf(mapping, b); at >= 0 {
			i = at
			break
		}
	}
	mapping.Content = slices.Insert(slices.Clone(mapping.Content), i, key, value)
	if mapping.Style&yaml.FlowStyle != 0 && (value.Style&yaml.FlowStyle == 0 || len(mapping.Content) > 8) && value.Kind != yaml.ScalarNode {
		mapping.Style &^= yaml.FlowStyle
	}
}

// child returns the mapping under a key, made if there is none; nil if something else is there.
func child(mapping *yaml.Node, key string, before ...string) *yaml.Node {
	have := get(mapping, key)
	if isNull(have) {
		take(mapping, key)
		have = nil
	}
	if have == nil {
		have = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		put(mapping, text(key), have, before...)
	}
	if have.Kind != yaml.MappingNode {
		return nil
	}
	return have
}

// text is a string; the encoder quotes it where it has to.
func text(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

// mapping is a mapping of keys and values in turn.
func mapping(content ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: content}
}

// quoted is a string in quotes.
func quoted(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: yaml.DoubleQuotedStyle}
}

func isNull(n *yaml.Node) bool {
	return n != nil && n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// isEmpty reports whether a node holds nothing.
func isEmpty(n *yaml.Node) bool {
	return isNull(n) || n != nil && n.Kind != yaml.ScalarNode && len(n.Content) == 0
}

// same reports whether two nodes hold the same, comments and style aside.
func same(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && (a.Kind != yaml.ScalarNode || a.Value == b.Value && a.ShortTag() == b.ShortTag()) &&
		slices.EqualFunc(a.Content, b.Content, same)
}

// write encodes a node. Lists stand below their key, where compact is set on its level.
func write(node *yaml.Node, compact bool) (string, error) {
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if compact {
		e.CompactSeqIndent()
	}
	if err := e.Encode(node); err != nil {
		return "", fmt.Errorf("write YAML: %w", err)
	}
	if err := e.Close(); err != nil {
		return "", fmt.Errorf("write YAML: %w", err)
	}
	return out.String(), nil
}

// isCompact reports whether a list in block style stands on the level of its key, which is how most people write it.
func isCompact(node *yaml.Node) bool {
	compact := true
	each(node, func(n *yaml.Node) {
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if k, v := n.Content[i], n.Content[i+1]; v.Kind == yaml.SequenceNode && v.Style&yaml.FlowStyle == 0 && len(v.Content) > 0 && v.Line > k.Line && v.Column > k.Column {
				compact = false
			}
		}
	})
	return compact
}

// each visits a node and all below it.
func each(n *yaml.Node, visit func(*yaml.Node)) {
	visit(n)
	for _, c := range n.Content {
		each(c, visit)
	}
}

// mapped are fields whose keys are the user's.
var mapped = []string{"annotations", "labels", "matchLabels", "nodeSelector"}

// join extends a path.
func join(path, parent, key string) string {
	switch {
	case slices.Contains(mapped, parent) || strings.ContainsAny(key, "./"):
		return path + "[" + key + "]"
	case path == "":
		return key
	default:
		return path + "." + key
	}
}

// paths returns the path of every node.
func paths(node *yaml.Node) map[*yaml.Node]string {
	out := make(map[*yaml.Node]string)
	var visit func(n *yaml.Node, path, parent string)
	visit = func(n *yaml.Node, path, parent string) {
		out[n] = path
		for i, c := range n.Content {
			switch {
			case n.Kind == yaml.SequenceNode:
				visit(c, fmt.Sprintf("%s[%d]", path, i), "")
			case n.Kind != yaml.MappingNode:
				visit(c, path, parent)
			case i%2 == 1:
				key := n.Content[i-1]
				visit(c, join(path, parent, key.Value), key.Value)
				out[key] = out[c]
			}
		}
	}
	visit(node, "", "")
	return out
}

// expand replaces aliases by copies of what they stand for. It reports false if there are too many.
func expand(node *yaml.Node) bool {
	budget := 100_000
	var visit func(n *yaml.Node, depth int) *yaml.Node
	visit = func(n *yaml.Node, depth int) *yaml.Node {
		if budget--; budget < 0 || depth > 200 || n == nil {
			budget = -1
			return n
		}
		if n.Kind == yaml.AliasNode {
			c := visit(n.Alias, depth+1)
			if budget < 0 {
				return n
			}
			c = clone(c)
			c.Anchor, c.Line, c.Column = "", n.Line, n.Column
			return c
		}
		content := make([]*yaml.Node, len(n.Content))
		for i := range n.Content {
			content[i] = visit(n.Content[i], depth+1)
		}
		out := *n
		out.Content = content
		return &out
	}
	found := false
	var look func(n *yaml.Node, depth int)
	look = func(n *yaml.Node, depth int) {
		if found = found || n.Kind == yaml.AliasNode || depth > 200; found {
			return
		}
		for _, c := range n.Content {
			look(c, depth+1)
		}
	}
	if look(node, 0); !found {
		return true
	}
	expanded := visit(node, 0)
	if budget < 0 {
		return false
	}
	*node = *expanded
	return true
}

func clone(n *yaml.Node) *yaml.Node {
	out := *n
	out.Content = make([]*yaml.Node, len(n.Content))
	for i := range n.Content {
		out.Content[i] = clone(n.Content[i])
	}
	return &out
}
