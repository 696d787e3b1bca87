package resolve

import (
	"context"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Spreads is the ledger's port to WorkloadSpreads. Errors are the API's, unwrapped.
type Spreads struct {
	Reader client.Reader // the cache
	Direct client.Reader // the API server
	Writer client.SubResourceWriter
}

// Cached implements ledger.Spreads.
func (s *Spreads) Cached(ctx context.Context, key types.NamespacedName) (*appsv1alpha1.WorkloadSpread, error) {
	var ws appsv1alpha1.WorkloadSpread
	return &ws, s.Reader.Get(ctx, key, &ws, client.UnsafeDisableDeepCopy)
}

// Live implements ledger.Spreads.
func (s *Spreads) Live(ctx context.Context, key types.NamespacedName) (*appsv1alpha1.WorkloadSpread, error) {
	var ws appsv1alpha1.WorkloadSpread
	return &ws, s.Direct.Get(ctx, key, &ws)
}

// UpdateStatus implements ledger.Spreads.
func (s *Spreads) UpdateStatus(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (*appsv1alpha1.WorkloadSpread, error) {
	out := ws.DeepCopy() // the client decodes the answer into its argument
	return out, s.Writer.Update(ctx, out)
}
