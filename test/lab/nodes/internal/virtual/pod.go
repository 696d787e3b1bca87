package virtual

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/test/lab/nodes/internal/kubelet"
)

// addedContainer is the name of the container that the knob AddContainer injects.
const addedContainer = "injected-below"

// pod is a pod of a virtual node. It goes from created to running, perhaps by way of unschedulable.
type pod struct {
	provider *provider
	address  string
	created  time.Time
	first    *corev1.Pod // as it came; what knob Stale sends up for ever

	stopping context.Context
	stop     context.CancelFunc
	changed  chan struct{}

	mu         sync.Mutex
	current    *corev1.Pod // as the API server has it; replaced, never changed
	started    *time.Time  // when it began to run
	completed  bool        // its containers have ended, successfully
	containers map[string]run
	conditions map[corev1.PodConditionType]corev1.PodCondition
}

// run is what runs of a container.
type run struct {
	image    string
	began    time.Time
	restarts int32
}

func newPod(p *provider, object *corev1.Pod) *pod {
	made := &pod{
		provider: p, address: p.addresses.take(), created: time.Now(), first: object, current: object, changed: make(chan struct{}, 1),
		containers: map[string]run{}, conditions: map[corev1.PodConditionType]corev1.PodCondition{},
	}
	made.stopping, made.stop = context.WithCancel(p.ctx)
	made.adopt(object)
	made.touch()
	return made
}

// adopt takes over a pod that ran before the provider's restart: the one who forgot is the provider,
// not the cluster below.
func (p *pod) adopt(object *corev1.Pod) {
	if object.Status.Phase != corev1.PodRunning || object.Status.StartTime == nil {
		return
	}
	p.started = &object.Status.StartTime.Time
	if object.Status.PodIP != "" {
		p.address = object.Status.PodIP
	}
	for _, list := range [][]corev1.ContainerStatus{object.Status.InitContainerStatuses, object.Status.ContainerStatuses} {
		for _, status := range list {
			if status.State.Running != nil {
				p.containers[status.Name] = run{image: status.Image, began: status.State.Running.StartedAt.Time, restarts: status.RestartCount}
			}
		}
	}
}

func (p *pod) object() *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

func (p *pod) update(object *corev1.Pod) {
	p.mu.Lock()
	p.current = object
	p.mu.Unlock()
	p.touch()
}

func (p *pod) runs() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started != nil
}

// touch makes run look again.
func (p *pod) touch() {
	select {
	case p.changed <- struct{}{}:
	default: // it is going to
	}
}

// run writes the pod's status after every change, until the pod was deleted and is gone.
func (p *pod) run() {
	ctx := p.provider.ctx
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.stopping.Done():
			p.end(ctx)
			return
		case <-p.changed:
		}
		if wait := p.advance(); wait > 0 {
			time.AfterFunc(wait, p.touch)
		}
		if err := p.push(ctx, p.status()); err != nil && ctx.Err() == nil {
			p.provider.log.Warn("will try again", "error", err)
			time.AfterFunc(retryPeriod, p.touch)
		}
	}
}

// annotationRunFor says when a Job's pod completes; own nodes heed it, too.
const annotationRunFor = "lab.spillway-project.io/run-for"

// runFor is how long the pod runs before it completes; only those of Jobs do, by default at once.
func (p *pod) runFor() (time.Duration, bool) {
	owner := metav1.GetControllerOf(p.current)
	if owner == nil || owner.Kind != "Job" {
		return 0, false
	}
	given, err := time.ParseDuration(p.current.Annotations[annotationRunFor])
	if err != nil {
		return 0, true
	}
	return given, true
}

// advance starts and ends what is to run by now and returns how long to wait for what is not.
func (p *pod) advance() time.Duration {
	knobs := p.provider.current()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.started == nil {
		if knobs.Unschedulable != "" {
			return 0 // until the knob is turned
		}
		if wait := knobs.StartDelay.Duration - now.Sub(p.created); wait > 0 {
			return wait
		}
		p.started = &now
	}
	for _, list := range [][]corev1.Container{p.current.Spec.InitContainers, p.current.Spec.Containers} {
		for _, container := range list {
			before, ran := p.containers[container.Name]
			if ran && before.image == container.Image {
				continue
			}
			next := run{image: container.Image, began: now}
			if ran {
				next.restarts = before.restarts + 1
			}
			p.containers[container.Name] = next
		}
	}
	after, ends := p.runFor()
	if !ends || p.completed {
		return 0
	}
	if wait := after - now.Sub(*p.started); wait > 0 {
		return wait
	}
	p.completed = true
	return 0
}

