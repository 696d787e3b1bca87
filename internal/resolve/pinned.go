package resolve

import (
	"context"
	"fmt"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/internal/placement"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/state"
	"github.com/spillway-project/spillway/internal/workload"
)

// A virtual kubelet may overwrite the annotations of a pod before a replica has ever seen them, or while none was
// there to remember. Such a pod is known by its owner, its node and the pin in its spec.

// pinnedTimeout bounds the search. It reads informers; only owners that they do not have yet are asked for.
const pinnedTimeout = time.Second

// View implements ledger.Pods: the view of pods by their records, and those without one that are known by their pin.
func (p *Pods) View(key types.NamespacedName) spread.View {
	if p.Sites == nil {
		return p.Pods.View(key)
	}
	ctx, cancel := context.WithTimeout(context.Background(), pinnedTimeout)
	defer cancel()
	// The strays first: one that is recorded meanwhile is in both, and not in neither.
	ws, found, err := p.strayed(ctx, key)
	v := p.Pods.View(key)
	if err == nil && len(found) > 0 {
		err = p.addPinned(ctx, ws, &v, found)
	}
	if err != nil {
		v.Revision = 0 // some pods may be missing: it proves nothing
	}
	return v
}

// strayed returns a WorkloadSpread with the strays on its virtual nodes; none where the cache does not know it.
func (p *Pods) strayed(ctx context.Context, key types.NamespacedName) (*appsv1alpha1.WorkloadSpread, []state.Stray, error) {
	var ws appsv1alpha1.WorkloadSpread
	switch err := p.Resolver.Cache.Get(ctx, key, &ws, client.UnsafeDisableDeepCopy); {
	case apierrors.IsNotFound(err):
		return nil, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("read WorkloadSpread %s: %w", key, err)
	}
	sites, err := p.Sites.Of(ctx, &ws)
	if err != nil || !Virtual(sites) {
		return nil, nil, err
	}
	on := nodesOf(sites)
	return &ws, p.StraysOn(key.Namespace, func(node string) bool { return on[node] }), nil
}

// nodesOf returns the virtual nodes of all subsets.
func nodesOf(sites []Site) map[string]bool {
	out := make(map[string]bool)
	for i := range sites {
		if sites[i].Profile == nil {
			continue
		}
		for _, n := range sites[i].Nodes {
			out[n.Name] = true
		}
	}
	return out
}

// strays returns the pods of a list that nothing is remembered of.
func strays(list *corev1.PodList, known *state.Pods) []state.Stray {
	var out []state.Stray
	for i := range list.Items {
		if key, _ := known.Facts(&list.Items[i]); key != (types.NamespacedName{}) {
			continue
		}
		if s, is := state.StrayOf(&list.Items[i]); is {
			out = append(out, s)
		}
	}
	return out
}

// addPinned adds to a view the strays that carry the pin of one of the WorkloadSpread's virtual subsets and run on one of
// its nodes. A claim that was entered to adopt one of them is settled by it.
func (p *Pods) addPinned(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, v *spread.View, found []state.Stray) error {
	sites, err := p.Sites.Of(ctx, ws)
	if err != nil || len(found) == 0 || !Virtual(sites) {
		return err
	}
	have := make(map[types.UID]int, len(v.Pods))
	for i, pod := range v.Pods {
		if pod.Active { // a pod whose record went is among those that are gone too
			have[pod.UID] = i
		}
	}
	claims, ours := claimsByStem(ws), make(map[types.UID]bool) // by owner
	for _, s := range found {
		i := pinnedTo(ws, sites, s)
		at, there := have[s.UID]
		if i < 0 || (there && v.Pods[at].Subset != "") {
			continue
		}
		is, asked := ours[s.Owner.UID]
		if !asked {
			if is, err = p.Resolver.Belongs(ctx, ws, s); err != nil {
				return err
			}
			ours[s.Owner.UID] = is
		}
		if !is {
			continue
		}
		facts := *s.Facts
		facts.Subset, facts.Token, facts.Lost = ws.Spec.Subsets[i].Name, claims[spread.AdoptionStem(s.UID)], true
		if facts.Version == workload.VersionIgnored {
			if facts.Version, err = p.versionOf(ctx, s); err != nil {
				return err
			}
		}
		if there {
			v.Pods[at] = &facts
		} else {
			v.Pods = append(v.Pods, &facts)
		}
	}
	return nil
}

// pin returns the virtual subset that a pod without a record carries the pin of, -1 for none.
func (p *Pods) pin(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, pod *corev1.Pod) (int, error) {
	s, is := state.StrayOf(pod)
	sites, err := p.Sites.Of(ctx, ws)
	if err != nil || !is || !Virtual(sites) {
		return -1, err
	}
	return pinnedTo(ws, sites, s), nil
}

// pinnedTo returns the virtual subset of a stray, -1 for none.
func pinnedTo(ws *appsv1alpha1.WorkloadSpread, sites []Site, s state.Stray) int {
	return placement.Pinned(s.Required, ws.Spec.Subsets, func(i int) bool {
		if sites[i].Profile == nil {
			return false
		}
		for _, n := range sites[i].Nodes {
			if n.Name == s.Facts.Node {
				return true
			}
		}
		return false
	})
}

// versionOf returns the version of a pod whose labels are gone: that of the ReplicaSet that made it.
func (p *Pods) versionOf(ctx context.Context, s state.Stray) (string, error) {
	gk := groupKind(&s.Owner)
	if gk != workload.ReplicaSet {
		return workload.VersionIgnored, nil
	}
	var rs appsv1.ReplicaSet
	found, err := p.Resolver.owner(ctx, s.Namespace, &metav1.OwnerReference{Kind: s.Owner.Kind, Name: s.Owner.Name, UID: s.Owner.UID}, &rs)
	if err != nil || !found {
		return workload.VersionIgnored, err
	}
	return workload.VersionOf(gk, rs.Labels), nil
}
