package spread

import (
	"fmt"
	"slices"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// health is what is remembered of a subset's schedulability. It belongs to the subset, across
// versions, and lives in two conditions of the aggregate status, so that it survives a leader, a
// rollout and a version without pods. Those of single virtual nodes are in a third one.
//
//	open ──a pod in trouble──▶ blocked ──hold is over──▶ probing ──the probe has a node──▶ open
//	                              ▲                         │
//	                              └──the probe in trouble───┘ (the next hold is longer)
type health struct {
	state   schedulability
	since   metav1.Time // of the state; zero for not recorded yet
	message string
	// level counts the probes that failed in a row.
	level int
	// probe is the token of the pod that is let in while probing; empty while none is.
	probe Token
	// nodes are the virtual nodes that are left out, or were until a short time ago; nodesSince is when that changed.
	nodes      map[string]nodeHold
	nodesSince metav1.Time
}

type schedulability uint8

const (
	open schedulability = iota
	blocked
	probing
)

// healths reads the memory of all subsets. Without rescheduling there is none; the last subset takes
// what the others cannot, so it is always open (OpenKruise).
func (b *Book) healths(status *appsv1alpha1.WorkloadSpreadStatus) {
	b.health = make([]health, b.terms.Len())
	if !b.terms.Adaptive() {
		return
	}
	for i := range status.SubsetStatuses {
		s := &status.SubsetStatuses[i]
		if at := b.terms.Index(s.Name); at >= 0 {
			b.health[at] = readHealth(s.Conditions, at == b.terms.Len()-1)
		}
	}
}

func readHealth(conditions []appsv1alpha1.WorkloadSpreadSubsetCondition, last bool) health {
	h := health{nodes: nodesOf(conditions)}
	for i := range conditions {
		c := &conditions[i]
		switch c.Type {
		case v1alpha1.ConditionNodes:
			h.nodesSince = c.LastTransitionTime
		case v1alpha1.ConditionSchedulable:
			h.since, h.message = c.LastTransitionTime, c.Message
			switch {
			case last:
				if c.Status != corev1.ConditionTrue {
					h.since, h.message = metav1.Time{}, ""
				}
			case c.Status == corev1.ConditionFalse:
				h.state = blocked
			case c.Reason == string(v1alpha1.ReasonProbing):
				h.state = probing
			}
		case v1alpha1.ConditionProbe:
			if !last {
				h.level, h.probe = readProbe(c.Message)
			}
		}
	}
	return h
}

// probeFormat is the message of ConditionProbe.
const probeFormat = "failed=%d pod=%s"

// noPod stands for no probe in the message.
const noPod = "-"

func (h *health) probeMessage() string {
	token := string(h.probe)
	if token == "" {
		token = noPod
	}
	return fmt.Sprintf(probeFormat, h.level, token)
}

func readProbe(message string) (level int, probe Token) {
	var token string
	if _, err := fmt.Sscanf(message, probeFormat, &level, &token); err != nil || level < 0 {
		return 0, "" // not ours: start over
	}
	if token != noPod {
		probe = Token(token)
	}
	return min(level, maxLevel), probe
}

// become changes the state.
func (h *health) become(s schedulability, now time.Time, message string) {
	h.state, h.message, h.probe = s, message, ""
	h.since = metav1.NewTime(now.Truncate(time.Second))
}

// healthConditions returns the conditions that remember a subset's health.
func (b *Book) healthConditions(i int, now metav1.Time) []appsv1alpha1.WorkloadSpreadSubsetCondition {
	if !b.terms.Adaptive() {
		return nil
	}
	h := &b.health[i]
	if h.since.IsZero() {
		h.since = now
	}
	c := appsv1alpha1.WorkloadSpreadSubsetCondition{
		Type: v1alpha1.ConditionSchedulable, Status: corev1.ConditionTrue,
		LastTransitionTime: h.since, Reason: string(v1alpha1.ReasonSufficient), Message: h.message,
	}
	switch h.state {
	case blocked:
		c.Status, c.Reason = corev1.ConditionFalse, string(v1alpha1.ReasonPodUnschedulable)
	case probing:
		c.Reason = string(v1alpha1.ReasonProbing)
	}
	out := append([]appsv1alpha1.WorkloadSpreadSubsetCondition{c}, h.nodesCondition()...)
	if h.state == open && h.level == 0 {
		return out
	}
	return append(out, appsv1alpha1.WorkloadSpreadSubsetCondition{
		Type: v1alpha1.ConditionProbe, Status: corev1.ConditionTrue,
		LastTransitionTime: h.since, Reason: c.Reason, Message: h.probeMessage(),
	})
}

// managed reports whether a condition of the aggregate is written anew with each status.
func managed(c appsv1alpha1.WorkloadSpreadSubsetCondition) bool {
	return slices.Contains([]string{v1alpha1.ConditionView, v1alpha1.ConditionSchedulable, v1alpha1.ConditionProbe, v1alpha1.ConditionNodes}, string(c.Type))
}
