package clusterselector

import (
	"encoding/json"
	"flag"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

// many runs a property on so many pods; -short and an explicit -rapid.checks keep it shorter.
func many(t *testing.T, pods string, property func(*rapid.T)) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	if before := checks.Value.String(); before == checks.DefValue && !testing.Short() {
		if err := checks.Value.Set(pods); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = checks.Value.Set(before) }()
	}
	rapid.Check(t, property)
}

// place does to a pod what a placement does: constraints aside, then a pin, tolerations and the record.
func place(t *rapid.T, pod *corev1.Pod, pin corev1.Affinity, tolerations []corev1.Toleration) {
	record, err := Stash(pod, AnnotationTensileKube)
	if err != nil {
		t.Fatal(err)
	}
	record.Cluster = "upper"
	if pod.Spec.Affinity == nil {
		before := pod.Spec.DeepCopy()
		pod.Spec.Affinity = pin.DeepCopy()
		pod.Spec.Tolerations = append(slices.Clone(pod.Spec.Tolerations), tolerations...)
		record.Added = record.Added.Join(Difference(before, &pod.Spec))
	}
	pod.Annotations[AnnotationRecord] = record.Encode()
}

// withoutDefaults is what law L1 leaves out: the API server's own tolerations.
func withoutDefaults(pod *corev1.Pod) *corev1.Pod {
	out := pod.DeepCopy()
	out.Spec.Tolerations = without(out.Spec.Tolerations, IsDefaultToleration)
	return out
}

// roundTrip is L1, L2, L4, L5 and L7 at once: whatever a pod holds comes back as it was, nil and empty told apart.
func roundTrip(t *rapid.T) {
	pod := anyPod.Draw(t, "pod")
	pin, tolerations := affinity.Draw(t, "pin"), list(t, "provider's tolerations", toleration)
	placed := pod.DeepCopy()
	place(t, placed, pin, tolerations)
	once := placed.DeepCopy()
	place(t, placed, pin, tolerations)
	if diff := cmp.Diff(once, placed); diff != "" {
		t.Fatalf("placed twice (-once +twice):\n%s", diff)
	}
	want := withoutDefaults(pod)
	lower := placed.DeepCopy()
	for range 2 { // restoring twice is restoring once
		if found, err := Restore(lower, AnnotationTensileKube); err != nil || !found {
			t.Fatalf("restore: found %v, error %v", found, err)
		}
		if diff := cmp.Diff(want.Spec, lower.Spec); diff != "" {
			t.Fatalf("restored (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(placed.ObjectMeta, lower.ObjectMeta); diff != "" {
		t.Fatalf("restoring changed metadata:\n%s", diff)
	}
	if _, err := Undo(placed); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, withoutDefaults(placed)); diff != "" {
		t.Fatalf("undone (-want +got):\n%s", diff)
	}
}

func TestWhatGoesUpComesDown(t *testing.T) { many(t, "20000", roundTrip) }

// stored is what the API server makes of a pod before webhooks see it (plugin DefaultTolerationSeconds).
func stored(pod *corev1.Pod) *corev1.Pod {
	out := pod.DeepCopy()
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if !slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
			return (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "")
		}) {
			seconds := DefaultSeconds
			out.Spec.Tolerations = append(out.Spec.Tolerations, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
		}
	}
	return out
}

// TestALowerPodIsStoredAsIfNobodyHadPlacedIt: whatever the provider leaves on the pod, and however often the webhook
// and the API server's own plugin see it in turn, it ends as it would have without virtual nodes.
func TestALowerPodIsStoredAsIfNobodyHadPlacedIt(t *testing.T) {
	many(t, "5000", func(t *rapid.T) {
		pod := withoutDefaults(anyPod.Draw(t, "pod"))
		upper := stored(pod)
		place(t, upper, affinity.Draw(t, "pin"), list(t, "provider's tolerations", toleration))
		lower := upper.DeepCopy()
		if rapid.Bool().Draw(t, "the provider clears what it does not know") {
			Selection{}.write(&lower.Spec)
		}
		want := stored(pod)
		for range 2 {
			lower = stored(lower)
			if found, err := RestoreAdmitted(lower, AnnotationTensileKube); err != nil || !found {
				t.Fatalf("restore: found %v, error %v", found, err)
			}
		}
		if diff := cmp.Diff(want.Spec, lower.Spec); diff != "" {
			t.Fatalf("stored (-want +got):\n%s", diff)
		}
	})
}

func FuzzRoundTrip(f *testing.F) { f.Fuzz(rapid.MakeFuzz(roundTrip)) }

// TestAPodIsClearedOfWhatItHandsDown: nothing of the user's constraints is left in the way, but the tolerations
// that keep the API server from adding its own.
func TestAPodIsClearedOfWhatItHandsDown(t *testing.T) {
	many(t, "2000", func(t *rapid.T) {
		pod := anyPod.Draw(t, "pod")
		before := pod.DeepCopy()
		if _, err := Stash(pod, AnnotationKosmos); err != nil {
			t.Fatal(err)
		}
		if pod.Spec.NodeSelector != nil || pod.Spec.Affinity != nil || pod.Spec.TopologySpreadConstraints != nil {
			t.Fatalf("left: %+v", pod.Spec)
		}
		kept := slices.DeleteFunc(before.Spec.Tolerations, func(t corev1.Toleration) bool { return !StandsOutage(t) })
		if !slices.EqualFunc(kept, pod.Spec.Tolerations, func(a, b corev1.Toleration) bool { return cmp.Equal(a, b) }) {
			t.Fatalf("tolerations: got %+v, want %+v", pod.Spec.Tolerations, kept)
		}
	})
}

