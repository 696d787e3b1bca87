package pod

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/metrics"
)

// Events tells people by events on the WorkloadSpread, and counts. Of a burst only the first event
// of a kind is sent: a thousand pods would drown what matters and load the API server.
type Events struct {
	Recorder recorder.EventRecorder
	Metrics  *metrics.Metrics
	Clock    clock.PassiveClock

	mu   sync.Mutex
	last map[told]time.Time
}

// told is what was told of which object.
type told struct {
	spread types.UID
	subset string
	reason v1alpha1.Reason
}

// aggregation is the time within which one thing about one object is told once.
const aggregation = time.Minute

// action of all events of the webhook (events.k8s.io).
const action = "Admission"

// Placed implements Teller.
func (e *Events) Placed(ws *appsv1alpha1.WorkloadSpread, subset string, passed []Passed) {
	reason := v1alpha1.ReasonSubsetAssigned
	if len(passed) > 0 {
		reason = v1alpha1.ReasonOverflow
	}
	e.Metrics.Claimed(keyOf(ws), subset, reason)
	if !e.first(told{ws.UID, subset, reason}) {
		return
	}
	if len(passed) == 0 {
		e.Recorder.Eventf(ws, nil, corev1.EventTypeNormal, string(reason), action, "Pods go to subset %q", subset)
		return
	}
	e.Recorder.Eventf(ws, nil, corev1.EventTypeNormal, string(reason), action, "Pods go to subset %q: %s", subset, explain(passed))
}

// NoRoom implements Teller.
func (e *Events) NoRoom(ws *appsv1alpha1.WorkloadSpread, owner string, passed []Passed) {
	e.Metrics.Claimed(keyOf(ws), "", v1alpha1.ReasonNoSubsetAvailable)
	reason, remedy := v1alpha1.ReasonNoSubsetAvailable, "Raise a limit, or leave the last subset without maxReplicas"
	if slices.ContainsFunc(passed, func(p Passed) bool { return p.NotEligible }) {
		reason, remedy = v1alpha1.ReasonNotEligibleForVirtual, "Change the pod, or give a subset of own nodes room for it"
	}
	if e.first(told{ws.UID, "", reason}) {
		e.Recorder.Eventf(ws, nil, corev1.EventTypeWarning, string(reason), action,
			"A pod of %s was admitted without a subset: %s. %s", owner, explain(passed), remedy)
	}
}

// NotHonoured implements Teller.
func (e *Events) NotHonoured(ws *appsv1alpha1.WorkloadSpread, subset string, fields []clusterselector.Field) {
	if !e.first(told{ws.UID, subset, v1alpha1.ReasonConstraintNotHonoured}) {
		return
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = "spec." + string(f)
	}
	e.Recorder.Eventf(ws, nil, corev1.EventTypeWarning, string(v1alpha1.ReasonConstraintNotHonoured), action,
		"Pods in subset %q lose constraints on the way to the lower cluster: %s is not passed on by the provider of its nodes. "+
			"Run Spillway below in the member role, or take the constraint off the workload", subset, strings.Join(names, ", "))
}

// Invalid implements Teller.
func (e *Events) Invalid(ws *appsv1alpha1.WorkloadSpread, err error) {
	e.Metrics.Claimed(keyOf(ws), "", v1alpha1.ReasonInvalidSpec)
	if e.first(told{ws.UID, "", v1alpha1.ReasonInvalidSpec}) {
		e.Recorder.Eventf(ws, nil, corev1.EventTypeWarning, string(v1alpha1.ReasonInvalidSpec), action,
			"Pods are admitted without a subset: %v", err)
	}
}

func explain(passed []Passed) string {
	why := make([]string, len(passed))
	for i, p := range passed {
		text := "is full"
		switch p.Reason {
		case v1alpha1.ReasonSubsetUnschedulable:
			text = "cannot schedule pods now"
		case v1alpha1.ReasonProbing:
			text = "is tried with one other pod first, because it could not schedule pods before"
		}
		if p.Message != "" {
			text = "cannot take it: " + p.Message
		}
		why[i] = fmt.Sprintf("%q %s", p.Subset, text)
	}
	return strings.Join(why, ", ")
}

// first reports whether this was not told within the last aggregation time.
func (e *Events) first(t told) bool {
	now := e.Clock.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last == nil {
		e.last = make(map[told]time.Time)
	}
	if at, ok := e.last[t]; ok && now.Sub(at) < aggregation {
		return false
	}
	for k, at := range e.last {
		if now.Sub(at) >= aggregation {
			delete(e.last, k)
		}
	}
	e.last[t] = now
	return true
}

func keyOf(ws *appsv1alpha1.WorkloadSpread) types.NamespacedName {
	return types.NamespacedName{Namespace: ws.Namespace, Name: ws.Name}
}
