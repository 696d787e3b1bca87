package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// A printer writes for people: colours only on a terminal whose user did not refuse them.
type printer struct {
	out    io.Writer
	colour bool
	steps  int
}

func newPrinter(file *os.File) *printer {
	info, err := file.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &printer{out: file, colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// Colours, by what they stand for.
const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
)

// subsetColours are for the first subset, the second and so on.
var subsetColours = []string{green, "34", "35", "36"}

func (p *printer) paint(colour, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (p *printer) line(format string, args ...any) { _, _ = fmt.Fprintf(p.out, format+"\n", args...) }

func (p *printer) title(text string) { p.line("%s", p.paint(bold, text)) }

func (p *printer) step(text string) {
	p.steps++
	p.line("\n%s", p.paint(bold, fmt.Sprintf("%d. %s", p.steps, text)))
}

// progress has the signature of the lab's reports.
func (p *printer) progress(format string, args ...any) {
	p.line("   %s", p.paint(faint, fmt.Sprintf(format, args...)))
}

// indented returns a writer that reports each line it gets as progress.
func (p *printer) indented() io.Writer { return &lines{report: p.progress} }

// lines calls report with every whole line that is written.
type lines struct {
	report func(string, ...any)
	rest   []byte
}

func (l *lines) Write(text []byte) (int, error) {
	l.rest = append(l.rest, text...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(text), nil
		}
		l.rest = rest
		if len(line) > 0 {
			l.report("%s", line)
		}
	}
}

func (p *printer) success(text string) { p.line("\n%s", p.paint(green, text)) }

func (p *printer) failure(err error) { p.line("\n%s", p.paint(red, "FAILED: "+err.Error())) }

func (p *printer) hint(text string) { p.line("\n%s", text) }

func (p *printer) commands(commands ...string) {
	for _, command := range commands {
		p.line("  %s", command)
	}
}

// barWidth is enough for the pods of one subset in this scenario, so that bars of
// different tables can be compared.
const barWidth = 12

// table prints a line for each subset, with a bar that has one block for each pod and a
// light one for each that is missing.
func (p *printer) table(o *observation) {
	const layout = "   %-8s  %-9s  %4s  %7s   %s  %s"
	p.line("")
	p.line("%s", p.paint(faint, fmt.Sprintf(layout, "SUBSET", "LIMIT", "PODS", "MISSING", fmt.Sprintf("%-*s", barWidth, "SPREAD"), "NODES")))
	for i, s := range o.subsets {
		missing := "-"
		if s.missing >= 0 {
			missing = fmt.Sprint(s.missing)
		}
		bar := strings.Repeat("█", s.pods()) + strings.Repeat("░", max(int(s.missing), 0))
		padding := strings.Repeat(" ", max(barWidth-utf8.RuneCountInString(bar), 0))
		bar = p.paint(subsetColours[i%len(subsetColours)], bar) + padding
		p.line("%s", strings.TrimRight(fmt.Sprintf(layout, s.name, s.limit, fmt.Sprint(s.pods()), missing, bar, s.nodes()), " "))
	}
	if o.astray > 0 {
		p.line("   %s", p.paint(red, fmt.Sprintf("pods on a node of no subset: %d", o.astray)))
	}
	p.line("")
}

// columns prints lines of three columns, each as wide as its widest text.
func (p *printer) columns(head [3]string, rows [][3]string) {
	var width [3]int
	for _, row := range append([][3]string{head}, rows...) {
		for i, text := range row {
			width[i] = max(width[i], utf8.RuneCountInString(text))
		}
	}
	line := func(row [3]string) string {
		var out strings.Builder
		for i, text := range row {
			out.WriteString(text + strings.Repeat(" ", width[i]-utf8.RuneCountInString(text)+3))
		}
		return strings.TrimRight(out.String(), " ")
	}
	p.line("")
	p.line("   %s", p.paint(faint, line(head)))
	for _, row := range rows {
		p.line("   %s", line(row))
	}
}
