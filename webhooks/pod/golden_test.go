package pod_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/internal/testing/golden"
)

// TestGolden runs every pair in testdata: NAME.in.yaml holds what is in the cluster and, as its last
// document, a pod that is to be created; NAME.out.yaml is the pod as it is stored. Every pod goes through
// the webhook a second time, which must change nothing. -update writes the .out.yaml files.
func TestGolden(t *testing.T) { golden.Pairs(t, "testdata", ".in.yaml", ".out.yaml", stored) }

// stored returns the pod of an input as it is stored.
func stored(t *testing.T, text string) string {
	objects, pod, ok := cutLast(text, "\n---\n")
	if !ok {
		t.Fatal("there is no pod behind the cluster's objects")
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
	return string(got)
}

func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}
