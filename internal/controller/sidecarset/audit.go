package sidecarset

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/go-logr/logr"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/metrics"
	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/sidecar/rollout"
	"github.com/spillway-project/spillway/internal/state"
)

// Audit looks for pods that sets select and that run without their sidecars: they were created while the
// webhook was away, or before the set. It counts them, says so, and replaces them where the set asks for
// it. It runs in the leader.
type Audit struct {
	Client     client.Client
	Sets       *state.SidecarSets
	Namespaces *state.Namespaces
	Metrics    *metrics.Sidecar
	Recorder   recorder.EventRecorder
	Clock      clock.WithTicker
	Every      time.Duration
	// Excluded are namespaces whose pods the webhook does not see.
	Excluded []string
	Log      logr.Logger

	told    once
	mu      sync.Mutex
	evicted map[owned]time.Time
	counted map[string]bool
}

// owned is a workload whose pods a set replaces.
type owned struct {
	set   types.UID
	owner types.UID
}

// Start implements manager.Runnable.
func (a *Audit) Start(ctx context.Context) error {
	ticker := a.Clock.NewTicker(a.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			if err := a.Round(ctx); err != nil {
				a.Log.Error(err, "Looking for pods without sidecars")
			}
		}
	}
}

// found are the pods of a set.
type found struct {
	total       int
	uninjected  []*corev1.Pod
	unavailable int
}

// Round looks once.
func (a *Audit) Round(ctx context.Context) error {
	if a.Sets.Len() == 0 {
		return nil
	}
	bySet, err := a.find(ctx)
	if err != nil {
		return err
	}
	for _, set := range a.Sets.All() {
		f := bySet[set.Name()]
		if f == nil {
			if a.counted[set.Name()] {
				a.Metrics.Uninjected(set.Name(), 0)
			}
			continue
		}
		if a.counted == nil {
			a.counted = make(map[string]bool)
		}
		a.counted[set.Name()] = true
		a.Metrics.Uninjected(set.Name(), len(f.uninjected))
		if n := int32(len(f.uninjected)); a.told.changed(set.Name(), n) && n > 0 { //nolint:gosec // pods of one set
			a.Recorder.Eventf(set.Object, nil, corev1.EventTypeWarning, string(v1alpha1.ReasonUninjected), action,
				"%d of %d pods run without sidecars, for example %s/%s: they were created before the SidecarSet, or while the webhook was away or does not see them. Recreate them, or set annotation %s",
				n, f.total, f.uninjected[0].Namespace, f.uninjected[0].Name, v1alpha1.AnnotationReplaceUninjected)
		}
		a.replace(ctx, set, f)
	}
	return nil
}

// find matches every pod once.
func (a *Audit) find(ctx context.Context) (map[string]*found, error) {
	var pods corev1.PodList
	if err := a.Client.List(ctx, &pods, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	namespaces := make(map[string]labels.Set)
	out := make(map[string]*found)
	for i := range pods.Items {
		pod := &pods.Items[i]
		sets := a.Sets.Selecting(pod.Namespace, labels.Set(pod.Labels))
		if len(sets) == 0 || slices.Contains(a.Excluded, pod.Namespace) || kept(pod.Labels) || pod.Annotations[corev1.MirrorPodAnnotationKey] != "" {
			continue
		}
		in, known := namespaces[pod.Namespace]
		if !known {
			var err error
			if in, err = a.Namespaces.Labels(ctx, pod.Namespace); err != nil {
				continue // it is on its way out
			}
			namespaces[pod.Namespace] = in
		}
		if kept(in) {
			continue
		}
		sets = slices.DeleteFunc(sets, func(s *sidecar.Set) bool { return !s.Injects() || !s.InNamespace(pod.Namespace, in) })
		list := sidecar.ParseList(pod.Annotations)
		for _, s := range sidecar.Unshadowed(sets) {
			if out[s.Name()] == nil {
				out[s.Name()] = &found{}
			}
			out[s.Name()].add(pod, slices.Contains(list, s.Name()))
		}
	}
	return out, nil
}

// kept reports whether labels of a pod or a namespace keep sidecars out.
func kept(l labels.Set) bool {
	return l[v1alpha1.LabelInject] == v1alpha1.AdmissionDisabled || l[v1alpha1.LabelAdmission] == v1alpha1.AdmissionDisabled
}

func (f *found) add(pod *corev1.Pod, injected bool) {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return
	}
	f.total++
	ready := rollout.IsReady(pod)
	if !ready {
		f.unavailable++
	}
	if !injected && pod.DeletionTimestamp == nil {
		f.uninjected = append(f.uninjected, pod)
	}
}

// replace evicts pods, as many as the set allows to be away. Evictions respect disruption budgets. If
// what replaces a pod has no sidecars either, the webhook does not see pods of this workload: then it
// is left alone, or evictions would never end.
func (a *Audit) replace(ctx context.Context, set *sidecar.Set, f *found) {
	text, ok := set.Object.Annotations[v1alpha1.AnnotationReplaceUninjected]
	most, valid := rollout.Scaled(text, f.total)
	if !ok || !valid {
		return
	}
	budget := most - f.unavailable
	for _, pod := range f.uninjected {
		owner := metav1.GetControllerOfNoCopy(pod)
		if owner == nil {
			continue // nobody would replace it
		}
		key := owned{set.Object.UID, owner.UID}
		if at, before := a.since(key); before && pod.CreationTimestamp.After(at) {
			continue
		}
		if rollout.IsReady(pod) {
			if budget <= 0 {
				continue
			}
			budget--
		}
		a.evict(ctx, set, pod, key)
	}
}

func (a *Audit) since(key owned) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.evicted[key]
	return at, ok
}

func (a *Audit) evict(ctx context.Context, set *sidecar.Set, pod *corev1.Pod, key owned) {
	err := a.Client.SubResource("eviction").Create(ctx, pod.DeepCopy(), &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}},
	})
	switch {
	case err == nil:
		a.mu.Lock()
		if a.evicted == nil {
			a.evicted = make(map[owned]time.Time)
		}
		if _, ok := a.evicted[key]; !ok {
			a.evicted[key] = a.Clock.Now()
		}
		a.mu.Unlock()
		a.Metrics.Wrote(set.Name(), "evict", "written")
		a.Recorder.Eventf(pod, set.Object, corev1.EventTypeNormal, string(v1alpha1.ReasonReplaced), action,
			"Evicted, to be replaced by a pod with the sidecars of SidecarSet %s", set.Name())
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
	default: // a disruption budget, most often
		a.Metrics.Wrote(set.Name(), "evict", "refused")
		if a.told.changed(set.Name()+"/"+pod.Name, 1) {
			a.Recorder.Eventf(pod, set.Object, corev1.EventTypeWarning, string(v1alpha1.ReasonEvictionRefused), action,
				"SidecarSet %s: %v. It is tried again", set.Name(), err)
		}
	}
}
