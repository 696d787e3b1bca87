package v1alpha1

// Reasons of admissions of pods that SidecarSets select.
const (
	// ReasonInjected: sidecars were injected.
	ReasonInjected Reason = "SidecarsInjected"
	// ReasonSidecarNameTaken: a container of the pod has the name of a sidecar.
	ReasonSidecarNameTaken Reason = "SidecarNameTaken"
	// ReasonVolumeConflict: a volume of the pod, or of another set, has the name of a set's volume and
	// other content.
	ReasonVolumeConflict Reason = "VolumeConflict"
	// ReasonResourcesUndefined: a resourcesPolicy cannot be computed for the pod.
	ReasonResourcesUndefined Reason = "ResourcesUndefined"
)

// Reasons of events on a SidecarSet or a pod. Those that OpenKruise has too keep its spelling.
const (
	// ReasonNotUpgradablePods: pods cannot be upgraded in place and have to be replaced (OpenKruise).
	ReasonNotUpgradablePods Reason = "NotUpgradablePods"
	// ReasonResetSucceed: a hot upgrade is finished, the former container is idle (OpenKruise).
	ReasonResetSucceed Reason = "ResetContainerSucceed"
	// ReasonResetFailed: the former container of a hot upgrade could not be made idle (OpenKruise).
	ReasonResetFailed Reason = "ResetContainerFailed"
	// ReasonUpgradeFailed: the upgrade of a pod was refused; it is tried again.
	ReasonUpgradeFailed Reason = "SidecarUpgradeFailed"
	// ReasonRevisionMissing: a pinned revision does not exist, the current spec was injected.
	ReasonRevisionMissing Reason = "RevisionMissing"
	// ReasonMetadataSkipped: a MergePatchJson entry was skipped, because the pod's value is no JSON.
	ReasonMetadataSkipped Reason = "MetadataSkipped"
	// ReasonUninjected: pods that the set selects run without its sidecars.
	ReasonUninjected Reason = "UninjectedPods"
	// ReasonReplaced: a pod without sidecars was evicted, to be replaced by one that has them.
	ReasonReplaced Reason = "UninjectedPodReplaced"
	// ReasonEvictionRefused: a pod without sidecars could not be evicted; it is tried again.
	ReasonEvictionRefused Reason = "EvictionRefused"
)

// Reasons of the pod condition SidecarSetUpgradable (OpenKruise).
const (
	ReasonAllUpgradable        Reason = "AllSidecarsetUpgradable"
	ReasonUpdateImmutableField Reason = "UpdateImmutableField"
)

// Reasons why a pod of a set is, or is not, upgraded now.
const (
	// ReasonUpdated: the pod runs the current version.
	ReasonUpdated Reason = "Updated"
	// ReasonUpgrade: the pod is upgraded in this round.
	ReasonUpgrade Reason = "Upgrade"
	// ReasonNotUpgradable: more than images differs.
	ReasonNotUpgradable Reason = "NotUpgradable"
	// ReasonInProgress: an earlier upgrade of the pod is not finished.
	ReasonInProgress Reason = "InProgress"
	// ReasonNotSelected: updateStrategy.selector does not select the pod.
	ReasonNotSelected Reason = "NotSelected"
	// ReasonHeldByPartition: the partition keeps the pod on its version.
	ReasonHeldByPartition Reason = "HeldByPartition"
	// ReasonMaxUnavailable: as many pods are unavailable as maxUnavailable allows.
	ReasonMaxUnavailable Reason = "MaxUnavailable"
	// ReasonBackOff: the last attempt on the pod failed a moment ago.
	ReasonBackOff Reason = "BackOff"
	// ReasonPaused: updateStrategy.paused.
	ReasonPaused Reason = "Paused"
	// ReasonNotUpdate: updateStrategy.type is NotUpdate.
	ReasonNotUpdate Reason = "NotUpdate"
)
