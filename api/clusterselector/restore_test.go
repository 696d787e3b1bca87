package clusterselector

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

func podOf(t testing.TB, text string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte(text), pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

func TestRestoreFieldByField(t *testing.T) {
	const upper = `{nodeSelector: {pin: "1"}, affinity: {podAntiAffinity: {}}, tolerations: [{key: upper}], topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule}]}`
	for name, tc := range map[string]struct{ annotations, want string }{
		"without a selection the pod stays as it is": {`{}`, upper},
		"without a record what it lacks is kept": {`{clusterSelector: '{"tolerations":[{"key":"lower"}],"affinity":{"podAffinity":{}}}'}`,
			strings.NewReplacer("key: upper", "key: lower", "affinity: {", "affinity: {podAffinity: {}, ").Replace(upper)},
		"with a record what was moved is cleared": {`{clusterSelector: '{"tolerations":[{"key":"lower"}]}', spillway-project.io/placement-record: '{"annotation":"clusterSelector","moved":["nodeSelector","tolerations"]}'}`,
			`{affinity: {podAntiAffinity: {}}, tolerations: [{key: lower}], topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule}]}`},
		"what was added is subtracted": {`{spillway-project.io/placement-record: '{"added":{"tolerations":[{"key":"upper"}]}}'}`,
			strings.Replace(upper, "tolerations: [{key: upper}], ", "", 1)},
		"the record's annotation counts": {`{clusterSelector: '[]', mine: '{"nodeSelector":{"a":"b"}}', spillway-project.io/placement-record: '{"annotation":"mine"}'}`,
			strings.Replace(upper, `pin: "1"`, "a: b", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOf(t, `{metadata: {annotations: `+tc.annotations+`}, spec: `+upper+`}`)
			want := podOf(t, `{metadata: {annotations: `+tc.annotations+`}, spec: `+tc.want+`}`)
			if _, err := Restore(pod, AnnotationTensileKube); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, pod); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestTextThatCannotBeReadIsNeverAbsent is L3, up and down.
func TestTextThatCannotBeReadIsNeverAbsent(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"no JSON":               {`{"nodeSelector": {"a": b}}`, "annotation clusterSelector, line 1, column 24: it is not JSON: invalid character 'b' looking for beginning of value"},
		"cut off":               {`{"nodeSelector": {`, "line 1, column 18: it is not JSON: unexpected end"},
		"a list":                {` []`, "line 1, column 2: a JSON object belongs here: write {} for no constraints"},
		"null":                  {`null`, "a JSON object belongs here"},
		"something behind it":   {`{} {}`, "line 1, column 4: it is not JSON: invalid character '{' after top-level value"},
		"a number for a string": {"{\n \"nodeSelector\": {\"a\": 1}}", "field nodeSelector, line 2, column 24: it holds a number where a string belongs"},
		"an object for a list":  {`{"tolerations": {"key": "a"}}`, "field tolerations, line 1, column 17: it holds an object where a list belongs"},
		"text for seconds":      {`{"tolerations":[{"tolerationSeconds":"5"}]}`, "field tolerations.tolerationSeconds, line 1, column 40: it holds a string where a whole number belongs"},
		"a field twice":         {`{"tolerations":[],"TOLERATIONS":[]}`, "field TOLERATIONS, line 1, column 33: it is given twice: remove one"},
		"a list for affinity":   {`{"affinity":{"nodeAffinity":[]}}`, "field affinity.nodeAffinity, line 1, column 29: it holds a list where an object belongs"},
	} {
		t.Run(name, func(t *testing.T) {
			for way, do := range map[string]func(*corev1.Pod) error{
				"stash":   func(p *corev1.Pod) error { _, err := Stash(p, AnnotationTensileKube); return err },
				"restore": func(p *corev1.Pod) error { _, err := Restore(p, AnnotationTensileKube); return err },
				"combine": func(p *corev1.Pod) error { return Combine(p, AnnotationTensileKube, "{}") },
			} {
				pod := podOf(t, `{spec: {nodeSelector: {a: b}}}`)
				pod.Annotations = map[string]string{AnnotationTensileKube: tc.text}
				before := pod.DeepCopy()
				err := do(pod)
				wrong := new(FormatError)
				if !errors.As(err, &wrong) || !strings.Contains(err.Error(), tc.want) || wrong.Annotation != AnnotationTensileKube {
					t.Errorf("%s: got %v, want %s", way, err, tc.want)
				}
				if diff := cmp.Diff(before, pod); diff != "" {
					t.Errorf("%s changed the pod: %s", way, diff)
				}
			}
		})
	}
}

func TestADamagedPlacementKeepsThePodOut(t *testing.T) {
	for name, tc := range map[string]struct{ annotations, want string }{
		"a record that is none":       {`{spillway-project.io/placement-record: "{"}`, "annotation spillway-project.io/placement-record, line 1"},
		"something behind the record": {`{spillway-project.io/placement-record: "{} x"}`, "something follows"},
		"a record that leads nowhere": {`{spillway-project.io/placement-record: '{"moved":["tolerations"]}'}`, "not to which annotation"},
		"a selection that was lost":   {`{spillway-project.io/placement-record: '{"annotation":"clusterSelector"}'}`, "annotation clusterSelector, line 1, column 1: it is missing, although annotation spillway-project.io/placement-record says"},
		"a selection that was blanked": {`{clusterSelector: "", spillway-project.io/placement-record: '{"annotation":"clusterSelector"}'}`,
			"annotation clusterSelector, line 1, column 1: it is not JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOf(t, `{metadata: {annotations: `+tc.annotations+`}}`)
			_, restored := Restore(pod, AnnotationTensileKube)
			_, undone := Undo(pod)
			_, stashed := Stash(pod, AnnotationTensileKube)
			for _, err := range []error{restored, undone, stashed} {
				if wrong := new(FormatError); !errors.As(err, &wrong) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %q", err, tc.want)
				}
			}
		})
	}
	if _, err := Stash(podOf(t, `{metadata: {annotations: {a: '{}', spillway-project.io/placement-record: '{"annotation":"a"}'}}}`), "b"); err == nil {
		t.Error("constraints were moved a second time, to another annotation")
	}
}

// TestSubtractionIsExact is L6: where constraints stay on the pod, what was added goes and the rest does not.
func TestSubtractionIsExact(t *testing.T) {
	many(t, "2000", func(t *rapid.T) {
		pod := asStored(t, anyPod.Draw(t, "pod"))
		before, pin := pod.DeepCopy(), requirement.Draw(t, "pin")
		extend(&pod.Spec, pin, preferred.Draw(t, "preferred"), toleration.Draw(t, "toleration"))
		record := Record{Added: Difference(&before.Spec, &pod.Spec)}
		pod.Annotations = map[string]string{AnnotationRecord: record.Encode()}
		pod = asStored(t, pod)
		if _, err := Undo(pod); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, asStored(t, pod)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// asStored is the pod after a way through JSON, as every pod comes to a webhook: empty lists are nil. Terms without
// content, which no API server stores, are left out.
func asStored(t *rapid.T, pod *corev1.Pod) *corev1.Pod {
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	out := &corev1.Pod{}
	if err := json.Unmarshal(raw, out); err != nil {
		t.Fatal(err)
	}
	if a := out.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		if r := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution; r != nil && len(r.NodeSelectorTerms) == 0 {
			a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = nil
		}
	}
	return out
}

// extend adds to a spec as a pin does: to every term that has content, unless it is there.
func extend(spec *corev1.PodSpec, pin corev1.NodeSelectorRequirement, preference corev1.PreferredSchedulingTerm, toleration corev1.Toleration) {
	if spec.Affinity == nil {
		spec.Affinity = &corev1.Affinity{}
	}
	if spec.Affinity.NodeAffinity == nil {
		spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	n := spec.Affinity.NodeAffinity
	n.PreferredDuringSchedulingIgnoredDuringExecution = append(n.PreferredDuringSchedulingIgnoredDuringExecution, preference)
	spec.Tolerations = append(spec.Tolerations, toleration)
	if n.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		n.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{pin}}}}
		return
	}
	for i := range n.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		term := &n.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[i]
		if len(term.MatchExpressions)+len(term.MatchFields) > 0 && !slices.ContainsFunc(term.MatchExpressions, func(r corev1.NodeSelectorRequirement) bool { return cmp.Equal(r, pin) }) {
			term.MatchExpressions = append(term.MatchExpressions, pin)
		}
	}
}

