package rollout

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Condition returns what the pod's condition SidecarSetUpgradable is to become, and false if it is
// right as it is. Sets that are gone are dropped from it. A pod without the condition can be upgraded:
// it gets none until it cannot, which saves a write for each pod.
func Condition(pod *corev1.Pod, set string, verdict v1alpha1.Reason, exists func(set string) bool, now time.Time) (corev1.PodCondition, bool) {
	at := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == v1alpha1.ConditionSidecarSetUpgradable })
	entries := map[string]bool{}
	var is corev1.PodCondition
	if at >= 0 {
		is = pod.Status.Conditions[at]
		if err := json.Unmarshal([]byte(is.Message), &entries); err != nil || entries == nil {
			entries = map[string]bool{} // it is written anew
		}
	}
	maps.DeleteFunc(entries, func(name string, _ bool) bool { return !exists(name) })
	_, told := entries[set]
	switch {
	case verdict == v1alpha1.ReasonNotUpgradable:
		entries[set] = false
	case told && verdict != "":
		entries[set] = true
	}
	if at < 0 && len(entries) == 0 {
		return is, false
	}
	becomes := corev1.PodCondition{
		Type: v1alpha1.ConditionSidecarSetUpgradable, Status: corev1.ConditionTrue,
		Reason: string(v1alpha1.ReasonAllUpgradable), Message: message(entries), LastTransitionTime: is.LastTransitionTime,
	}
	for _, upgradable := range entries {
		if !upgradable {
			becomes.Status, becomes.Reason = corev1.ConditionFalse, string(v1alpha1.ReasonUpdateImmutableField)
		}
	}
	if becomes.Status != is.Status {
		becomes.LastTransitionTime = stamp(now)
	}
	return becomes, becomes.Status != is.Status || becomes.Reason != is.Reason || becomes.Message != is.Message
}

func message(entries map[string]bool) string {
	raw, err := json.Marshal(entries)
	if err != nil { // text and booleans always can be encoded
		panic(fmt.Sprintf("encode %v: %v", entries, err))
	}
	return string(raw)
}
