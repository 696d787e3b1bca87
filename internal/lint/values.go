package lint

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// types finds values of the wrong type. One correction may make another possible: a list that was made of a value
// is looked at in the next round.
func types(d *document, _ hints) []problem {
	var out []problem
	d.walk(func(p *place) {
		if p.of == nil || p.in == nil || isNull(p.node) && p.in.of.Kind() != reflect.Map && p.in.of.Kind() != reflect.Slice {
			return // null is the same as none
		}
		if found := mistyped(p); found != nil {
			out = append(out, *found)
		}
	})
	return out
}

// yes are the words that YAML 1.1, by which Kubernetes reads, takes for true or false beside those two.
var yes = regexp.MustCompile(`^(y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF)$`)

// tagOf is what a value is for Kubernetes.
func tagOf(n *yaml.Node) string {
	if tag := n.ShortTag(); tag != "!!str" {
		return tag
	}
	if n.Style == 0 && yes.MatchString(n.Value) {
		return "!!bool"
	}
	return "!!str"
}

var spoken = map[string]string{"!!bool": "true or false", "!!int": "a number", "!!float": "a number", "!!null": "nothing", "!!str": "text", "!!map": "a mapping", "!!seq": "a list"}

func say(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return spoken["!!map"]
	case yaml.SequenceNode:
		return spoken["!!seq"]
	default:
		if s, ok := spoken[tagOf(n)]; ok {
			return s
		}
		return "something else"
	}
}

// wrong makes the problem of a value of the wrong type; fix may be nil.
func wrong(p *place, want, remedy string, fix func() *yaml.Node) *problem {
	what := p.name()
	if what == "" {
		what = "an element of " + p.in.name()
	}
	return &problem{rule: ruleType, at: p.node, value: valueOf(p.node), message: fmt.Sprintf("%s holds %s where %s belongs", what, say(p.node), want), remedy: remedy, fix: fix}
}

// mistyped explains a value of the wrong type; nil if it is right.
func mistyped(p *place) *problem {
	switch p.of.Kind() {
	case reflect.String:
		return mistypedText(p)
	case reflect.Bool:
		return mistypedScalar(p, "!!bool", "true or false", p.node.Value == "true" || p.node.Value == "false")
	case reflect.Int, reflect.Int32, reflect.Int64:
		_, err := strconv.Atoi(p.node.Value)
		return mistypedScalar(p, "!!int", "a whole number", err == nil)
	case reflect.Slice:
		return mistypedList(p)
	case reflect.Struct, reflect.Map:
		return mistypedMapping(p)
	default:
		return quotedNumber(p)
	}
}

// mistypedScalar is about true, false and numbers; fits says that the text would be one without its quotes.
func mistypedScalar(p *place, tag, want string, fits bool) *problem {
	n := p.node
	switch {
	case n.Kind == yaml.ScalarNode && tagOf(n) == tag:
		return nil
	case n.Kind == yaml.ScalarNode && tagOf(n) == "!!str" && fits:
		return wrong(p, want, "remove the quotes", func() *yaml.Node { return retag(n, tag) })
	default:
		return wrong(p, want, "write "+want, nil)
	}
}

func mistypedList(p *place) *problem {
	n := p.node
	switch {
	case n.Kind == yaml.SequenceNode:
		return nil
	case isEmpty(n) || p.of.Elem().Kind() == reflect.Struct && n.Kind != yaml.MappingNode:
		return wrong(p, "a list", "write a list, each element after a dash", nil)
	default:
		return wrong(p, "a list", "write it as an element, after a dash", func() *yaml.Node {
			element := *n
			*n = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: n.Line, Column: n.Column, Content: []*yaml.Node{&element}}
			return n
		})
	}
}

func mistypedMapping(p *place) *problem {
	n := p.node
	switch {
	case n.Kind == yaml.MappingNode:
		return nil
	case n.Kind == yaml.SequenceNode && len(n.Content) == 1 && n.Content[0].Kind == yaml.MappingNode:
		return wrong(p, "a mapping", "remove the dash", func() *yaml.Node {
			*n = *n.Content[0]
			return n
		})
	}
	if inner := embedded(n); p.of == podType && inner != nil {
		return wrong(p, "a mapping", "write it as YAML, not as text", func() *yaml.Node {
			inner.HeadComment, inner.LineComment = n.HeadComment, ""
			*n = *inner
			return n
		})
	}
	return wrong(p, "a mapping", "write keys and values", nil)
}

// embedded is the mapping that is written as the text of a node; nil if it is none. Its lines are those of the text.
func embedded(n *yaml.Node) *yaml.Node {
	var doc yaml.Node
	if n.Kind != yaml.ScalarNode || tagOf(n) != "!!str" || decode(yaml.NewDecoder(strings.NewReader(n.Value)), &doc) != nil || len(doc.Content) != 1 || !expand(&doc) || doc.Content[0].Kind != yaml.MappingNode {
		return nil
	}
	each(doc.Content[0], func(inner *yaml.Node) { inner.Line, inner.Column = n.Line, n.Column })
	return doc.Content[0]
}

// mistypedText is about values that have to be text.
func mistypedText(p *place) *problem {
	n := p.node
	switch {
	case n.Kind == yaml.ScalarNode && slices.Contains([]string{"!!bool", "!!int", "!!float"}, tagOf(n)):
		return wrong(p, "text", fmt.Sprintf("put it in quotes: %q", n.Value), func() *yaml.Node {
			n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle
			return n
		})
	case isNull(n) && p.in.inside(podType) && p.in.of.Kind() == reflect.Map:
		return nil // in a patch it removes the key
	case isNull(n):
		return wrong(p, "text", `give a value, or "" for an empty one`, nil)
	case n.Kind == yaml.ScalarNode:
		return nil
	case p.in.of.Kind() == reflect.Map && p.in.name() == "annotations":
		text, err := jsonOf(n)
		if err != nil {
			return wrong(p, "text", "write its JSON as text, in quotes", nil)
		}
		return wrong(p, "text", "write its JSON as text, in quotes", func() *yaml.Node {
			*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Style: yaml.SingleQuotedStyle, Line: n.Line, Column: n.Column}
			return n
		})
	default:
		return wrong(p, "text", "write a single value", nil)
	}
}

// quotedNumber is about values of which a number means another thing than its text.
func quotedNumber(p *place) *problem {
	n := p.node
	if name := p.name(); name != "maxReplicas" && name != "maxUnavailable" && name != "partition" || p.inside(podType) || n.Kind != yaml.ScalarNode || tagOf(n) != "!!str" {
		return nil
	}
	if _, err := strconv.Atoi(n.Value); err != nil {
		return nil
	}
	return &problem{
		rule: ruleType, at: n, value: n.Value, message: fmt.Sprintf("%s is a number in quotes: neither a number of pods nor a percentage", p.name()),
		remedy: fmt.Sprintf("write %s for a number of pods, or %s%% for a percentage", n.Value, n.Value), fix: func() *yaml.Node { return retag(n, "!!int") },
	}
}

func retag(n *yaml.Node, tag string) *yaml.Node {
	n.Tag, n.Style = tag, 0
	return n
}

// jsonOf is a node as compact JSON.
func jsonOf(n *yaml.Node) (string, error) {
	var v any
	if err := n.Decode(&v); err != nil {
		return "", fmt.Errorf("read YAML: %w", err)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("write JSON: %w", err)
	}
	return string(raw), nil
}
