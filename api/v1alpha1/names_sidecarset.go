package v1alpha1

// Annotations that record on a pod what was injected into it. Keys and formats are OpenKruise's: other
// programs read them, and pods that OpenKruise injected are taken over as they are.
const (
	// AnnotationSidecarHash maps the name of a set to an InjectionRecord. On a SidecarSet the same key
	// holds the hash itself.
	AnnotationSidecarHash = "kruise.io/sidecarset-hash"
	// AnnotationSidecarHashWithoutImage is the same for the hash that leaves images out.
	AnnotationSidecarHashWithoutImage = "kruise.io/sidecarset-hash-without-image"
	// AnnotationSidecarList holds the names of the sets that were injected, sorted, joined by commas.
	AnnotationSidecarList = "kruise.io/sidecarset-injected-list"
	// AnnotationSidecarInPlace maps the name of a set to the state of its containers before an upgrade.
	AnnotationSidecarInPlace = "kruise.io/sidecarset-inplace-update-state"
	// AnnotationSidecarWorking maps a hot-upgrade sidecar to the one of its two containers that works.
	AnnotationSidecarWorking = "kruise.io/sidecarset-working-hotupgrade-container"
	// AnnotationSidecarVersionPrefix, followed by a container's name, holds the version that the
	// container of a hot-upgrade pair is to run.
	AnnotationSidecarVersionPrefix = "version.sidecarset.kruise.io/"
	// AnnotationSidecarVersionAltPrefix is the same for the version of the other one.
	AnnotationSidecarVersionAltPrefix = "versionalt.sidecarset.kruise.io/"
)

// Annotations and labels of SidecarSets and of their ControllerRevisions (OpenKruise).
const (
	// LabelSidecarCustomVersion names the version of a set for its history.
	LabelSidecarCustomVersion = "apps.kruise.io/sidecarset-custom-version"
	// LabelSidecarSetName on a ControllerRevision is the name of its set.
	LabelSidecarSetName = "kruise.io/sidecarset-name"
	// LabelRevisionHash on a ControllerRevision is the hash in its name.
	LabelRevisionHash = "controller.kubernetes.io/hash"
	// AnnotationSidecarCanary, with the value "true", makes a set the canary of AnnotationSidecarBase.
	AnnotationSidecarCanary = "apps.kruise.io/sidecarset-canary"
	// AnnotationSidecarBase names the set that a canary replaces.
	AnnotationSidecarBase = "apps.kruise.io/sidecarset-base"
)

// Environment variables of injected containers (OpenKruise).
const (
	// EnvInjected is "true" on every injected container.
	EnvInjected = "IS_INJECTED"
	// EnvSidecarVersion is the annotation AnnotationSidecarVersionPrefix of the container.
	EnvSidecarVersion = "SIDECARSET_VERSION"
	// EnvSidecarVersionAlt is the annotation AnnotationSidecarVersionAltPrefix of the container.
	EnvSidecarVersionAlt = "SIDECARSET_VERSION_ALT"
)

// ConditionSidecarSetUpgradable of a pod is False when a set cannot upgrade it in place; its message
// maps sets to true or false, as JSON (OpenKruise).
const ConditionSidecarSetUpgradable = "SidecarSetUpgradable"

// The ConfigMap that says which annotations sets may patch (OpenKruise), in the namespace of the
// ControllerRevisions.
const (
	SidecarConfigMap    = "kruise-configuration"
	SidecarWhitelistKey = "SidecarSet_PatchPodMetadata_WhiteList"
)

// Names of Spillway's own for SidecarSets.
const (
	// LabelInject on a pod or a namespace, with the value AdmissionDisabled, keeps sidecars out.
	LabelInject = Domain + "/inject"
	// AnnotationPriority on a SidecarSet orders several sets of one pod: an integer, higher comes
	// first, 0 by default.
	AnnotationPriority = Domain + "/priority"
	// AnnotationReplaceUninjected on a SidecarSet evicts the pods that match but were not injected: at
	// most so many (a number or a percentage of the pods that match) are away at a time.
	AnnotationReplaceUninjected = Domain + "/replace-uninjected"
	// AnnotationInPlaceResize on a SidecarSet, with the value "true", lets differences in nothing but
	// images and resources be upgraded in place.
	AnnotationInPlaceResize = Domain + "/in-place-resize"
	// AnnotationDraw on a pod is the nonce from which it is decided whether a partial pin holds it.
	AnnotationDraw = Domain + "/sidecarset-draw"
	// AnnotationUpgradeState on a pod holds what its sidecars were before their last upgrade: it
	// tells a container that was replaced from one that was not.
	AnnotationUpgradeState = Domain + "/sidecarset-upgrade-state"
)
