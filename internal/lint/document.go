package lint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"go.yaml.in/yaml/v3"

	"github.com/spillway-project/spillway/internal/sidecar"
)

const (
	kindSpread  = "WorkloadSpread"
	kindSidecar = sidecar.Kind
	group       = "apps.kruise.io"
)

// document is one object.
type document struct {
	chunk chunk
	// root is the object; nil if the text cannot be read.
	root *yaml.Node
	// kind is the kind of the object if the rules know it.
	kind string
	// compact is how lists are written.
	compact bool
	// was has the paths of the nodes in the text, now those at the beginning of the round.
	was, now map[*yaml.Node]string
	problems []problem
	tried    map[attempt]bool
	// spread or sidecars is the object, corrected, if it can be read.
	spread   *appsv1alpha1.WorkloadSpread
	sidecars *sidecar.SidecarSet
	// changed: there are corrections. written is the text with them.
	changed bool
	written []byte
	passes  int
}

// attempt is a correction by a rule of a node.
type attempt struct {
	rule string
	at   *yaml.Node
}

// problem is what a rule found.
type problem struct {
	rule string
	// at is the node that is wrong, or the nearest to what is missing.
	at *yaml.Node
	// field is the path; that of at if empty.
	field    string
	value    string
	message  string
	remedy   string
	severity Severity // that of the rule if empty
	// fix corrects it and returns what of the document to show; nil where people have to decide.
	fix func() *yaml.Node
	// shown is what fix returned.
	shown *yaml.Node
	fixed bool
}

// parse reads a document. Text that is no YAML becomes a finding.
func parse(c chunk) *document {
	d := &document{chunk: c}
	decoder := yaml.NewDecoder(bytes.NewReader(c.text))
	var doc yaml.Node
	err := decode(decoder, &doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		return d
	}
	if err == nil {
		var more yaml.Node
		if next := decode(decoder, &more); !errors.Is(next, io.EOF) {
			err = errors.New("more than one document follows the line ---: begin each with a line of its own")
		}
	}
	if err == nil && !expand(&doc) {
		err = errors.New("its aliases stand for too much")
	}
	if err != nil {
		p := problem{rule: ruleSyntax, at: &yaml.Node{Line: lineOf(err), Column: 1}, message: "it cannot be read: " + strings.TrimPrefix(err.Error(), "yaml: ")}
		if !bytes.Contains(c.text, []byte(group)) {
			p.severity = Note // a template, for example, of something else
		}
		d.problems = []problem{p}
		return d
	}
	d.root = doc.Content[0]
	d.root.HeadComment = joinComments(doc.HeadComment, d.root.HeadComment)
	d.root.FootComment = joinComments(d.root.FootComment, doc.FootComment)
	d.compact, d.was = isCompact(d.root), paths(d.root)
	kind, version := get(d.root, "kind"), get(d.root, "apiVersion")
	if kind == nil || version == nil || !strings.HasPrefix(version.Value, group+"/") {
		return d
	}
	for _, known := range []string{kindSpread, kindSidecar} {
		if strings.EqualFold(kind.Value, known) {
			d.kind = known
		}
	}
	return d
}

// decode turns a panic of the YAML library, which some texts cause, into an error.
func decode(decoder *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the YAML library gives up: %v", r)
		}
	}()
	return decoder.Decode(into)
}

func joinComments(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "\n\n" + b
}

var lineNumber = regexp.MustCompile(`line (\d+)`)

func lineOf(err error) int {
	if m := lineNumber.FindStringSubmatch(err.Error()); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return max(n, 1)
		}
	}
	return 1
}

// names are kind, namespace and name, as far as given.
func (d *document) names() string {
	out, separator := d.kind, " "
	for _, key := range []string{"namespace", "name"} {
		if n := at(d.root, "metadata", key); d.kind != "" && n != nil && n.Kind == yaml.ScalarNode {
			out += separator + n.Value
			separator = "/"
		}
	}
	return out
}

// typ is the Go type of the object.
func (d *document) typ() reflect.Type {
	if d.kind == kindSpread {
		return reflect.TypeFor[appsv1alpha1.WorkloadSpread]()
	}
	return reflect.TypeFor[sidecar.SidecarSet]()
}

// rounds bounds how often the rules are applied anew; each round corrects something.
const rounds = 200

