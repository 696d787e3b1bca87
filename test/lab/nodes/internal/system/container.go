package system

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/test/lab/nodes/internal/sandbox"
)

// Restarts wait as in Kubernetes, where these are 10 seconds and 5 minutes: a test need not.
const (
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
	backoffReset = time.Minute // a container that ran so long starts anew without waiting
)

// configRetryPeriod is how long a container waits for what its environment refers to.
const configRetryPeriod = 300 * time.Millisecond

// container is one container of a pod over all its runs.
type container struct {
	pod    *pod
	name   string
	init   bool
	change chan struct{} // takes a value when a probe wants the container restarted

	mu       sync.Mutex
	process  *sandbox.Process
	env      []string // of the last run, for commands beside it
	state    corev1.ContainerState
	last     corev1.ContainerState
	image    string
	imageID  string
	restarts int32
	runs     int32
	ready    bool
	started  bool
	startedC chan struct{} // closed when it has started for the first time
}

func newContainer(p *pod, name string, init bool) *container {
	c := &container{pod: p, name: name, init: init, change: make(chan struct{}, 1), startedC: make(chan struct{})}
	c.state.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	if init || len(p.object.Spec.InitContainers) > 0 {
		c.state.Waiting.Reason = "PodInitializing"
	}
	c.image = c.spec().Image
	return c
}

// spec is the container as the API server has it now.
func (c *container) spec() *corev1.Container {
	object := c.pod.spec()
	list := object.Spec.Containers
	if c.init {
		list = object.Spec.InitContainers
	}
	for i := range list {
		if list[i].Name == c.name {
			return &list[i]
		}
	}
	return &corev1.Container{Name: c.name} // cannot be: containers of a pod are never removed
}

func (c *container) sidecar() bool {
	policy := c.spec().RestartPolicy
	return c.init && policy != nil && *policy == corev1.ContainerRestartPolicyAlways
}

// again tells whether a run that ended so is followed by another.
func (c *container) again(exit sandbox.Exit) bool {
	policy := c.pod.spec().Spec.RestartPolicy
	switch {
	case c.sidecar():
		return true
	case c.init:
		return exit.Code != 0 && policy != corev1.RestartPolicyNever
	default:
		return policy == corev1.RestartPolicyAlways || policy == corev1.RestartPolicyOnFailure && exit.Code != 0
	}
}

// run runs the container, again and again if need be, until it has ended for good or ctx ends. It
// tells whether the last run succeeded.
func (c *container) run(ctx context.Context) bool {
	backoff := time.Duration(0)
	for {
		image, ok := c.pull(ctx)
		if !ok {
			return false
		}
		began := time.Now()
		exit, changed := c.runOnce(ctx, image)
		if ctx.Err() != nil || !changed && !c.again(exit) {
			return exit.Code == 0
		}
		// A new image starts at once, and so does the first restart.
		switch {
		case changed || time.Since(began) > backoffReset:
			backoff = 0
		case backoff == 0:
			backoff = firstBackoff
		default:
			if !c.crashLoop(ctx, backoff) {
				return false
			}
			backoff = min(2*backoff, maxBackoff)
		}
		c.mu.Lock()
		c.restarts++
		c.mu.Unlock()
	}
}

// crashLoop waits before a restart; a new image ends the wait.
func (c *container) crashLoop(ctx context.Context, backoff time.Duration) bool {
	c.wait("CrashLoopBackOff", fmt.Sprintf("back-off %s restarting failed container=%s", backoff, c.name))
	timer := time.NewTimer(backoff)
	defer timer.Stop()
	image := c.spec().Image
	for {
		updated := c.pod.updated()
		if c.spec().Image != image {
			return true
		}
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		case <-updated:
		}
	}
}

// pull waits until the container's image is known.
func (c *container) pull(ctx context.Context) (Image, bool) {
	for {
		updated := c.pod.updated()
		name := c.spec().Image
		image, ok, changed := c.pod.node.images.get(name)
		c.mu.Lock()
		c.image = name
		c.mu.Unlock()
		if ok {
			return image, ctx.Err() == nil
		}
		c.wait("ImagePullBackOff", fmt.Sprintf("the lab has no image %q", name))
		select {
		case <-updated:
		case <-changed:
		case <-ctx.Done():
			return Image{}, false
		}
	}
}

// runOnce is one run; changed tells that it was ended for a new image.
func (c *container) runOnce(ctx context.Context, image Image) (exit sandbox.Exit, changed bool) {
	spec := c.spec()
	env, ok := c.configure(ctx, spec, image)
	if !ok {
		return sandbox.Exit{Code: 1}, false
	}
	process, log, err := c.start(spec, image, env)
	if err != nil {
		const cannotStart = 128
		exit = sandbox.Exit{Code: cannotStart}
		c.ended(exit, time.Now(), "StartError", err.Error())
		c.pod.node.events.Eventf(c.pod.spec(), corev1.EventTypeWarning, "Failed", "Error: %v", err)
		return exit, false
	}
	defer log.Close()
	probes, stopProbes := context.WithCancel(ctx)
	defer stopProbes()
	c.begin(process, image, env.env)
	go c.probe(probes, spec)
	if spec.Lifecycle != nil && spec.Lifecycle.PostStart != nil {
		c.hook(probes, "PostStart", spec.Lifecycle.PostStart)
	}

	changed = c.watch(ctx, process, spec)
	stopProbes()
	<-process.Done()
	exit = process.Exit()
	reason := "Completed"
	if exit.Code != 0 {
		reason = "Error"
	}
	c.ended(exit, process.Started, reason, c.terminationMessage())
	return exit, changed
}

