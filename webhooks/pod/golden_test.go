package pod_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden runs every pair in testdata: NAME.in.yaml holds what is in the cluster and, as its last
// document, a pod that is to be created; NAME.out.yaml is the pod as it is stored. Every pod goes through
// the webhook a second time, which must change nothing. -update writes the .out.yaml files.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	wanted := map[string]bool{}
	for _, in := range inputs {
		out := strings.TrimSuffix(in, ".in.yaml") + ".out.yaml"
		wanted[out] = true
		t.Run(strings.TrimSuffix(filepath.Base(in), ".in.yaml"), func(t *testing.T) { golden(t, in, out) })
	}
	outputs, err := filepath.Glob("testdata/*.out.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range outputs {
		if !wanted[out] {
			t.Errorf("%s belongs to no input", out)
		}
	}
}

func golden(t *testing.T, in, out string) {
	text, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	objects, pod, ok := cutLast(string(text), "\n---\n")
	if !ok {
		t.Fatalf("%s holds no pod behind the cluster's objects", in)
	}
	b := newBenchOf(t, objects, testclock.NewFakeClock(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)))
	once, _, err := b.admit(b.json(pod), nil)
	if err != nil {
		t.Fatal(err)
	}
	twice, _, err := b.admit(once, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(once), string(twice)); diff != "" {
		t.Errorf("a second pass changes the pod (-first +second):\n%s", diff)
	}
	got, err := yaml.JSONToYAML(once)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(out, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", out, diff)
	}
}

func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}
