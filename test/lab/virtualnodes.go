package lab

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LabelGenericPod is the label, with the value true, of pods that a node of ProfileGeneric creates in its member
// cluster. The other profiles use the labels of their providers.
const LabelGenericPod = "lab.spillway-project.io/virtual-pod"

// Knobs are the faults of a virtual node. The zero value is a node that works. A node with a member cluster has no
// Unschedulable, StartDelay and StopDelay: there the scheduler and the nodes of that cluster decide.
type Knobs struct {
	// RefuseNext refuses so many of the next pods, then counts down to none.
	RefuseNext int `json:"refuseNext,omitempty"`
	// RefuseEvery refuses every n-th pod, counted from when the knob was set; 1 refuses all.
	RefuseEvery int `json:"refuseEvery,omitempty"`
	// Unschedulable keeps pods Pending below, with this message in their condition PodScheduled.
	// Pods that run already are left alone; pods that wait start once it is empty again.
	Unschedulable string `json:"unschedulable,omitempty"`
	// OverwriteLabels and OverwriteAnnotations, if not nil, replace those of a pod with every status.
	OverwriteLabels      map[string]string `json:"overwriteLabels,omitzero"`
	OverwriteAnnotations map[string]string `json:"overwriteAnnotations,omitzero"`
	// Stale sends every status with the labels and annotations that the pod had when it was created
	// below, as a provider does that never looks at updates.
	Stale bool `json:"stale,omitempty"`
	// AddContainer is the image of a container that is injected below: its status comes with the pod's. In a member
	// cluster, pods that are created from now on have it.
	AddContainer string `json:"addContainer,omitempty"`
	// Silent stops the node's heartbeat. It turns NotReady when Options.NodeMonitorGracePeriod is over. With a
	// member cluster nothing else passes either: pods there run on, and statuses, creations and deletions wait.
	Silent bool `json:"silent,omitempty"`
	// NotReady makes the node report itself NotReady, at once.
	NotReady bool `json:"notReady,omitempty"`
	// StartDelay is how long a pod takes from being created below to running.
	StartDelay metav1.Duration `json:"startDelay,omitzero"`
	// StopDelay is how long a deleted pod takes to go away.
	StopDelay metav1.Duration `json:"stopDelay,omitzero"`
}

// VirtualNodeStatus is what a virtual node does at the moment.
type VirtualNodeStatus struct {
	VirtualNode
	// Pods that the node knows, Running those that run, Refused those refused since it started.
	Pods    int `json:"pods"`
	Running int `json:"running"`
	Refused int `json:"refused"`
}

// startVirtualNodes starts the kubelet of all virtual nodes and waits until they are Ready.
func (l *Lab) startVirtualNodes(ctx context.Context) error {
	done := l.step("virtual nodes")
	p, err := l.run(command{name: "virtual-kubelet", path: filepath.Join(l.state.Bin["labnode"], "labnode"), args: []string{
		"virtual", "--kubeconfig=" + l.Kubeconfig(), "--socket=" + l.path(virtualSocket),
	}})
	if err != nil {
		return err
	}
	err = waitFor(ctx, "the virtual kubelet", func(ctx context.Context) error {
		_, err := l.VirtualNodes(ctx)
		return err
	}, p)
	if err != nil {
		return err
	}
	parts := make([]func(context.Context) error, len(l.opts.VirtualNodes))
	for i, node := range l.opts.VirtualNodes {
		parts[i] = func(ctx context.Context) error { return l.AddVirtualNode(ctx, node) }
	}
	if err := concurrently(ctx, parts...); err != nil {
		return err
	}
	done()
	return nil
}

// AddVirtualNode adds a virtual node to the running lab and waits until it is Ready.
func (l *Lab) AddVirtualNode(ctx context.Context, node VirtualNode) error {
	if node.Name == "" {
		return errors.New("adding a virtual node: it has no name")
	}
	if node.Profile == "" {
		node.Profile = ProfileGeneric
	}
	node.Capacity = capacity(node.Capacity, "1000", "4Ti", "5000")
	if err := l.control(ctx, virtualSocket, http.MethodPost, "/nodes", node, nil); err != nil {
		return err
	}
	if node.Knobs.Silent || node.Knobs.NotReady {
		return nil
	}
	return l.waitNode(ctx, node.Name, l.processNamed("virtual-kubelet"))
}

// VirtualNodes reports on all virtual nodes.
func (l *Lab) VirtualNodes(ctx context.Context) ([]VirtualNodeStatus, error) {
	var all []VirtualNodeStatus
	return all, l.control(ctx, virtualSocket, http.MethodGet, "/nodes", nil, &all)
}

// SetKnobs replaces all knobs of a virtual node; the zero value makes it work again.
func (l *Lab) SetKnobs(ctx context.Context, node string, knobs Knobs) error {
	return l.control(ctx, virtualSocket, http.MethodPut, "/nodes/"+url.PathEscape(node)+"/knobs", knobs, nil)
}

// RestartVirtualNode stops a virtual node's kubelet and starts it without memory of its pods, as a provider that keeps nothing does.
func (l *Lab) RestartVirtualNode(ctx context.Context, node string) error {
	return l.control(ctx, virtualSocket, http.MethodPost, "/nodes/"+url.PathEscape(node)+"/restart", nil, nil)
}
