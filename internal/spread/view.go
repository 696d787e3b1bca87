package spread

import (
	"k8s.io/apimachinery/pkg/types"
)

// Pod is what the arithmetic has to know of a pod.
type Pod struct {
	Name string
	UID  types.UID
	// Owner is the UID of the pod's controller.
	Owner types.UID
	// Version is the template version (workload.VersionOf).
	Version string
	// Subset is the subset recorded on the pod; empty for a pod without an assignment.
	Subset string
	// Token is the record's uid; empty for pods that were admitted by name.
	Token Token
	// Active: not terminating, and neither succeeded nor failed.
	Active bool
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
