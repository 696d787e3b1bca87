package workloadspread

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/internal/resolve"
	"github.com/spillway-project/spillway/internal/workload"
)

// KindWatcher watches kinds of targets from the moment that a WorkloadSpread on one is seen: OpenKruise's
// and custom kinds need not be there when the manager starts.
type KindWatcher struct {
	// Targets finds the served version of a kind, and reads from the API server.
	Targets *resolve.Resolver

	mu      sync.Mutex
	watched map[schema.GroupKind]bool
	// start begins to watch one kind; set by Setup.
	start func(*metav1.PartialObjectMetadata, schema.GroupKind) error
}

// fixed are the kinds that Setup watches.
var fixed = [...]schema.GroupKind{workload.Deployment, workload.ReplicaSet, workload.StatefulSet, workload.Job}

// Ensure starts to watch the kind if it is not watched yet. The error says what keeps it from that.
func (w *KindWatcher) Ensure(ctx context.Context, gk schema.GroupKind, apiVersion string) error {
	for _, f := range fixed {
		if f == gk {
			return nil
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watched[gk] {
		return nil
	}
	gvk, err := w.Targets.Served(gk, apiVersion)
	if err != nil {
		return fmt.Errorf("watch the target's kind: %w", err)
	}
	// Try before an informer does, which would complain for ever.
	probe := &metav1.PartialObjectMetadataList{}
	probe.SetGroupVersionKind(gvk)
	switch err := w.Targets.Live.List(ctx, probe, client.Limit(1)); {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s may not be read by the manager, so changes of the target are not seen: grant it get, list and watch (chart value rbac.extraRules): %w", gk, err)
	case err != nil:
		return fmt.Errorf("list %s: %w", gk, err)
	}
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(gvk)
	if err := w.start(object, gk); err != nil {
		return fmt.Errorf("watch %s: %w", gk, err)
	}
	if w.watched == nil {
		w.watched = make(map[schema.GroupKind]bool)
	}
	w.watched[gk] = true
	return nil
}
