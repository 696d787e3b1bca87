package simulation

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestEveryMutantIsCaught builds the simulation over each mutant and runs it until it fails: what the
// simulation cannot see, it does not test.
func TestEveryMutantIsCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the ledger once for each mutant")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			binary := m.build(t, root)
			built := time.Since(start)
			out, err := exec.CommandContext(t.Context(), binary, "-test.run", "^TestSimulation$", fmt.Sprint("-sim.schedules=", *schedules), fmt.Sprint("-sim.first=", max(m.first, 1))).CombinedOutput()
			if err == nil {
				t.Fatalf("survives %d schedules", *schedules)
			}
			replay, broken := regexp.MustCompile(`-sim\.seed=(\d+)`).FindSubmatch(out), regexp.MustCompile(`VIOLATION: (.{0,110})`).FindSubmatch(out)
			if replay == nil || broken == nil {
				t.Fatalf("fails otherwise than by a broken promise: %v\n%.4000s", err, out)
			}
			t.Logf("caught by schedule %s (built in %.1f s, run in %.1f s): %s", replay[1], built.Seconds(), (time.Since(start) - built).Seconds(), broken[1])
		})
	}
}

// build compiles this package's tests with the mutant in the place of its file.
func (m *mutant) build(t *testing.T, root string) string {
	t.Helper()
	original := filepath.Join(root, m.file)
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("the text to change is found %d times in %s, not once: bring the mutant up to date", n, m.file)
	}
	dir := t.TempDir()
	changed, overlay, binary := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "simulation.test")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{changed: strings.Replace(string(source), m.old, m.new, 1), overlay: string(replace)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", overlay, "-ldflags=-s -w", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}
