package v1alpha1

// Reason says in one word why something was decided or happened. The same value stands in events,
// in metric labels, in logs and in the output of commands.
type Reason string

// Reasons of events on a WorkloadSpread. Those that OpenKruise has too keep its spelling.
const (
	// ReasonSubsetAssigned: pods were placed into a subset (first of a burst).
	ReasonSubsetAssigned Reason = "SubsetAssigned"
	// ReasonOverflow: a pod went past a preferred subset; the message says why.
	ReasonOverflow Reason = "Overflow"
	// ReasonNoSubsetAvailable: no subset had room; the pod was admitted as it was.
	ReasonNoSubsetAvailable Reason = "NoSubsetAvailable"
	// ReasonCreatePodFailed: a claim ended because no pod came of it (OpenKruise).
	ReasonCreatePodFailed Reason = "CreatePodFailed"
	// ReasonSubsetUnschedulable: pods placed into a subset cannot be scheduled; it is passed over. It is
	// also the reason why such a subset was not chosen for a pod.
	ReasonSubsetUnschedulable Reason = "SubsetUnschedulable"
	// ReasonRecoverSchedulable: the hold of a subset is over; one pod is let in (OpenKruise).
	ReasonRecoverSchedulable Reason = "RecoverSchedulable"
	// ReasonSubsetRecovered: the pod that was let in got a node; the subset is open again.
	ReasonSubsetRecovered Reason = "SubsetRecovered"
	// ReasonNodePassedOver: pods are stuck on one virtual node of a subset; new ones go to the others.
	ReasonNodePassedOver Reason = "NodePassedOver"
	// ReasonNodeRecovered: a pod has started on a virtual node that was passed over.
	ReasonNodeRecovered Reason = "NodeRecovered"
	// ReasonPodRescheduled: a pod that could not be scheduled was deleted, to be made anew in another
	// subset.
	ReasonPodRescheduled Reason = "PodRescheduled"
	// ReasonDeletePodFailed: a pod that should be rescheduled could not be deleted (OpenKruise).
	ReasonDeletePodFailed Reason = "DeletePodFailed"
	// ReasonPatchPodDeletionCostFailed: a pod's deletion cost could not be written (OpenKruise).
	ReasonPatchPodDeletionCostFailed Reason = "PatchPodDeletionCostFailed"
	// ReasonPodsAdopted: pods that ran already got an assignment.
	ReasonPodsAdopted Reason = "PodsAdopted"
	// ReasonNotEligibleForVirtual: a pod was admitted without a subset, because it cannot run on the virtual nodes of
	// those that have room.
	ReasonNotEligibleForVirtual Reason = "NotEligibleForVirtual"
	// ReasonConstraintNotHonoured: constraints of pods are lost on the way to the lower cluster.
	ReasonConstraintNotHonoured Reason = "ConstraintNotHonoured"
	// ReasonMetadataOverwritten: a virtual kubelet goes on overwriting labels or annotations of a pod; they are not
	// repaired any more.
	ReasonMetadataOverwritten Reason = "MetadataOverwritten"
	// ReasonInvalidAllowList: an entry of the allow-list of custom workloads is left out.
	ReasonInvalidAllowList Reason = "InvalidAllowList"
	// ReasonTargetUnreadable: the target's kind is not served, or may not be read.
	ReasonTargetUnreadable Reason = "TargetUnreadable"
	// ReasonInvalidSpec: the stored spec cannot be computed with; the message names the field.
	ReasonInvalidSpec Reason = "InvalidSpec"
)

// Reasons why a subset was not chosen for a pod.
const (
	// ReasonSubsetFull: active and claimed pods reach the subset's limit.
	ReasonSubsetFull Reason = "SubsetFull"
	// ReasonNodesNotReady: no virtual node of the subset is ready, and pods are not to wait for them.
	ReasonNodesNotReady Reason = "NodesNotReady"
)

// Reasons of the condition ConditionSchedulable. ReasonProbing is also why a subset was not chosen.
const (
	// ReasonSufficient: pods of the subset find nodes, as far as known.
	ReasonSufficient Reason = "Sufficient"
	// ReasonPodUnschedulable: a pod of the subset found no node in time.
	ReasonPodUnschedulable Reason = "PodUnschedulable"
	// ReasonProbing: the hold is over, and one pod is let in to see.
	ReasonProbing Reason = "Probing"
)

