package workloadspread_test

import (
	"strings"
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/internal/resolve"
	"github.com/spillway-project/spillway/webhooks/workloadspread"
)

func object(t *testing.T, name, spec string) []byte {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte("{apiVersion: apps.kruise.io/v1alpha1, kind: WorkloadSpread, metadata: {name: " + name + ", namespace: ns}, spec: " + spec + "}"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

const (
	onWeb   = `{targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, subsets: [{name: a, maxReplicas: 50%}, {name: b}]}`
	quoted  = `{targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, subsets: [{name: a, maxReplicas: "50"}, {name: b}]}`
	onOther = `{targetRef: {apiVersion: apps/v1, kind: Deployment, name: other}, subsets: [{name: a}]}`
	workers = `{targetRef: {apiVersion: apps/v1, kind: Deployment, name: other}, targetFilter: {selector: {matchLabels: {role: worker}}}, subsets: [{name: a}]}`
)

const (
	misnamed = `{targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, subsets: [{name: a, patch: {spec: {containers: [{name: mian, env: [{name: A, value: b}]}]}}}]}`
	nowhere  = `{targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, subsets: [{name: a, requiredNodeSelectorTerm: {matchExpressions: [{key: x, operator: Exists}]}}]}`
	slipped  = `{targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, subsets: [{name: a, patch: {spec: {requiredNodeSelectorTerm: {matchExpressions: [{key: x, operator: Exists}]}}}}]}`

	webDeployment = `{metadata: {name: web, namespace: ns}, spec: {template: {spec: {containers: [{name: main, image: app}]}}}}`
)

func TestReview(t *testing.T) {
	for name, tc := range map[string]struct {
		operation             admissionv1.Operation
		name, spec, old, want string
		warns                 string
	}{
		"a good one":                                 {operation: admissionv1.Create, name: "ws", spec: onWeb},
		"a bad one":                                  {operation: admissionv1.Create, name: "ws", spec: quoted, want: "spec.subsets[0].maxReplicas"},
		"a bad one that was stored long ago":         {operation: admissionv1.Update, name: "ws", spec: quoted, old: quoted},
		"a change for the worse":                     {operation: admissionv1.Update, name: "ws", spec: quoted, old: onWeb, want: "spec.subsets[0].maxReplicas"},
		"a change for the better":                    {operation: admissionv1.Update, name: "ws", spec: onWeb, old: quoted},
		"another target":                             {operation: admissionv1.Update, name: "ws", spec: onOther, old: onWeb, want: "create another WorkloadSpread"},
		"the target of another":                      {operation: admissionv1.Create, name: "ws", spec: onOther, want: "WorkloadSpread first spreads this workload already"},
		"its own target":                             {operation: admissionv1.Update, name: "first", spec: onOther, old: workers},
		"the target of another, filtered on one end": {operation: admissionv1.Create, name: "ws", spec: workers, want: "WorkloadSpread first"},
		"a subset without nodes":                     {operation: admissionv1.Create, name: "ws", spec: nowhere, warns: "no node matches"},
		"a term that slipped into the patch":         {operation: admissionv1.Create, name: "ws", spec: slipped, warns: "move it to spec.subsets[0].requiredNodeSelectorTerm"},
		"no object":                                  {operation: admissionv1.Create, name: "ws", spec: "[]", want: "read the WorkloadSpread"},
		"a patch that its target cannot take":        {operation: admissionv1.Create, name: "ws", spec: misnamed, want: `container "mian" has no image`},
		"a deletion":                                 {operation: admissionv1.Delete, name: "ws", spec: quoted},
	} {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			for _, add := range []func(*runtime.Scheme) error{appsv1alpha1.AddToScheme, clientgoscheme.AddToScheme} {
				if err := add(scheme); err != nil {
					t.Fatal(err)
				}
			}
			web := &appsv1.Deployment{}
			if err := yaml.Unmarshal([]byte(webDeployment), web); err != nil {
				t.Fatal(err)
			}
			first := &appsv1alpha1.WorkloadSpread{}
			if err := yaml.Unmarshal(object(t, "first", onOther), first); err != nil {
				t.Fatal(err)
			}
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(first, web).Build()
			v := &workloadspread.Validator{Reader: c, Targets: &resolve.Resolver{Cache: c, Live: c}}
			request := &admissionv1.AdmissionRequest{
				Operation: tc.operation, Namespace: "ns", Name: tc.name,
				Object: runtime.RawExtension{Raw: object(t, tc.name, tc.spec)},
			}
			if tc.old != "" {
				request.OldObject.Raw = object(t, tc.name, tc.old)
			}
			verdict, err := v.Review(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			if tc.warns != "" && (len(verdict.Warnings) != 1 || !strings.Contains(verdict.Warnings[0], tc.warns)) {
				t.Errorf("warnings %q", verdict.Warnings)
			}
			switch {
			case tc.want == "" && verdict.Refusal != nil:
				t.Errorf("refused: %s", verdict.Refusal.Message)
			case tc.want != "" && (verdict.Refusal == nil || verdict.Refusal.Status != metav1.StatusFailure || !strings.Contains(verdict.Refusal.Message, tc.want)):
				t.Errorf("got %+v, want a refusal with %q", verdict.Refusal, tc.want)
			}
		})
	}
}
