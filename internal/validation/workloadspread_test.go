package validation

import (
	"strings"
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"sigs.k8s.io/yaml"
)

func parse(t testing.TB, text string) *appsv1alpha1.WorkloadSpread {
	t.Helper()
	ws := &appsv1alpha1.WorkloadSpread{}
	if err := yaml.Unmarshal([]byte(text), ws); err != nil {
		t.Fatal(err)
	}
	return ws
}

const target = "targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}"

func TestGoodSpreadsPass(t *testing.T) {
	for name, spec := range map[string]string{
		"a share and the rest":         target + ", subsets: [{name: a, maxReplicas: 50%}, {name: b}]",
		"shares that make a hundred":   target + ", subsets: [{name: a, maxReplicas: 30%}, {name: b, maxReplicas: 70%}]",
		"a hundred alone":              target + ", subsets: [{name: a, maxReplicas: 100%}]",
		"numbers of any sum":           target + ", subsets: [{name: a, maxReplicas: 0}, {name: b, maxReplicas: 3}]",
		"one unlimited":                target + ", subsets: [{name: a}]",
		"another version of the API":   "targetRef: {apiVersion: apps/v9, kind: ReplicaSet, name: web}, subsets: [{name: a}]",
		"adaptive with an open end":    target + ", scheduleStrategy: {type: Adaptive, adaptive: {rescheduleCriticalSeconds: 3600}}, subsets: [{name: a, maxReplicas: 1}, {name: b}]",
		"terms, tolerations and patch": target + `, subsets: [{name: a, requiredNodeSelectorTerm: {matchExpressions: [{key: k, operator: In, values: [v]}]}, preferredNodeSelectorTerms: [{weight: 1, preference: {matchExpressions: [{key: k, operator: Exists}]}}], tolerations: [{operator: Exists}], patch: {metadata: {annotations: {clusterSelector: '{"nodeSelector":{"a":"b"}}'}}}}]`,
		"a filter":                     target + ", targetFilter: {selector: {matchLabels: {a: b}}, replicasPathList: [spec.replicas]}, subsets: [{name: a}]",
		"a StatefulSet in numbers":     "targetRef: {apiVersion: apps.kruise.io/v1beta1, kind: StatefulSet, name: web}, subsets: [{name: a, maxReplicas: 3}, {name: b}]",
		"a CronJob":                    "targetRef: {apiVersion: batch/v1, kind: CronJob, name: web}, subsets: [{name: a, maxReplicas: 50%}, {name: b}]",
		"an unlimited subset in front": target + ", subsets: [{name: a}, {name: b, maxReplicas: 3}]",
	} {
		t.Run(name, func(t *testing.T) {
			if errs := WorkloadSpread(parse(t, "spec: {"+spec+"}"), nil); len(errs) > 0 {
				t.Error(errs.ToAggregate())
			}
		})
	}
}

