package resolve

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/workload"
)

// RevisionAnnotations number the ReplicaSets of one workload, the newest highest: the Deployment
// controller's, and Argo Rollouts'.
var RevisionAnnotations = [...]string{"deployment.kubernetes.io/revision", "rollout.argoproj.io/revision"}

// Lineage finds out, from the cache, which version of the workload's template is the latest, and, under
// percentages, whether the workload has all the pods it wants. The view holds the pods of the
// WorkloadSpread.
func (r *Resolver) Lineage(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, v spread.View, percent bool) (spread.Lineage, error) {
	newest, err := r.latest(ctx, ws, v)
	if err != nil || !percent {
		return spread.Lineage{Latest: newest}, err
	}
	replicas, known, err := r.cachedReplicas(ctx, ws)
	if err != nil || !known {
		return spread.Lineage{Latest: newest}, err
	}
	var active int32
	settled := true
	for _, p := range v.Pods {
		if p.Active {
			active++
			settled = settled && (newest == "" || p.Version == newest)
		}
	}
	return spread.Lineage{Latest: newest, Settled: settled && active == replicas}, nil
}

// latest returns the version of the newest ReplicaSet that belongs to the target, or that pods of the
// view come from; empty for a target that is a ReplicaSet itself, and where there is none.
func (r *Resolver) latest(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, v spread.View) (string, error) {
	ref := ws.Spec.TargetReference
	if gk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind(); gk == workload.ReplicaSet {
		return "", nil
	}
	var list appsv1.ReplicaSetList
	if err := r.Cache.List(ctx, &list, client.InNamespace(ws.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("list the ReplicaSets of namespace %s: %w", ws.Namespace, err)
	}
	owners := make(map[types.UID]bool)
	for _, p := range v.Pods {
		owners[p.Owner] = true
	}
	var newest *appsv1.ReplicaSet
	for i := range list.Items {
		rs := &list.Items[i]
		parent := metav1.GetControllerOfNoCopy(rs)
		if rs.DeletionTimestamp != nil || !(owners[rs.UID] || (parent != nil && Targets(ws, groupKind(parent), parent.Name))) {
			continue
		}
		if newest == nil || newer(rs, newest) > 0 {
			newest = rs
		}
	}
	if newest == nil {
		return "", nil
	}
	return workload.VersionOf(workload.ReplicaSet, newest.Labels), nil
}

func newer(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(
		cmp.Compare(revisionNumber(a), revisionNumber(b)),
		a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
		cmp.Compare(a.Name, b.Name),
	)
}

func revisionNumber(rs *appsv1.ReplicaSet) int64 {
	for _, key := range RevisionAnnotations {
		if n, err := strconv.ParseInt(rs.Annotations[key], 10, 64); err == nil {
			return n
		}
	}
	return 0
}

// cachedReplicas returns the replica count of a target that informers watch.
func (r *Resolver) cachedReplicas(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (int32, bool, error) {
	ref := ws.Spec.TargetReference
	gk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
	if !slices.Contains([]schema.GroupKind{workload.Deployment, workload.ReplicaSet}, gk) {
		replicas, err := r.Replicas(ctx, ws) // CloneSets and custom kinds
		return replicas, err == nil, err
	}
	o := watchedKind(gk)
	key := types.NamespacedName{Namespace: ws.Namespace, Name: ref.Name}
	if err := r.Cache.Get(ctx, key, o, client.UnsafeDisableDeepCopy); err != nil {
		if apierrors.IsNotFound(err) {
			return 0, false, nil
		}
		return 0, false, fmt.Errorf("read %s %s: %w", ref.Kind, key, err)
	}
	if d, ok := o.(*appsv1.Deployment); ok {
		return replicasOf(d.Spec.Replicas), true, nil
	}
	return demandOf(o), true, nil
}
