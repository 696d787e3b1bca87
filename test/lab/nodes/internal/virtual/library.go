package virtual

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node"
	"github.com/virtual-kubelet/virtual-kubelet/node/nodeutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
)

// library is the virtual-kubelet library's two controllers for one node. It does what nodeutil.NewNode
// does, which does not let its queues be set: by default each of them passes ten pods a second, so
// that a burst of a thousand pods would take more than a minute to become ready.
type library struct {
	node      *node.NodeController
	pods      *node.PodController
	factories []informers.SharedInformerFactory
}

// resync is the period after which the library looks at every pod again, as in nodeutil.
const resync = time.Minute

func newLibrary(client kubernetes.Interface, name string, attach nodeutil.NewProviderFunc, recorder record.EventRecorder) (*library, error) {
	pods := informers.NewSharedInformerFactoryWithOptions(client, resync, nodeutil.PodInformerFilter(name))
	others := informers.NewSharedInformerFactoryWithOptions(client, resync)
	config := node.PodControllerConfig{
		PodClient:         client.CoreV1(),
		EventRecorder:     recorder,
		PodInformer:       pods.Core().V1().Pods(),
		SecretInformer:    others.Core().V1().Secrets(),
		ConfigMapInformer: others.Core().V1().ConfigMaps(),
		ServiceInformer:   others.Core().V1().Services(),

		SkipDownwardAPIResolution: true, // nothing runs that would want an environment

		SyncPodsFromKubernetesRateLimiter:    onlyFailures(),
		DeletePodsFromKubernetesRateLimiter:  onlyFailures(),
		SyncPodStatusFromProviderRateLimiter: onlyFailures(),
	}
	self := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			"type": "virtual-kubelet", "kubernetes.io/role": "agent", corev1.LabelHostname: name,
		}},
		Status: corev1.NodeStatus{Phase: corev1.NodePending, Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady}, {Type: corev1.NodeDiskPressure}, {Type: corev1.NodeMemoryPressure},
			{Type: corev1.NodePIDPressure}, {Type: corev1.NodeNetworkUnavailable},
		}},
	}
	provider, ping, err := attach(nodeutil.ProviderConfig{
		Pods: config.PodInformer.Lister(), ConfigMaps: config.ConfigMapInformer.Lister(),
		Secrets: config.SecretInformer.Lister(), Services: config.ServiceInformer.Lister(), Node: self,
	})
	if err != nil {
		return nil, fmt.Errorf("attaching the provider: %w", err)
	}
	config.Provider = provider
	l := &library{factories: []informers.SharedInformerFactory{pods, others}}
	if l.node, err = node.NewNodeController(ping, self, client.CoreV1().Nodes(),
		node.WithNodeEnableLeaseV1(nodeutil.NodeLeaseV1Client(client), node.DefaultLeaseDuration)); err != nil {
		return nil, fmt.Errorf("making the node controller: %w", err)
	}
	if l.pods, err = node.NewPodController(config); err != nil {
		return nil, fmt.Errorf("making the pod controller: %w", err)
	}
	return l, nil
}

// onlyFailures delays what failed before, and nothing else.
func onlyFailures() workqueue.TypedRateLimiter[any] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[any](5*time.Millisecond, 10*time.Second)
}

// run serves the node until ctx ends: pods first, so that the node is announced when it can take some.
// If one of the two ends, so does the other.
func (l *library) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, f := range l.factories {
		f.Start(ctx.Done())
	}
	ended := make(chan error, 2)
	go func() { ended <- l.pods.Run(ctx, workers) }()
	select {
	case <-l.pods.Ready():
	case err := <-ended:
		return fmt.Errorf("serving pods: %w", err)
	}
	go func() { ended <- l.node.Run(ctx) }()
	first := <-ended
	cancel()
	return errors.Join(first, <-ended)
}