// TestBadSpreadsAreRefused: each refusal names the field, and says what to do.
func TestBadSpreadsAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ spec, field, remedy string }{
		"no target":                {"subsets: [{name: a}]", "spec.targetRef", "name the workload"},
		"a target without name":    {"targetRef: {apiVersion: apps/v1, kind: Deployment}, subsets: [{name: a}]", "spec.targetRef.name", "for example web"},
		"an unknown kind":          {"targetRef: {apiVersion: v1, kind: Service, name: web}, subsets: [{name: a}]", "spec.targetRef.kind", "use one of Deployment (apps)"},
		"a kind of another group":  {"targetRef: {apiVersion: batch/v1, kind: Deployment, name: web}, subsets: [{name: a}]", "spec.targetRef.kind", "use one of"},
		"a broken apiVersion":      {"targetRef: {apiVersion: a/b/c, kind: Deployment, name: web}, subsets: [{name: a}]", "spec.targetRef.apiVersion", "group/version"},
		"no subset":                {target + ", subsets: []", "spec.subsets", "at least one"},
		"a nameless subset":        {target + ", subsets: [{maxReplicas: 1}]", "spec.subsets[0].name", "name the subset"},
		"a name twice":             {target + ", subsets: [{name: a}, {name: a}]", "spec.subsets[1].name", "rename"},
		"a share of a StatefulSet": {"targetRef: {apiVersion: apps/v1, kind: StatefulSet, name: web}, subsets: [{name: a, maxReplicas: 50%}, {name: b}]", "spec.subsets[0].maxReplicas", "by their number"},
		"a quoted number":          {target + `, subsets: [{name: a, maxReplicas: "50"}]`, "spec.subsets[0].maxReplicas", `write 50 for pods or "50%"`},
		"a fraction of a percent":  {target + `, subsets: [{name: a, maxReplicas: "50.2%"}]`, "spec.subsets[0].maxReplicas", "whole percentage"},
		"more than all":            {target + `, subsets: [{name: a, maxReplicas: "150%"}]`, "spec.subsets[0].maxReplicas", "above 100%"},
		"a negative number":        {target + `, subsets: [{name: a, maxReplicas: -1}]`, "spec.subsets[0].maxReplicas", "≥ 0"},
		"numbers beside shares":    {target + `, subsets: [{name: a, maxReplicas: 1}, {name: b, maxReplicas: 50%}]`, "spec.subsets[1].maxReplicas", "all percentages"},
		"shares above a hundred":   {target + `, subsets: [{name: a, maxReplicas: 60%}, {name: b, maxReplicas: 50%}, {name: c}]`, "spec.subsets[1].maxReplicas", "110%"},
		"shares below a hundred":   {target + `, subsets: [{name: a, maxReplicas: 30%}, {name: b, maxReplicas: 30%}]`, "spec.subsets[1].maxReplicas", "60%"},
		"a gap between shares":     {target + `, subsets: [{name: a}, {name: b, maxReplicas: 30%}, {name: c}]`, "spec.subsets[0].maxReplicas", "last subset"},
		"an operator of no kind":   {target + `, subsets: [{name: a, requiredNodeSelectorTerm: {matchExpressions: [{key: k, operator: Is}]}}]`, "spec.subsets[0].requiredNodeSelectorTerm.matchExpressions[0].operator", "DoesNotExist"},
		"an empty term":            {target + `, subsets: [{name: a, requiredNodeSelectorTerm: {}}]`, "spec.subsets[0].requiredNodeSelectorTerm", "matches no node"},
		"a weight out of range":    {target + `, subsets: [{name: a, preferredNodeSelectorTerms: [{weight: 0, preference: {}}]}]`, "preferredNodeSelectorTerms[0].weight", "between 1 and 100"},
		"a toleration of nothing":  {target + `, subsets: [{name: a, tolerations: [{value: x}]}]`, "tolerations[0].operator", "Exists"},
		"an effect of no kind":     {target + `, subsets: [{name: a, tolerations: [{key: k, operator: Exists, effect: Never}]}]`, "tolerations[0].effect", "NoSchedule"},
		"a patch that is a list":   {target + `, subsets: [{name: a, patch: [1]}]`, "spec.subsets[0].patch", "shaped like a pod"},
		"a boolean label":          {target + `, subsets: [{name: a, patch: {metadata: {labels: {vk: true}}}}]`, "spec.subsets[0].patch", "put the value in quotes"},
		"containers that are text": {target + `, subsets: [{name: a, patch: {spec: {containers: none}}}]`, "spec.subsets[0].patch", "containers"},
		"broken clusterSelector":   {target + `, subsets: [{name: a, patch: {metadata: {annotations: {clusterSelector: '{"a":}'}}}}]`, "annotations[clusterSelector]", "at character 6"},
		"a type of no kind":        {target + ", scheduleStrategy: {type: Random}, subsets: [{name: a}]", "spec.scheduleStrategy.type", "Adaptive"},
		"adaptive but fixed":       {target + ", scheduleStrategy: {type: Fixed, adaptive: {}}, subsets: [{name: a}]", "spec.scheduleStrategy.type", "remove adaptive"},
		"adaptive without an end":  {target + ", scheduleStrategy: {type: Adaptive, adaptive: {}}, subsets: [{name: a, maxReplicas: 1}, {name: b, maxReplicas: 1}]", "spec.subsets[1].maxReplicas", "remove its maxReplicas"},
		"negative seconds":         {target + ", scheduleStrategy: {type: Adaptive, adaptive: {rescheduleCriticalSeconds: -1}}, subsets: [{name: a}]", "rescheduleCriticalSeconds", "≥ 0"},
	} {
		t.Run(name, func(t *testing.T) {
			errs := WorkloadSpread(parse(t, "spec: {"+tc.spec+"}"), nil)
			if len(errs) == 0 {
				t.Fatal("it was accepted")
			}
			for _, err := range errs {
				if strings.Contains(err.Field, tc.field) && strings.Contains(err.Error(), tc.remedy) {
					return
				}
			}
			t.Errorf("no error names %s and says %q: %v", tc.field, tc.remedy, errs.ToAggregate())
		})
	}
}

func TestTheTargetStays(t *testing.T) {
	old := parse(t, "spec: {"+target+", subsets: [{name: a}]}")
	is := old.DeepCopy()
	is.Spec.TargetReference.APIVersion = "apps/v1beta1"
	if errs := WorkloadSpreadUpdate(is, old, nil); len(errs) > 0 {
		t.Errorf("another version of the same kind was refused: %v", errs.ToAggregate())
	}
	is.Spec.TargetReference.Name = "other"
	if errs := WorkloadSpreadUpdate(is, old, nil); len(errs) != 1 || !strings.Contains(errs[0].Error(), "create another") {
		t.Errorf("got %v, want one error that says what to do", errs)
	}
}

func TestOverlap(t *testing.T) {
	with := func(filter string) *appsv1alpha1.WorkloadSpread {
		if filter != "" {
			filter = ", targetFilter: {selector: " + filter + "}"
		}
		return parse(t, "spec: {"+target+filter+"}")
	}
	for name, tc := range map[string]struct {
		a, b string
		want bool
	}{
		"no filters":                   {"", "", true},
		"one filter":                   {"{matchLabels: {role: ps}}", "", true},
		"different values of one key":  {"{matchLabels: {role: ps}}", "{matchLabels: {role: worker}}", false},
		"different keys":               {"{matchLabels: {role: ps}}", "{matchLabels: {tier: worker}}", true},
		"sets without a common value":  {"{matchExpressions: [{key: r, operator: In, values: [a, b]}]}", "{matchLabels: {r: c}}", false},
		"sets with a common value":     {"{matchExpressions: [{key: r, operator: In, values: [a, b]}]}", "{matchLabels: {r: b}}", true},
		"exclusion proves nothing yet": {"{matchExpressions: [{key: r, operator: NotIn, values: [a]}]}", "{matchLabels: {r: a}}", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Overlap(with(tc.a), with(tc.b)); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func FuzzPatch(f *testing.F) {
	for _, s := range []string{"", "null", "{}", "[]", `{"spec":null}`, `{"metadata":{"labels":{"a":1}}}`, `{"spec":{"containers":[{"$patch":"delete","name":"main"}]}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(_ *testing.T, raw []byte) {
		ws := &appsv1alpha1.WorkloadSpread{}
		ws.Spec.Subsets = []appsv1alpha1.WorkloadSpreadSubset{{Name: "a"}}
		ws.Spec.Subsets[0].Patch.Raw = raw
		WorkloadSpread(ws, nil) // must not panic, whatever comes
	})
}
