package validation

import (
	"strings"
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/internal/provider"
)

func TestWhatASpreadSaysOfVirtualNodes(t *testing.T) {
	const nodes = `[{metadata: {labels: {type: virtual-kubelet, pool: all}}}, {metadata: {labels: {pool: all}}}]`
	for name, tc := range map[string]struct{ ws, fault, warning string }{
		"nothing":                  {ws: `{spec: {subsets: [{name: a}]}}`},
		"an annotation that fits":  {ws: `{metadata: {annotations: {spillway-project.io/virtual-subsets: '{"a":"kosmos"}'}}, spec: {subsets: [{name: a}]}}`},
		"one of another subset":    {ws: `{metadata: {annotations: {spillway-project.io/virtual-subsets: '{"b":"kosmos"}'}}, spec: {subsets: [{name: a}]}}`, fault: `metadata.annotations[spillway-project.io/virtual-subsets]: Invalid value`},
		"constraints without form": {ws: `{spec: {subsets: [{name: a, patch: {metadata: {annotations: {clusterSelector: '{"tolerations":{}}'}}}}]}}`, fault: `spec.subsets[0].patch.metadata.annotations[clusterSelector]: Invalid value: "{\"tolerations\":{}}": field tolerations, line 1, column 16`},
		"constraints that no API server takes": {ws: `{spec: {subsets: [{name: a, patch: {metadata: {annotations: {clusterSelector: '{"tolerations":[{"key":"a","operator":"exists"}]}'}}}}]}}`,
			fault: `spec.subsets[0].patch.metadata.annotations[clusterSelector].tolerations[0].operator: Unsupported value: "exists"`},
		"real and virtual nodes":   {ws: `{spec: {subsets: [{name: a, requiredNodeSelectorTerm: {matchExpressions: [{key: pool, operator: Exists}]}}]}}`, warning: `subset "a" selects real nodes and virtual ones of generic`},
		"the same, but overridden": {ws: `{metadata: {annotations: {spillway-project.io/virtual-subsets: '{"a":""}'}}, spec: {subsets: [{name: a, requiredNodeSelectorTerm: {matchExpressions: [{key: pool, operator: Exists}]}}]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			var ws appsv1alpha1.WorkloadSpread
			var all []*corev1.Node
			for text, into := range map[string]any{tc.ws: &ws, nodes: &all} {
				if err := yaml.Unmarshal([]byte(text), into); err != nil {
					t.Fatal(err)
				}
			}
			errs, warnings := WorkloadSpreadVirtual(&ws, provider.NewCatalog(nil), all)
			if (tc.fault == "") != (len(errs) == 0) || (tc.fault != "" && !strings.Contains(errs.ToAggregate().Error(), tc.fault)) {
				t.Errorf("errors: %v", errs)
			}
			if (tc.warning == "") != (len(warnings) == 0) || (tc.warning != "" && !strings.Contains(warnings[0], tc.warning)) {
				t.Errorf("warnings: %v", warnings)
			}
		})
	}
}
