package spread

import (
	"k8s.io/apimachinery/pkg/types"
)

// Pod is what the arithmetic has to know of a pod.
type Pod struct {
	Name string
	UID  types.UID
	// ResourceVersion is for preconditions of writes.
	ResourceVersion string
	// Owner is the UID of the pod's controller.
	Owner types.UID
	// Version is the template version (workload.VersionOf).
	Version string
	// Revision is the template's revision of kinds that are updated in place (workload.RevisionOf).
	Revision string
	// Subset is the subset recorded on the pod; empty for a pod without an assignment.
	Subset string
	// Token is the record's uid; empty for pods that were admitted by name.
	Token Token
	// Active: not terminating, and neither succeeded nor failed.
	Active bool
	// Bound: the pod has a node.
	Bound bool
	// Node is its name.
	Node string
	// Started: one of its containers runs or has run. Nobody is told when that changes.
	Started bool
	// Created is the creation time in seconds since 1970.
	Created int64
	// Trouble says whether the pod cannot start.
	Trouble Trouble
	// Cost is the pod's deletion cost.
	Cost Cost
	// Lost: metadata of the pod was overwritten, and what stands here is remembered.
	Lost bool
	// Standing is what decides which of several pods a ReplicaSet's controller removes first.
	Standing Standing
}

// Trouble is why a pod that never ran does not start: the scheduler finds no node for it; or it has one, and the condition
// PodScheduled says from below that there is no place, or the reason of its status that it was refused. A gated
// pod is not in trouble. What a reason means on a virtual node, its provider's profile says (Ground).
type Trouble struct {
	// Since is when it began, in seconds since 1970; 0 for no trouble.
	Since int64
	// Reason is Unschedulable, or the reason of the pod's status.
	Reason string
	// Message is the scheduler's or the provider's.
	Message string
}

// Cost is a pod's deletion cost.
type Cost struct {
	// Value of the annotation; empty for none.
	Value string
	// Ours: Spillway wrote it, or OpenKruise did before Spillway took over. Any other value is the
	// user's own.
	Ours bool
	// Written: Spillway wrote it, and recorded that.
	Written bool
	// Heeded: the pod's controller removes pods by their cost.
	Heeded bool
}

// Standing holds the criteria, after the deletion cost, by which a ReplicaSet's controller picks the
// pods that go first (k8s.io/kubernetes pkg/controller ActivePodsWithRanks).
type Standing struct {
	// Phase: 0 pending, 1 unknown, 2 running.
	Phase uint8
	Ready bool
	// ReadySince in seconds since 1970; 0 for never.
	ReadySince int64
	Restarts   int32
}

// Alike reports whether nothing about the pod has changed that could change a count, a plan or a
// condition. What is left aside only breaks ties, or is wanted fresh whenever it is used.
func (p *Pod) Alike(q *Pod) bool {
	a, b := *p, *q
	for _, x := range []*Pod{&a, &b} {
		x.ResourceVersion, x.Trouble.Message, x.Standing, x.Started = "", "", Standing{}, false
	}
	return a == b
}

// View is a set of pods as it stood at one moment: the pods of one WorkloadSpread, or those of one
// owner. Its users never write to the pods.
type View struct {
	// Revision is the resource version up to which the view is complete; 0 for a view that proves
	// nothing.
	Revision uint64
	Pods     []*Pod
}

// Active counts the active pods of one version, assigned or not.
func (v View) Active(version string) int32 {
	var n int32
	for _, p := range v.Pods {
		if p.Active && p.Version == version {
			n++
		}
	}
	return n
}
