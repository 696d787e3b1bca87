// Package kubelet is what the lab's two kubelets share: the node object, writing the status of pods,
// and the control socket.
package kubelet

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/log"
	vkslog "github.com/virtual-kubelet/virtual-kubelet/log/slog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Client returns a client for the cluster of a kubeconfig, without a limit of its own on calls.
func Client(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("loading kubeconfig %s: %w", kubeconfig, err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("creating a client from %s: %w", kubeconfig, err)
	}
	return client, nil
}

// WithLogger makes the virtual-kubelet library log: by default it discards even errors.
func WithLogger(ctx context.Context, logger *slog.Logger) context.Context {
	return log.WithLogger(ctx, vkslog.FromSlog(logger))
}

// Heartbeat is a node.NodeProvider: it keeps a node alive, and lets it die on request.
type Heartbeat struct {
	mu     sync.Mutex
	node   *corev1.Node
	silent bool
	ready  bool
	back   bool // from silence, which nobody was told yet
	notify func(*corev1.Node)
}

// NewHeartbeat returns the heartbeat of node, which is Ready.
func NewHeartbeat(node *corev1.Node) *Heartbeat {
	h := &Heartbeat{node: node, ready: true}
	h.node.Status.Conditions = conditions(true)
	return h
}

// afterPing is long enough for the library to note that a ping succeeded: before, it writes no status.
const afterPing = 100 * time.Millisecond

// Ping implements node.NodeProvider; the library renews the lease only when it succeeds.
func (h *Heartbeat) Ping(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.silent {
		return fmt.Errorf("node %s was told to be silent", h.node.Name)
	}
	if h.back {
		// The controller manager's Unknown has to be overwritten, and a lease alone does not.
		h.back = false
		time.AfterFunc(afterPing, h.report)
	}
	return nil
}

// NotifyNodeStatus implements node.NodeProvider.
func (h *Heartbeat) NotifyNodeStatus(_ context.Context, notify func(*corev1.Node)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notify = notify
}

// Set makes the node silent or not, and Ready or not; a change of the latter is reported at once.
func (h *Heartbeat) Set(silent, ready bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.back = h.back || h.silent && !silent
	changed := h.ready != ready
	h.silent, h.ready = silent, ready
	if changed && !silent {
		go h.report()
	}
}

// report sends the node's status up. It blocks while another status is under way.
func (h *Heartbeat) report() {
	h.mu.Lock()
	notify := h.notify
	node := h.node.DeepCopy()
	node.Status.Conditions = conditions(h.ready)
	h.mu.Unlock()
	if notify != nil {
		notify(node)
	}
}

func conditions(ready bool) []corev1.NodeCondition {
	now := metav1.Now()
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: status, Reason: reason, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	state := condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady")
	if !ready {
		state = condition(corev1.NodeReady, corev1.ConditionFalse, "KubeletNotReady")
	}
	return []corev1.NodeCondition{
		state,
		condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory"),
		condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure"),
		condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID"),
	}
}

// NodeInfo is what the lab's kubelets say of the machine.
func NodeInfo() corev1.NodeSystemInfo {
	return corev1.NodeSystemInfo{
		OperatingSystem: "linux", Architecture: "amd64", OSImage: "lab", KernelVersion: "lab",
		ContainerRuntimeVersion: "lab", KubeletVersion: "lab",
	}
}
