package clusterselector

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mutants are ways in which moving and restoring could be wrong. The old text has to be found once in the file.
// Whoever adds a rule adds the mutant that breaks it.
var mutants = []struct{ name, file, old, new string }{
	{"spread constraints are forgotten", "selection.go", "TopologySpreadConstraints: c.TopologySpreadConstraints,\n\t}", "}"},
	{"affinity is forgotten when moved", "selection.go", "Affinity:                  c.Affinity,", ""},
	{"empty lists become nil", "encode.go", "field.IsZero()", "(field.IsZero() || (field.Kind() == reflect.Slice && field.Len() == 0))"},
	{"empty maps become nil", "encode.go", "field.IsZero()", "(field.IsZero() || (field.Kind() == reflect.Map && field.Len() == 0))"},
	{"an empty structure becomes nil on the way down", "restore.go", "has.Affinity = selection.Affinity", "has.Affinity = takeAffinity(PodAffinity, selection.Affinity, selection.Affinity)"},
	{"the pin stays below", "restore.go", "case \"affinity\":", "case \"affinities\":"},
	{"tolerations of the provider stay below", "restore.go", "has.Tolerations = selection.Tolerations", "has.Tolerations = append(has.Tolerations, selection.Tolerations...)"},
	{"a second pass moves again", "stash.go", "if recorded {", "if recorded && record.Annotation == \"\" {"},
	{"the API server's defaults are handed down", "selection.go", "without(c.Tolerations, IsDefaultToleration)", "c.Tolerations"},
	{"tolerations that look like defaults are dropped", "defaults.go", "t.TolerationSeconds != nil && *t.TolerationSeconds == DefaultSeconds", "true"},
	{"a user's text replaces the whole selection", "stash.go", "return selection.Merge(own, fields), nil", "_ = fields\n\treturn own, nil"},
	{"text that cannot be read is absent", "stash.go", "return Selection{}, named(err, annotation)\n\t}\n\treturn selection.Merge", "return selection, nil\n\t}\n\treturn selection.Merge"},
	{"what another term had is subtracted", "subtract.go", "t := &terms[added.Term]", "t := &terms[len(terms)-1]"},
	{"a structure that was made is left behind", "restore.go", "out.Created = \"nodeAffinity\"", "out.Created = \"\""},
	{"upper tolerations for an outage are cleared", "stash.go", "if len(keep) > 0 {", "if false {"},
	{"an admitted pod loses the API server's defaults", "restore.go", "out = append(out, t)", "_ = t"},
	{"an admitted pod gets defaults that another toleration keeps away", "restore.go", "return holdsOff(have, t.Key)", "return have == t"},
	{"the size is not checked", "stash.go", "checkWith(pod.Annotations, annotation, text); err != nil", "checkWith(nil, annotation, text); err != nil"},
}

// TestEveryMutantIsCaught builds this package over each mutant and runs its tests until they fail: what they cannot
// see, they do not test.
func TestEveryMutantIsCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the package once for each mutant")
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			binary := mutate(t, m.file, m.old, m.new)
			out, err := exec.CommandContext(t.Context(), binary, "-test.short", "-test.failfast", "-rapid.nofailfile", "-rapid.shrinktime=0s", "-rapid.checks=2000").CombinedOutput()
			if err == nil {
				t.Fatalf("survives:\n%s", out)
			}
			if !strings.Contains(string(out), "--- FAIL: ") {
				t.Fatalf("fails otherwise than by a test: %v\n%.2000s", err, out)
			}
		})
	}
}

// mutate compiles the tests of this package with the text changed in one of its files.
func mutate(t *testing.T, file, before, after string) string {
	t.Helper()
	original, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), before); n != 1 {
		t.Fatalf("the text to change is found %d times in %s, not once: bring the mutant up to date", n, file)
	}
	dir := t.TempDir()
	changed, overlay, binary := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "mutant.test")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{changed: strings.Replace(string(source), before, after, 1), overlay: string(replace)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", overlay, "-ldflags=-s -w", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}
