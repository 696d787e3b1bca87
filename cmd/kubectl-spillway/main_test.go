package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/internal/lint"
	"github.com/spillway-project/spillway/internal/testing/golden"
)

// called runs a command line.
func called(t *testing.T, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(args, strings.NewReader(in), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// TestWhatPeopleSee compares outputs with NAME.txt in testdata, for the files there. -update writes them.
func TestWhatPeopleSee(t *testing.T) {
	t.Chdir("testdata")
	for name, tc := range map[string]struct {
		args []string
		code int
	}{
		"table":     {[]string{"lint", "-f", "spread.yaml", "sidecars.yaml"}, exitFindings},
		"json":      {[]string{"lint", "spread.yaml", "-o", "json"}, exitFindings},
		"yaml":      {[]string{"lint", "clean.yaml", "-o", "yaml"}, exitClean},
		"clean":     {[]string{"lint", "clean.yaml"}, exitClean},
		"unrelated": {[]string{"lint", "unrelated.yaml"}, exitClean},
		"rules":     {[]string{"lint", "--rules"}, exitClean},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := called(t, "", tc.args...)
			if code != tc.code || errs != "" {
				t.Errorf("exit code %d, errors %q", code, errs)
			}
			golden.File(t, name+".txt", out)
		})
	}
}

func TestFixCorrectsTheFiles(t *testing.T) {
	folder := t.TempDir()
	var files []string
	for _, name := range []string{"spread.yaml", "clean.yaml"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Join(folder, name))
		if err := os.WriteFile(files[len(files)-1], text, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if code, out, errs := called(t, "", "lint", "--fix", folder); code != exitClean || errs != "" || !strings.Contains(out, "0 left to mend") {
		t.Errorf("exit code %d:\n%s%s", code, out, errs)
	}
	if code, out, _ := called(t, "", append([]string{"lint"}, files...)...); code != exitClean || strings.Contains(out, "--fix") {
		t.Errorf("after the correction: exit code %d:\n%s", code, out)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode: %v, %v", info.Mode(), err)
	}
}

// TestStandardInput: the corrected text alone goes to standard output, so that it can be piped on.
func TestStandardInput(t *testing.T) {
	text, err := os.ReadFile("testdata/spread.yaml")
	if err != nil {
		t.Fatal(err)
	}
	code, out, errs := called(t, string(text), "lint", "--fix", "-")
	if code != exitClean || !lint.YAML([]byte(out)).Clean() || !strings.HasPrefix(errs, "stdin:") {
		t.Errorf("exit code %d:\n%s\n%s", code, out, errs)
	}
	if code, out, errs = called(t, string(text), "lint", "-f", "-"); code != exitFindings || errs != "" || !strings.HasPrefix(out, "stdin:") {
		t.Errorf("exit code %d:\n%s\n%s", code, out, errs)
	}
}

// TestOutputsAgree: JSON and YAML are the same data.
func TestOutputsAgree(t *testing.T) {
	_, asJSON, _ := called(t, "", "lint", "testdata/spread.yaml", "-o", "json")
	_, asYAML, _ := called(t, "", "lint", "testdata/spread.yaml", "-o", "yaml")
	var a, b any
	if err := json.Unmarshal([]byte(asJSON), &a); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(asYAML), &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
}

func TestWrongCommandLines(t *testing.T) {
	empty := t.TempDir()
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no file":               {[]string{"lint"}, "nothing to look at"},
		"a file that is not":    {[]string{"lint", "testdata/none.yaml"}, "none.yaml"},
		"a folder of none":      {[]string{"lint", empty}, "-R looks into"},
		"an output that is not": {[]string{"lint", "-o", "wide", "testdata/clean.yaml"}, "use table, json or yaml"},
		"a flag that is not":    {[]string{"lint", "--nonsense"}, "unknown flag"},
		"a command that is not": {[]string{"nonsense"}, "unknown command"},
	} {
		if code, out, errs := called(t, "", tc.args...); code != exitUsage || out != "" || !strings.Contains(errs, tc.want) {
			t.Errorf("%s: exit code %d, %q, %q", name, code, out, errs)
		}
	}
	for _, args := range [][]string{{"--version"}, {"lint", "--help"}, {}} {
		if code, out, _ := called(t, "", args...); code != exitClean || out == "" {
			t.Errorf("%v: exit code %d, %q", args, code, out)
		}
	}
}
