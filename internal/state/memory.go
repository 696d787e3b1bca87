package state

import (
	"maps"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/workload"
)

// remembered is what a pod on virtual nodes carried when it was last seen whole. The status that a virtual kubelet
// reports may overwrite labels and annotations; counting does not depend on them.
type remembered struct {
	key               types.NamespacedName
	subset            string
	token             spread.Token
	version, revision string
	// labels and annotations are Spillway's own. Most pods of a workload share their texts.
	labels, annotations map[string]unique.Handle[string]
}

// Lost is a pod that lacks metadata which it carried before.
type Lost struct {
	Pod *spread.Pod
	// Labels and Annotations are what is missing.
	Labels, Annotations map[string]string
}

// Facts is FromPod, with what is remembered of the pod in place of what was overwritten.
func (p *Pods) Facts(pod *corev1.Pod) (types.NamespacedName, *spread.Pod) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	key, facts := FromPod(pod)
	return p.heal(pod, key, facts), facts
}

// heal completes facts, and returns the WorkloadSpread that the pod is recorded on. The lock is held.
func (p *Pods) heal(pod *corev1.Pod, key types.NamespacedName, facts *spread.Pod) types.NamespacedName {
	m := p.memory[pod.UID]
	if m == nil || facts.Owner == "" { // its controller has let it go, which no status can do
		return key
	}
	if key == (types.NamespacedName{}) {
		key = m.key
		facts.Subset, facts.Token, facts.Version, facts.Revision = m.subset, m.token, m.version, m.revision
	}
	if facts.Version == workload.VersionIgnored {
		facts.Version = m.version
	}
	facts.Lost = len(missing(pod.Annotations, m.annotations)) > 0 || len(missing(pod.Labels, m.labels)) > 0
	return key
}

// remember keeps what a pod on virtual nodes carries, and one that was adopted, which may be on such nodes: nothing that
// it carries tells. What is missing by now is not forgotten. The lock is held.
func (p *Pods) remember(pod *corev1.Pod, key types.NamespacedName, facts *spread.Pod) {
	m := p.memory[pod.UID]
	text, placed := pod.Annotations[clusterselector.AnnotationRecord]
	adopted := strings.HasPrefix(string(facts.Token), spread.AdoptionStem(pod.UID))
	if _, recorded := v1alpha1.ParseRecord(pod.Annotations); !recorded || key == (types.NamespacedName{}) || (m == nil && !placed && !adopted) {
		return
	}
	if m == nil {
		m = &remembered{labels: make(map[string]unique.Handle[string]), annotations: make(map[string]unique.Handle[string])}
		p.memory[pod.UID] = m
	}
	m.key, m.subset, m.token = key, facts.Subset, facts.Token
	if facts.Version != workload.VersionIgnored || m.version == "" { // else its label is gone
		m.version, m.revision = facts.Version, facts.Revision
	}
	for _, k := range []string{v1alpha1.AnnotationMatched, v1alpha1.PodDeletionCost, v1alpha1.AnnotationDeletionCost} {
		note(m.annotations, pod.Annotations, k)
	}
	if !placed || m.annotations[clusterselector.AnnotationRecord] == unique.Make(text) {
		return
	}
	note(m.annotations, pod.Annotations, clusterselector.AnnotationRecord)
	record, _, err := clusterselector.ParseRecord(pod.Annotations)
	if err != nil {
		return // not ours
	}
	note(m.annotations, pod.Annotations, record.Annotation)
	for k := range record.Added.Annotations {
		note(m.annotations, pod.Annotations, k)
	}
	for k := range record.Added.Labels {
		note(m.labels, pod.Labels, k)
	}
}

func note(into map[string]unique.Handle[string], from map[string]string, key string) {
	if value, ok := from[key]; ok {
		into[key] = unique.Make(value)
	}
}

// missing returns what is wanted and not there; nil for nothing. A value that differs is somebody's.
func missing(have map[string]string, want map[string]unique.Handle[string]) map[string]string {
	var out map[string]string
	for key, value := range want {
		if _, ok := have[key]; ok {
			continue
		}
		if out == nil {
			out = make(map[string]string)
		}
		out[key] = value.Value()
	}
	return out
}

// Lost returns the active pods of a WorkloadSpread that lack metadata which they carried before.
func (p *Pods) Lost(key types.NamespacedName) []Lost {
	p.mu.RLock()
	defer p.mu.RUnlock()
	r := p.spreads[key]
	if r == nil {
		return nil
	}
	var out []Lost
	for uid, pod := range r.pods {
		if pod.Active && pod.Lost {
			out = append(out, Lost{Pod: pod, Labels: maps.Clone(r.lost[uid].labels), Annotations: maps.Clone(r.lost[uid].annotations)})
		}
	}
	return out
}

// lost is what a pod lacks.
type lost struct{ labels, annotations map[string]string }

// mislay notes in a roster what a pod lacks. The lock is held.
func (p *Pods) mislay(pod *corev1.Pod, key types.NamespacedName, facts *spread.Pod) {
	r := p.spreads[key]
	if r == nil {
		return
	}
	if !facts.Lost {
		delete(r.lost, pod.UID)
		return
	}
	m := p.memory[pod.UID]
	if r.lost == nil {
		r.lost = make(map[types.UID]lost)
	}
	r.lost[pod.UID] = lost{missing(pod.Labels, m.labels), missing(pod.Annotations, m.annotations)}
}
