package state

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/internal/spread"
)

// Pods is a cache.ReflectorStore: the reflector calls the methods below one at a time, in the order
// of the watch. Contents and revision change together, under one lock.

// Add takes in a pod that the watch brought.
func (p *Pods) Add(obj any) error { return p.Update(obj) }

// Update takes in a pod that the watch brought.
func (p *Pods) Update(obj any) error {
	pod, revision, err := podOf(obj)
	if err != nil {
		return err
	}
	p.mu.Lock()
	touched, stray, strayed := p.take(pod)
	p.revision = max(p.revision, revision)
	p.mu.Unlock()
	p.tell(touched...)
	if strayed {
		p.listen.Strayed(stray)
	}
	return nil
}

// take files a pod, and returns the WorkloadSpreads whose pods that changed, and whether it is a new stray. The lock is
// held.
func (p *Pods) take(pod *corev1.Pod) (touched []types.NamespacedName, s Stray, strayed bool) {
	key, facts := FromPod(pod)
	p.remember(pod, key, facts)
	key = p.heal(pod, key, facts)
	touched = p.put(pod.UID, key, facts)
	p.mislay(pod, key, facts)
	if key != (types.NamespacedName{}) {
		p.stray(pod.Namespace, pod.UID, nil)
		return touched, Stray{}, false
	}
	s, strayed = p.stray(pod.Namespace, pod.UID, pod)
	return touched, s, strayed
}

// Delete takes in that a pod is gone.
func (p *Pods) Delete(obj any) error {
	pod, revision, err := podOf(obj)
	if err != nil {
		return err
	}
	p.mu.Lock()
	touched := p.put(pod.UID, types.NamespacedName{}, nil)
	delete(p.memory, pod.UID)
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		p.departed.add(ref.UID, revision)
	}
	p.stray(pod.Namespace, pod.UID, nil)
	p.revision = max(p.revision, revision)
	p.mu.Unlock()
	p.tell(touched...)
	return nil
}

// Bookmark takes in that nothing has happened up to a resource version.
func (p *Pods) Bookmark(resourceVersion string) error {
	revision, err := Revision(resourceVersion)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.revision = max(p.revision, revision)
	p.mu.Unlock()
	return nil
}

// Replace takes in a list: it is all there is.
func (p *Pods) Replace(list []any, resourceVersion string) error {
	revision, err := Revision(resourceVersion)
	if err != nil {
		return fmt.Errorf("take in the list of pods: %w", err)
	}
	touched := make(map[types.NamespacedName]struct{})
	note := func(keys []types.NamespacedName) {
		for _, k := range keys {
			touched[k] = struct{}{}
		}
	}
	var strays []Stray
	p.mu.Lock()
	listed := make(map[types.UID]struct{}, len(list))
	p.strays = make(map[string]map[types.UID]Stray)
	for _, obj := range list {
		pod, _, err := podOf(obj)
		if err != nil {
			p.mu.Unlock()
			return err
		}
		listed[pod.UID] = struct{}{}
		changed, s, strayed := p.take(pod)
		note(changed)
		if strayed {
			strays = append(strays, s)
		}
	}
	for uid := range p.memory {
		if _, ok := listed[uid]; !ok {
			delete(p.memory, uid)
		}
	}
	for uid := range p.where {
		if _, ok := listed[uid]; !ok {
			note(p.put(uid, types.NamespacedName{}, nil))
		}
	}
	p.revision, p.departed = revision, departures{from: revision}
	p.mu.Unlock()
	p.synced.Store(true)
	for key := range touched {
		p.listen.Changed(key)
	}
	for _, s := range strays {
		p.listen.Strayed(s)
	}
	return nil
}

// Resync does nothing: the view is never behind itself.
func (p *Pods) Resync() error { return nil }

// put files a pod under a WorkloadSpread, or nowhere when key is zero, and returns the
// WorkloadSpreads whose pods that changed. The lock is held.
func (p *Pods) put(uid types.UID, key types.NamespacedName, facts *spread.Pod) []types.NamespacedName {
	var touched []types.NamespacedName
	old, had := p.where[uid]
	if had && old != key {
		r := p.spreads[old]
		if key == (types.NamespacedName{}) {
			r.bury(r.pods[uid])
		}
		delete(r.pods, uid)
		delete(r.lost, uid)
		delete(p.where, uid)
		r.wake()
		touched = append(touched, old)
	}
	if key == (types.NamespacedName{}) {
		return touched
	}
	r := p.roster(key)
	before := r.pods[uid]
	r.pods[uid] = facts
	p.where[uid] = key
	if before != nil && before.Alike(facts) {
		return touched
	}
	r.wake()
	return append(touched, key)
}

func (r *roster) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (p *Pods) tell(keys ...types.NamespacedName) {
	for _, k := range keys {
		p.listen.Changed(k)
	}
}

func podOf(obj any) (*corev1.Pod, uint64, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, 0, fmt.Errorf("take in a pod: got a %T", obj)
	}
	revision, err := Revision(pod.ResourceVersion)
	if err != nil {
		return nil, 0, fmt.Errorf("take in pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return pod, revision, nil
}
