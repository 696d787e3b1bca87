package workloadspread

import (
	"context"
	"errors"
	"fmt"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/placement"
)

// annotationIgnoreMetadata on a WorkloadSpread keeps the metadata of subsets' patches off pods that
// run already (OpenKruise).
const annotationIgnoreMetadata = "workloadspread.kruise.io/ignore-patch-existing-pods-metadata"

// adopt gives the pods that run already an assignment, when the spec is new or has changed. It works on
// copies, each under the resource version it was read at; a pod that changes meanwhile is left to the
// retry.
func (r *Reconciler) adopt(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) error {
	adoptions, err := r.Pods.Adoptions(ctx, ws)
	if errors.Is(err, ledger.ErrInvalid) {
		return nil // the observation says so
	}
	if err != nil {
		return fmt.Errorf("look for pods to adopt: %w", err)
	}
	metadata := !strings.EqualFold(ws.Annotations[annotationIgnoreMetadata], "true")
	for _, a := range adoptions {
		pod := a.Pod.DeepCopy()
		if err := placement.Adopt(pod, a.Plan, metadata); err != nil {
			return fmt.Errorf("adopt pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
		patch := client.MergeFromWithOptions(a.Pod, client.MergeFromWithOptimisticLock{})
		if err := r.Writer.Patch(ctx, pod, patch); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("adopt pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	return nil
}
