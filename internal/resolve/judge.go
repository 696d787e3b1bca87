package resolve

import (
	"context"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Barred lists live the pods of the WorkloadSpread's target, and finds for those that are wanted the subsets of virtual
// nodes that they cannot run on (Sites.Obstacles). Wanted pods that are gone are not in the answer.
func (p *Pods) Barred(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, s *Sites, sites []Site, wanted map[types.UID]bool) (map[types.UID]map[string]v1alpha1.Reason, error) {
	selector, err := p.Resolver.Selector(ctx, ws)
	if err != nil {
		return nil, err
	}
	list, err := p.Resolver.listPods(ctx, ws.Namespace, selector)
	if err != nil {
		return nil, err
	}
	out := make(map[types.UID]map[string]v1alpha1.Reason, len(wanted))
	for i := range list.Items {
		pod := &list.Items[i]
		if !wanted[pod.UID] {
			continue
		}
		bars, err := s.Obstacles(ctx, ws, sites, pod.Namespace, pod)
		if err != nil {
			return nil, err
		}
		out[pod.UID] = Reasons(bars)
	}
	return out, nil
}
