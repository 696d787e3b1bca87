package resolve

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/workload"
)

// Numbering reads live how the target of a WorkloadSpread numbers its pods.
func (r *Resolver) Numbering(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (spread.Numbering, error) {
	t, err := r.readTarget(ctx, ws)
	if apierrors.IsNotFound(err) {
		return spread.Numbering{}, nil
	}
	if err != nil {
		return spread.Numbering{}, err
	}
	content, err := t.fields()
	if err != nil {
		return spread.Numbering{}, err
	}
	start, _, err := lookUp(content, "spec.ordinals.start")
	if err != nil {
		start = 0 // a custom kind that has something else there
	}
	reserved, _, _ := unstructured.NestedSlice(content, "spec", "reserveOrdinals") // as above
	return spread.Numbering{Start: start, Reserved: reservedOrdinals(reserved)}, nil
}

// reservedMost bounds the numbers that one range may stand for.
const reservedMost = 10_000

// reservedOrdinals reads reserveOrdinals: numbers, and in later versions of OpenKruise ranges such as
// "3-5". What is neither reserves nothing.
func reservedOrdinals(list []any) []int32 {
	var out []int32
	for _, e := range list {
		switch v := e.(type) {
		case int64:
			if v >= 0 && v <= math.MaxInt32 {
				out = append(out, int32(v))
			}
		case string:
			from, to, isRange := strings.Cut(v, "-")
			first, err := strconv.ParseInt(strings.TrimSpace(from), 10, 32)
			last := first
			if err == nil && isRange {
				last, err = strconv.ParseInt(strings.TrimSpace(to), 10, 32)
			}
			if err != nil || first < 0 || last-first > reservedMost {
				continue
			}
			for n := first; n <= last; n++ {
				out = append(out, int32(n)) //nolint:gosec // parsed as 32 bits
			}
		}
	}
	return out
}

// Turnover implements ledger.Workloads: a CloneSet that re-creates pods, with surge, to a new revision.
func (r *Resolver) Turnover(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (spread.Turnover, error) {
	ref := ws.Spec.TargetReference
	kind, ok := r.Known().Target(schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind())
	if !ok || !kind.Turnover {
		return spread.Turnover{}, nil
	}
	t, err := r.readTarget(ctx, ws)
	if apierrors.IsNotFound(err) {
		return spread.Turnover{}, nil
	}
	if err != nil {
		return spread.Turnover{}, err
	}
	u, ok := t.object.(*unstructured.Unstructured)
	if !ok {
		return spread.Turnover{}, fmt.Errorf("read %s %s: got a %T", kind.Kind, t.key, t.object)
	}
	return turnoverOf(u), nil
}

// turnoverOf reads an update under way from a CloneSet (kruise-api CloneSetUpdateStrategy,
// CloneSetStatus). Pods that are updated in place, a paused update, and a status that is older than the
// spec give nothing up.
func turnoverOf(u *unstructured.Unstructured) spread.Turnover {
	strategy, _, _ := unstructured.NestedMap(u.Object, "spec", "updateStrategy")
	if strategy["type"] == "InPlaceOnly" || strategy["paused"] == true || parts(strategy["maxSurge"], 100) == 0 {
		return spread.Turnover{}
	}
	status, _, _ := unstructured.NestedMap(u.Object, "status")
	number := func(name string) int32 { n, _, _ := lookUp(status, name); return n }
	if revision, _ := status["updateRevision"].(string); revision != "" && int64(number("observedGeneration")) == u.GetGeneration() {
		replicas := number("replicas")
		keep := parts(strategy["partition"], replicas)
		return spread.Turnover{
			Revision: workload.ShortRevision(revision),
			GiveUp:   max(replicas-number("updatedReplicas")-keep, 0),
		}
	}
	return spread.Turnover{}
}

// parts reads an int-or-percent of a total, percentages rounded up; 0 for what is neither.
func parts(v any, total int32) int32 {
	var is intstr.IntOrString
	switch v := v.(type) {
	case int64:
		is = intstr.FromInt32(int32(min(max(v, 0), math.MaxInt32))) //nolint:gosec // bounded
	case string:
		is = intstr.FromString(v)
	default:
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(&is, int(total), true)
	if err != nil {
		return 0
	}
	return int32(max(n, 0)) //nolint:gosec // a share of the total
}
