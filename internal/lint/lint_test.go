package lint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/testing/golden"
	"github.com/spillway-project/spillway/internal/validation"
)

// TestGolden looks at every NAME.in.yaml in testdata. NAME.findings is what is said, NAME.fixed.yaml the corrected
// text, which has nothing left to correct. -update writes both.
func TestGolden(t *testing.T) {
	golden.Cases(t, "testdata", ".in.yaml", []string{".findings", ".fixed.yaml"}, func(t *testing.T, text string) []string {
		r := YAML([]byte(text))
		corrected(t, r)
		return []string{spell(r.Findings), string(r.Fixed)}
	})
}

func spell(findings []Finding) string {
	var out strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&out, "%d:%d %s %s (%s)\n  %s = %s\n  %s\n  > %s\n", f.Line, f.Column, f.Severity, f.Rule, f.Object, f.Field, f.Value, f.Message, f.Remedy)
		if f.Fix != nil {
			fmt.Fprintf(&out, "  at %q:\n%s", f.Fix.Field, indent(f.Fix.YAML))
		}
	}
	return out.String()
}

func indent(s string) string {
	if s == "" {
		return ""
	}
	return "    " + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n    ") + "\n"
}

// corrected checks the promises of a correction: nothing is left to correct, what is left is what people have to
// decide, and without that the API server takes the objects: strictly decoded, and validated.
func corrected(t *testing.T, r Result) {
	t.Helper()
	again := YAML(r.Fixed)
	if again.Changed || !bytes.Equal(again.Fixed, r.Fixed) {
		t.Errorf("correcting again changes the text:\n%s", cmp.Diff(string(r.Fixed), string(again.Fixed)))
	}
	var left []string
	for _, f := range r.Findings {
		if f.Fix == nil && f.Severity == Error {
			left = append(left, f.Rule)
		}
	}
	var still []string
	for _, f := range again.Findings {
		if f.Severity == Error {
			still = append(still, f.Rule)
		}
	}
	slices.Sort(left)
	slices.Sort(still)
	if diff := cmp.Diff(left, still); diff != "" {
		t.Errorf("what is left (-first +after correction):\n%s", diff)
	}
	if len(left) == 0 {
		accepted(t, r.Fixed)
	}
}

// accepted checks that an API server and the webhook would take the objects of a text.
func accepted(t *testing.T, text []byte) {
	t.Helper()
	for _, c := range split(text) {
		d := parse(c)
		switch d.kind {
		case kindSpread:
			var ws appsv1alpha1.WorkloadSpread
			if err := yaml.UnmarshalStrict(c.text, &ws); err != nil {
				t.Error(err)
			}
			for _, s := range ws.Spec.Subsets {
				plain := strings.NewReplacer(`"$setElementOrder/containers":[{"name":"main"}],`, "", `"$retainKeys":["name","emptyDir"],`, "").Replace(string(s.Patch.Raw))
				decoder := json.NewDecoder(strings.NewReader(plain))
				decoder.DisallowUnknownFields()
				if err := decoder.Decode(&corev1.Pod{}); err != nil && len(s.Patch.Raw) > 0 {
					t.Errorf("patch of %s: %v", s.Name, err)
				}
			}
			if errs := validation.WorkloadSpread(&ws, nil); len(errs) > 0 {
				t.Error(errs.ToAggregate())
			}
		case kindSidecar:
			var s sidecar.SidecarSet
			if err := yaml.UnmarshalStrict(c.text, &s); err != nil {
				t.Error(err)
			}
			if sidecar.Default(&s.Spec); len(validation.SidecarSet(&s)) > 0 {
				t.Error(validation.SidecarSet(&s).ToAggregate())
			}
		}
	}
}

// TestEveryRuleHasAnExample: each rule of the table is seen in testdata, and those only.
func TestEveryRuleHasAnExample(t *testing.T) {
	files, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range YAML(text).Findings {
			seen[f.Rule] = true
			if f.Message == "" || f.Line == 0 || (f.Remedy == "" && f.Rule != ruleInvalid && f.Rule != ruleSyntax) {
				t.Errorf("%s: %+v", file, f)
			}
		}
	}
	for _, r := range Rules() {
		if !seen[r.ID] {
			t.Errorf("rule %s is in no example", r.ID)
		}
		delete(seen, r.ID)
		if r.What == "" || r.Why == "" || r.Example == "" {
			t.Errorf("rule %s is not explained", r.ID)
		}
	}
	for id := range seen {
		t.Errorf("%s is no rule of the table", id)
	}
}

