// Package workload says, as data, which kinds of workloads Spillway knows and what it may conclude
// about each: where its replica count is, whether its pods belong to versions, whether its
// controller heeds the pod deletion cost. It holds no client and no state.
package workload

import (
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
	// than its spec.replicas.
	Demand bool
}

var (
	// Deployment is apps/Deployment.
	Deployment = schema.GroupKind{Group: "apps", Kind: "Deployment"}
	// ReplicaSet is apps/ReplicaSet.
	ReplicaSet = schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}
)

// kinds is the table. It is never written to.
var kinds = [...]Kind{
	{GroupKind: Deployment, Versioned: true, DeletionCost: true},
	{GroupKind: ReplicaSet, Versioned: true, DeletionCost: true, Demand: true},
}

// Lookup returns what is known of a kind, and false for a kind that is not in the table.
func Lookup(gk schema.GroupKind) (Kind, bool) {
	for _, k := range kinds {
		if k.GroupKind == gk {
			return k, true
		}
	}
	return Kind{}, false
}

// Names lists the known kinds as "Kind (group)", for messages to people.
func Names() string {
	names := make([]string, 0, len(kinds))
	for _, k := range kinds {
		names = append(names, k.Kind+" ("+k.Group+")")
	}
	return strings.Join(names, ", ")
}

// VersionIgnored is the version of all pods of kinds without versions, and of pods without a
// template hash (OpenKruise's literal).
const VersionIgnored = "versionIgnored"

// hashLabels name a ReplicaSet's template; the first that a pod carries is its version.
var hashLabels = [...]string{"pod-template-hash", "rollouts-pod-template-hash"}

// VersionOf returns the version of a pod with these labels whose controller is of this kind.
func VersionOf(owner schema.GroupKind, labels map[string]string) string {
	if k, ok := Lookup(owner); !ok || !k.Versioned {
		return VersionIgnored
	}
	for _, l := range hashLabels {
		if v := labels[l]; v != "" {
			return v
		}
	}
	return VersionIgnored
}
