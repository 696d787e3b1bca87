package sidecarset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/sidecar/rollout"
)

// parallel is the number of pods written at once: enough to not wait for each answer, few enough for the
// API server.
const parallel = 8

// write sends the changes, in order. A pod that fails waits by itself. An answer that was lost ends the
// round: until the pod is read again it is not known how many are unavailable.
func (r *Reconciler) write(ctx context.Context, set *sidecar.Set, changes []rollout.Change) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan rollout.Change)
	var workers sync.WaitGroup
	for range min(parallel, len(changes)) {
		workers.Go(func() {
			for change := range next {
				if err := r.writeOne(ctx, set, change); err != nil {
					stop(err)
				}
			}
		})
	}
	for _, change := range changes {
		select {
		case next <- change:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}

// writeOne writes one pod. The error is that of an answer that was lost.
func (r *Reconciler) writeOne(ctx context.Context, set *sidecar.Set, change rollout.Change) error {
	// A round that ends does not take back what is on its way.
	ctx = context.WithoutCancel(ctx)
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	pod, err := r.patch(ctx, change)
	switch {
	case err == nil:
		r.Written.Put(Strip(pod))
		r.Attempts.Done(set.Name(), pod.UID)
		r.Metrics.Wrote(set.Name(), string(change.Kind), "written")
		r.tell(set, change)
		return nil
	case apierrors.IsNotFound(err):
		r.Written.Forget(change.Pod.UID)
		r.Attempts.Done(set.Name(), change.Pod.UID)
		return nil
	}
	sure := definite(err) || r.look(ctx, change.Pod)
	r.Attempts.Failed(set.Name(), change.Pod.UID, !sure)
	r.complain(set, change, err)
	if !sure {
		return fmt.Errorf("%s pod %s/%s for SidecarSet %s: %w", change.Kind, change.Pod.Namespace, change.Pod.Name, set.Name(), err)
	}
	return nil
}

// writeTimeout bounds the write of one pod.
const writeTimeout = 30 * time.Second

// definite reports whether the answer says that nothing was written.
func definite(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && !apierrors.IsTimeout(err) && !apierrors.IsServerTimeout(err) && !apierrors.IsInternalError(err)
}

// look reads a pod whose last write may have been done, and reports whether it is known now.
func (r *Reconciler) look(ctx context.Context, pod *corev1.Pod) bool {
	var live corev1.Pod
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(pod), &live)
	if err == nil && live.UID == pod.UID {
		r.Written.Put(Strip(&live))
	}
	return err == nil || apierrors.IsNotFound(err)
}

func (r *Reconciler) patch(ctx context.Context, change rollout.Change) (*corev1.Pod, error) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: change.Pod.Namespace, Name: change.Pod.Name}}
	if len(change.Resize) > 0 {
		patch := client.RawPatch(types.StrategicMergePatchType, mustJSON(resizing(change)))
		if err := r.Client.SubResource("resize").Patch(ctx, pod, patch); err != nil {
			return pod, fmt.Errorf("resize: %w", err)
		}
	}
	err := r.Client.Patch(ctx, pod, client.RawPatch(types.JSONPatchType, mustJSON(change.Patch)))
	return pod, err
}

// resizing is the merge patch of new resources.
func resizing(change rollout.Change) map[string]any {
	spec := make(map[string]any)
	for list, containers := range change.Resize {
		var items []map[string]any
		for name, resources := range containers {
			items = append(items, map[string]any{"name": name, "resources": resources})
		}
		spec[list] = items
	}
	return map[string]any{"metadata": map[string]any{"uid": change.Pod.UID}, "spec": spec}
}

// tell sends the events of a change that was written.
func (r *Reconciler) tell(set *sidecar.Set, change rollout.Change) {
	if change.Kind == rollout.Reset {
		r.Recorder.Eventf(change.Pod, set.Object, corev1.EventTypeNormal, string(v1alpha1.ReasonResetSucceed), action,
			"SidecarSet %s: the hot upgrade is finished", set.Name())
	}
	for _, s := range change.Skipped {
		r.Recorder.Eventf(change.Pod, set.Object, corev1.EventTypeWarning, string(v1alpha1.ReasonMetadataSkipped), action,
			"SidecarSet %s: annotation %s is left as it is: %v", set.Name(), s.Annotation, s.Err)
	}
}

// complain reports a change that was refused. A pod that somebody else changed at the same moment is no
// reason to complain.
func (r *Reconciler) complain(set *sidecar.Set, change rollout.Change, err error) {
	if stale(err) {
		r.Metrics.Wrote(set.Name(), string(change.Kind), "stale")
		return
	}
	r.Metrics.Wrote(set.Name(), string(change.Kind), "failed")
	reason := v1alpha1.ReasonUpgradeFailed
	if change.Kind == rollout.Reset {
		reason = v1alpha1.ReasonResetFailed
	}
	r.Recorder.Eventf(change.Pod, set.Object, corev1.EventTypeWarning, string(reason), action,
		"SidecarSet %s: %v. It is tried again", set.Name(), err)
}

// stale reports whether a test of the patch failed, or the write met another one.
func stale(err error) bool {
	if apierrors.IsConflict(err) {
		return true
	}
	var status apierrors.APIStatus
	// The API server answers a failed test with 422 and without causes.
	return apierrors.IsInvalid(err) && errors.As(err, &status) && (status.Status().Details == nil || len(status.Status().Details.Causes) == 0)
}

// mustJSON encodes values of this package, which always can be.
func mustJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return raw
}
