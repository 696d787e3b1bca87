package restore_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/delta"
	"github.com/spillway-project/spillway/internal/testing/golden"
	"github.com/spillway-project/spillway/webhooks/restore"
	"github.com/spillway-project/spillway/webhooks/review"
)

// here is the cluster that the webhook of these tests serves.
const here = "here"

func reviewed(t *testing.T, raw []byte, cluster string, dry bool) (review.Verdict, error) {
	t.Helper()
	r := &restore.Restorer{Cluster: cluster, Differ: new(delta.Differ)}
	return r.Review(t.Context(), &admissionv1.AdmissionRequest{
		UID: "u", Namespace: "ns", Operation: admissionv1.Create, DryRun: &dry,
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"}, Object: runtime.RawExtension{Raw: raw},
	})
}

// admitted returns the pod as it is stored.
func admitted(t *testing.T, raw []byte) []byte {
	t.Helper()
	v, err := reviewed(t, raw, here, false)
	if err != nil || v.Refusal != nil {
		t.Fatalf("refused: %+v, %v", v.Refusal, err)
	}
	if len(v.Patch) == 0 {
		return raw
	}
	text, err := json.Marshal(v.Patch)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := patch.Apply(raw)
	if err != nil {
		t.Fatalf("apply %s: %v", text, err)
	}
	return out
}

func asJSON(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestGolden runs every pair in testdata: NAME.in.yaml is a pod as a provider creates it in the cluster "here",
// NAME.out.yaml as it is stored. Every pod goes through the webhook a second time, which must change nothing.
// -update writes the .out.yaml files.
func TestGolden(t *testing.T) {
	golden.Pairs(t, "testdata", ".in.yaml", ".out.yaml", func(t *testing.T, text string) string {
		once := admitted(t, asJSON(t, text))
		if diff := cmp.Diff(string(once), string(admitted(t, once))); diff != "" {
			t.Errorf("a second pass changes the pod (-first +second):\n%s", diff)
		}
		got, err := yaml.JSONToYAML(once)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	})
}

func TestConstraintsThatCannotBeReadKeepThePodOut(t *testing.T) {
	for name, tc := range map[string]struct{ annotations, want string }{
		"no JSON":            {`clusterSelector: '{"tolerations": [}'`, "annotation clusterSelector, line 1, column 18: it is not JSON"},
		"a field's type":     {`kosmos.io/cluster-selector: '{"nodeSelector": {"a": 1}}'`, "annotation kosmos.io/cluster-selector, field nodeSelector, line 1"},
		"a damaged record":   {`spillway-project.io/placement-record: '{"moved":'`, "annotation spillway-project.io/placement-record"},
		"a selection lost":   {`spillway-project.io/placement-record: '{"annotation":"clusterSelector","moved":["nodeSelector"]}'`, "annotation clusterSelector, line 1, column 1: it is missing"},
		"a selection blank":  {`clusterSelector: ""`, "annotation clusterSelector, line 1"},
		"a record of no use": {`spillway-project.io/placement-record: '{"moved":["nodeSelector"]}'`, "but not to which annotation"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := asJSON(t, "metadata: {name: p, labels: {virtual-pod: \"true\"}, annotations: {"+tc.annotations+"}}\nspec: {containers: [{name: main}]}")
			v, err := reviewed(t, raw, here, true)
			if err != nil || v.Refusal == nil || v.Refusal.Code != 422 || !strings.Contains(v.Refusal.Message, tc.want) {
				t.Errorf("got %+v, %v, want %q", v.Refusal, err, tc.want)
			}
		})
	}
}

// TestWhosePodsAreRestored: those of other clusters, as far as can be known.
func TestWhosePodsAreRestored(t *testing.T) {
	const (
		stash   = `clusterSelector: '{"nodeSelector":{"disk":"ssd"}}'`
		record  = `, spillway-project.io/placement-record: '{"cluster":"CLUSTER","annotation":"clusterSelector","moved":["nodeSelector"]}'`
		control = `ownerReferences: [{apiVersion: GROUP/v1, kind: KIND, name: o, uid: o, controller: true}], `
	)
	from := func(cluster string) string { return stash + strings.ReplaceAll(record, "CLUSTER", cluster) }
	owned := func(group, kind string) string {
		return strings.NewReplacer("GROUP", group, "KIND", kind).Replace(control)
	}
	for name, tc := range map[string]struct {
		cluster, owner, annotations string
		want                        v1alpha1.Reason
	}{
		"another cluster's":                       {here, "", from("there"), v1alpha1.ReasonRestored},
		"this cluster's, on its way down":         {here, "", from(here), v1alpha1.ReasonPlacedHere},
		"any, in a member":                        {"", "", from(here), v1alpha1.ReasonRestored},
		"a record that names no cluster":          {here, "", from(""), v1alpha1.ReasonRestored},
		"a text without a record":                 {here, "", stash, v1alpha1.ReasonRestored},
		"nothing":                                 {here, "", "", v1alpha1.ReasonNothingHandedOver},
		"a workload's here, of a copied template": {here, owned("apps", "ReplicaSet"), from("there"), v1alpha1.ReasonMadeHere},
		"Liqo's":      {here, owned("offloading.liqo.io", "ShadowPod"), from("there"), v1alpha1.ReasonRestored},
		"Admiralty's": {here, owned("multicluster.admiralty.io", "PodChaperon"), from("there"), v1alpha1.ReasonRestored},
	} {
		t.Run(name, func(t *testing.T) {
			raw := asJSON(t, "metadata: {name: p, "+tc.owner+"annotations: {"+tc.annotations+"}}\nspec: {nodeSelector: {pin: \"1\"}, containers: [{name: main}]}")
			v, err := reviewed(t, raw, tc.cluster, false)
			if err != nil || v.Refusal != nil || v.Reason != tc.want || (len(v.Patch) > 0) != (tc.want == v1alpha1.ReasonRestored) {
				t.Errorf("got %+v, %v, want %s", v, err, tc.want)
			}
		})
	}
}

func TestOtherRequestsAreLetThrough(t *testing.T) {
	r := &restore.Restorer{Differ: new(delta.Differ)}
	for name, request := range map[string]*admissionv1.AdmissionRequest{
		"an update":     {Operation: admissionv1.Update, Resource: metav1.GroupVersionResource{Resource: "pods"}},
		"a subresource": {Operation: admissionv1.Create, SubResource: "binding", Resource: metav1.GroupVersionResource{Resource: "pods"}},
	} {
		if v, err := r.Review(t.Context(), request); err != nil || v.Refusal != nil || len(v.Patch) > 0 {
			t.Errorf("%s: got %+v, %v", name, v, err)
		}
	}
	if _, err := reviewed(t, []byte(`{"spec":[]}`), here, false); err == nil {
		t.Error("a pod that is none is no fault")
	}
}
