package lint

// Rule is one kind of mistake.
type Rule struct {
	// ID names the rule in findings.
	ID string
	// Severity of its findings.
	Severity Severity
	// What is wrong, in a line.
	What string
	// Why it matters.
	Why string
	// Example is YAML with the mistake.
	Example string
	// Corrects reports whether there is a correction, at least in most cases.
	Corrects bool
}

// The rules' IDs.
const (
	ruleSyntax        = "syntax"
	ruleDuplicate     = "duplicate-key"
	ruleVersion       = "old-version"
	ruleNestedSubset  = "nested-subset"
	ruleMisplaced     = "misplaced-field"
	ruleAnnotation    = "outside-annotations"
	ruleMisspelled    = "misspelled-field"
	ruleUnknown       = "unknown-field"
	ruleType          = "wrong-type"
	ruleNulls         = "nulls-constraints"
	ruleTolerations   = "replaces-tolerations"
	ruleBesidePin     = "beside-pin"
	ruleProvider      = "missing-provider-label"
	ruleStatic        = "static-constraints"
	ruleStashedPin    = "pin-of-a-second-webhook"
	ruleMissingTarget = "missing-target"
	ruleStrategy      = "adaptive-without-type"
	ruleUnreachable   = "unreachable-subset"
	ruleRival         = "same-target"
	ruleUnselected    = "unselected-sidecar"
	ruleInvalid       = "invalid"
)

// Rules returns the table, in the order in which rules are applied.
func Rules() []Rule {
	return []Rule{
		{ruleSyntax, Error, "a document is no YAML", "nothing in it can be read. Without a word of apps.kruise.io in it, it is a note", "a: b: c", false},
		{ruleDuplicate, Error, "a key is given twice in one mapping", "the last one silently wins, or the API server refuses the object", "metadata: {name: a, name: b}", true},
		{ruleVersion, Error, "the API version is not v1alpha1", "it is the version that Spillway serves; v1beta1 has other names for node terms", "apiVersion: apps.kruise.io/v1beta1", true},
		{ruleNestedSubset, Error, "a subset stands inside another one", "the list that it slipped into ignores it: the spread has one subset fewer than it looks",
			"subsets:\n- name: own\n  tolerations:\n  - key: a\n  - name: virtual\n    maxReplicas: 1", true},
		{ruleMisplaced, Error, "a field stands where it does not exist, and exists around there", "it has no effect: the API server drops it, and of a patch a pod ignores it",
			"subsets:\n- name: own\n  patch:\n    spec:\n      requiredNodeSelectorTerm: {…}", true},
		{ruleAnnotation, Error, "an annotation or a label stands beside the map that it belongs to", "there is no such field: it is dropped",
			"metadata:\n  annotations:\n    a: b\n  subset: own", true},
		{ruleMisspelled, Error, "a field's name is spelled wrong", "it has no effect", "maxReplica: 5", true},
		{ruleUnknown, Error, "a field does not exist", "it has no effect", "subsets: [{name: own, weight: 3}]", false},
		{ruleType, Error, "a value is of the wrong type", "the API server refuses it; true, 1 and yes are no strings without quotes", "matchLabels: {vk: true}", true},
		{ruleNulls, Warning, "a patch removes constraints of the workload's pods", "OpenKruise removes the subset's own pin with them. Spillway pins after the patch, but the constraints are lost for good; for virtual nodes it hands them over instead",
			"patch: {spec: {affinity: {nodeAffinity: null}}}", true},
		{ruleTolerations, Warning, "a patch replaces the tolerations of the workload's pods", "the list has no merge key: the pods' own are lost. Those of the subset are added",
			"patch: {spec: {tolerations: [{key: a, operator: Exists}]}}", true},
		{ruleBesidePin, Warning, "a patch sets constraints beside the subset's node terms", "a pod gets both, and they may exclude each other", "requiredNodeSelectorTerm: {…}\npatch: {spec: {nodeSelector: {a: b}}}", false},
		{ruleProvider, Warning, "pods for tensile-kube lack the label virtual-pod=true", "its provider neither updates nor deletes the lower pod of one without it", "patch: {metadata: {annotations: {clusterSelector: '{}'}}}", true},
		{ruleStatic, Note, "constraints of the lower cluster are a fixed text", "all pods get the fields that it names, in place of their own; fields that it does not name come from the pod", "clusterSelector: '{\"tolerations\":[…]}'", false},
		{ruleStashedPin, Note, "tensile-kube's own webhook would move the pin away", "if it runs beside Spillway, the pin's key has to be in its --ignore-selector-keys; better turn it off", "patch: {metadata: {annotations: {clusterSelector: '{}'}}}", false},
		{ruleMissingTarget, Error, "the spread has no target", "it selects no workload, and the API server refuses it", "spec: {subsets: [{name: own}]}", true},
		{ruleStrategy, Error, "settings for Adaptive without its type", "the API server refuses it", "scheduleStrategy: {adaptive: {rescheduleCriticalSeconds: 30}}", true},
		{ruleUnreachable, Warning, "a subset is never reached", "one before it takes any number of pods, and without Adaptive none moves on", "subsets: [{name: a}, {name: b}]", false},
		{ruleRival, Error, "two spreads select the same pods", "the webhook refuses the second one", "targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}   # in both", false},
		{ruleUnselected, Note, "no subset and no workload in the same text sets the labels that a SidecarSet selects", "then nobody gets its sidecars", "selector: {matchLabels: {vk: \"true\"}}", false},
		{ruleInvalid, Error, "validation refuses it", "the message is that of the API server", "maxReplicas: 120%", false},
	}
}

func severityOf(id string) Severity {
	for _, r := range Rules() {
		if r.ID == id {
			return r.Severity
		}
	}
	return Error
}

// checks are the rules' functions, in the order in which their corrections are applied: what stands in the wrong
// place is moved before what it holds is looked at.
var checks = []func(*document, hints) []problem{
	duplicates, versions, nestedSubsets, fields, types, nulls, replacedTolerations, besidePins, providers, targets, strategies, unreachable,
}