// status is the pod's status as the cluster below reports it.
func (p *pod) status() corev1.PodStatus {
	knobs := p.provider.current()
	p.mu.Lock()
	defer p.mu.Unlock()
	node := p.provider.addresses.node(p.provider.spec.Name)
	status := corev1.PodStatus{Phase: corev1.PodPending, HostIP: node, HostIPs: []corev1.HostIP{{IP: node}}}
	if p.started == nil {
		scheduled := knobs.Unschedulable == ""
		status.Conditions = []corev1.PodCondition{p.condition(corev1.PodScheduled, scheduled, corev1.PodReasonUnschedulable, knobs.Unschedulable)}
		return status
	}
	status.Phase, status.StartTime = corev1.PodRunning, &metav1.Time{Time: *p.started}
	status.PodIP, status.PodIPs = p.address, []corev1.PodIP{{IP: p.address}}
	for _, container := range p.current.Spec.InitContainers {
		always := container.RestartPolicy != nil && *container.RestartPolicy == corev1.ContainerRestartPolicyAlways
		status.InitContainerStatuses = append(status.InitContainerStatuses, p.containerStatus(container.Name, always))
	}
	for _, container := range p.current.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, p.containerStatus(container.Name, true))
	}
	if knobs.AddContainer != "" {
		p.containers[addedContainer] = run{image: knobs.AddContainer, began: *p.started}
		status.ContainerStatuses = append(status.ContainerStatuses, p.containerStatus(addedContainer, true))
	}
	reason := "ReadinessGatesNotReady"
	if p.completed {
		status.Phase, reason = corev1.PodSucceeded, "PodCompleted"
	}
	status.Conditions = []corev1.PodCondition{
		p.condition(corev1.PodScheduled, true, "", ""), p.condition(corev1.PodReadyToStartContainers, true, "", ""),
		p.condition(corev1.PodInitialized, true, "", ""), p.condition(corev1.ContainersReady, !p.completed, reason, ""),
		p.condition(corev1.PodReady, !p.completed && gatesOpen(p.current), reason, ""),
	}
	return status
}

// containerStatus is that of a container that runs, or of an init container that has run. p.mu is held.
func (p *pod) containerStatus(name string, stays bool) corev1.ContainerStatus {
	ran := p.containers[name]
	digest := sha256.Sum256([]byte(ran.image))
	status := corev1.ContainerStatus{
		Name: name, Image: ran.image, ImageID: fmt.Sprintf("lab@sha256:%x", digest), RestartCount: ran.restarts,
		ContainerID: fmt.Sprintf("lab://%s/%s/%d", p.current.UID, name, ran.restarts), Ready: true, Started: &stays,
	}
	began := metav1.NewTime(ran.began)
	switch {
	case p.completed:
		ended := false
		status.Ready, status.Started = false, &ended
		status.State.Terminated = &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: began, FinishedAt: metav1.Now()}
	case stays:
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: began}
	default:
		status.State.Terminated = &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: began, FinishedAt: began}
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
func (p *pod) condition(kind corev1.PodConditionType, is bool, reason, message string) corev1.PodCondition {
	made := corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}
	if !is {
		made.Status, made.Reason, made.Message = corev1.ConditionFalse, reason, message
	}
	if last, ok := p.conditions[kind]; ok && last.Status == made.Status {
		made.LastTransitionTime = last.LastTransitionTime
	}
	p.conditions[kind] = made
	return made
}

// push sends a status up: as a patch of the status alone, or, when a knob says so, with the whole
// pod, which is how providers lose what others wrote to labels and annotations.
func (p *pod) push(ctx context.Context, status corev1.PodStatus) error {
	knobs := p.provider.current()
	if !knobs.overwrites() {
		return kubelet.PatchStatus(ctx, p.provider.client, p.object(), status)
	}
	whole := p.object().DeepCopy()
	if knobs.Stale {
		whole.Labels, whole.Annotations = maps.Clone(p.first.Labels), maps.Clone(p.first.Annotations)
	}
	if knobs.OverwriteLabels != nil {
		whole.Labels = knobs.OverwriteLabels
	}
	if knobs.OverwriteAnnotations != nil {
		whole.Annotations = knobs.OverwriteAnnotations
	}
	status.QOSClass = whole.Status.QOSClass
	whole.Status = status
	whole.ResourceVersion = "" // no precondition: the last writer wins
	_, err := p.provider.client.CoreV1().Pods(whole.Namespace).UpdateStatus(ctx, whole, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("updating the status of pod %s/%s: %w", whole.Namespace, whole.Name, err)
	}
	return nil
}

// end reports that all containers have ended and removes the pod from the cluster.
func (p *pod) end(ctx context.Context) {
	// The knob may be turned meanwhile.
	for asked := time.Now(); time.Since(asked) < p.provider.current().StopDelay.Duration; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	object := p.object()
	defer p.provider.forget(object)
	if object.Status.Phase == corev1.PodFailed || object.Status.Phase == corev1.PodSucceeded {
		return // the library deletes those
	}
	if err := kubelet.Remove(ctx, p.provider.client, object); err != nil && ctx.Err() == nil {
		p.provider.log.Error("the library will delete it when the grace period is over", "error", err)
	}
}
