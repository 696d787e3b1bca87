package sidecarset_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/delta"
	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/state"
	"github.com/spillway-project/spillway/webhooks/review"
	"github.com/spillway-project/spillway/webhooks/sidecarset"
)

func request(t *testing.T, object, old string) *admissionv1.AdmissionRequest {
	t.Helper()
	r := &admissionv1.AdmissionRequest{UID: "u", Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: toJSON(t, object)}}
	if old != "" {
		r.Operation, r.OldObject.Raw = admissionv1.Update, toJSON(t, old)
	}
	return r
}

func toJSON(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

const vector = `
metadata: {name: ss}
spec:
  selector: {matchLabels: {a: b}}
  containers: [{name: sidecar1, image: "centos:6.7", command: [sleep, 999d], future: {kept: true}, ports: [{containerPort: 80, future: 1}]}]
  volumes: [{name: v}, {name: s, secret: {secretName: x}}]
`

// defaulted sends an object through the webhook and returns it as it would be stored.
func defaulted(t *testing.T, object, old string) string {
	t.Helper()
	r := request(t, object, old)
	verdict, err := (&sidecarset.Defaulter{Differ: new(delta.Differ)}).Review(context.Background(), r)
	if err != nil || verdict.Refusal != nil {
		t.Fatal(verdict.Refusal, err)
	}
	raw, err := json.Marshal(verdict.Patch)
	if err != nil {
		t.Fatal(err)
	}
	if len(verdict.Patch) == 0 {
		return string(r.Object.Raw)
	}
	patch, err := jsonpatch.DecodePatch(raw)
	if err != nil {
		t.Fatal(err)
	}
	out, err := patch.Apply(r.Object.Raw)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestDefaults(t *testing.T) {
	got := defaulted(t, vector, "")
	for _, want := range []string{
		`"future":{"kept":true}`, `"future":1`, `"protocol":"TCP"`, `"podInjectPolicy":"BeforeAppContainer"`, `"imagePullPolicy":"IfNotPresent"`,
		`"upgradeStrategy":{"upgradeType":"ColdUpgrade"}`, `"shareVolumePolicy":{"type":"disabled"}`, `"emptyDir":{}`, `"defaultMode":420`,
		`"type":"RollingUpdate"`, `"maxUnavailable":1`, `"partition":0`, `"revisionHistoryLimit":10`, `"kruise.io/sidecarset-hash"`, `"kruise.io/sidecarset-hash-without-image"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in %s", want, got)
		}
	}
	again, err := (&sidecarset.Defaulter{Differ: new(delta.Differ)}).Review(context.Background(), request(t, got, ""))
	if err != nil || len(again.Patch) > 0 {
		t.Errorf("a second pass changes %+v, %v", again.Patch, err)
	}
}

// TestHashesAreKept: what another version stored stays as long as the containers do.
func TestHashesAreKept(t *testing.T) {
	old := strings.Replace(vector, "name: ss", "name: ss, annotations: {kruise.io/sidecarset-hash: theirs, kruise.io/sidecarset-hash-without-image: theirs}", 1)
	if got := defaulted(t, strings.Replace(vector, "a: b", "a: c", 1), old); !strings.Contains(got, `"kruise.io/sidecarset-hash":"theirs"`) {
		t.Errorf("the containers are the same, the hash is not: %s", got)
	}
	if got := defaulted(t, strings.Replace(vector, "6.7", "7", 1), old); strings.Contains(got, "theirs") {
		t.Errorf("the image changed, the hash did not: %s", got)
	}
}

// pods accepts every pod, or refuses it with one cause.
type pods struct{ errs field.ErrorList }

func (p pods) Check(context.Context, *sidecar.Spec) (field.ErrorList, error) { return p.errs, nil }

func validator(t *testing.T, sets ...string) *sidecarset.Validator {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "ss-1", Labels: map[string]string{v1alpha1.LabelSidecarSetName: "ss"}}},
		&appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "other-1", Labels: map[string]string{v1alpha1.LabelSidecarSetName: "other"}}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: v1alpha1.SidecarConfigMap}, Data: map[string]string{
			v1alpha1.SidecarWhitelistKey: `{"rules":[{"allowedAnnotationKeyExprs":["^oom-"]},{"selector":{"matchLabels":{"team":"a"}},"allowedAnnotationKeyExprs":["^team-a"]}]}`,
		}},
	).Build()
	store := state.NewSidecarSets()
	for _, text := range sets {
		s := new(sidecar.SidecarSet)
		if err := yaml.Unmarshal([]byte(text), s); err != nil {
			t.Fatal(err)
		}
		if err := store.Put(s); err != nil {
			t.Fatal(err)
		}
	}
	return &sidecarset.Validator{
		Sets: store, Live: c, Revisions: &state.Revisions{Cache: c, Live: c, Namespace: "system"}, Pods: pods{},
	}
}

func review1(t *testing.T, v *sidecarset.Validator, object, old string) review.Verdict {
	t.Helper()
	verdict, err := v.Review(context.Background(), request(t, object, old))
	if err != nil {
		t.Fatal(err)
	}
	return verdict
}

const good = `{metadata: {name: ss}, spec: {selector: {matchLabels: {a: b}}, containers: [{name: c, image: "i:1"}]}}`

func TestWhatIsRefused(t *testing.T) {
	with := func(from, to string) string { return strings.Replace(good, from, to, 1) }
	for name, tc := range map[string]struct {
		object, old, want string
		others            []string
	}{
		"nothing wrong":                      {object: good},
		"a name with a dot":                  {object: with("name: ss", "name: s.s"), want: "metadata.name"},
		"no selector":                        {object: with("selector: {matchLabels: {a: b}}, ", ""), want: "spec.selector: Required"},
		"an empty selector":                  {object: with("{matchLabels: {a: b}}", "{}"), want: "spec.selector: Required"},
		"an empty selector in a namespace":   {object: with("selector: {matchLabels: {a: b}}", "selector: {}, namespace: n1")},
		"no containers":                      {object: with(`containers: [{name: c, image: "i:1"}]`, ""), want: "spec.containers: Required"},
		"no image":                           {object: with(`, image: "i:1"`, ""), want: "spec.containers[0].image: Required"},
		"a type that is not known":           {object: with("spec: {", "spec: {updateStrategy: {type: Sometimes}, "), want: "spec.updateStrategy.type: Unsupported"},
		"a native sidecar that is rolled":    {object: with("containers:", `initContainers: [{name: nat, image: "n:1", restartPolicy: Always}], containers:`)},
		"a partition in quotes":              {object: with("spec: {", `spec: {updateStrategy: {partition: "5"}, `), want: "spec.updateStrategy.partition"},
		"a partition and a selector":         {object: with("spec: {", "spec: {updateStrategy: {partition: 1, selector: {matchLabels: {x: z}}}, "), want: "spec.updateStrategy.partition: Forbidden"},
		"a hot sidecar without empty image":  {object: with(`image: "i:1"`, `image: "i:1", upgradeStrategy: {upgradeType: HotUpgrade}`), want: "hotUpgradeEmptyImage: Required"},
		"an empty image that is the image":   {object: with(`image: "i:1"`, `image: "i:1", upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: "i:1"}`), want: "hotUpgradeEmptyImage: Invalid"},
		"a name that a hot pair has":         {object: with("[{name: c, ", `[{name: c, image: "i:1", upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: "e:1"}}, {name: c-1, `), want: `in the pod it is "c-1"`},
		"an upgrade type that changes":       {object: with(`image: "i:1"`, `image: "i:1", upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: "e:1"}`), old: good, want: "upgradeType: Forbidden"},
		"a container more":                   {object: with("containers: [", `containers: [{name: d, image: "d:1"}, `), old: good},
		"an unknown policy":                  {object: with(`image: "i:1"`, `image: "i:1", podInjectPolicy: Between`), want: "podInjectPolicy: Unsupported"},
		"a policy of an init container":      {object: with("containers:", `initContainers: [{name: nat, image: "n:1", shareVolumePolicy: {type: maybe}}], containers:`), want: "spec.initContainers[0].shareVolumePolicy.type"},
		"a mount of no volume":               {object: with(`image: "i:1"`, `image: "i:1", volumeMounts: [{name: v, mountPath: /v}]`), want: "spec.containers[0].volumeMounts[0].name: Not found"},
		"an expression":                      {object: with(`image: "i:1"`, `image: "i:1", resourcesPolicy: {targetContainersMode: sum, resourcesExpr: {limits: {memory: "100MB"}}}`), want: `at position 4: unknown unit "MB"`},
		"an expression that is negative":     {object: with(`image: "i:1"`, `image: "i:1", resourcesPolicy: {targetContainersMode: sum, resourcesExpr: {limits: {cpu: "1 - 2"}}}`), want: "below zero"},
		"an expression that may be":          {object: with(`image: "i:1"`, `image: "i:1", resourcesPolicy: {targetContainersMode: sum, resourcesExpr: {limits: {cpu: "cpu - 2"}}}`)},
		"a field of transferEnv":             {object: with(`image: "i:1"`, `image: "i:1", transferEnv: [{envName: X, sourceContainerNameFrom: {fieldRef: {fieldPath: spec.x}}}]`), want: "fieldPath"},
		"the name as source":                 {object: with(`image: "i:1"`, `image: "i:1", transferEnv: [{envName: X, sourceContainerNameFrom: {fieldRef: {fieldPath: metadata.name}}}]`)},
		"a priority":                         {object: with("name: ss", "name: ss, annotations: {spillway-project.io/priority: high}"), want: "spillway-project.io/priority"},
		"metadata in the whitelist":          {object: with("spec: {", "spec: {patchPodMetadata: [{annotations: {oom-score: x}}], ")},
		"metadata of another team":           {object: with("spec: {", "spec: {patchPodMetadata: [{annotations: {team-a: x}}], "), want: "not in the whitelist"},
		"metadata of the team":               {object: strings.Replace(with("spec: {", "spec: {patchPodMetadata: [{annotations: {team-a: x}}], "), "name: ss", "name: ss, labels: {team: a}", 1)},
		"a merge patch that is no JSON":      {object: with("spec: {", "spec: {patchPodMetadata: [{annotations: {oom-score: x}, patchPolicy: MergePatchJson}], "), want: "must be JSON"},
		"the records as metadata":            {object: with("spec: {", "spec: {patchPodMetadata: [{annotations: {kruise.io/sidecarset-hash: x}}], "), want: "records what was injected"},
		"a container of another set":         {object: good, others: []string{`{metadata: {name: other}, spec: {selector: {matchLabels: {x: "1"}}, containers: [{name: c, image: x}]}}`}, want: "SidecarSet other injects a container"},
		"one whose pods are others":          {object: good, others: []string{`{metadata: {name: other}, spec: {selector: {matchLabels: {a: c}}, containers: [{name: c, image: x}]}}`}},
		"a container of its canary":          {object: good, others: []string{`{metadata: {name: other, annotations: {apps.kruise.io/sidecarset-canary: "true", apps.kruise.io/sidecarset-base: ss}}, spec: {selector: {matchLabels: {a: b}}, containers: [{name: c, image: x}]}}`}},
		"a canary of nothing":                {object: strings.Replace(with("spec: {", "spec: {updateStrategy: {type: NotUpdate}, "), "name: ss", `name: ss, annotations: {apps.kruise.io/sidecarset-canary: "true", apps.kruise.io/sidecarset-base: gone}`, 1), want: "Not found"},
		"what OpenKruise stored stays":       {object: with("name: ss", "name: s.s, labels: {x: w}"), old: with("name: ss", "name: s.s")},
		"a pin to nothing, later":            {object: with("spec: {", "spec: {injectionStrategy: {revision: {revisionName: none}}, "), old: good, want: "revisionName: Not found"},
		"a pin to another set's revision":    {object: with("spec: {", "spec: {injectionStrategy: {revision: {revisionName: other-1}}, "), old: good, want: "revisionName: Not found"},
		"a pin to a revision":                {object: with("spec: {", "spec: {injectionStrategy: {revision: {revisionName: ss-1}}, "), old: good},
		"a pin to a version that now begins": {object: strings.Replace(with("spec: {", "spec: {injectionStrategy: {revision: {customVersion: v2}}, "), "name: ss", "name: ss, labels: {apps.kruise.io/sidecarset-custom-version: v2}", 1), old: good},
	} {
		t.Run(name, func(t *testing.T) {
			verdict := review1(t, validator(t, tc.others...), tc.object, tc.old)
			switch {
			case tc.want == "" && verdict.Refusal != nil:
				t.Errorf("refused: %s", verdict.Refusal.Message)
			case tc.want != "" && (verdict.Refusal == nil || verdict.Refusal.Code != 422 || !strings.Contains(verdict.Refusal.Message, tc.want)):
				t.Errorf("got %+v, want %s", verdict.Refusal, tc.want)
			}
		})
	}
}

func TestWhatIsWarnedOf(t *testing.T) {
	pinned := strings.Replace(good, "spec: {", "spec: {injectionStrategy: {revision: {revisionName: none}}, ", 1)
	if got := review1(t, validator(t), pinned, ""); got.Refusal != nil || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "none") {
		t.Errorf("a pin to nothing yet: %+v", got)
	}
	stuck := strings.Replace(good, "spec: {", "spec: {updateStrategy: {maxUnavailable: 0}, ", 1)
	if got := review1(t, validator(t), stuck, ""); got.Refusal != nil || len(got.Warnings) != 1 {
		t.Errorf("a rollout that never moves: %+v", got)
	}
}

func TestThePodIsChecked(t *testing.T) {
	v := validator(t)
	v.Pods = pods{field.ErrorList{field.Invalid(field.NewPath("spec", "containers").Index(0).Child("ports"), 0, "bad")}}
	if got := review1(t, v, good, ""); got.Refusal == nil || got.Refusal.Details.Causes[0].Field != "spec.containers[0].ports" {
		t.Errorf("got %+v", got.Refusal)
	}
	if got := review1(t, v, strings.Replace(good, "a: b", "a: c", 1), good); got.Refusal != nil {
		t.Errorf("the containers did not change: %+v", got.Refusal)
	}
}

func TestWhatIsNoSidecarSet(t *testing.T) {
	for _, r := range []review.Reviewer{validator(t), &sidecarset.Defaulter{Differ: new(delta.Differ)}} {
		verdict, err := r.Review(context.Background(), request(t, "{spec: {containers: no list}}", ""))
		if err != nil || verdict.Refusal == nil || verdict.Refusal.Code != 400 {
			t.Errorf("got %+v, %v", verdict.Refusal, err)
		}
	}
}
