// Package workload says, as data, which kinds of workloads Spillway knows and what it may conclude
// about each: where its replica count is, whether its pods belong to versions, whether its
// controller heeds the pod deletion cost. It holds no client and no state.
//
// Built-in kinds are a table; more come from an allow-list (ParseAllowList), which is OpenKruise's
// format. Both together are a Kinds, a value that never changes: a new list makes a new one.
package workload

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kind is what is known of one kind of workload. The API version never matters: a kind is known by
// group and name.
type Kind struct {
	schema.GroupKind
	// Versioned: its pods come from ReplicaSets and carry a template hash; every version of the
	// template has counts of its own.
	Versioned bool
	// DeletionCost: its controller removes pods by the annotation pod-deletion-cost.
	DeletionCost bool
	// Demand: the kind creates pods itself and never has more of them alive and under creation
	// than the number at ReplicasPath.
	Demand bool
	// Ordinals: its pods are numbered, and a subset takes a range of numbers.
	Ordinals bool
	// Turnover: its controller may create pods of a new revision before it removes those that they
	// replace, within one set of counts (CloneSet, update type ReCreate with maxSurge).
	Turnover bool
	// ReplicasPath is where the replica count is, dot-separated; empty when only the scale
	// subresource tells.
	ReplicasPath string
	// TemplatePath is where the pod template is, dot-separated; empty for unknown.
	TemplatePath string
	// Part: the kind stands between a workload and its pods (subResources of the allow-list) and is
	// no target by itself.
	Part bool
}

var (
	// Deployment is apps/Deployment.
	Deployment = schema.GroupKind{Group: "apps", Kind: "Deployment"}
	// ReplicaSet is apps/ReplicaSet.
	ReplicaSet = schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}
	// StatefulSet is apps/StatefulSet.
	StatefulSet = schema.GroupKind{Group: "apps", Kind: "StatefulSet"}
	// Job is batch/Job.
	Job = schema.GroupKind{Group: "batch", Kind: "Job"}
	// CronJob is batch/CronJob.
	CronJob = schema.GroupKind{Group: "batch", Kind: "CronJob"}
	// CloneSet is OpenKruise's CloneSet.
	CloneSet = schema.GroupKind{Group: "apps.kruise.io", Kind: "CloneSet"}
	// KruiseStatefulSet is OpenKruise's StatefulSet.
	KruiseStatefulSet = schema.GroupKind{Group: "apps.kruise.io", Kind: "StatefulSet"}
)

const (
	replicasPath = "spec.replicas"
	templatePath = "spec.template"
)

// builtin is the table. It is never written to.
var builtin = [...]Kind{
	{GroupKind: Deployment, Versioned: true, DeletionCost: true, ReplicasPath: replicasPath, TemplatePath: templatePath},
	{GroupKind: ReplicaSet, Versioned: true, DeletionCost: true, Demand: true, ReplicasPath: replicasPath, TemplatePath: templatePath},
	{GroupKind: StatefulSet, Ordinals: true, ReplicasPath: replicasPath, TemplatePath: templatePath},
	{GroupKind: Job, Demand: true, ReplicasPath: "spec.parallelism", TemplatePath: templatePath},
	{GroupKind: CronJob, ReplicasPath: "spec.jobTemplate.spec.parallelism", TemplatePath: "spec.jobTemplate.spec.template"},
	{GroupKind: CloneSet, DeletionCost: true, Turnover: true, ReplicasPath: replicasPath, TemplatePath: templatePath},
	{GroupKind: KruiseStatefulSet, Ordinals: true, ReplicasPath: replicasPath, TemplatePath: templatePath},
}

// Kinds is the set of kinds that are known: the built-in ones and those of an allow-list. It is never
// written to; nil holds the built-in ones.
type Kinds struct {
	custom map[schema.GroupKind]Kind
}

// Lookup returns what is known of a kind, and false for a kind that is not known.
func (k *Kinds) Lookup(gk schema.GroupKind) (Kind, bool) {
	for _, b := range builtin {
		if b.GroupKind == gk {
			return b, true
		}
	}
	if k == nil {
		return Kind{}, false
	}
	c, ok := k.custom[gk]
	return c, ok
}

// Target returns what is known of a kind that may be the target of a WorkloadSpread.
func (k *Kinds) Target(gk schema.GroupKind) (Kind, bool) {
	kind, ok := k.Lookup(gk)
	return kind, ok && !kind.Part
}

// Names lists the kinds that may be targets as "Kind (group)", for messages to people.
func (k *Kinds) Names() string {
	names := make([]string, 0, len(builtin))
	for _, b := range builtin {
		names = append(names, b.Kind+" ("+b.Group+")")
	}
	if k != nil {
		own := slices.SortedFunc(maps.Values(k.custom), func(a, b Kind) int { return strings.Compare(a.String(), b.String()) })
		for _, c := range own {
			if !c.Part {
				names = append(names, c.Kind+" ("+c.Group+")")
			}
		}
	}
	return strings.Join(names, ", ")
}

// VersionIgnored is the version of all pods of kinds without versions, and of pods without a
// template hash (OpenKruise's literal).
const VersionIgnored = "versionIgnored"

// hashLabels name a ReplicaSet's template; the first that a pod carries is its version.
var hashLabels = [...]string{"pod-template-hash", "rollouts-pod-template-hash"}

// VersionOf returns the version of a pod with these labels whose controller is of this kind. Only
// pods that come from ReplicaSets have versions: of other kinds an in-place update relabels running
// pods, so that a version is no stable group.
func VersionOf(owner schema.GroupKind, labels map[string]string) string {
	if k, ok := (*Kinds)(nil).Lookup(owner); !ok || !k.Versioned {
		return VersionIgnored
	}
	for _, l := range hashLabels {
		if v := labels[l]; v != "" {
			return v
		}
	}
	return VersionIgnored
}

// revisionLabel names the revision of a pod's template in kinds that are updated in place
// (k8s.io/api/apps/v1 ControllerRevisionHashLabelKey).
const revisionLabel = "controller-revision-hash"

// RevisionOf returns the revision of a pod with these labels: the part after the last dash, because
// CloneSets write the whole name of the ControllerRevision or only its hash.
func RevisionOf(labels map[string]string) string { return ShortRevision(labels[revisionLabel]) }

// ShortRevision returns the part of a revision's name after the last dash.
func ShortRevision(name string) string { return name[strings.LastIndex(name, "-")+1:] }
