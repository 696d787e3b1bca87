package clusterselector

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestConstraintsThatAnAPIServerTakes(t *testing.T) {
	long := strings.Repeat("x", 63)
	for name, text := range map[string]string{
		"nothing":                         `{}`,
		"node labels":                     `{nodeSelector: {disk: ssd, example.com/a: "", a: ` + long + `}}`,
		"node terms":                      `{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{}, {matchExpressions: [{key: a, operator: In, values: [x, y]}, {key: a, operator: NotIn, values: [z]}, {key: b, operator: Exists}, {key: c, operator: DoesNotExist}, {key: d, operator: Gt, values: ["1"]}, {key: d, operator: Lt, values: ["9"]}]}]}}}}`,
		"numbers at which nobody looks":   `{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Gt, values: [many]}, {key: a, operator: In, values: ["-1"]}]}]}}}}`,
		"node names":                      `{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [n.example.com]}, {key: metadata.name, operator: NotIn, values: [m]}]}]}}}}`,
		"node preferences":                `{affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {}}, {weight: 100, preference: {matchExpressions: [{key: a, operator: Exists}]}}]}}}`,
		"pod terms":                       `{affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname}, {topologyKey: zone, namespaces: [a], namespaceSelector: {}, labelSelector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: In, values: [d]}]}}]}}}`,
		"pod preferences":                 `{affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 50, podAffinityTerm: {topologyKey: zone}}]}}}`,
		"keys of labels, a feature":       `{affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, matchLabelKeys: [a], labelSelector: {matchLabels: {a: b}}}]}}, topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, matchLabelKeys: [a]}]}`,
		"tolerations":                     `{tolerations: [{operator: Exists}, {key: a, operator: Exists}, {key: a}, {key: a, operator: Equal, value: b, effect: NoSchedule}, {key: a, value: b, effect: PreferNoSchedule}, {key: a, operator: Exists, effect: NoExecute, tolerationSeconds: -1}]}`,
		"tolerations of numbers":          `{tolerations: [{key: a, operator: Lt, value: "5"}, {key: a, operator: Gt, value: "-5", effect: NoExecute}]}`,
		"spread":                          `{topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, minDomains: 2, labelSelector: {matchLabels: {a: b}}, nodeAffinityPolicy: Honor, nodeTaintsPolicy: Ignore}, {maxSkew: 3, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}, {maxSkew: 1, topologyKey: host, whenUnsatisfiable: DoNotSchedule}]}`,
		"a key to spread by is any text":  `{topologySpreadConstraints: [{maxSkew: 1, topologyKey: "no label", whenUnsatisfiable: DoNotSchedule}]}`,
		"the API server's own toleration": `{tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if errs := validated(t, text); len(errs) > 0 {
				t.Error(errs.ToAggregate())
			}
		})
	}
}

func TestConstraintsThatNoAPIServerTakes(t *testing.T) {
	const (
		node      = "affinity.nodeAffinity."
		required  = "requiredDuringSchedulingIgnoredDuringExecution"
		preferred = "preferredDuringSchedulingIgnoredDuringExecution"
		terms     = node + required + ".nodeSelectorTerms"
	)
	requirement := func(text string) string {
		return `{affinity: {nodeAffinity: {` + required + `: {nodeSelectorTerms: [{}, {` + text + `}]}}}}`
	}
	preference := func(text string) string {
		return `{affinity: {nodeAffinity: {` + preferred + `: [{` + text + `}]}}}`
	}
	pods := func(text string) string { return `{affinity: {podAffinity: {` + required + `: [{` + text + `}]}}}` }
	apart := func(text string) string {
		return `{affinity: {podAntiAffinity: {` + preferred + `: [{` + text + `}]}}}`
	}
	toleration := func(text string) string { return `{tolerations: [{operator: Exists}, {` + text + `}]}` }
	spread := func(text string) string { return `{topologySpreadConstraints: [{` + text + `}]}` }
	for name, tc := range map[string]struct{ text, want string }{
		"a node label's key":          {`{nodeSelector: {a b: c}}`, "nodeSelector[a b]: Invalid value"},
		"a node label's value":        {`{nodeSelector: {a: b c}}`, "nodeSelector[a]: Invalid value"},
		"no node terms":               {`{affinity: {nodeAffinity: {` + required + `: {nodeSelectorTerms: []}}}}`, terms + ": Required"},
		"a requirement's key":         {requirement(`matchExpressions: [{key: a b, operator: Exists}]`), terms + "[1].matchExpressions[0].key: Invalid"},
		"a requirement's operator":    {requirement(`matchExpressions: [{key: a, operator: in}]`), terms + "[1].matchExpressions[0].operator: Unsupported value"},
		"In without values":           {requirement(`matchExpressions: [{key: a, operator: In}]`), terms + "[1].matchExpressions[0].values: Required"},
		"NotIn without values":        {requirement(`matchExpressions: [{key: a, operator: NotIn, values: []}]`), terms + "[1].matchExpressions[0].values: Required"},
		"Exists with values":          {requirement(`matchExpressions: [{key: a, operator: Exists, values: [b]}]`), terms + "[1].matchExpressions[0].values: Forbidden"},
		"DoesNotExist with values":    {requirement(`matchExpressions: [{key: a, operator: DoesNotExist, values: [b]}]`), terms + "[1].matchExpressions[0].values: Forbidden"},
		"Gt without a value":          {requirement(`matchExpressions: [{key: a, operator: Gt}]`), terms + "[1].matchExpressions[0].values: Invalid"},
		"Lt with two values":          {requirement(`matchExpressions: [{key: a, operator: Lt, values: ["1", "2"]}]`), terms + "[1].matchExpressions[0].values: Invalid"},
		"a field that nodes lack":     {requirement(`matchFields: [{key: spec.name, operator: In, values: [n]}]`), terms + "[1].matchFields[0].key: Unsupported value"},
		"a field's operator":          {requirement(`matchFields: [{key: metadata.name, operator: Exists, values: [n]}]`), terms + "[1].matchFields[0].operator: Unsupported value"},
		"a field without a value":     {requirement(`matchFields: [{key: metadata.name, operator: In}]`), terms + "[1].matchFields[0].values: Invalid"},
		"a field with two values":     {requirement(`matchFields: [{key: metadata.name, operator: NotIn, values: [n, m]}]`), terms + "[1].matchFields[0].values: Invalid"},
		"a name that no node has":     {requirement(`matchFields: [{key: metadata.name, operator: In, values: [A]}]`), terms + "[1].matchFields[0].values[0]: Invalid"},
		"a weight of nothing":         {preference(`weight: 0, preference: {}`), node + preferred + "[0].weight: Invalid"},
		"a weight above 100":          {preference(`weight: 101, preference: {}`), node + preferred + "[0].weight: Invalid"},
		"a preference's operator":     {preference(`weight: 1, preference: {matchExpressions: [{key: a}]}`), node + preferred + "[0].preference.matchExpressions[0].operator: Unsupported value"},
		"no topology key":             {pods(`labelSelector: {}`), "affinity.podAffinity." + required + "[0].topologyKey: Required"},
		"a topology key that is none": {pods(`topologyKey: a b`), "affinity.podAffinity." + required + "[0].topologyKey: Invalid"},
		"a label selector's operator": {pods(`topologyKey: a, labelSelector: {matchExpressions: [{key: a, operator: Gt, values: ["1"]}]}`), "affinity.podAffinity." + required + "[0].labelSelector.matchExpressions[0].operator: Invalid"},
		"a label selector's value":    {pods(`topologyKey: a, labelSelector: {matchLabels: {a: b c}}`), "affinity.podAffinity." + required + "[0].labelSelector.matchLabels: Invalid"},
		"a namespace selector":        {pods(`topologyKey: a, namespaceSelector: {matchExpressions: [{key: a, operator: In}]}`), "affinity.podAffinity." + required + "[0].namespaceSelector.matchExpressions[0].values: Required"},
		"a namespace's name":          {pods(`topologyKey: a, namespaces: [b, A]`), "affinity.podAffinity." + required + "[0].namespaces[1]: Invalid"},
		"a weight of pods":            {apart(`weight: 200, podAffinityTerm: {topologyKey: a}`), "affinity.podAntiAffinity." + preferred + "[0].weight: Invalid"},
		"a preferred term of pods":    {apart(`weight: 1, podAffinityTerm: {}`), "affinity.podAntiAffinity." + preferred + "[0].podAffinityTerm.topologyKey: Required"},
		"a toleration's key":          {toleration(`key: a b, operator: Exists`), "tolerations[1].key: Invalid"},
		"a toleration without a key":  {toleration(`operator: Equal, value: a`), "tolerations[1].operator: Invalid"},
		"an empty toleration":         {toleration(``), "tolerations[1].operator: Invalid"},
		"a toleration's operator":     {toleration(`key: a, operator: exists`), "tolerations[1].operator: Unsupported value"},
		"Exists with a value":         {toleration(`key: a, operator: Exists, value: b`), "tolerations[1].value: Invalid"},
		"a value that no taint has":   {toleration(`key: a, value: b c`), "tolerations[1].value: Invalid"},
		"Lt of no number":             {toleration(`key: a, operator: Lt, value: b`), "tolerations[1].value: Invalid"},
		"Gt of nothing":               {toleration(`key: a, operator: Gt`), "tolerations[1].value: Invalid"},
		"a toleration's effect":       {toleration(`key: a, effect: Never`), "tolerations[1].effect: Unsupported value"},
		"seconds of no effect":        {toleration(`key: a, tolerationSeconds: 1`), "tolerations[1].effect: Invalid"},
		"seconds of NoSchedule":       {toleration(`key: a, effect: NoSchedule, tolerationSeconds: 1`), "tolerations[1].effect: Invalid"},
		"a skew of nothing":           {spread(`topologyKey: a, whenUnsatisfiable: DoNotSchedule`), "topologySpreadConstraints[0].maxSkew: Invalid"},
		"nothing to spread by":        {spread(`maxSkew: 1, whenUnsatisfiable: DoNotSchedule`), "topologySpreadConstraints[0].topologyKey: Required"},
		"what to do otherwise":        {spread(`maxSkew: 1, topologyKey: a, whenUnsatisfiable: Wait`), "topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value"},
		"nothing to do otherwise":     {spread(`maxSkew: 1, topologyKey: a`), "topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value"},
		"domains of nothing":          {spread(`maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule, minDomains: 0`), "topologySpreadConstraints[0].minDomains: Invalid"},
		"domains of a wish":           {spread(`maxSkew: 1, topologyKey: a, whenUnsatisfiable: ScheduleAnyway, minDomains: 2`), "topologySpreadConstraints[0].minDomains: Invalid"},
		"a spread's label selector":   {spread(`maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchExpressions: [{key: a, operator: In}]}`), "topologySpreadConstraints[0].labelSelector.matchExpressions[0].values: Required"},
		"a policy of affinity":        {spread(`maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule, nodeAffinityPolicy: Heed`), "topologySpreadConstraints[0].nodeAffinityPolicy: Unsupported value"},
		"a policy of taints":          {spread(`maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule, nodeTaintsPolicy: ""`), "topologySpreadConstraints[0].nodeTaintsPolicy: Unsupported value"},
		"the same spread twice": {spread(`maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 1, topologyKey: b, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 2, topologyKey: a, whenUnsatisfiable: DoNotSchedule`),
			"topologySpreadConstraints[2].topologyKey: Duplicate value"},
	} {
		t.Run(name, func(t *testing.T) {
			errs := validated(t, tc.text)
			if !slices.ContainsFunc(errs, func(e *field.Error) bool { return strings.HasPrefix(e.Error(), "spec."+tc.want) }) || len(errs) != 1 {
				t.Errorf("got %v, want spec.%s", errs, tc.want)
			}
		})
	}
}

// validated validates a spec's constraints.
func validated(t *testing.T, text string) field.ErrorList {
	t.Helper()
	pod := podOf(t, `{spec: `+text+`}`)
	return selectionOf(&pod.Spec).Validate(field.NewPath("spec"))
}

// TestStashAndRestoreDoNotValidate: what cannot be created comes back as it was all the same.
func TestStashAndRestoreDoNotValidate(t *testing.T) {
	pod := podOf(t, `{spec: {tolerations: [{key: a b, operator: none}]}}`)
	if _, err := Stash(pod, AnnotationKosmos); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(pod, AnnotationKosmos); err != nil || len(pod.Spec.Tolerations) != 1 || pod.Spec.Tolerations[0].Operator != corev1.TolerationOperator("none") {
		t.Errorf("got %+v, %v", pod.Spec.Tolerations, err)
	}
}