func TestSubtractionSparesWhatOthersAdded(t *testing.T) {
	const record = `'{"added":{"created":"affinity","required":[{"term":0,"new":true,"matchExpressions":[{"key":"pin","operator":"Exists"}]}],"labels":{"l":"1","m":"1"}}}'`
	pod := podOf(t, `
metadata: {labels: {l: "1", m: changed}, annotations: {spillway-project.io/placement-record: `+record+`}}
spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
  {matchExpressions: [{key: pin, operator: Exists}, {key: theirs, operator: Exists}]}]}}}}`)
	want := podOf(t, `
metadata: {labels: {m: changed}}
spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: theirs, operator: Exists}]}]}}}}`)
	if _, err := Undo(pod); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, pod); diff != "" {
		t.Error(diff)
	}
}

func TestAnnotationsThatAreTooLargeAreRefused(t *testing.T) {
	pod := podOf(t, `{spec: {nodeSelector: {a: b}}}`)
	pod.Annotations = map[string]string{"notes": strings.Repeat("x", MaxAnnotations-20)}
	before := pod.DeepCopy()
	_, err := Stash(pod, AnnotationTensileKube)
	if err == nil || !strings.Contains(err.Error(), "the largest is notes with 262124 bytes") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, pod); diff != "" {
		t.Error(diff)
	}
	if err := CheckSize(map[string]string{"a": strings.Repeat("x", MaxAnnotations-1)}); err != nil {
		t.Errorf("the largest that is allowed: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"nodeSelector":{"a":"b"},"affinity":{"nodeAffinity":null},"tolerations":[],"v":2}`)
	f.Add(`{"Affinity":{"podAffinity":{}},"topologySpreadConstraints":[{"maxSkew":1}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, _, err := Parse(text)
		if err != nil {
			if wrong := new(FormatError); !errors.As(err, &wrong) || wrong.Line < 1 || wrong.Column < 1 || wrong.Offset > len(text) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, _, err := Parse(s.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.Encode(), again.Encode()); diff != "" {
			t.Fatalf("%q: %s", text, diff)
		}
	})
}

func FuzzRestore(f *testing.F) {
	f.Add(`{"tolerations":[{"key":"a"}]}`, `{"annotation":"clusterSelector","moved":["affinity"],"added":{"required":[{"term":7}]}}`)
	f.Add(`{}`, `{"added":{"created":"affinity","required":[{"term":-1,"new":true},{"term":0,"new":true}]}}`)
	f.Fuzz(func(t *testing.T, selection, record string) {
		pod := podOf(t, `{spec: {nodeSelector: {a: b}, affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{}, {matchFields: [{key: metadata.name, operator: In, values: [n]}]}]}}}}}`)
		pod.Annotations = map[string]string{AnnotationTensileKube: selection, AnnotationRecord: record}
		before := pod.DeepCopy()
		if _, err := Restore(pod, AnnotationTensileKube); err != nil {
			if diff := cmp.Diff(before, pod); diff != "" {
				t.Fatal(diff)
			}
		}
		_, _ = Undo(pod)
	})
}
