package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"sigs.k8s.io/yaml"
)

const bases = "../../../config/crd/bases/"

// load returns a checked-in definition in the form that the API server validates.
func load(t *testing.T, plural string) *apiextensions.CustomResourceDefinition {
	t.Helper()
	raw, err := os.ReadFile(bases + "apps.kruise.io_" + plural + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(raw, &crd); err != nil {
		t.Fatal(err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(&crd)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
	var internal apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&crd, &internal, nil); err != nil {
		t.Fatal(err)
	}
	internal.Status.StoredVersions = []string{"v1alpha1"}
	return &internal
}

// TestDefinitionsAreValid runs the API server's own checks, the cost of CEL rules
// included.
func TestDefinitionsAreValid(t *testing.T) {
	for _, plural := range []string{"sidecarsets", "workloadspreads"} {
		for _, err := range crdvalidation.ValidateCustomResourceDefinition(t.Context(), load(t, plural)) {
			t.Errorf("%s: %v", plural, err)
		}
	}
}

const target = `targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
`

func TestWhatAWorkloadSpreadMayHold(t *testing.T) {
	for name, tc := range map[string]struct {
		spec string
		want string // part of the error, empty for none
	}{
		"percentage, then the rest":     {target + `subsets: [{name: own, maxReplicas: 50%}, {name: rest}]`, ""},
		"numbers":                       {target + `subsets: [{name: own, maxReplicas: 0}, {name: rest, maxReplicas: 7}]`, ""},
		"adaptive":                      {target + `{"subsets": [{"name": "a"}], "scheduleStrategy": {"type": "Adaptive", "adaptive": {"rescheduleCriticalSeconds": 3600}}}`, ""},
		"adaptive without its object":   {target + `{"subsets": [{"name": "a"}], "scheduleStrategy": {"type": "Adaptive"}}`, ""},
		"an empty strategy":             {target + `{"subsets": [{"name": "a"}], "scheduleStrategy": {"type": ""}}`, ""},
		"no subsets":                    {target + `subsets: []`, "at least 1 items"},
		"any patch":                     {target + `subsets: [{name: own, patch: {spec: {containers: [{name: c, novel: {a: [1]}}]}}}]`, ""},
		"a quoted number":               {target + `subsets: [{name: own, maxReplicas: "50"}]`, ""}, // the webhook says what was meant
		"a negative limit":              {target + `subsets: [{name: own, maxReplicas: -1}]`, "greater than or equal to 0"},
		"parameters without their type": {target + `{"subsets": [{"name": "a"}], "scheduleStrategy": {"adaptive": {}}}`, "only with type Adaptive"},
		"parameters of another type":    {target + `{"subsets": [{"name": "a"}], "scheduleStrategy": {"type": "Fixed", "adaptive": {}}}`, "only with type Adaptive"},
		"a negative time":               {target + `{"subsets": [{"name": "a"}], "scheduleStrategy": {"type": "Adaptive", "adaptive": {"rescheduleCriticalSeconds": -1}}}`, "greater than or equal to 0"},
		"a strategy that is none":       {target + `{"subsets": [{"name": "a"}], "scheduleStrategy": {"type": "Best"}}`, "Unsupported value"},
		"no target":                     {`subsets: [{name: a}]`, "targetRef: Required value"},
		"half a target":                 {`{"subsets": [{"name": "a"}], "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": ""}}`, "at least 1 chars long"},
		"a weight out of range":         {target + `subsets: [{name: own, preferredNodeSelectorTerms: [{weight: 101, preference: {}}]}]`, "less than or equal to 100"},
		"an empty path":                 {target + `{"subsets": [{"name": "a"}], "targetFilter": {"replicasPathList": [""]}}`, "at least 1 chars long"},
		"a subset without a name":       {target + `subsets: [{maxReplicas: 1}]`, "name: Required value"},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, validate(t, object(t, tc.spec, ""), nil), tc.want)
		})
	}
}

// TestObjectsOfOpenKruiseLiveOn: an object that was stored under laxer rules takes status
// updates and changes elsewhere, and a correction, but no new mistake.
func TestObjectsOfOpenKruiseLiveOn(t *testing.T) {
	const wrong = target + `{"subsets": [{"name": ""}, {"name": "b", "maxReplicas": -3}], "scheduleStrategy": {"type": "Fixed", "adaptive": {"rescheduleCriticalSeconds": -5}}}`
	const status = `{"observedGeneration": 2, "subsetStatuses": [{"name": "a", "replicas": 1, "missingReplicas": -1}]}`
	for name, tc := range map[string]struct {
		spec, status string
		want         string
	}{
		"a status update":            {wrong, status, ""},
		"a correction":               {target + `subsets: [{name: a}]`, status, ""},
		"another target":             {strings.Replace(wrong, "name: web", "name: api", 1), "", "cannot be changed"},
		"a newer version of its API": {strings.Replace(wrong, "apps/v1", "apps/v2", 1), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, validate(t, object(t, tc.spec, tc.status), object(t, wrong, "")), tc.want)
		})
	}
}

func object(t *testing.T, spec, status string) map[string]any {
	t.Helper()
	result := map[string]any{"apiVersion": "apps.kruise.io/v1alpha1", "kind": "WorkloadSpread", "metadata": map[string]any{"name": "web"}}
	fields := map[string]any{}
	for _, part := range strings.SplitAfter(spec, "\n") {
		if err := yaml.Unmarshal([]byte(part), &fields); err != nil {
			t.Fatal(err)
		}
	}
	result["spec"] = fields
	if status != "" {
		var s map[string]any
		if err := yaml.Unmarshal([]byte(status), &s); err != nil {
			t.Fatal(err)
		}
		result["status"] = s
	}
	return integers(result).(map[string]any)
}

// integers turns whole numbers into int64, as the API server decodes them.
func integers(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = integers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	case float64:
		return int64(v)
	}
	return value
}

// validate runs the schema and its CEL rules as the API server does on a create (old is
// nil) or an update.
func validate(t *testing.T, obj, old map[string]any) field.ErrorList {
	t.Helper()
	schema := load(t, "workloadspreads").Spec.Validation
	validator, _, err := validation.NewSchemaValidator(schema.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	structural, err := structuralschema.NewStructural(schema.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	rules := cel.NewValidator(structural, true, celconfig.PerCallLimit)

	if old == nil {
		errs := validation.ValidateCustomResource(nil, obj, validator)
		celErrs, _ := rules.Validate(t.Context(), nil, structural, obj, nil, celconfig.RuntimeCELCostBudget)
		return append(errs, celErrs...)
	}
	return validateUpdate(t.Context(), validator, rules, structural, obj, old)
}

func check(t *testing.T, errs field.ErrorList, want string) {
	t.Helper()
	got := ""
	if err := errs.ToAggregate(); err != nil {
		got = err.Error()
	}
	if (want == "") != (got == "") || !strings.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func validateUpdate(ctx context.Context, validator validation.SchemaValidator, rules *cel.Validator,
	structural *structuralschema.Structural, obj, old map[string]any,
) field.ErrorList {
	correlated := common.NewCorrelatedObject(obj, old, &model.Structural{Structural: structural})
	errs := validation.ValidateCustomResourceUpdate(nil, obj, old, validator, validation.WithRatcheting(correlated))
	celErrs, _ := rules.Validate(ctx, nil, structural, obj, old, celconfig.RuntimeCELCostBudget, cel.WithRatcheting(correlated))
	return append(errs, celErrs...)
}
