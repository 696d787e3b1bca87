// Package lint finds mistakes in the YAML of WorkloadSpreads and SidecarSets, explains them, and corrects what has one
// correction. It goes by the text, not by the decoded object: it sees fields that an API server would drop without
// a word, knows line and column, and its corrections keep comments and the order of keys.
//
// It is pure: text in, findings and corrected text out. The rules are a table (Rules). Those about the shape of the
// document (shape.go, values.go, spread.go) are applied one after the other until none has anything to correct;
// what then is left is read as an object and validated as the webhook would. Correcting twice is correcting once.
package lint

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says how bad a finding is.
type Severity string

const (
	// Error: the API server refuses the object, or part of it has no effect.
	Error Severity = "error"
	// Warning: it works, but hardly as its author means.
	Warning Severity = "warning"
	// Note: something to know. Documents with nothing else are clean.
	Note Severity = "note"
)

// Finding is one mistake.
type Finding struct {
	// Rule is the ID of the rule that found it.
	Rule string `json:"rule"`
	// Severity of the rule, or of what validation says.
	Severity Severity `json:"severity"`
	// Object is kind, namespace and name, as far as given.
	Object string `json:"object,omitempty"`
	// Field is the path as the document has it.
	Field string `json:"field,omitempty"`
	// Line and Column in the text, from 1; 0 if there is no place for it.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Value that stands there, shortened.
	Value string `json:"value,omitempty"`
	// Message says what is wrong, and why it matters.
	Message string `json:"message"`
	// Remedy says what to do.
	Remedy string `json:"remedy,omitempty"`
	// Fix is the correction; nil where people have to decide.
	Fix *Fix `json:"fix,omitempty"`
}

// Fix is what Result.Fixed has for a finding.
type Fix struct {
	// Field is the path of what is changed, after all corrections; empty for something that is removed.
	Field string `json:"field,omitempty"`
	// YAML is the corrected part.
	YAML string `json:"yaml,omitempty"`
}

// Result is what was found in a text.
type Result struct {
	// Findings in the order of the text.
	Findings []Finding
	// Fixed is the text with all corrections; the text itself if there are none. Documents without a correction stay as
	// they are, to the byte.
	Fixed []byte
	// Changed reports whether there are corrections.
	Changed bool
	// Objects is the number of objects that the rules know.
	Objects int
}

// Clean reports whether there is nothing but what is to be known.
func (r Result) Clean() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity != Note })
}

// YAML looks at a text of one or more documents, YAML or JSON. Documents of other kinds are passed over.
func YAML(text []byte) Result { return Texts(text)[0] }

// Texts looks at several texts, such as files, that belong together. The results are in their order.
func Texts(texts ...[]byte) []Result {
	var all []*document
	of := make([][]*document, len(texts))
	for i, text := range texts {
		for _, c := range split(text) {
			of[i] = append(of[i], parse(c))
		}
		all = append(all, of[i]...)
	}
	hints := hintsOf(all)
	for _, d := range all {
		d.lint(hints)
		d.settle(hints)
	}
	together(all)
	out := make([]Result, len(texts))
	for i, text := range texts {
		out[i] = resultOf(text, of[i])
	}
	return out
}

func resultOf(text []byte, docs []*document) Result {
	out := Result{Fixed: text}
	var fixed bytes.Buffer
	for _, d := range docs {
		if d.kind != "" {
			out.Objects++
		}
		fixed.Write(d.written)
		out.Changed = out.Changed || d.changed
		out.Findings = append(out.Findings, d.findings()...)
	}
	slices.SortStableFunc(out.Findings, func(a, b Finding) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
	if out.Changed {
		out.Fixed = fixed.Bytes()
	}
	return out
}

// maxWarnings bounds what a webhook says of one object: an API server cuts them off at 4096 bytes.
const maxWarnings = 12

// Warnings looks at one object as an API server received it, in JSON, and returns what is worth telling its author: the
// mistakes that leave it valid. What validation says is left out, and what the webhooks add to pods themselves.
func Warnings(raw []byte) []string {
	d := parse(chunk{text: raw})
	d.note(hints{})
	var out []string
	for _, f := range d.findings() {
		if f.Severity == Note || slices.Contains([]string{ruleInvalid, ruleSyntax, ruleMissingTarget, ruleBesidePin, ruleProvider}, f.Rule) {
			continue
		}
		text := fmt.Sprintf("%s: %s", f.Field, f.Message)
		if f.Remedy != "" {
			text += ": " + f.Remedy
		}
		out = append(out, fmt.Sprintf("%s (%s)", text, f.Rule))
	}
	if more := len(out) - maxWarnings; more > 0 {
		out = append(out[:maxWarnings], fmt.Sprintf("and %d more: kubectl spillway lint has them all", more))
	}
	return out
}

// chunk is the text of one document.
type chunk struct {
	text []byte
	// line is how many lines stand before it.
	line int
}

// split cuts a text at the lines that begin a document. Such a line belongs to what follows.
func split(text []byte) []chunk {
	var out []chunk
	start, line := 0, 0
	startLine := 0
	for at := 0; at < len(text); line++ {
		end := len(text)
		if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if at > start && begins(text[at:end]) {
			out = append(out, chunk{text[start:at], startLine})
			start, startLine = at, line
		}
		at = end
	}
	return append(out, chunk{text[start:], startLine})
}

// begins reports whether a line begins a document.
func begins(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0])))
}
