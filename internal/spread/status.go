package spread

import (
	"slices"
	"strconv"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Status writes the book over old, the status it was opened from, and reports whether anything
// changed. observedGeneration is left alone: only the controller sets it. now is the transition
// time of conditions that are new.
func (b *Book) Status(old *appsv1alpha1.WorkloadSpreadStatus, now time.Time) (*appsv1alpha1.WorkloadSpreadStatus, bool) {
	s := &appsv1alpha1.WorkloadSpreadStatus{ObservedGeneration: old.ObservedGeneration}
	if len(b.pages) > 0 {
		s.VersionedSubsetStatuses = make(map[string][]appsv1alpha1.WorkloadSpreadSubsetStatus, len(b.pages))
	}
	for version, p := range b.pages {
		s.VersionedSubsetStatuses[version] = b.pageStatus(p)
	}
	s.SubsetStatuses = b.aggregate(old, metav1.NewTime(now.Truncate(time.Second)))
	return s, !sameStatus(old, s)
}

func (b *Book) pageStatus(p *page) []appsv1alpha1.WorkloadSpreadSubsetStatus {
	row := make([]appsv1alpha1.WorkloadSpreadSubsetStatus, len(p.entries))
	for i := range p.entries {
		e := &p.entries[i]
		row[i] = appsv1alpha1.WorkloadSpreadSubsetStatus{
			Name:            b.terms.Name(i),
			Replicas:        e.replicas,
			MissingReplicas: b.room(i, e.replicas, e.claimed()),
			Conditions:      e.conditions,
		}
		if len(e.claims) > 0 {
			row[i].CreatingPods = e.creatingPods()
		}
	}
	return row
}

func (e *entry) creatingPods() map[string]metav1.Time {
	m := make(map[string]metav1.Time, len(e.claims))
	for t, at := range e.claims {
		m[string(t)] = at
	}
	return m
}

// aggregate sums each subset over all versions. Its claims are only counted, not listed: the
// versions list them.
func (b *Book) aggregate(old *appsv1alpha1.WorkloadSpreadStatus, now metav1.Time) []appsv1alpha1.WorkloadSpreadSubsetStatus {
	row := make([]appsv1alpha1.WorkloadSpreadSubsetStatus, b.terms.Len())
	for i := range row {
		var replicas, claims int32
		for _, p := range b.pages {
			replicas += p.entries[i].replicas
			claims += p.entries[i].claimed()
		}
		row[i] = appsv1alpha1.WorkloadSpreadSubsetStatus{
			Name:            b.terms.Name(i),
			Replicas:        replicas,
			MissingReplicas: b.room(i, replicas, claims),
			Conditions:      append(conditionsOf(old, b.terms.Name(i)), b.healthConditions(i, now)...),
		}
	}
	if len(row) > 0 && b.observed > 0 {
		row[0].Conditions = append(row[0].Conditions, b.viewCondition(old, now))
	}
	return row
}

// conditionsOf returns a copy of the aggregate's conditions of a subset, without those that are written
// anew each time.
func conditionsOf(old *appsv1alpha1.WorkloadSpreadStatus, subset string) []appsv1alpha1.WorkloadSpreadSubsetCondition {
	for i := range old.SubsetStatuses {
		if old.SubsetStatuses[i].Name == subset {
			return slices.DeleteFunc(slices.Clone(old.SubsetStatuses[i].Conditions), managed)
		}
	}
	return nil
}

func isView(c appsv1alpha1.WorkloadSpreadSubsetCondition) bool {
	return c.Type == v1alpha1.ConditionView
}

// viewCondition holds the revision of the counts; it keeps the time at which the first was taken.
func (b *Book) viewCondition(old *appsv1alpha1.WorkloadSpreadStatus, now metav1.Time) appsv1alpha1.WorkloadSpreadSubsetCondition {
	c := appsv1alpha1.WorkloadSpreadSubsetCondition{
		Type:               v1alpha1.ConditionView,
		Status:             corev1.ConditionTrue,
		LastTransitionTime: now,
		Reason:             string(v1alpha1.ReasonCounted),
		Message:            strconv.FormatUint(b.observed, 10),
	}
	for i := range old.SubsetStatuses {
		if at := slices.IndexFunc(old.SubsetStatuses[i].Conditions, isView); at >= 0 {
			c.LastTransitionTime = old.SubsetStatuses[i].Conditions[at].LastTransitionTime
		}
	}
	return c
}
