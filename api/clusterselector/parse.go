package clusterselector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// FormatError is text that cannot be read. Whoever gets it does not know the constraints of the pod, and must not
// act as if there were none.
type FormatError struct {
	// Annotation that holds the text; empty if it came from elsewhere.
	Annotation string
	// Field is the path in the JSON object, as far as known; empty for the object itself.
	Field string
	// Offset is the number of bytes of the text that were read before the fault, from 0.
	Offset int
	// Line and Column are the same position for people, from 1; the column counts bytes.
	Line, Column int
	// Err says what is wrong.
	Err error
}

// Error implements error.
func (e *FormatError) Error() string {
	var out strings.Builder
	if e.Annotation != "" {
		fmt.Fprintf(&out, "annotation %s, ", e.Annotation)
	}
	if e.Field != "" {
		fmt.Fprintf(&out, "field %s, ", e.Field)
	}
	fmt.Fprintf(&out, "line %d, column %d: %v", e.Line, e.Column, e.Err)
	return out.String()
}

// Unwrap implements the interface of package errors.
func (e *FormatError) Unwrap() error { return e.Err }

func formatError(text, name string, offset int, err error) *FormatError {
	offset = min(max(offset, 0), len(text))
	before := text[:offset]
	return &FormatError{
		Field: name, Offset: offset, Err: err,
		Line: 1 + strings.Count(before, "\n"), Column: offset - strings.LastIndex(before, "\n"),
	}
}

// Parse reads a selection and says which fields the text names, those with null included. Keys are compared without
// regard to case, as the providers do; unknown ones go into Extra. A key twice, anything behind the object,
// and values of a wrong type are errors. Every error is a *FormatError.
func Parse(text string) (Selection, []Field, error) {
	var out Selection
	entries, err := entriesOf(text)
	if err != nil {
		return out, nil, err
	}
	var named []Field
	for _, e := range entries {
		fields, err := out.read(e)
		if err != nil {
			return Selection{}, nil, located(text, e, err)
		}
		named = append(named, fields...)
	}
	slices.SortFunc(named, func(a, b Field) int { return slices.Index(AllFields(), a) - slices.Index(AllFields(), b) })
	return out, named, nil
}

// entry is one member of a JSON object; at is the offset of its value in the text.
type entry struct {
	key string
	raw json.RawMessage
	at  int
}

// entriesOf takes a JSON object apart.
func entriesOf(text string) ([]entry, error) {
	var whole json.RawMessage
	if err := json.Unmarshal([]byte(text), &whole); err != nil {
		offset := len(text)
		if syntax := new(json.SyntaxError); errors.As(err, &syntax) {
			offset = int(syntax.Offset) - 1 // it counts the byte at fault
		}
		return nil, formatError(text, "", offset, fmt.Errorf("it is not JSON: %w", err))
	}
	start := strings.IndexFunc(text, func(r rune) bool { return !strings.ContainsRune(" \t\r\n", r) })
	d := json.NewDecoder(strings.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, formatError(text, "", start, errors.New("a JSON object belongs here: write {} for no constraints"))
	}
	var out []entry
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, formatError(text, "", int(d.InputOffset()), err)
		}
		e := entry{key: fmt.Sprint(key)}
		if err := d.Decode(&e.raw); err != nil {
			return nil, formatError(text, e.key, int(d.InputOffset()), err)
		}
		e.at = int(d.InputOffset()) - len(e.raw)
		if slices.ContainsFunc(out, func(o entry) bool { return strings.EqualFold(o.key, e.key) }) {
			return nil, formatError(text, e.key, e.at, errors.New("it is given twice: remove one"))
		}
		out = append(out, e)
	}
	return out, nil
}

// read takes over one member and returns the fields that it names.
func (s *Selection) read(e entry) ([]Field, error) {
	switch {
	case strings.EqualFold(e.key, string(NodeSelector)):
		return []Field{NodeSelector}, json.Unmarshal(e.raw, &s.NodeSelector)
	case strings.EqualFold(e.key, string(Tolerations)):
		return []Field{Tolerations}, json.Unmarshal(e.raw, &s.Tolerations)
	case strings.EqualFold(e.key, string(TopologySpreadConstraints)):
		return []Field{TopologySpreadConstraints}, json.Unmarshal(e.raw, &s.TopologySpreadConstraints)
	case strings.EqualFold(e.key, "affinity"):
		if err := json.Unmarshal(e.raw, &s.Affinity); err != nil {
			return nil, err
		}
		return namedAffinity(e.raw, s.Affinity)
	default:
		var compact bytes.Buffer
		if err := json.Compact(&compact, e.raw); err != nil {
			return nil, err
		}
		if s.Extra == nil {
			s.Extra = make(map[string]json.RawMessage)
		}
		s.Extra[e.key] = compact.Bytes()
		return nil, nil
	}
}

// namedAffinity returns the fields that the JSON of an affinity names: null stands for everything in it.
func namedAffinity(raw json.RawMessage, affinity *corev1.Affinity) ([]Field, error) {
	if affinity == nil {
		return []Field{RequiredNodeAffinity, PreferredNodeAffinity, PodAffinity, PodAntiAffinity}, nil
	}
	var keys struct {
		NodeAffinity    json.RawMessage `json:"nodeAffinity"`
		PodAffinity     json.RawMessage `json:"podAffinity"`
		PodAntiAffinity json.RawMessage `json:"podAntiAffinity"`
	}
	var node struct {
		Required  json.RawMessage `json:"requiredDuringSchedulingIgnoredDuringExecution"`
		Preferred json.RawMessage `json:"preferredDuringSchedulingIgnoredDuringExecution"`
	}
	if err := json.Unmarshal(raw, &keys); err != nil {
		return nil, err
	}
	if keys.NodeAffinity != nil {
		if err := json.Unmarshal(keys.NodeAffinity, &node); err != nil {
			return nil, err
		}
		if affinity.NodeAffinity == nil {
			node.Required, node.Preferred = keys.NodeAffinity, keys.NodeAffinity
		}
	}
	var out []Field
	for _, f := range []struct {
		field Field
		raw   json.RawMessage
	}{{RequiredNodeAffinity, node.Required}, {PreferredNodeAffinity, node.Preferred}, {PodAffinity, keys.PodAffinity}, {PodAntiAffinity, keys.PodAntiAffinity}} {
		if f.raw != nil {
			out = append(out, f.field)
		}
	}
	return out, nil
}

// located turns a decoder's error on one member into one on the whole text.
func located(text string, e entry, err error) error {
	wrong := new(json.UnmarshalTypeError)
	if !errors.As(err, &wrong) {
		return formatError(text, e.key, e.at, err)
	}
	name := e.key
	if wrong.Field != "" {
		name += "." + wrong.Field
	}
	return formatError(text, name, e.at+int(wrong.Offset)-1, fmt.Errorf("it holds %s where %s belongs", valueOf(wrong), kindOf(wrong)))
}

// valueOf says in the words of JSON what is there.
func valueOf(wrong *json.UnmarshalTypeError) string {
	switch wrong.Value {
	case "array":
		return "a list"
	case "object":
		return "an object"
	case "bool":
		return "true or false"
	default:
		return "a " + wrong.Value
	}
}

// kindOf says in the words of JSON what belongs somewhere.
func kindOf(wrong *json.UnmarshalTypeError) string {
	switch wrong.Type.Kind().String() {
	case "string":
		return "a string"
	case "slice":
		return "a list"
	case "map", "struct", "ptr":
		return "an object"
	case "bool":
		return "true or false"
	default:
		return "a whole number"
	}
}