// TestOthersReadTheValue is L8: providers use encoding/json on these types, extra keys or not.
func TestOthersReadTheValue(t *testing.T) {
	type theirs struct {
		NodeSelector map[string]string   `json:"nodeSelector,omitempty"`
		Affinity     *corev1.Affinity    `json:"affinity,omitempty"`
		Tolerations  []corev1.Toleration `json:"tolerations,omitempty"`
	}
	many(t, "2000", func(t *rapid.T) {
		s := Of(&anyPod.Draw(t, "pod").Spec)
		if rapid.Bool().Draw(t, "extra") {
			s.Extra = map[string]json.RawMessage{"schedulerName": json.RawMessage(`"x"`)}
		}
		var got theirs
		if err := json.Unmarshal([]byte(s.Encode()), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(theirs{s.NodeSelector, s.Affinity, s.Tolerations}, got); diff != "" {
			t.Fatal(diff)
		}
		back, _, err := Parse(s.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, back); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestAUsersOwnSelectionWinsFieldByField is the second half of L2.
func TestAUsersOwnSelectionWinsFieldByField(t *testing.T) {
	const pod = `{"affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"preference":{},"weight":1}]},"podAntiAffinity":{}},"nodeSelector":{"disk":"ssd"},"tolerations":[{"key":"own"}]}`
	for name, tc := range map[string]struct{ own, want string }{
		"what it lacks comes from the pod":    {`{}`, pod},
		"blank text names nothing":            {" ", pod},
		"six tolerations cost no selector":    {`{"tolerations":[{"key":"test"}]}`, strings.Replace(pod, "own", "test", 1)},
		"keys match in any case":              {`{"Tolerations":[{"Key":"test"}]}`, strings.Replace(pod, "own", "test", 1)},
		"null is none":                        {`{"nodeSelector":null,"affinity":null}`, `{"tolerations":[{"key":"own"}]}`},
		"null node affinity is none of both":  {`{"affinity":{"nodeAffinity":null}}`, strings.Replace(pod, `"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"preference":{},"weight":1}]},`, "", 1)},
		"affinity is merged by its own parts": {`{"affinity":{"podAffinity":{}}}`, strings.Replace(pod, `"podAntiAffinity"`, `"podAffinity":{},"podAntiAffinity"`, 1)},
		"keys of others are handed on":        {`{"schedulerName": "x", "v": 2}`, strings.NewReplacer(`"tolerations"`, `"schedulerName":"x","tolerations"`, `"own"}]`, `"own"}],"v":2`).Replace(pod)},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, err := Parse(pod)
			if err != nil {
				t.Fatal(err)
			}
			p := &corev1.Pod{}
			p.Annotations = map[string]string{AnnotationTensileKube: tc.own}
			s.write(&p.Spec)
			record, err := Stash(p, AnnotationTensileKube)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Annotations[AnnotationTensileKube]; got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			p.Annotations[AnnotationRecord] = record.Encode()
			stashed := p.Annotations[AnnotationTensileKube]
			p.Annotations[AnnotationTensileKube] = tc.own // as a subset's patch does on the second pass
			if err := Combine(p, AnnotationTensileKube, stashed); err != nil || p.Annotations[AnnotationTensileKube] != tc.want {
				t.Errorf("combined: %v, %s", err, p.Annotations[AnnotationTensileKube])
			}
			if _, err := Undo(p); err != nil || p.Annotations[AnnotationTensileKube] != tc.own {
				t.Errorf("undone: %v, %q", err, p.Annotations)
			}
		})
	}
}

// TestTheAPIServersDefaultsAreNotHandedDown is L10: they stay above, exactly those, and those of the user's own that
// keep the API server from adding them again.
func TestTheAPIServersDefaultsAreNotHandedDown(t *testing.T) {
	const defaults = `{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}, {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 300}`
	for name, tc := range map[string]struct{ tolerations, above, below string }{
		"nothing else":                   {defaults, defaults, ""},
		"beside one of the user's":       {`{key: a}, ` + defaults, defaults, `{key: a}`},
		"other seconds are the user's":   {`{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 30}`, `{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 30}`, `{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 30}`},
		"without an end":                 {`{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute}`, `{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute}`, `{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute}`},
		"every taint":                    {`{operator: Exists}`, `{operator: Exists}`, `{operator: Exists}`},
		"another effect is no outage":    {`{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoSchedule}`, "", `{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoSchedule}`},
		"another value is no such taint": {`{key: node.kubernetes.io/not-ready, operator: Equal, value: x, effect: NoExecute}`, "", `{key: node.kubernetes.io/not-ready, operator: Equal, value: x, effect: NoExecute}`},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOf(t, `{spec: {tolerations: [`+tc.tolerations+`]}}`)
			if _, err := Stash(pod, AnnotationTensileKube); err != nil {
				t.Fatal(err)
			}
			s, _, err := Parse(pod.Annotations[AnnotationTensileKube])
			if err != nil {
				t.Fatal(err)
			}
			want := func(list string) []corev1.Toleration {
				if list == "" {
					return nil
				}
				return podOf(t, `{spec: {tolerations: [`+list+`]}}`).Spec.Tolerations
			}
			if diff := cmp.Diff(want(tc.above), pod.Spec.Tolerations); diff != "" {
				t.Errorf("above: %s", diff)
			}
			if diff := cmp.Diff(want(tc.below), s.Tolerations); diff != "" {
				t.Errorf("below: %s", diff)
			}
		})
	}
}
