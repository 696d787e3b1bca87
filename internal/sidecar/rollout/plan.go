package rollout

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// Input of a round.
type Input struct {
	Set *sidecar.Set
	// Revision is the name of the revision of the current spec.
	Revision string
	// Pods are those that the set manages.
	Pods []*corev1.Pod
	// Resizable reports whether pods of a revision differ in nothing but images and resources, and
	// resources may be changed in place. Nil means that they may not.
	Resizable func(revision string) bool
	// Waiting are pods whose last attempt failed, and which are not to be tried yet.
	Waiting map[types.UID]bool
	Now     time.Time
}

// Plan of a round.
type Plan struct {
	Counts Counts
	// Changes are to be written in this order. Each stands by itself: one that fails stops no other.
	Changes []Change
	// Verdicts say why each pod is upgraded or not, in the order of the input.
	Verdicts []v1alpha1.Reason
	// Again is when to look again although nothing happened, or zero.
	Again time.Duration
}

// Counts are the figures of a set.
type Counts struct {
	Matched, Updated, Ready, UpdatedReady, NotUpgradable, Drifted int32
}

// Make plans a round.
func Make(in Input) Plan {
	r := round{Input: in, plan: Plan{Verdicts: make([]v1alpha1.Reason, len(in.Pods))}, views: make([]view, len(in.Pods))}
	for i, pod := range in.Pods {
		r.views[i] = look(in.Set, in.Revision, pod, in.Now)
		r.views[i].resizable(in.Resizable)
		if again := r.views[i].again; again > 0 && (r.plan.Again == 0 || again < r.plan.Again) {
			r.plan.Again = again
		}
	}
	r.count()
	r.resets()
	r.upgrades()
	return r.plan
}

type round struct {
	Input
	plan  Plan
	views []view
	reset map[types.UID]bool
}

func (r *round) count() {
	c := &r.plan.Counts
	add := func(n *int32, is bool) {
		if is {
			*n++
		}
	}
	for i := range r.views {
		v := &r.views[i]
		c.Matched++
		add(&c.Updated, v.updated)
		add(&c.Ready, v.ready())
		add(&c.UpdatedReady, v.updated && v.ready())
		add(&c.NotUpgradable, !v.updated && !v.upgradable)
		add(&c.Drifted, v.drifted)
	}
}

// resets ends hot upgrades. They are ended even when upgrades are paused or were turned off: a pod
// should not be left with two containers that work.
func (r *round) resets() {
	r.reset = make(map[types.UID]bool)
	for i := range r.views {
		v := &r.views[i]
		if v.idle || r.Waiting[v.pod.UID] {
			continue
		}
		if change, ok := reset(r.Set, v.pod, r.Now); ok {
			r.plan.Changes = append(r.plan.Changes, change)
			r.reset[v.pod.UID] = true
		}
	}
}

// upgrades says what each pod is in for, and upgrades those whose turn it is.
func (r *round) upgrades() {
	stopped := r.stopped()
	var waiting []candidate
	busy, used := 0, 0
	for i := range r.views {
		v := &r.views[i]
		// What an upgrade made unavailable uses the budget; what is down for other reasons does not.
		if v.busy || r.reset[v.pod.UID] || v.updated && !v.ready() {
			used++
		}
		reason := r.standing(v)
		if reason != v1alpha1.ReasonUpdated && (stopped == v1alpha1.ReasonNotUpdate || stopped != "" && reason != v1alpha1.ReasonNotUpgradable) {
			reason = stopped
		}
		r.plan.Verdicts[i] = reason
		switch reason {
		case v1alpha1.ReasonInProgress, v1alpha1.ReasonBackOff:
			busy++
		case v1alpha1.ReasonUpgrade:
			waiting = append(waiting, candidate{v, i})
		}
	}
	if stopped != "" || len(waiting) == 0 {
		return
	}
	order(waiting, r.views, &r.Set.Object.Spec.UpdateStrategy)
	waiting = r.hold(waiting, busy)
	r.walk(waiting, used)
}

func (r *round) stopped() v1alpha1.Reason {
	switch {
	case !r.Set.Upgrades():
		return v1alpha1.ReasonNotUpdate
	case r.Set.Object.Spec.UpdateStrategy.Paused:
		return v1alpha1.ReasonPaused
	}
	return ""
}

// standing says what a pod is in for by itself: Upgrade if it may be upgraded.
func (r *round) standing(v *view) v1alpha1.Reason {
	switch {
	case v.updated:
		return v1alpha1.ReasonUpdated
	case !v.upgradable:
		return v1alpha1.ReasonNotUpgradable
	case !r.Set.SelectsUpgrade(labels.Set(v.pod.Labels)):
		return v1alpha1.ReasonNotSelected
	case v.busy || r.reset[v.pod.UID]:
		return v1alpha1.ReasonInProgress
	case r.Waiting[v.pod.UID]:
		return v1alpha1.ReasonBackOff
	default:
		return v1alpha1.ReasonUpgrade
	}
}

// hold takes from the end of the list the pods that the partition keeps on their version. Pods that
// stay there anyway count first. busy pods are upgraded later, so they do not count.
func (r *round) hold(waiting []candidate, busy int) []candidate {
	keep := partition(r.Set.Object.Spec.UpdateStrategy.Partition, len(r.Pods)) - int(r.plan.Counts.NotUpgradable)
	if keep <= 0 {
		return waiting
	}
	take := min(max(len(waiting)+busy-keep, 0), len(waiting))
	for _, c := range waiting[take:] {
		r.plan.Verdicts[c.index] = v1alpha1.ReasonHeldByPartition
	}
	return waiting[:take]
}

// walk upgrades pods in order, as long as maxUnavailable allows. Pods that are unavailable already cost
// nothing, and are not kept waiting by those that do; they count, because they are on their way too.
func (r *round) walk(waiting []candidate, used int) {
	most := scaled(r.Set.Object.Spec.UpdateStrategy.MaxUnavailable, len(r.Pods), 1)
	for _, c := range waiting {
		if !c.available {
			used++
		}
	}
	full := false // the order is kept among pods that are available
	for _, c := range waiting {
		if c.available {
			if full = full || used >= most; full {
				r.plan.Verdicts[c.index] = v1alpha1.ReasonMaxUnavailable
				continue
			}
			used++
		}
		change := upgrade(r.Set, r.Revision, c.pod, c.resize, r.Now)
		r.plan.Changes = append(r.plan.Changes, change)
	}
}