// configure resolves the environment, waiting for what it refers to.
func (c *container) configure(ctx context.Context, spec *corev1.Container, image Image) (environment, bool) {
	for {
		env, err := c.pod.resolve(spec, image)
		if err == nil {
			err = c.checkUser(spec)
		}
		if err == nil {
			return env, true
		}
		c.wait("CreateContainerConfigError", err.Error())
		select {
		case <-ctx.Done():
			return environment{}, false
		case <-time.After(configRetryPeriod):
		}
	}
}

// watch returns when the process has ended or was told to: because the pod stops, a probe failed,
// or (then it tells so) the image changed.
func (c *container) watch(ctx context.Context, process *sandbox.Process, spec *corev1.Container) (changed bool) {
	for {
		updated := c.pod.updated()
		if c.spec().Image != spec.Image && (!c.init || c.sidecar()) {
			c.stop(process, spec, c.grace())
			return true
		}
		select {
		case <-process.Done():
			return false
		case <-updated:
		case <-c.change:
			c.stop(process, spec, c.grace())
			return false
		case <-ctx.Done():
			c.stop(process, spec, nil)
			return false
		}
	}
}

// grace ends when a container that is restarted alone has to be killed.
func (c *container) grace() <-chan time.Time {
	seconds := int64(30)
	if given := c.pod.spec().Spec.TerminationGracePeriodSeconds; given != nil {
		seconds = *given
	}
	return time.After(time.Duration(seconds) * time.Second)
}

// stop ends a process: first the preStop hook, then SIGTERM, and SIGKILL when the grace period is over.
func (c *container) stop(process *sandbox.Process, spec *corev1.Container, grace <-chan time.Time) {
	hook, cancel := context.WithCancel(c.pod.node.ctx)
	terminated := make(chan struct{})
	go func() {
		defer close(terminated)
		if spec.Lifecycle != nil && spec.Lifecycle.PreStop != nil {
			c.hook(hook, "PreStop", spec.Lifecycle.PreStop)
		}
		_ = process.Signal(syscall.SIGTERM) // an error means that it has ended
	}()
	select {
	case <-process.Done():
	case <-grace:
		process.Kill()
	case <-c.pod.kill:
		process.Kill()
	}
	<-process.Done()
	cancel()
	<-terminated
}

// start makes the container's process.
func (c *container) start(spec *corev1.Container, image Image, env environment) (*sandbox.Process, *os.File, error) {
	c.mu.Lock()
	run := c.runs
	c.runs++
	c.mu.Unlock()
	file := c.logFile(run)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, nil, fmt.Errorf("creating the log: %w", err)
	}
	log, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("creating the log: %w", err)
	}
	box, err := c.sandbox(spec, image, env)
	if err == nil {
		var process *sandbox.Process
		if process, err = c.pod.node.launcher.Start(box, log); err == nil {
			return process, log, nil
		}
	}
	_, _ = fmt.Fprintln(log, err) // so that `kubectl logs` shows it, too
	_ = log.Close()
	return nil, nil, fmt.Errorf("starting container %s: %w", c.name, err)
}

// begin, wait and ended are the three states of a container.

func (c *container) begin(process *sandbox.Process, image Image, env []string) {
	c.mu.Lock()
	if c.state.Terminated != nil {
		c.last = c.state
	}
	c.process, c.env = process, env
	c.imageID = "lab@" + image.Digest
	c.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(process.Started)}}
	c.mu.Unlock()
	c.pod.touch()
}

func (c *container) wait(reason, message string) {
	c.mu.Lock()
	if c.state.Terminated != nil {
		c.last = c.state
	}
	c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	c.mu.Unlock()
	c.pod.touch()
}

func (c *container) ended(exit sandbox.Exit, began time.Time, reason, message string) {
	c.mu.Lock()
	c.process = nil
	c.ready, c.started = c.init && !c.sidecar() && exit.Code == 0, false
	c.state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: int32(exit.Code), Signal: int32(exit.Signal), Reason: reason, Message: message,
		StartedAt: metav1.NewTime(began), FinishedAt: metav1.Now(), ContainerID: c.id(),
	}}
	c.mu.Unlock()
	c.pod.touch()
}

// id names the current run. c.mu is held.
func (c *container) id() string {
	return fmt.Sprintf("lab://%s/%s/%d", c.pod.spec().UID, c.name, c.runs)
}

// status is the container's part of the pod's status.
func (c *container) status() corev1.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	status := corev1.ContainerStatus{
		Name: c.name, Image: c.image, ImageID: c.imageID, State: *c.state.DeepCopy(), LastTerminationState: *c.last.DeepCopy(),
		Ready: c.ready, RestartCount: c.restarts,
	}
	if c.runs > 0 {
		status.ContainerID = c.id()
	}
	started := c.started // the status outlives the lock
	status.Started = &started
	return status
}

// set changes ready and started.
func (c *container) set(started, ready bool) {
	c.mu.Lock()
	same := c.started == started && c.ready == ready
	running := c.process != nil
	if running {
		c.started, c.ready = started, ready
	}
	if started && running {
		select {
		case <-c.startedC:
		default:
			close(c.startedC)
		}
	}
	c.mu.Unlock()
	if !same {
		c.pod.touch()
	}
}

// waitStarted waits until the container has started for the first time.
func (c *container) waitStarted(ctx context.Context) bool {
	select {
	case <-c.startedC:
		return true
	case <-ctx.Done():
		return false
	}
}

// current is the running process, or nil.
func (c *container) current() (*sandbox.Process, []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.process, c.env
}
