package sidecar

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/internal/delta"
	"github.com/spillway-project/spillway/internal/testing/golden"
)

// admission is one pass of a pod through the webhook's decisions.
type admission struct {
	pod    []byte // as it would be stored
	patch  []delta.Operation
	report Report
}

var noon = time.Date(2025, 1, 2, 3, 4, 5, 6, time.UTC)

func admit(raw []byte, x *Index) (admission, error) {
	var received corev1.Pod
	if err := json.Unmarshal(raw, &received); err != nil {
		return admission{}, err
	}
	var choices []Choice
	for _, s := range Unshadowed(x.Selecting(received.Namespace, labels.Set(received.Labels))) {
		if s.Injects() && s.InNamespace(received.Namespace, nil) {
			name, _, err := s.Revision()
			if err != nil {
				return admission{}, err
			}
			choices = append(choices, Choice{Set: s, Revision: name})
		}
	}
	decided := received.DeepCopy()
	report, err := Inject(decided, choices, noon)
	if err != nil {
		return admission{}, err
	}
	ops, err := new(delta.Differ).Between(raw, &received, decided)
	if err != nil {
		return admission{}, err
	}
	if err := Enrich(ops, report.Unknown); err != nil {
		return admission{}, err
	}
	encoded, err := json.Marshal(ops)
	if err != nil {
		return admission{}, err
	}
	patch, err := jsonpatch.DecodePatch(encoded)
	if err != nil {
		return admission{}, err
	}
	out := admission{pod: raw, patch: ops, report: report}
	if len(ops) > 0 {
		if out.pod, err = patch.Apply(raw); err != nil {
			return admission{}, err
		}
	}
	return out, nil
}

// TestGolden: every testdata/*.in.yaml holds a pod and the sets; its .out.yaml what becomes of the pod.
// Each pod passes twice, and the second time nothing changes.
func TestGolden(t *testing.T) {
	golden.Pairs(t, "testdata", ".in.yaml", ".out.yaml", func(t *testing.T, text string) string {
		documents := strings.Split(text, "\n---\n")
		pod, err := yaml.YAMLToJSON([]byte(documents[0]))
		if err != nil {
			t.Fatal(err)
		}
		x := NewIndex()
		for _, d := range documents[1:] {
			x.Put(compile(t, d))
		}
		return result(t, pod, x)
	})
}

// result renders an admission, and checks that a second one changes nothing.
func result(t *testing.T, pod []byte, x *Index) string {
	t.Helper()
	first, err := admit(pod, x)
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return fmt.Sprintf("# refused: %s: %s\n", refusal.Reason, refusal.Message)
	}
	if err != nil {
		t.Fatal(err)
	}
	second, err := admit(first.pod, x)
	if err != nil {
		t.Fatalf("second pass: %v", err)
	}
	if len(second.patch) > 0 || len(second.report.Injected) > 0 {
		t.Errorf("the second pass changes the pod: %+v", second.patch)
	}
	var out strings.Builder
	for _, w := range first.report.Warnings {
		fmt.Fprintln(&out, "# warning:", w)
	}
	for _, s := range first.report.Skipped {
		fmt.Fprintf(&out, "# skipped: %s of %s: %v\n", s.Annotation, s.Set, s.Err)
	}
	rendered, err := yaml.JSONToYAML(first.pod)
	if err != nil {
		t.Fatal(err)
	}
	return out.String() + string(rendered)
}
