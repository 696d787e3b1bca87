package resolve

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/workload"
)

// target is what is read of a workload.
type target struct {
	uid      types.UID
	replicas int32
	selector *metav1.LabelSelector
	object   client.Object
}

// Replicas implements ledger.Workloads: the count that percentages refer to, read live. With
// replicasPathList it is the sum of the values at those paths.
func (r *Resolver) Replicas(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (int32, error) {
	t, err := readTarget(ctx, r.Live, ws)
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if ws.Spec.TargetFilter == nil || len(ws.Spec.TargetFilter.ReplicasPathList) == 0 {
		return t.replicas, nil
	}
	return sumPaths(t.object, ws.Spec.TargetFilter.ReplicasPathList)
}

// Demand implements ledger.Workloads. Only ReplicaSets have the rule that it rests on.
func (r *Resolver) Demand(ctx context.Context, owner ledger.Owner) (ledger.Demand, error) {
	var rs appsv1.ReplicaSet
	key := types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}
	if err := r.Live.Get(ctx, key, &rs); err != nil {
		return ledger.Demand{}, fmt.Errorf("read ReplicaSet %s: %w", key, err)
	}
	if rs.UID != owner.UID {
		return ledger.Demand{}, apierrors.NewNotFound(schema.GroupResource{Group: "apps", Resource: "replicasets"}, owner.Name)
	}
	return ledger.Demand{
		Replicas:   replicasOf(rs.Spec.Replicas),
		Generation: rs.Generation,
		Settled:    rs.Status.ObservedGeneration == rs.Generation,
	}, nil
}

// Selector returns the label selector of a WorkloadSpread's target, or nil when the target is gone
// or has none.
func (r *Resolver) Selector(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (*metav1.LabelSelector, error) {
	t, err := readTarget(ctx, r.Live, ws)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // no target, no selector
	}
	return t.selector, err
}

func readTarget(ctx context.Context, reader client.Reader, ws *appsv1alpha1.WorkloadSpread) (target, error) {
	ref := ws.Spec.TargetReference
	key := types.NamespacedName{Namespace: ws.Namespace, Name: ref.Name}
	switch gk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind(); gk {
	case workload.Deployment:
		var d appsv1.Deployment
		if err := reader.Get(ctx, key, &d); err != nil {
			return target{}, fmt.Errorf("read Deployment %s: %w", key, err)
		}
		return target{d.UID, replicasOf(d.Spec.Replicas), d.Spec.Selector, &d}, nil
	case workload.ReplicaSet:
		var rs appsv1.ReplicaSet
		if err := reader.Get(ctx, key, &rs); err != nil {
			return target{}, fmt.Errorf("read ReplicaSet %s: %w", key, err)
		}
		return target{rs.UID, replicasOf(rs.Spec.Replicas), rs.Spec.Selector, &rs}, nil
	default:
		return target{}, fmt.Errorf("%w: spec.targetRef of WorkloadSpread %s/%s: kind %s is not supported: use one of %s",
			ledger.ErrInvalid, ws.Namespace, ws.Name, gk, workload.Names())
	}
}

// sumPaths adds up the integers at dot-separated paths; a number addresses an element of a list.
func sumPaths(object client.Object, paths []string) (int32, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return 0, fmt.Errorf("read %s %s: %w", object.GetObjectKind().GroupVersionKind().Kind, client.ObjectKeyFromObject(object), err)
	}
	var sum int64
	for _, path := range paths {
		n, err := intAt(content, path)
		if err != nil {
			return 0, fmt.Errorf("%w: spec.targetFilter.replicasPathList: path %q on %s: %w",
				ledger.ErrInvalid, path, client.ObjectKeyFromObject(object), err)
		}
		sum += n
	}
	return int32(sum), nil //nolint:gosec // replica counts
}

func intAt(at any, path string) (int64, error) {
	for step := range strings.SplitSeq(path, ".") {
		switch v := at.(type) {
		case map[string]any:
			next, ok := v[step]
			if !ok {
				return 0, fmt.Errorf("there is no field %q", step)
			}
			at = next
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return 0, fmt.Errorf("%q is no index of a list of %d elements", step, len(v))
			}
			at = v[i]
		default:
			return 0, fmt.Errorf("%q leads into a %T", step, at)
		}
	}
	n, ok := at.(int64)
	if !ok {
		return 0, fmt.Errorf("the value is a %T, not an integer", at)
	}
	return n, nil
}
