package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/internal/lint"
)

// report is what lint says.
type report struct {
	// Findings in the order of the files.
	Findings []finding `json:"findings"`
	// Files and Objects that were looked at.
	Files   int `json:"files"`
	Objects int `json:"objects"`
	// Left is the number of errors and warnings that are there after the command.
	Left int `json:"left"`
	// Fixed is whether the corrections were written.
	Fixed bool `json:"fixed"`
}

type finding struct {
	File         string `json:"file"`
	lint.Finding `json:",inline"`
}

func reportOf(sources []source, results []lint.Result, fixed bool) report {
	r := report{Findings: []finding{}, Files: len(sources), Fixed: fixed}
	for i, result := range results {
		r.Objects += result.Objects
		name := sources[i].name
		if name == "-" {
			name = "stdin"
		}
		for _, f := range result.Findings {
			r.Findings = append(r.Findings, finding{name, f})
			if f.Severity != lint.Note && !(fixed && f.Fix != nil) {
				r.Left++
			}
		}
	}
	return r
}

// table writes for people: a line for each finding, in columns, and below it where, what to do, and the corrected part.
func table(w io.Writer, r report) error {
	var heads strings.Builder
	columns := tabwriter.NewWriter(&heads, 0, 0, 2, ' ', 0)
	for _, f := range r.Findings {
		fmt.Fprintf(columns, "%s:%d:%d\t%s\t%s\t%s\n", f.File, f.Line, f.Column, f.Severity, f.Rule, f.Message)
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	var out strings.Builder
	for i, head := range strings.Split(strings.TrimSuffix(heads.String(), "\n"), "\n") {
		if i >= len(r.Findings) {
			break
		}
		out.WriteString(head + "\n" + details(r.Findings[i], r.Fixed))
	}
	out.WriteString(summary(r) + "\n")
	_, err := io.WriteString(w, out.String())
	return err
}

func details(f finding, fixed bool) string {
	var out strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&out, "    "+format+"\n", args...) }
	if where := strings.TrimPrefix(strings.Join([]string{f.Object, f.Field}, ", "), ", "); where != ", " && where != "" {
		line("in %s", strings.TrimSuffix(where, ", "))
	}
	if f.Remedy != "" {
		line("→ %s", f.Remedy)
	}
	switch {
	case f.Fix == nil:
	case f.Fix.YAML == "" && fixed:
		line("removed")
	case f.Fix.YAML == "":
		line("--fix removes it")
	default:
		line("corrected, at %s:", f.Fix.Field)
		for l := range strings.SplitSeq(strings.TrimSuffix(f.Fix.YAML, "\n"), "\n") {
			line("    %s", short(l))
		}
	}
	return out.String() + "\n"
}

// short cuts lines that would hide the others, such as constraints in an annotation. The corrected file has them whole.
func short(line string) string {
	const most = 110
	runes := []rune(line)
	if len(runes) <= most {
		return line
	}
	return string(runes[:most]) + "…"
}

func summary(r report) string {
	counts, fixable := map[lint.Severity]int{}, 0
	for _, f := range r.Findings {
		counts[f.Severity]++
		if f.Fix != nil {
			fixable++
		}
	}
	of := fmt.Sprintf("%s in %s", number(r.Objects, "object"), number(r.Files, "file"))
	if r.Objects == 0 {
		of = "no WorkloadSpread or SidecarSet in " + number(r.Files, "file")
	}
	if len(r.Findings) == 0 {
		return "Nothing to say: " + of + "."
	}
	out := fmt.Sprintf("%s, %s, %s: %s.", number(counts[lint.Error], "error"), number(counts[lint.Warning], "warning"), number(counts[lint.Note], "note"), of)
	switch {
	case fixable > 0 && r.Fixed:
		out += fmt.Sprintf(" %d corrected, %d left to mend.", fixable, r.Left)
	case fixable > 0:
		out += fmt.Sprintf(" --fix corrects %d.", fixable)
	}
	return out
}

func number(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

func asJSON(w io.Writer, r report) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func asYAML(w io.Writer, r report) error {
	text, err := yaml.Marshal(r)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// rules lists the table of rules.
func rules(w io.Writer, output string) error {
	type rule struct {
		ID       string        `json:"id"`
		Severity lint.Severity `json:"severity"`
		What     string        `json:"what"`
		Why      string        `json:"why"`
		Example  string        `json:"example"`
		Corrects bool          `json:"corrects"`
	}
	var all []rule
	for _, r := range lint.Rules() {
		all = append(all, rule(r))
	}
	switch output {
	case "json":
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(all)
	case "yaml":
		text, err := yaml.Marshal(all)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns, "RULE\tSEVERITY\tCORRECTED\tWHAT")
	for _, r := range all {
		corrected := "no"
		if r.Corrects {
			corrected = "yes"
		}
		fmt.Fprintf(columns, "%s\t%s\t%s\t%s\n", r.ID, r.Severity, corrected, r.What)
	}
	return columns.Flush()
}
