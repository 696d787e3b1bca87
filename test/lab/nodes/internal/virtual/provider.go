package virtual

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/virtual-kubelet/virtual-kubelet/node"
	"github.com/virtual-kubelet/virtual-kubelet/node/api"
	"github.com/virtual-kubelet/virtual-kubelet/node/nodeutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	statsv1alpha1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/spillway-project/spillway/test/lab/nodes/internal/kubelet"
)

// provider plays the cluster behind one virtual node. It implements nodeutil.Provider.
type provider struct {
	spec      NodeSpec
	client    kubernetes.Interface
	log       *slog.Logger
	addresses *addresses
	ctx       context.Context
	heartbeat *kubelet.Heartbeat
	listers   nodeutil.ProviderConfig

	mu      sync.Mutex
	knobs   Knobs
	created int // pods since RefuseEvery was set
	refused int
	pods    map[string]*pod // by UID
}

func (p *provider) attach(listers nodeutil.ProviderConfig) (nodeutil.Provider, node.NodeProvider, error) {
	p.listers = listers
	if err := dress(listers.Node, p.spec); err != nil {
		return nil, nil, err
	}
	listers.Node.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: p.addresses.node(p.spec.Name)}, {Type: corev1.NodeHostName, Address: p.spec.Name},
	}
	listers.Node.Status.NodeInfo = kubelet.NodeInfo()
	p.heartbeat = kubelet.NewHeartbeat(listers.Node)
	p.heartbeat.Set(p.knobs.Silent, !p.knobs.NotReady)
	return p, p.heartbeat, nil
}

// turn replaces the knobs. Pods that waited for one of them go on.
func (p *provider) turn(knobs Knobs) error {
	p.mu.Lock()
	if knobs.RefuseEvery != p.knobs.RefuseEvery {
		p.created = 0
	}
	p.knobs = knobs
	pods := make([]*pod, 0, len(p.pods))
	for _, one := range p.pods {
		pods = append(pods, one)
	}
	p.mu.Unlock()
	p.heartbeat.Set(knobs.Silent, !knobs.NotReady)
	for _, one := range pods {
		one.touch()
	}
	return nil
}

func (p *provider) current() Knobs {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.knobs
}

// refuses decides about one creation and counts it. p.mu is held.
func (p *provider) refuses() bool {
	p.created++
	switch {
	case p.knobs.RefuseNext > 0:
		p.knobs.RefuseNext--
	case p.knobs.RefuseEvery > 0 && p.created%p.knobs.RefuseEvery == 0:
	default:
		return false
	}
	p.refused++
	return true
}

// CreatePod implements node.PodLifecycleHandler. An error makes the library set the pod's reason to ProviderFailed and try again.
func (p *provider) CreatePod(_ context.Context, object *corev1.Pod) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	uid := string(object.UID)
	if known, ok := p.pods[uid]; ok {
		known.update(object)
		return nil
	}
	if p.refuses() {
		return fmt.Errorf("node %s was told to refuse pod %s/%s", p.spec.Name, object.Namespace, object.Name)
	}
	made := newPod(p, object)
	p.pods[uid] = made
	go made.run()
	return nil
}

// UpdatePod implements node.PodLifecycleHandler.
func (p *provider) UpdatePod(ctx context.Context, object *corev1.Pod) error {
	return p.CreatePod(ctx, object)
}

// DeletePod implements node.PodLifecycleHandler; the pod goes away by itself.
func (p *provider) DeletePod(_ context.Context, object *corev1.Pod) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.pods[string(object.UID)]; ok {
		known.stop()
	}
	return nil
}

// GetPod implements node.PodLifecycleHandler. A pod that is stopping, or was replaced by one of the
// same name, is not known: the library creates a pod only when none is.
func (p *provider) GetPod(_ context.Context, namespace, name string) (*corev1.Pod, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	current, err := p.listers.Pods.Pods(namespace).Get(name)
	for _, known := range p.pods {
		object := known.object()
		if object.Namespace != namespace || object.Name != name || known.stopping.Err() != nil {
			continue
		}
		if err == nil && current.UID != object.UID {
			known.stop()
			continue
		}
		return object.DeepCopy(), nil
	}
	return nil, notFound{fmt.Sprintf("pod %s/%s is not known", namespace, name)}
}

// GetPodStatus implements node.PodLifecycleHandler.
func (p *provider) GetPodStatus(ctx context.Context, namespace, name string) (*corev1.PodStatus, error) {
	object, err := p.GetPod(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	return &object.Status, nil
}

// GetPods implements node.PodLifecycleHandler.
func (p *provider) GetPods(context.Context) ([]*corev1.Pod, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*corev1.Pod
	for _, known := range p.pods {
		all = append(all, known.object().DeepCopy())
	}
	return all, nil
}

// NotifyPods implements node.PodNotifier: the pods write their statuses themselves.
func (p *provider) NotifyPods(context.Context, func(*corev1.Pod)) {}

// forget drops a pod that is gone.
func (p *provider) forget(object *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pods, string(object.UID))
}

func (p *provider) status() NodeStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	status := NodeStatus{NodeSpec: p.spec, Pods: len(p.pods), Refused: p.refused}
	status.Knobs = p.knobs
	for _, known := range p.pods {
		if known.runs() {
			status.Running++
		}
	}
	return status
}

var errNothingRuns = errors.New("pods of a virtual node of the lab have no processes")

// GetContainerLogs implements nodeutil.Provider.
func (*provider) GetContainerLogs(context.Context, string, string, string, api.ContainerLogOpts) (io.ReadCloser, error) {
	return nil, errNothingRuns
}

// RunInContainer implements nodeutil.Provider.
func (*provider) RunInContainer(context.Context, string, string, string, []string, api.AttachIO) error {
	return errNothingRuns
}

// AttachToContainer implements nodeutil.Provider.
func (*provider) AttachToContainer(context.Context, string, string, string, api.AttachIO) error {
	return errNothingRuns
}

// PortForward implements nodeutil.Provider.
func (*provider) PortForward(context.Context, string, string, int32, io.ReadWriteCloser) error {
	return errNothingRuns
}

// GetStatsSummary implements nodeutil.Provider.
func (p *provider) GetStatsSummary(context.Context) (*statsv1alpha1.Summary, error) {
	return &statsv1alpha1.Summary{Node: statsv1alpha1.NodeStats{NodeName: p.spec.Name}}, nil
}

// GetMetricsResource implements nodeutil.Provider.
func (*provider) GetMetricsResource(context.Context) ([]*dto.MetricFamily, error) { return nil, nil }

// notFound is the kind of error by which the library knows that something does not exist.
type notFound struct{ message string }

func (e notFound) Error() string { return e.message }

// NotFound implements the library's errdefs.ErrNotFound.
func (notFound) NotFound() bool { return true }

const retryPeriod = 200 * time.Millisecond
