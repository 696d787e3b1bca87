package state

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/spread"
)

// Stray is a pod that runs without an assignment.
type Stray struct {
	Namespace string
	UID       types.UID
	// Owner is the pod's controller.
	Owner metav1.OwnerReference
	// Facts of the pod, and the node terms that it requires.
	Facts    *spread.Pod
	Required *corev1.NodeSelector
}

// OfOwner returns what stands for all strays of an owner: the stray without what is its own.
func (s Stray) OfOwner() Stray { return Stray{Namespace: s.Namespace, Owner: s.Owner} }

// StrayOf returns what there is to know of a pod that could be adopted: active, on a node, and made by
// a controller.
func StrayOf(pod *corev1.Pod) (Stray, bool) {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || pod.Spec.NodeName == "" || !IsActive(pod) || OptedOut(pod) {
		return Stray{}, false
	}
	if _, ok := v1alpha1.ParseRecord(pod.Annotations); ok {
		return Stray{}, false
	}
	s := Stray{Namespace: pod.Namespace, UID: pod.UID, Owner: metav1.OwnerReference{
		APIVersion: ref.APIVersion, Kind: ref.Kind, Name: ref.Name, UID: ref.UID,
	}}
	_, s.Facts = FromPod(pod)
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		s.Required = a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	return s, true
}

// StraysOn returns the strays of a namespace that run on one of the nodes.
func (p *Pods) StraysOn(namespace string, node func(string) bool) []Stray {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var out []Stray
	for _, s := range p.strays[namespace] {
		if node(s.Facts.Node) {
			out = append(out, s)
		}
	}
	return out
}

// Strays returns the pods of a namespace that could be adopted.
func (p *Pods) Strays(namespace string) []Stray {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Collect(maps.Values(p.strays[namespace]))
}

// stray files a pod among the strays, or takes it off when pod is nil or no stray, and reports whether
// it is a new one. The lock is held.
func (p *Pods) stray(namespace string, uid types.UID, pod *corev1.Pod) (Stray, bool) {
	var s Stray
	is := false
	if pod != nil {
		s, is = StrayOf(pod)
	}
	in := p.strays[namespace]
	_, had := in[uid]
	switch {
	case is && had:
		in[uid] = s
		return s, false
	case is:
		if in == nil {
			in = make(map[types.UID]Stray)
			p.strays[namespace] = in
		}
		in[uid] = s
		return s, true
	case had:
		delete(in, uid)
		if len(in) == 0 {
			delete(p.strays, namespace)
		}
	}
	return s, false
}
