package workloadspread

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/spread"
)

const (
	// recostsMost bounds the pods that one pass patches, so that it ends in time; recostPause is the time
	// until the next one.
	recostsMost = 200
	recostPause = time.Second
)

// recost writes the deletion costs that would make a scale-in take the wrong pods.
func (p *pass) recost(ctx context.Context) error {
	view := p.Pods.View(p.key)
	p.patience.keep(p.key, view)
	if !heeded(view) {
		return nil
	}
	lineage, err := p.Pods.Resolver.Lineage(ctx, p.ws, view, p.terms.Percent)
	if err != nil {
		return fmt.Errorf("find the latest version of the workload: %w", err)
	}
	turnover, err := p.Pods.Resolver.Turnover(ctx, p.ws)
	if err != nil {
		return fmt.Errorf("find out about the workload's update: %w", err)
	}
	book := spread.Open(p.terms, &p.ws.Status, 0) // percentages are costed by rank
	book.Turn(turnover)
	due, more := p.due(book.Recosts(view, lineage))
	if more {
		p.wake(recostPause)
	}
	for i, c := range due {
		if err := p.writeCost(ctx, c); err != nil {
			for _, rest := range due[i+1:] {
				p.patience.undoCost(p.key, rest.Pod.UID) // they were not written
			}
			p.warn(p.ws, v1alpha1.ReasonPatchPodDeletionCostFailed, "Pod %s: %v", c.Pod.Name, err)
			return fmt.Errorf("write the deletion cost of pod %s/%s: %w", p.key.Namespace, c.Pod.Name, err)
		}
	}
	return nil
}

// due returns the costs to write in this pass, and whether others are left for the next one. Those of pods whose metadata
// is overwritten from below take nobody's turn.
func (p *pass) due(all []spread.Recost) (due []spread.Recost, more bool) {
	for _, c := range all {
		if c.Pod.Lost {
			continue
		}
		if len(due) == recostsMost {
			return due, true
		}
		if p.patience.cost(p.key, c.Pod.UID, strconv.Itoa(int(c.Cost))) {
			due = append(due, c)
		}
	}
	return due, false
}

func heeded(v spread.View) bool {
	for _, p := range v.Pods {
		if p.Active && p.Cost.Heeded {
			return true
		}
	}
	return false
}

func (p *pass) writeCost(ctx context.Context, c spread.Recost) error {
	cost := strconv.Itoa(int(c.Cost))
	annotations := map[string]*string{v1alpha1.PodDeletionCost: &cost, v1alpha1.AnnotationDeletionCost: &cost}
	if c.Token != "" {
		record := v1alpha1.Record{Name: p.key.Name, Subset: c.Pod.Subset, UID: string(c.Token)}.Encode()
		annotations[v1alpha1.AnnotationMatched] = &record
	}
	changed, err := p.annotate(ctx, p.key.Namespace, c.Pod, annotations)
	if changed || err != nil {
		p.patience.undoCost(p.key, c.Pod.UID) // that was no attempt
	}
	if changed {
		p.wake(recostPause)
	}
	return err
}

// annotate sets annotations of a pod, nil removing one, as it was seen: it reports whether the pod has
// changed since. One that is gone is no error.
func (r *Reconciler) annotate(ctx context.Context, namespace string, pod *spread.Pod, annotations map[string]*string) (changed bool, err error) {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "resourceVersion": pod.ResourceVersion, "annotations": annotations,
	}})
	if err != nil {
		return false, fmt.Errorf("make the patch: %w", err)
	}
	object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod.Name}}
	switch err := r.Writer.Patch(ctx, object, client.RawPatch(types.MergePatchType, body)); {
	case apierrors.IsConflict(err):
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	default:
		return false, err //nolint:wrapcheck // wrapped by the callers
	}
}

// forget drops what is kept of a WorkloadSpread that is gone, and removes from its pods the costs that
// Spillway wrote: nobody would keep them in order. It needs no finalizer, so that uninstalling blocks
// nothing: pods that were missed are found when the next leader starts.
func (r *Reconciler) forget(ctx context.Context, key types.NamespacedName) error {
	r.Claims.Forget(key)
	r.Metrics.Forget(key)
	r.strays.forget(key)
	r.judged.forget(key)
	r.patience.forget(key)
	for _, pod := range r.Pods.View(key).Pods {
		if !pod.Active || !pod.Cost.Written {
			continue
		}
		changed, err := r.annotate(ctx, key.Namespace, pod, map[string]*string{v1alpha1.PodDeletionCost: nil, v1alpha1.AnnotationDeletionCost: nil})
		if err == nil && changed {
			err = fmt.Errorf("it has changed meanwhile")
		}
		if err != nil {
			return fmt.Errorf("remove the deletion cost of pod %s/%s, whose WorkloadSpread %s is gone: %w", key.Namespace, pod.Name, key.Name, err)
		}
	}
	return nil
}
