package system

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node"
	"github.com/virtual-kubelet/virtual-kubelet/node/nodeutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-project/spillway/test/lab/nodes/internal/kubelet"
	"github.com/spillway-project/spillway/test/lab/nodes/internal/sandbox"
)

// Node runs pods as processes. It implements nodeutil.Provider.
type Node struct {
	config    Config
	ctx       context.Context
	client    kubernetes.Interface
	log       *slog.Logger
	events    record.EventRecorder
	mode      sandbox.Mode
	launcher  *sandbox.Launcher
	images    *images
	addresses *addresses
	listers   nodeutil.ProviderConfig

	mu   sync.Mutex
	pods map[string]*pod // by UID, until they have ended
}

// Taint keeps pods away that do not ask for this node: it runs only images that it was told about.
const Taint = "lab.spillway-project.io/system"

// Capacity is what the node offers.
func Capacity() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods: resource.MustParse("200"), corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
	}
}

// Run serves the system node until ctx ends.
func Run(ctx context.Context, config Config, log *slog.Logger) error {
	client, err := kubelet.Client(config.Kubeconfig)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(kubelet.WithLogger(ctx, log))
	defer cancel()
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	defer broadcaster.Shutdown()
	n := &Node{
		config: config, ctx: ctx, client: client, log: log, launcher: sandbox.NewLauncher(), pods: map[string]*pod{},
		events:    broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: config.Node}),
		addresses: newAddresses(config.FirstPodHost, config.LastPodHost),
	}
	if n.images, err = newImages(config.Images); err != nil {
		return err
	}
	if err := n.chooseMode(); err != nil {
		return err
	}
	mux := http.NewServeMux()
	virtual, err := nodeutil.NewNode(config.Node, n.attach, n.options(mux))
	if err != nil {
		return fmt.Errorf("creating node %s: %w", config.Node, err)
	}
	control := make(chan error, 1)
	go func() {
		control <- kubelet.ServeControl(ctx, config.Socket, n.controlHandler())
		cancel()
	}()
	err = virtual.Run(ctx)
	cancel()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, <-control)
}

// chooseMode finds out how containers can be isolated here.
func (n *Node) chooseMode() error {
	n.mode = n.config.Isolation
	if n.mode == "" {
		root := filepath.Join(n.config.Dir, "probe")
		if err := os.MkdirAll(root, 0o755); err != nil {
			return fmt.Errorf("creating a folder: %w", err)
		}
		n.mode = n.launcher.Probe(root)
	}
	n.log.Info("containers", "isolation", n.mode)
	return nil
}

// options configure the library: everything about the environment is resolved here, not there, and
// `kubectl logs` and `exec` are served with a certificate that the API server trusts.
func (n *Node) options(mux *http.ServeMux) nodeutil.NodeOpt {
	return func(c *nodeutil.NodeConfig) error {
		c.Client = n.client
		c.EventRecorder = n.events
		c.SkipDownwardAPIResolution = true
		c.NumWorkers = 8
		c.HTTPListenAddr = n.config.Listen
		c.Handler = mux
		for _, opt := range []nodeutil.NodeOpt{
			nodeutil.AttachProviderRoutes(mux),
			nodeutil.WithTLSConfig(nodeutil.WithKeyPairFromPath(n.config.Certificate, n.config.Key), nodeutil.WithCAFromPath(n.config.ClientCA)),
		} {
			if err := opt(c); err != nil {
				return err
			}
		}
		return nil
	}
}

// attach is called by the library with its listers; it fills in the node object.
func (n *Node) attach(listers nodeutil.ProviderConfig) (nodeutil.Provider, node.NodeProvider, error) {
	n.listers = listers
	object := listers.Node
	object.Labels = map[string]string{
		corev1.LabelHostname: n.config.Node, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
	}
	maps.Copy(object.Labels, n.config.Labels)
	object.Spec.Taints = []corev1.Taint{{Key: Taint, Value: "true", Effect: corev1.TaintEffectNoSchedule}}
	object.Status.Capacity, object.Status.Allocatable = Capacity(), Capacity()
	object.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: n.config.NodeAddress}, {Type: corev1.NodeHostName, Address: n.config.Node},
	}
	object.Status.DaemonEndpoints.KubeletEndpoint.Port = n.config.Port
	object.Status.NodeInfo = kubelet.NodeInfo()
	return n, kubelet.NewHeartbeat(object), nil
}

