package ledger

import (
	"context"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/spread"
)

// Spreads reads and writes WorkloadSpreads. Errors are those of the API (k8s.io/apimachinery
// api/errors). Objects that Cached returns are shared and never written to.
type Spreads interface {
	Cached(ctx context.Context, key types.NamespacedName) (*appsv1alpha1.WorkloadSpread, error)
	Live(ctx context.Context, key types.NamespacedName) (*appsv1alpha1.WorkloadSpread, error)
	// UpdateStatus writes the status under the object's resource version and returns what is stored.
	UpdateStatus(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (*appsv1alpha1.WorkloadSpread, error)
}

// Pods knows the pods of WorkloadSpreads.
type Pods interface {
	// View is the replica's own view of the pods recorded on a WorkloadSpread.
	View(key types.NamespacedName) spread.View
	// Changed returns a channel that is closed at the view's next change.
	Changed(key types.NamespacedName) <-chan struct{}
	// ListSpread lists live all pods recorded on a WorkloadSpread, and those about to be adopted while
	// the controller has not seen its spec as it is.
	ListSpread(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (spread.View, error)
	// ListOwner lists live all pods of one owner. Those that are not recorded on the WorkloadSpread
	// come without a subset.
	ListOwner(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, owner Owner) (spread.View, error)
	// Gone counts the pods of an owner that went after a revision, as far as the replica's own view is; false where
	// that is not known.
	Gone(owner types.UID, since uint64) (n int32, known bool)
}

// Workloads reads workloads live.
type Workloads interface {
	// Replicas is the replica count that percentages refer to; 0 for a workload that is gone.
	Replicas(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (int32, error)
	// Turnover is the update under way in which new pods take the places of old ones; the zero value
	// for none. Kinds that know no such update cost no read.
	Turnover(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (spread.Turnover, error)
	// Demand is what the owner asks its controller for. It fails with a NotFound of the API for an
	// owner that is gone.
	Demand(ctx context.Context, owner Owner) (Demand, error)
}

// Demand is an owner's wish for pods.
type Demand struct {
	// Replicas is the number of pods wanted; 0 for an owner whose kind has no such rule.
	Replicas int32
	// Generation of the owner that says so.
	Generation int64
	// Written is the owner's resource version when its last change was its controller's, of the status;
	// 0 when that is not certain, or the controller does not create in batches (spread.SlowStart).
	Written uint64
	// Settled: the owner's controller cannot be creating for a larger number. It has acted on this
	// generation (status.observedGeneration), or Replicas is the most that any generation wanted which it
	// may be acting on.
	Settled bool
}

// Owner is the controller of a pod, the one that creates it.
type Owner struct {
	Kind            schema.GroupKind
	Namespace, Name string
	UID             types.UID
	// Demand is its replica count as far as the replica's cache knows; 0 for unknown.
	Demand int32
}

// Recorder is told what happens in the ledger. Implementations must not block.
type Recorder interface {
	// Committed: one attempt to write has ended; size is the number of requests in it.
	Committed(key types.NamespacedName, size int, seconds float64, err error)
	// ClaimsEnded: n claims ended without a pod; n may be 0.
	ClaimsEnded(key types.NamespacedName, reason v1alpha1.Reason, n int)
}
