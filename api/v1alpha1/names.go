package v1alpha1

// Domain is the prefix of every label, annotation, condition and API group of Spillway's own.
const Domain = "spillway-project.io"

const (
	// LabelAdmission on a pod or a namespace, with the value AdmissionDisabled, keeps Spillway's
	// webhook away from the pod or from all pods of the namespace.
	LabelAdmission = Domain + "/admission"
	// AdmissionDisabled is the one value of LabelAdmission that means anything.
	AdmissionDisabled = "disabled"
)

const (
	// AnnotationMatched records on a pod which WorkloadSpread and subset it was placed by: a Record
	// as JSON. The name and the format are OpenKruise's, so that installations change over in place.
	AnnotationMatched = "apps.kruise.io/matched-workloadspread"

	// AnnotationDeletionCost holds the value of PodDeletionCost that Spillway wrote. A cost without
	// it, or with a different value, is the user's own and is never overwritten or removed.
	AnnotationDeletionCost = Domain + "/deletion-cost"

	// AnnotationVirtualSubsets on a WorkloadSpread says which of its subsets are of virtual nodes, where that
	// cannot be seen from the nodes: a JSON object of subsets' names and profiles' names, "" for own nodes, such as
	// {"virtual":"tensile-kube","own":""}. Subsets that it does not name are looked at.
	AnnotationVirtualSubsets = Domain + "/virtual-subsets"

	// AnnotationOutage on a WorkloadSpread says what becomes of pods on virtual nodes that are not ready: OutageHold
	// or OutageReplace. The default is in the configuration.
	AnnotationOutage = Domain + "/outage"
	// OutageHold: they stay, however long that takes; the pods of the lower cluster run on while the link is down.
	OutageHold = "Hold"
	// OutageReplace: Kubernetes evicts them, and new ones pass the subset over while none of its nodes is ready.
	OutageReplace = "Replace"

	// KeyPlacement is an annotation or a label, of a pod or, as the default for its pods, of a namespace. It says where
	// a pod that no WorkloadSpread selects may run: one of the values of Placement.
	KeyPlacement = Domain + "/placement"
	// KeyProvider, as an annotation or a label in the same places, names the profile of virtual nodes that is meant
	// by PlacementVirtual and PlacementAny.
	KeyProvider = Domain + "/provider"

	// PodDeletionCost is the annotation by which a ReplicaSet's controller picks the pods to remove
	// first (k8s.io/api/core/v1 PodDeletionCost); lower goes first.
	PodDeletionCost = "controller.kubernetes.io/pod-deletion-cost"
)

// Placement is a value of KeyPlacement.
type Placement string

const (
	// PlacementNone, an empty value, asks for nothing: it takes a pod out of its namespace's default.
	PlacementNone Placement = ""
	// PlacementOwn keeps the pod off virtual nodes.
	PlacementOwn Placement = "own"
	// PlacementVirtual pins the pod to virtual nodes.
	PlacementVirtual Placement = "virtual"
	// PlacementAny lets the pod use virtual nodes too.
	PlacementAny Placement = "any"
	// PlacementOwnFirst, own nodes while there is room, takes a WorkloadSpread: it is refused.
	PlacementOwnFirst Placement = "own-first"
)

const (
	// ConditionSchedulable of a subset is False while pods placed there cannot be scheduled
	// (kruise-api SubsetSchedulable). The webhook passes such a subset over.
	ConditionSchedulable = "Schedulable"

	// ConditionProbe remembers of a subset that is closed, or was, how many probes failed in a row and
	// the token of the pod that is let in: "failed=1 pod=4k2j9x0a". It lives as long as that matters.
	ConditionProbe = Domain + "/Probe"
	// ConditionNodes remembers, of a subset of several virtual nodes, those on which pods were stuck: its message is a
	// JSON object of nodes' names, how many holds in a row each has had before (failed) and until when it is left out
	// (until, in seconds since 1970).
	ConditionNodes = Domain + "/Nodes"

	// ConditionView, on the first subset of the aggregate status, holds in its message the resource
	// version of the newest view of pods that the counts were taken from. A recount from an older
	// view is refused: it would forget pods whose claims have been dropped since.
	ConditionView = Domain + "/View"
)
