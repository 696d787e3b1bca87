package pod

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/placement"
	"github.com/spillway-project/spillway/internal/provider"
	"github.com/spillway-project/spillway/webhooks/review"
)

// Virtual finds out what the nodes of subsets are. What it found holds for a second: in a burst, nodes are compared
// once and not for each pod.
type Virtual struct {
	// Reader lists nodes, from the cache.
	Reader client.Reader
	// Catalog of profiles.
	Catalog *provider.Catalog
	// FixedIPAnnotations give a pod a fixed address (provider.Surroundings).
	FixedIPAnnotations []string
	// Clock tells how old an answer is.
	Clock clock.PassiveClock

	mu    sync.Mutex
	known map[subsetKey]answer
}

// subsetKey is a subset of a spec as it is. The annotation that overrides what is found has no generation.
type subsetKey struct {
	spread     types.UID
	generation int64
	subset     int
	override   string
}

type answer struct {
	nature provider.Nature
	at     time.Time
}

// lifetime of what was found.
const lifetime = time.Second

// describe completes a plan by what the subset's nodes are, and returns what the user should know.
func (v *Virtual) describe(ctx context.Context, pod *corev1.Pod, ws *appsv1alpha1.WorkloadSpread, subset int, plan *placement.Plan) ([]string, error) {
	if v == nil || !placement.Touchable(pod) {
		return nil, nil
	}
	nature, err := v.nature(ctx, ws, subset)
	if err != nil {
		return nil, err
	}
	plan.Virtual, plan.Tolerations = nature.Profile, nature.Tolerations()
	if plan.Virtual == nil {
		return nil, nil
	}
	var warnings []string
	for _, o := range plan.Virtual.Obstacles(pod, provider.Surroundings{FixedIPAnnotations: v.FixedIPAnnotations}) {
		warnings = append(warnings, fmt.Sprintf("subset %q is of virtual nodes: %s: %s", plan.Record.Subset, o.Field, o.Message))
	}
	for _, f := range placement.NotHonoured(pod, *plan) {
		warnings = append(warnings, fmt.Sprintf("subset %q is of virtual nodes: spec.%s is not honoured below: %s does not pass it on", plan.Record.Subset, f, plan.Virtual.Name))
	}
	return warnings, nil
}

// nature looks at the annotation on the WorkloadSpread, and at the nodes for a subset that it does not name. An
// annotation that cannot be read names none; it was refused when it was written.
func (v *Virtual) nature(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, subset int) (provider.Nature, error) {
	key, now := subsetKey{ws.UID, ws.Generation, subset, ws.Annotations[v1alpha1.AnnotationVirtualSubsets]}, v.Clock.Now()
	v.mu.Lock()
	have, ok := v.known[key]
	v.mu.Unlock()
	if ok && now.Sub(have.at) < lifetime && !have.at.After(now) {
		return have.nature, nil
	}
	s := &ws.Spec.Subsets[subset]
	found := provider.Nature{}
	override, _ := v.Catalog.Override(ws)
	if p, named := override[s.Name]; named {
		found.Profile = p
	} else {
		nodes, err := listNodes(ctx, v.Reader)
		if err != nil {
			return found, fmt.Errorf("find out what subset %q of WorkloadSpread %s/%s is: %w", s.Name, ws.Namespace, ws.Name, err)
		}
		found = v.Catalog.Subset(s.RequiredNodeSelectorTerm, nodes, s.Patch.Raw)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known == nil || len(v.known) >= 1000 {
		v.known = make(map[subsetKey]answer)
	}
	v.known[key] = answer{found, now}
	return found, nil
}

// listNodes returns all nodes, which must not be written to.
func listNodes(ctx context.Context, reader client.Reader) ([]*corev1.Node, error) {
	var list corev1.NodeList
	if err := reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	nodes := make([]*corev1.Node, len(list.Items))
	for i := range list.Items {
		nodes[i] = &list.Items[i]
	}
	return nodes, nil
}

// refused turns a pod that cannot have what it asks for, and constraints that cannot be read or kept into a refusal: they are the pod's own
// fault, and without them it might run where its author forbade it, whatever the failure policy.
func refused(err error) (review.Verdict, bool) {
	if refusal := new(placement.Refusal); errors.As(err, &refusal) {
		verdict := review.Refuse(metav1.StatusReasonInvalid, http.StatusUnprocessableEntity, refusal.Message)
		verdict.Reason = refusal.Reason
		return verdict, true
	}
	if wrong := new(clusterselector.FormatError); !errors.As(err, &wrong) && !errors.Is(err, clusterselector.ErrTooLarge) {
		return review.Verdict{}, false
	}
	return review.Refuse(metav1.StatusReasonInvalid, http.StatusUnprocessableEntity, err.Error()), true
}
