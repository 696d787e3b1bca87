package sidecarset

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/state"
)

// Written holds pods as the API server returned them, until the watch has brought something at least as
// new. A round therefore never plans on a pod as it was before our own last write, and never has to wait
// for the watch. What is held expires: nothing that vanished is remembered for long. It is safe for
// concurrent use.
type Written struct {
	Clock clock.PassiveClock

	mu   sync.Mutex
	pods map[types.UID]written
	next time.Time // of the next sweep
}

type written struct {
	pod      *corev1.Pod
	revision uint64
	at       time.Time
}

// expiry bounds how long a written pod is held.
const expiry = 5 * time.Minute

// Put takes in a pod that the API server returned.
func (w *Written) Put(pod *corev1.Pod) {
	revision, err := state.Revision(pod.ResourceVersion)
	if err != nil {
		return // resource versions that cannot be compared tell nothing
	}
	now := w.Clock.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pods == nil {
		w.pods = make(map[types.UID]written)
	}
	if w.pods[pod.UID].revision < revision {
		w.pods[pod.UID] = written{pod, revision, now}
	}
	if now.Before(w.next) {
		return
	}
	w.next = now.Add(expiry)
	for uid, held := range w.pods {
		if now.Sub(held.at) >= expiry {
			delete(w.pods, uid)
		}
	}
}

// Newest returns the newer of a pod from the watch and what is held of it.
func (w *Written) Newest(pod *corev1.Pod) *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	held, ok := w.pods[pod.UID]
	if !ok {
		return pod
	}
	seen, err := state.Revision(pod.ResourceVersion)
	if err != nil || seen >= held.revision || w.Clock.Now().Sub(held.at) >= expiry {
		delete(w.pods, pod.UID)
		return pod
	}
	return held.pod
}

// Forget drops a pod that does not exist any more.
func (w *Written) Forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pods, uid)
}

// page is the number of pods read at once.
const page = 500

// Prime reads all injected pods from the API server: a new leader's watch may lag behind the last
// writes of the former one.
func (w *Written) Prime(ctx context.Context, live client.Reader) error {
	var list corev1.PodList
	for more := true; more; more = list.Continue != "" {
		o := client.ListOptions{Limit: page, Raw: &metav1.ListOptions{Continue: list.Continue}}
		list = corev1.PodList{}
		if err := live.List(ctx, &list, &o); err != nil {
			return fmt.Errorf("list pods: %w", err)
		}
		for i := range list.Items {
			if pod := &list.Items[i]; len(sidecar.ParseList(pod.Annotations)) > 0 {
				w.Put(Strip(pod))
			}
		}
	}
	return nil
}