// Reasons why a pod cannot run on a virtual node.
const (
	// ReasonOwnedByDaemonSet: virtual nodes do not run the pods of a DaemonSet.
	ReasonOwnedByDaemonSet Reason = "OwnedByDaemonSet"
	// ReasonHostPath: a volume is a path of the node.
	ReasonHostPath Reason = "HostPath"
	// ReasonHostNamespace: the pod uses the node's network or process IDs.
	ReasonHostNamespace Reason = "HostNamespace"
	// ReasonHostAliases: the pod has entries of its own for /etc/hosts.
	ReasonHostAliases Reason = "HostAliases"
	// ReasonPrivileged: a container is privileged.
	ReasonPrivileged Reason = "Privileged"
	// ReasonVolumeUnsupported: the provider cannot mount a volume.
	ReasonVolumeUnsupported Reason = "VolumeUnsupported"
	// ReasonEnvUnsupported: the provider cannot resolve a reference in the environment.
	ReasonEnvUnsupported Reason = "EnvUnsupported"
	// ReasonVolumeElsewhere: a claim is bound to nodes that the virtual node is none of.
	ReasonVolumeElsewhere Reason = "VolumeElsewhere"
	// ReasonVolumeImmediate: a claim is bound before the pod has a node, to nodes that nobody knows yet.
	ReasonVolumeImmediate Reason = "VolumeImmediate"
	// ReasonFixedIP: an annotation gives the pod a fixed address.
	ReasonFixedIP Reason = "FixedIP"
	// ReasonResourceMissing: the virtual nodes lack a resource that a container asks for.
	ReasonResourceMissing Reason = "ResourceMissing"
)

// Reasons of what became of a pod without a WorkloadSpread (KeyPlacement).
const (
	// ReasonPlaced: the pod got the placement that it or its namespace asks for.
	ReasonPlaced Reason = "Placed"
	// ReasonPlacementInvalid: the pod was refused, because what is asked for does not exist.
	ReasonPlacementInvalid Reason = "PlacementInvalid"
	// ReasonNoVirtualNode: the pod was refused, because no virtual node tells what it has to be made ready for.
	ReasonNoVirtualNode Reason = "NoVirtualNode"
)

// ReasonConstraintInvalid is why a pod for virtual nodes was refused: one of the constraints that are handed over is one
// that no API server takes.
const ReasonConstraintInvalid Reason = "ConstraintInvalid"

// ReasonCounted is the reason of the condition ConditionView: the counts come from that view.
const ReasonCounted Reason = "Counted"

// Reasons why a claim left the ledger without its pod having been counted.
const (
	// ReasonClaimWithdrawn: the request that made the claim ended before it was answered.
	ReasonClaimWithdrawn Reason = "ClaimWithdrawn"
	// ReasonClaimDisproved: the owner's demand proves that no creation is under way for it.
	ReasonClaimDisproved Reason = "ClaimDisproved"
	// ReasonClaimExpired: no pod appeared within the time in which one could still be stored.
	ReasonClaimExpired Reason = "ClaimExpired"
)

// Reasons why the pod webhook left a pod as it was.
const (
	// ReasonNotManaged: no WorkloadSpread selects the pod.
	ReasonNotManaged Reason = "NotManaged"
	// ReasonPodInactive: the pod is terminating or has ended.
	ReasonPodInactive Reason = "PodInactive"
	// ReasonPodBound: the pod already names its node; placement would come too late.
	ReasonPodBound Reason = "PodBound"
	// ReasonSpreadGone: the WorkloadSpread was deleted while the pod was being admitted.
	ReasonSpreadGone Reason = "SpreadGone"
	// ReasonPlacedElsewhere: another cluster placed the pod, and a provider made it here.
	ReasonPlacedElsewhere Reason = "PlacedElsewhere"
)

// Reasons of the webhook that restores constraints in a lower cluster.
const (
	// ReasonRestored: the pod got back the constraints that were handed over.
	ReasonRestored Reason = "Restored"
	// ReasonNothingHandedOver: the pod carries no constraints in an annotation.
	ReasonNothingHandedOver Reason = "NothingHandedOver"
	// ReasonMadeHere: a workload of this cluster made the pod, not a provider.
	ReasonMadeHere Reason = "MadeHere"
	// ReasonPlacedHere: this cluster placed the pod itself; its constraints belong to another one.
	ReasonPlacedHere Reason = "PlacedHere"
)

// Reasons why a call was answered with an HTTP error, so that the failure policy decides.
const (
	// ReasonBadReview: the request body is no AdmissionReview that can be answered.
	ReasonBadReview Reason = "BadReview"
	// ReasonBodyTooLarge: the request body exceeds the configured size.
	ReasonBodyTooLarge Reason = "BodyTooLarge"
	// ReasonNotReady: caches have not synced yet.
	ReasonNotReady Reason = "NotReady"
	// ReasonDeadline: the request's time ran out before it could be decided.
	ReasonDeadline Reason = "Deadline"
	// ReasonUnavailable: the API server did not answer as needed.
	ReasonUnavailable Reason = "Unavailable"
	// ReasonUnproven: a slot is free for certain, but not yet in which subset; the retry will know.
	ReasonUnproven Reason = "Unproven"
	// ReasonPanic: a fault in Spillway itself.
	ReasonPanic Reason = "Panic"
)
