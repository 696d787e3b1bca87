package system

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/test/lab/nodes/internal/kubelet"
)

const statusRetryPeriod = 200 * time.Millisecond

// writeStatuses writes the status after every change until ctx ends. Changes that come while one is
// being written go out together in the next.
func (p *pod) writeStatuses(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
		}
		if err := p.writeStatus(ctx); err != nil && ctx.Err() == nil {
			p.node.log.Warn("will try again", "error", err)
			time.AfterFunc(statusRetryPeriod, p.touch)
		}
	}
}

func (p *pod) writeStatus(ctx context.Context) error {
	return kubelet.PatchStatus(ctx, p.node.client, p.spec(), p.status())
}

// status is the pod's status now. Conditions keep the time of their last transition.
func (p *pod) status() corev1.PodStatus {
	published := host(p.node.config.Published, p.last)
	status := corev1.PodStatus{
		HostIP: p.node.config.NodeAddress, HostIPs: []corev1.HostIP{{IP: p.node.config.NodeAddress}},
		PodIP: published, PodIPs: []corev1.PodIP{{IP: published}},
		StartTime: &metav1.Time{Time: p.created},
	}
	initialized, ready := true, true
	for _, c := range p.init {
		s := c.status()
		initialized = initialized && (s.Ready || c.sidecar() && s.Started != nil && *s.Started)
		ready = ready && (!c.sidecar() || s.Ready)
		status.InitContainerStatuses = append(status.InitContainerStatuses, s)
	}
	for _, c := range p.containers {
		s := c.status()
		ready = ready && s.Ready
		status.ContainerStatuses = append(status.ContainerStatuses, s)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	status.Phase = p.phase
	gates := gatesOpen(p.object)
	for _, condition := range []struct {
		kind   corev1.PodConditionType
		status bool
		reason string
	}{
		{corev1.PodReadyToStartContainers, true, ""},
		{corev1.PodInitialized, initialized, "ContainersNotInitialized"},
		{corev1.ContainersReady, ready, "ContainersNotReady"},
		{corev1.PodReady, ready && gates, "ContainersNotReady"},
	} {
		status.Conditions = append(status.Conditions, p.condition(condition.kind, condition.status, condition.reason))
	}
	return status
}

// gatesOpen tells whether others have set all conditions that the pod waits for.
func gatesOpen(object *corev1.Pod) bool {
	for _, gate := range object.Spec.ReadinessGates {
		open := false
		for _, condition := range object.Status.Conditions {
			open = open || condition.Type == gate.ConditionType && condition.Status == corev1.ConditionTrue
		}
		if !open {
			return false
		}
	}
	return true
}

// condition makes a condition, with the time of transition of the last one that was the same. p.mu is held.
func (p *pod) condition(kind corev1.PodConditionType, is bool, reason string) corev1.PodCondition {
	made := corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}
	if !is {
		made.Status, made.Reason = corev1.ConditionFalse, reason
		if p.phase == corev1.PodSucceeded {
			made.Reason = "PodCompleted"
		}
	}
	if last, ok := p.conditions[kind]; ok && last.Status == made.Status {
		made.LastTransitionTime = last.LastTransitionTime
	}
	p.conditions[kind] = made
	return made
}
