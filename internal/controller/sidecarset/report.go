package sidecarset

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/metrics"
	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/sidecar/rollout"
)

// report writes the status if it differs, then metrics and events.
func (r *Reconciler) report(ctx context.Context, set *sidecar.Set, plan rollout.Plan, revision string, collisions int32) error {
	c := plan.Counts
	stored := set.Object
	status := *stored.Status.DeepCopy()
	status.ObservedGeneration = max(status.ObservedGeneration, stored.Generation)
	status.MatchedPods, status.UpdatedPods, status.ReadyPods, status.UpdatedReadyPods = c.Matched, c.Updated, c.Ready, c.UpdatedReady
	status.LatestRevision = revision
	if collisions > 0 {
		status.CollisionCount = &collisions
	}
	if !equality.Semantic.DeepEqual(status, stored.Status) {
		// Every figure is written: the API requires most of them, and the encoded type leaves out zero.
		fields := map[string]any{
			"observedGeneration": status.ObservedGeneration, "latestRevision": revision,
			"matchedPods": c.Matched, "updatedPods": c.Updated, "readyPods": c.Ready, "updatedReadyPods": c.UpdatedReady,
		}
		if status.CollisionCount != nil {
			fields["collisionCount"] = *status.CollisionCount
		}
		patch := client.RawPatch(types.MergePatchType, mustJSON(map[string]any{"metadata": map[string]any{"uid": stored.UID}, "status": fields}))
		err := r.Client.Status().Patch(ctx, &sidecar.SidecarSet{ObjectMeta: metav1.ObjectMeta{Name: set.Name()}}, patch)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("write the status of SidecarSet %s: %w", set.Name(), err)
		}
	}
	r.Metrics.Observed(set.Name(), metrics.SidecarPods{
		Matched: c.Matched, Updated: c.Updated, Ready: c.Ready, UpdatedReady: c.UpdatedReady, NotUpgradable: c.NotUpgradable, Drifted: c.Drifted,
	})
	if r.told.changed(set.Name(), c.NotUpgradable) && c.NotUpgradable > 0 {
		r.Recorder.Eventf(set.Object, nil, corev1.EventTypeNormal, string(v1alpha1.ReasonNotUpgradablePods), action,
			"%d pods cannot be upgraded in place, because more than images changed: replace them, for example with kubectl rollout restart", c.NotUpgradable)
	}
	return nil
}

// conditions brings the condition SidecarSetUpgradable of pods up to date.
func (r *Reconciler) conditions(ctx context.Context, set *sidecar.Set, pods []*corev1.Pod, plan rollout.Plan) error {
	var errs []error
	for i, pod := range pods {
		errs = append(errs, r.condition(ctx, pod, set.Name(), plan.Verdicts[i]))
	}
	return errors.Join(errs...)
}

func (r *Reconciler) condition(ctx context.Context, pod *corev1.Pod, set string, verdict v1alpha1.Reason) error {
	exists := func(name string) bool { return r.Sets.Get(name) != nil }
	condition, write := rollout.Condition(pod, set, verdict, exists, r.Clock.Now())
	if !write {
		return nil
	}
	changed := pod.DeepCopy()
	patch := client.RawPatch("application/strategic-merge-patch+json", mustJSON(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status":   map[string]any{"conditions": []corev1.PodCondition{condition}},
	}))
	switch err := r.Client.Status().Patch(ctx, changed, patch); {
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err): // it is gone, or another one has its name
	case err != nil:
		return fmt.Errorf("write condition %s of pod %s/%s: %w", condition.Type, pod.Namespace, pod.Name, err)
	default:
		r.Written.Put(Strip(changed))
	}
	return nil
}

// once remembers a number told of each set, so that it is told again only when it changes. The zero
// value is ready.
type once struct {
	mu   sync.Mutex
	last map[string]int32
}

func (o *once) changed(set string, n int32) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last == nil {
		o.last = make(map[string]int32)
	}
	was := o.last[set]
	o.last[set] = n
	return was != n
}

func (o *once) forget(set string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.last, set)
}