// lint applies the rules until none has anything to correct. What is left is noted.
func (d *document) lint(h hints) {
	if d.root == nil || d.kind == "" {
		return
	}
	for range rounds {
		if !d.correct(h) {
			break
		}
		d.changed = true
	}
	d.note(h)
	d.validate()
}

// note notes what the rules find, without correcting anything.
func (d *document) note(h hints) {
	if d.root == nil || d.kind == "" {
		return
	}
	d.now = paths(d.root)
	for _, r := range checks {
		for _, p := range r(d, h) {
			p.fix = nil
			d.problems = append(d.problems, p)
		}
	}
}

// correct applies the first rule that has something to correct.
func (d *document) correct(h hints) bool {
	d.now = paths(d.root)
	if d.tried == nil {
		d.tried = make(map[attempt]bool)
	}
	for _, r := range checks {
		found := false
		for _, p := range r(d, h) {
			key := attempt{p.rule, p.at}
			if p.fix == nil || d.tried[key] {
				continue // what did not help will not help
			}
			d.tried[key] = true
			if p.field == "" {
				p.field = d.pathOf(p.at)
			}
			p.shown, p.fixed, found = p.fix(), true, true
			d.problems = append(d.problems, p)
		}
		if found {
			return true
		}
	}
	return false
}

// pathOf is the path in the text, or for what is new there, as it is now.
func (d *document) pathOf(n *yaml.Node) string {
	if p, ok := d.was[n]; ok {
		return p
	}
	return d.now[n]
}

// findings translates the problems.
func (d *document) findings() []Finding {
	var out []Finding
	now := map[*yaml.Node]string{}
	if d.root != nil {
		now = paths(d.root)
	}
	for _, p := range d.problems {
		f := Finding{Rule: p.rule, Severity: p.severity, Object: d.names(), Field: p.field, Value: p.value, Message: p.message, Remedy: p.remedy}
		if f.Severity == "" {
			f.Severity = severityOf(p.rule)
		}
		if p.at != nil && f.Field == "" {
			f.Field = d.pathOf(p.at)
		}
		switch {
		case p.at != nil && p.at.Line > 0:
			f.Line, f.Column = p.at.Line+d.chunk.line, p.at.Column
		case d.root != nil: // what is wrong came with a correction
			f.Line, f.Column = d.root.Line+d.chunk.line, d.root.Column
		}
		if p.fixed {
			f.Fix = &Fix{}
			if field, there := now[p.shown]; there {
				f.Fix.Field, f.Fix.YAML = field, d.show(p.shown)
			}
		}
		out = append(out, f)
	}
	return out
}

// show writes the key of a node with its value; an element of a list as one.
func (d *document) show(n *yaml.Node) string {
	out := n
	each(d.root, func(in *yaml.Node) {
		for i, c := range in.Content {
			switch {
			case c != n:
			case in.Kind == yaml.MappingNode && i%2 == 1:
				out = &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{in.Content[i-1], n}}
			case in.Kind == yaml.SequenceNode:
				out = &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{n}}
			}
		}
	})
	text, err := write(out, d.compact)
	if err != nil {
		return ""
	}
	return text
}

// settle writes the corrected document, and reads and corrects what it has written until nothing changes: writing may
// bring to light what the text hid. If that leads nowhere there is no correction.
func (d *document) settle(h hints) {
	const most = 5
	for at := d; d.changed; {
		text, err := write(at.root, d.compact)
		if err != nil {
			break
		}
		if begins(d.chunk.text) {
			text = "---\n" + text
		}
		d.written = []byte(text)
		if d.passes++; d.passes > most {
			break
		}
		at = parse(chunk{text: d.written})
		if at.root == nil {
			break
		}
		if at.lint(h); !at.changed {
			return
		}
	}
	d.written, d.changed = d.chunk.text, false
	for i := range d.problems {
		d.problems[i].fixed = false
	}
}

// valueOf is a node in a line.
func valueOf(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	const most = 60
	s := n.Value
	if n.Kind != yaml.ScalarNode {
		c := clone(n)
		each(c, func(n *yaml.Node) {
			n.HeadComment, n.LineComment, n.FootComment = "", "", ""
			if n.Kind != yaml.ScalarNode {
				n.Style = yaml.FlowStyle
			}
		})
		text, err := write(c, true)
		if err != nil {
			return ""
		}
		s = text
	}
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
