package resolve

import (
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/workload"
)

// AllowList holds the kinds that are known now: the built-in ones and those of a ConfigMap. What cannot
// be read of it is told and left out; nothing depends on the ConfigMap being there. It is safe for
// concurrent use.
type AllowList struct {
	// Recorder tells of entries that cannot be used, on the ConfigMap.
	Recorder events.EventRecorder
	// Count is told how many those are.
	Count func(problems int)
	// Changed is called when other kinds are known than before.
	Changed func()

	kinds atomic.Pointer[workload.Kinds]
	text  atomic.Pointer[string]
}

// Kinds returns the kinds that are known now.
func (a *AllowList) Kinds() *workload.Kinds { return a.kinds.Load() }

// Take reads the ConfigMap as it is now; nil when it is gone.
func (a *AllowList) Take(cm *corev1.ConfigMap) {
	text := ""
	if cm != nil {
		text = cm.Data[workload.AllowListKey]
	}
	if before := a.text.Swap(&text); before != nil && *before == text {
		return
	}
	kinds, problems := workload.ParseAllowList(text)
	a.kinds.Store(kinds)
	a.Count(len(problems))
	for _, p := range problems {
		a.Recorder.Eventf(cm, nil, corev1.EventTypeWarning, string(v1alpha1.ReasonInvalidAllowList), "Read", "%v", p)
	}
	a.Changed()
}
