package sidecarset

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/state"
)

// registered is the revision of the current spec, how many names were taken, and the history.
type registered struct {
	name       string
	collisions int32
	history    []*appsv1.ControllerRevision
}

// register records the current spec and trims the history.
func (r *Reconciler) register(ctx context.Context, set *sidecar.Set, pods []*corev1.Pod) (registered, error) {
	existing, err := r.revisions(ctx, r.Client, set, client.MatchingFields{IndexRevision: set.Name()})
	if err != nil {
		return registered{}, err
	}
	var collisions int32
	if n := set.Object.Status.CollisionCount; n != nil {
		collisions = *n
	}
	done, err := sidecar.Register(set, existing, r.Namespace, collisions)
	if err != nil {
		return registered{}, err
	}
	if done.Create != nil {
		if done, collisions, err = r.record(ctx, set, existing, collisions); err != nil {
			return registered{}, err
		}
		if done.Create != nil {
			existing = append(existing, done.Create)
		}
	}
	if done.Change != nil {
		if err := r.Client.Update(ctx, done.Change); err != nil && !apierrors.IsNotFound(err) {
			return registered{}, fmt.Errorf("renew ControllerRevision %s/%s: %w", r.Namespace, done.Name, err)
		}
	}
	return registered{done.Name, collisions, existing}, r.trim(ctx, set, existing, pods)
}

func (r *Reconciler) revisions(ctx context.Context, from client.Reader, set *sidecar.Set, of client.ListOption) ([]*appsv1.ControllerRevision, error) {
	var list appsv1.ControllerRevisionList
	err := from.List(ctx, &list, client.InNamespace(r.Namespace), of)
	if err != nil {
		return nil, fmt.Errorf("list the ControllerRevisions of SidecarSet %s: %w", set.Name(), err)
	}
	return sidecar.Owned(set, list.Items), nil
}

// record creates a revision. The cache may not know yet what was created a moment ago: when it lacks the
// one that the status names, the decision is made again on a live read. A name that other data has is
// passed over.
func (r *Reconciler) record(ctx context.Context, set *sidecar.Set, existing []*appsv1.ControllerRevision, collisions int32) (sidecar.Registration, int32, error) {
	none := sidecar.Registration{}
	latest := set.Object.Status.LatestRevision
	if latest != "" && !slices.ContainsFunc(existing, func(r *appsv1.ControllerRevision) bool { return r.Name == latest }) {
		var err error
		if existing, err = r.revisions(ctx, r.Live, set, client.MatchingLabels{v1alpha1.LabelSidecarSetName: set.Name()}); err != nil {
			return none, 0, err
		}
	}
	const mostCollisions = 100
	for range mostCollisions {
		done, err := sidecar.Register(set, existing, r.Namespace, collisions)
		if err != nil || done.Create == nil {
			return done, collisions, err
		}
		err = r.Client.Create(ctx, done.Create)
		switch {
		case err == nil:
			return done, collisions, nil
		case !apierrors.IsAlreadyExists(err):
			return none, 0, fmt.Errorf("create ControllerRevision %s/%s: %w", r.Namespace, done.Name, err)
		}
		var taken appsv1.ControllerRevision
		if err := r.Live.Get(ctx, client.ObjectKeyFromObject(done.Create), &taken); err != nil {
			return none, 0, fmt.Errorf("read ControllerRevision %s/%s: %w", r.Namespace, done.Name, err)
		}
		if bytes.Equal(taken.Data.Raw, done.Create.Data.Raw) {
			return sidecar.Registration{Name: taken.Name}, collisions, nil // of a set of the same name that is gone
		}
		collisions++
	}
	return none, 0, fmt.Errorf("SidecarSet %s: %d names of ControllerRevisions are taken by other data", set.Name(), mostCollisions)
}

// trim deletes revisions beyond the limit.
func (r *Reconciler) trim(ctx context.Context, set *sidecar.Set, existing []*appsv1.ControllerRevision, pods []*corev1.Pod) error {
	limit := set.Object.Spec.HistoryLimit
	if limit != nil && len(existing) <= int(*limit) {
		return nil
	}
	recorded := make(map[string]bool)
	for _, pod := range pods {
		if records, err := sidecar.ParseRecords(pod.Annotations, v1alpha1.AnnotationSidecarHash); err == nil {
			recorded[records[set.Name()].ControllerRevision] = true
		}
	}
	for _, old := range sidecar.Excess(set, existing, recorded) {
		if err := r.Client.Delete(ctx, old, client.Preconditions{UID: &old.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete ControllerRevision %s/%s: %w", old.Namespace, old.Name, err)
		}
	}
	return nil
}

// resizable returns whether pods of a revision can be brought to the set by new images and resources, or
// nil if the set does not ask for it.
func (r *Reconciler) resizable(set *sidecar.Set, history []*appsv1.ControllerRevision) func(string) bool {
	if set.Object.Annotations[v1alpha1.AnnotationInPlaceResize] != "true" {
		return nil
	}
	known := make(map[string]bool)
	return func(name string) bool {
		if out, ok := known[name]; ok {
			return out
		}
		i := slices.IndexFunc(history, func(r *appsv1.ControllerRevision) bool { return r.Name == name })
		if i >= 0 {
			former, err := state.Restored(set, history[i])
			known[name] = err == nil && sidecar.Resizable(set, former)
		}
		return known[name]
	}
}