// TestWarningsAreWhatAnAPIServerLets: of an object as it is received, in JSON, only what leaves it valid.
func TestWarningsAreWhatAnAPIServerLets(t *testing.T) {
	const object = `{"apiVersion":"apps.kruise.io/v1alpha1","kind":"WorkloadSpread","metadata":{"name":"web"},"spec":{
"targetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"subsets":[
{"name":"own","maxReplicas":"120%","patch":{"metadata":{"where":"own"},"spec":{"nodeSelector":{"a":"b"},"affinity":{"nodeAffinity":null}}},"requiredNodeSelectorTerm":{}},
{"name":"virtual","patch":{"spec":{"requiredNodeSelectorTerm":{"matchExpressions":[]}}}}]}}`
	want := []string{
		"spec.subsets[0].patch.metadata.where: metadata has no field where, so it has no effect: indent it into annotations (outside-annotations)",
		"spec.subsets[1].patch.spec.requiredNodeSelectorTerm: spec has no field requiredNodeSelectorTerm, so it has no effect: move it to spec.subsets[1].requiredNodeSelectorTerm (misplaced-field)",
	}
	got := Warnings([]byte(object))
	if diff := cmp.Diff(want, got[:min(2, len(got))]); diff != "" || len(got) != 3 || !strings.HasSuffix(got[2], "(nulls-constraints)") {
		t.Errorf("%s\n%s", diff, strings.Join(got, "\n"))
	}
	if got := Warnings([]byte(`{"kind":"Pod","apiVersion":"v1"}`)); got != nil {
		t.Errorf("of another kind: %q", got)
	}
}

// TestWhatCannotBeMovedIsToldOnce: a correction that does not come off is none.
func TestWhatCannotBeMovedIsToldOnce(t *testing.T) {
	r := YAML([]byte(`{apiVersion: apps.kruise.io/v1alpha1, kind: WorkloadSpread, metadata: {name: web}, spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: web},
  subsets: [{name: a, patch: {labels: {a: b}, metadata: text}}]}}`))
	var rules []string
	for _, f := range r.Findings {
		rules = append(rules, f.Rule)
	}
	if diff := cmp.Diff([]string{ruleUnknown, ruleType}, rules); diff != "" || r.Changed {
		t.Errorf("%s\n%s", diff, spell(r.Findings))
	}
}

// TestEveryFindingHasAPlace: what is found in a part that a correction made is found where the object begins.
func TestEveryFindingHasAPlace(t *testing.T) {
	r := YAML([]byte("a: b\n---\napiVersion: apps.kruise.io/v1alpha1\nkind: WorkloadSpread\nmetadata: {name: web}\nsubsets: [{name: a}]\n"))
	if len(r.Findings) != 2 || r.Findings[0].Rule != ruleMissingTarget || r.Findings[0].Line != 3 || r.Findings[1].Line != 6 {
		t.Errorf("got\n%s", spell(r.Findings))
	}
}

// TestSplicedTexts does what FuzzCorrections does on texts that are closer to what people write: pieces of the examples
// removed, doubled, put elsewhere, and single characters changed.
func TestSplicedTexts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var seeds []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, string(text))
	}
	rapid.Check(t, func(t *rapid.T) {
		piece := func(s string) (from, to int) {
			from = rapid.IntRange(0, len(s)).Draw(t, "from")
			return from, min(len(s), from+rapid.IntRange(0, 60).Draw(t, "length"))
		}
		text := rapid.SampledFrom(seeds).Draw(t, "seed")
		for range rapid.IntRange(1, 4).Draw(t, "edits") {
			other := rapid.SampledFrom(append(seeds, "{", "}", "[", "]", "&a ", "*a", ":", ",", "-", "|", "'", "#", "\n", "\t", "%")).Draw(t, "other")
			from, to := piece(text)
			a, b := piece(other)
			text = text[:from] + other[a:b] + text[to:]
		}
		once := YAML([]byte(text))
		if twice := YAML(once.Fixed); twice.Changed {
			t.Fatalf("corrected:\n%s\nagain:\n%s", once.Fixed, twice.Fixed)
		}
	})
}

// FuzzCorrections: whatever the text, nothing panics, and correcting twice is correcting once.
func FuzzCorrections(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		for _, c := range split(text) {
			f.Add(c.text)
		}
	}
	const head = "apiVersion: apps.kruise.io/v1alpha1\nkind: WorkloadSpread\nspec:\n  subsets:\n"
	for _, s := range []string{"", "---", "--- a\n---\n...\n--- b", "&a [*a]", head + "  - {name: a, patch: {spec: {}}}\n", head + "  - &s {name: a}\n  - *s\n", head + "  - name: a\n    patch: [[[]]]\n    <<: {b: c}\n", "{\"kind\":\"WorkloadSpread\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		once := YAML(text)
		if !once.Changed && !bytes.Equal(once.Fixed, text) {
			t.Fatal("a text without corrections was changed")
		}
		twice := YAML(once.Fixed)
		if twice.Changed {
			t.Fatalf("corrected:\n%s\nagain:\n%s\n%s", once.Fixed, twice.Fixed, spell(twice.Findings))
		}
		Warnings(text)
	})
}