// CreatePod implements node.PodLifecycleHandler.
func (n *Node) CreatePod(_ context.Context, object *corev1.Pod) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	uid := string(object.UID)
	if p, ok := n.pods[uid]; ok {
		p.update(object)
		return nil
	}
	p, err := n.newPod(n.ctx, object)
	if err != nil {
		return fmt.Errorf("creating pod %s/%s: %w", object.Namespace, object.Name, err)
	}
	n.pods[uid] = p
	go func() {
		p.run(n.ctx)
		n.retire(p)
	}()
	return nil
}

// retire forgets a pod that was deleted. One that merely ended stays until it is.
func (n *Node) retire(p *pod) {
	if p.stopping.Err() == nil || n.ctx.Err() != nil {
		return
	}
	object := p.spec()
	n.forget(object)
	if err := kubelet.Remove(n.ctx, n.client, object); err != nil {
		n.log.Error("the library will delete it when the grace period is over", "error", err)
	}
}

func (n *Node) forget(object *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pods, string(object.UID))
}

// UpdatePod implements node.PodLifecycleHandler; also a change of labels comes here.
func (n *Node) UpdatePod(ctx context.Context, object *corev1.Pod) error {
	return n.CreatePod(ctx, object)
}

// DeletePod implements node.PodLifecycleHandler. It does not wait for the end of the pod.
func (n *Node) DeletePod(_ context.Context, object *corev1.Pod) error {
	n.mu.Lock()
	p, ok := n.pods[string(object.UID)]
	n.mu.Unlock()
	if !ok {
		return nil
	}
	seconds := int64(0) // an object that the API server has no more was deleted by force
	if object.DeletionTimestamp != nil && object.DeletionGracePeriodSeconds != nil {
		seconds = *object.DeletionGracePeriodSeconds
	}
	p.terminate(time.Duration(seconds) * time.Second)
	select {
	case <-p.finished:
		n.forget(object) // it had ended before
	default:
	}
	return nil
}

// GetPod implements node.PodLifecycleHandler. Of two pods of one name it knows the one that is not
// stopping: the library creates a pod only when this one knows none.
func (n *Node) GetPod(_ context.Context, namespace, name string) (*corev1.Pod, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	current, err := n.listers.Pods.Pods(namespace).Get(name)
	for _, p := range n.pods {
		object := p.spec()
		if object.Namespace != namespace || object.Name != name || p.stopping.Err() != nil {
			continue
		}
		if err == nil && current.UID != object.UID {
			p.terminate(0) // deleted by force, and replaced before this was noticed
			continue
		}
		return object.DeepCopy(), nil
	}
	return nil, notFound{fmt.Sprintf("pod %s/%s is not known", namespace, name)}
}

// GetPodStatus implements node.PodLifecycleHandler.
func (n *Node) GetPodStatus(_ context.Context, namespace, name string) (*corev1.PodStatus, error) {
	p, err := n.podNamed(namespace, name)
	if err != nil {
		return nil, err
	}
	status := p.status()
	return &status, nil
}

// GetPods implements node.PodLifecycleHandler.
func (n *Node) GetPods(context.Context) ([]*corev1.Pod, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []*corev1.Pod
	for _, p := range n.pods {
		all = append(all, p.spec().DeepCopy())
	}
	return all, nil
}

// NotifyPods implements node.PodNotifier: statuses are written by the pods themselves, by patches.
func (n *Node) NotifyPods(context.Context, func(*corev1.Pod)) {}

func (n *Node) podNamed(namespace, name string) (*pod, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found *pod
	for _, p := range n.pods {
		object := p.spec()
		// Of two pods of one name the newer one is meant.
		if object.Namespace == namespace && object.Name == name && (found == nil || p.created.After(found.created)) {
			found = p
		}
	}
	if found == nil {
		return nil, notFound{fmt.Sprintf("pod %s/%s is not on this node", namespace, name)}
	}
	return found, nil
}

// notFound is the kind of error by which the library knows that something does not exist.
type notFound struct{ message string }

func (e notFound) Error() string { return e.message }

// NotFound implements the library's errdefs.ErrNotFound.
func (notFound) NotFound() bool { return true }
