package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spillway-project/spillway/internal/lint"
)

// lintOptions are the flags of lint.
type lintOptions struct {
	files     []string
	recursive bool
	fix       bool
	output    string
	rules     bool
}

func newLint() *cobra.Command {
	var o lintOptions
	c := &cobra.Command{
		Use:   "lint [-f FILE]... [FILE]...",
		Short: "Find mistakes in the YAML of WorkloadSpreads and SidecarSets, explain and correct them.",
		Long: lines(
			"Find mistakes in the YAML of WorkloadSpreads and SidecarSets, explain and correct them.",
			"",
			"No cluster is asked. Objects of other kinds are passed over; files that are given together are looked at together.",
			"",
			"Exit code: 0 nothing to mend (notes do not count), 1 there are findings, 2 the command line or a file is wrong."),
		Example: lines(
			"  kubectl spillway lint spread.yaml",
			"  kubectl spillway lint -R manifests/ -o json",
			"  kubectl spillway lint --fix spread.yaml sidecars.yaml   # corrects the files",
			"  kubectl get ws web -o yaml | kubectl spillway lint -    # corrects nothing",
			"  kubectl spillway lint --fix - < in.yaml > out.yaml      # findings go to standard error"),
		RunE: func(c *cobra.Command, args []string) error {
			o.files = append(o.files, args...)
			return o.run(c)
		},
	}
	c.Flags().StringArrayVarP(&o.files, "filename", "f", nil, "file or folder to look at; - for standard input")
	c.Flags().BoolVarP(&o.recursive, "recursive", "R", false, "look into folders of folders too")
	c.Flags().BoolVar(&o.fix, "fix", false, "write the corrections into the files; of standard input, the corrected text to standard output")
	c.Flags().StringVarP(&o.output, "output", "o", "table", "table, json or yaml")
	c.Flags().BoolVar(&o.rules, "rules", false, "list the rules and exit")
	return c
}

// source is a text to look at.
type source struct {
	name string // - for standard input
	text []byte
}

func (o *lintOptions) run(c *cobra.Command) error {
	show, ok := map[string]func(io.Writer, report) error{"table": table, "json": asJSON, "yaml": asYAML}[o.output]
	if !ok {
		return fmt.Errorf("-o %s: use table, json or yaml", o.output)
	}
	if o.rules {
		return rules(c.OutOrStdout(), o.output)
	}
	if len(o.files) == 0 {
		return fmt.Errorf("nothing to look at: name files or folders, or - for standard input")
	}
	sources, err := o.read(c.InOrStdin())
	if err != nil {
		return err
	}
	texts := make([][]byte, len(sources))
	for i, s := range sources {
		texts[i] = s.text
	}
	results := lint.Texts(texts...)
	r := reportOf(sources, results, o.fix)
	out := c.OutOrStdout()
	if o.fix {
		if err := correct(sources, results, out); err != nil {
			return err
		}
		if slices.ContainsFunc(sources, func(s source) bool { return s.name == "-" }) {
			out = c.ErrOrStderr()
		}
	}
	if err := show(out, r); err != nil {
		return fmt.Errorf("write the findings: %w", err)
	}
	if r.Left > 0 {
		return errFindings
	}
	return nil
}

// correct writes corrected texts to where they came from.
func correct(sources []source, results []lint.Result, out io.Writer) error {
	for i, s := range sources {
		if s.name == "-" {
			if _, err := out.Write(results[i].Fixed); err != nil {
				return fmt.Errorf("write the corrected text: %w", err)
			}
			continue
		}
		if !results[i].Changed {
			continue
		}
		info, err := os.Stat(s.name)
		if err != nil {
			return fmt.Errorf("correct: %w", err)
		}
		if err := os.WriteFile(s.name, results[i].Fixed, info.Mode().Perm()); err != nil {
			return fmt.Errorf("correct: %w", err)
		}
	}
	return nil
}

// read gathers what is to be looked at, each once.
func (o *lintOptions) read(in io.Reader) ([]source, error) {
	var out []source
	seen := map[string]bool{}
	add := func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		text, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		out = append(out, source{name, text})
		return nil
	}
	for _, name := range o.files {
		if name == "-" {
			if seen[name] {
				continue
			}
			seen[name] = true
			text, err := io.ReadAll(in)
			if err != nil {
				return nil, fmt.Errorf("read standard input: %w", err)
			}
			out = append(out, source{name, text})
			continue
		}
		files, err := o.filesOf(name)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if err := add(f); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// filesOf returns a file itself, and the manifests in a folder.
func (o *lintOptions) filesOf(name string) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	var out []string
	err = filepath.WalkDir(name, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != name && !o.recursive:
			return filepath.SkipDir
		case !d.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(path))):
			out = append(out, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read: no .yaml, .yml or .json file in %s (-R looks into folders of folders)", name)
	}
	return out, nil
}
