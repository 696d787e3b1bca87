package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	volumeSyncPeriod = time.Second
	mountRetryPeriod = 300 * time.Millisecond
)

// pod is a pod of the node, from its creation until its processes have ended and it was deleted.
type pod struct {
	node    *Node
	dir     string // volumes and roots
	last    byte   // of both addresses
	address string // loopback address: what its processes see as their own
	tokens  map[string]token
	created time.Time

	// stopping ends when the pod has to stop; kill ends when its grace period is over.
	stopping  context.Context
	stop      context.CancelFunc
	kill      chan struct{}
	killOnce  sync.Once
	killTimer *time.Timer
	finished  chan struct{} // closed when no process is left and the last status was written

	changed chan struct{} // something that the status is made of is different

	mu         sync.Mutex
	object     *corev1.Pod // as the API server has it; replaced, never changed
	init       []*container
	containers []*container
	phase      corev1.PodPhase
	specUpdate chan struct{} // closed and replaced when object changes
	conditions map[corev1.PodConditionType]corev1.PodCondition
}

// newPod takes an address and a folder for a pod.
func (n *Node) newPod(ctx context.Context, object *corev1.Pod) (*pod, error) {
	last, err := n.addresses.take()
	if err != nil {
		return nil, err
	}
	p := &pod{
		node: n, object: object, last: last, address: host(n.config.Local, last), tokens: map[string]token{},
		dir: filepath.Join(n.config.Dir, "pods", string(object.UID)), created: time.Now(), phase: corev1.PodPending,
		kill: make(chan struct{}), finished: make(chan struct{}), changed: make(chan struct{}, 1), specUpdate: make(chan struct{}),
		conditions: map[corev1.PodConditionType]corev1.PodCondition{},
	}
	p.stopping, p.stop = context.WithCancel(ctx)
	for i := range object.Spec.InitContainers {
		p.init = append(p.init, newContainer(p, object.Spec.InitContainers[i].Name, true))
	}
	for i := range object.Spec.Containers {
		p.containers = append(p.containers, newContainer(p, object.Spec.Containers[i].Name, false))
	}
	return p, nil
}

// spec is the pod as the API server has it.
func (p *pod) spec() *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.object
}

// update takes a changed pod: its containers look whether it concerns them.
func (p *pod) update(object *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.object = object
	close(p.specUpdate)
	p.specUpdate = make(chan struct{})
}

// updated is closed at the next change of the pod's spec.
func (p *pod) updated() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.specUpdate
}

// touch says that the status has to be written anew.
func (p *pod) touch() {
	select {
	case p.changed <- struct{}{}:
	default: // it is going to be
	}
}

// terminate stops the pod within grace. A later call may shorten the time, not lengthen it.
func (p *pod) terminate(grace time.Duration) {
	p.mu.Lock()
	if p.killTimer != nil {
		p.killTimer.Stop() // of the earlier call; ending twice is harmless
	}
	p.killTimer = time.AfterFunc(grace, p.killNow)
	p.mu.Unlock()
	p.stop()
}

func (p *pod) killNow() { p.killOnce.Do(func() { close(p.kill) }) }

// run brings the pod to its end. ctx is the node's: it outlives the pod's own stop.
func (p *pod) run(ctx context.Context) {
	defer close(p.finished)
	status, stopStatus := context.WithCancel(ctx)
	var writer sync.WaitGroup
	writer.Go(func() { p.writeStatuses(status) })

	err := p.live(ctx)
	if err != nil && p.stopping.Err() == nil {
		p.node.log.Error("pod failed", "pod", p.name(), "error", err)
	}
	if p.killTimer != nil {
		p.killTimer.Stop()
	}
	p.killNow()
	stopStatus()
	writer.Wait()
	if err := p.writeStatus(ctx); err != nil {
		p.node.log.Error("last status", "error", err)
	}
	p.node.addresses.release(p.last)
	if err := os.RemoveAll(p.dir); err != nil {
		p.node.log.Error("removing a pod's folder", "pod", p.name(), "error", err)
	}
}

// live runs the pod's containers in the order that Kubernetes prescribes and returns when all have ended.
func (p *pod) live(ctx context.Context) error {
	// Phase 1: volumes. What they need may come later than the pod.
	if err := p.mountVolumes(ctx); err != nil {
		return err
	}
	volumes, stopVolumes := context.WithCancel(ctx)
	defer stopVolumes()
	go p.refreshVolumes(volumes)

	// Phase 2: init containers, one after the other. Sidecars stay.
	var sidecars sync.WaitGroup
	sidecarStop, stopSidecars := context.WithCancel(ctx)
	defer func() {
		stopSidecars()
		sidecars.Wait()
	}()
	for _, c := range p.init {
		if c.sidecar() {
			sidecars.Go(func() { c.run(sidecarStop) })
			if !c.waitStarted(p.stopping) {
				return p.end(errors.New("stopped while starting"))
			}
			continue
		}
		if !c.run(p.stopping) {
			return p.end(fmt.Errorf("init container %s failed", c.name))
		}
	}

	// Phase 3: the containers proper, all at once.
	p.setPhase(corev1.PodRunning)
	results := make([]bool, len(p.containers))
	var running sync.WaitGroup
	for i, c := range p.containers {
		running.Go(func() { results[i] = c.run(p.stopping) })
	}
	running.Wait()
	for _, ok := range results {
		if !ok {
			return p.end(errors.New("a container failed"))
		}
	}
	return p.end(nil)
}

// end sets the phase that a pod has when its containers are not to run any more.
func (p *pod) end(err error) error {
	if err != nil {
		p.setPhase(corev1.PodFailed)
		return err
	}
	p.setPhase(corev1.PodSucceeded)
	return nil
}

func (p *pod) setPhase(phase corev1.PodPhase) {
	p.mu.Lock()
	p.phase = phase
	p.mu.Unlock()
	p.touch()
}

// mountVolumes writes the volumes, trying until everything they are made of exists.
func (p *pod) mountVolumes(ctx context.Context) error {
	told := ""
	for {
		err := p.syncVolumes(ctx)
		if err == nil {
			p.touch()
			return nil
		}
		// A Secret made together with its pod is often seen a moment later: that is no event.
		if reason := err.Error(); reason != told && time.Since(p.created) > time.Second {
			told = reason
			p.node.events.Eventf(p.spec(), corev1.EventTypeWarning, "FailedMount", "%s", reason)
		}
		p.touch()
		select {
		case <-time.After(mountRetryPeriod):
		case <-p.stopping.Done():
			return p.end(err)
		}
	}
}

// refreshVolumes keeps volumes up to date with the objects they show.
func (p *pod) refreshVolumes(ctx context.Context) {
	ticker := time.NewTicker(volumeSyncPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := p.syncVolumes(ctx); err != nil && ctx.Err() == nil {
				p.node.log.Warn("volumes", "pod", p.name(), "error", err) // they keep what they have
			}
		}
	}
}

func (p *pod) name() string {
	object := p.spec()
	return object.Namespace + "/" + object.Name
}

// find returns a container by name, or the first one for an empty name.
func (p *pod) find(name string) (*container, error) {
	for _, c := range append(append([]*container{}, p.containers...), p.init...) {
		if name == "" || c.name == name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("pod %s has no container %q", p.name(), name)
}
