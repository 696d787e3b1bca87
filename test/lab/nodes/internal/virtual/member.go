package virtual

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-project/spillway/test/lab/nodes/internal/kubelet"
)

// annotationUpper marks a pod of a member cluster with the virtual node and the UID of the upper pod. It is the
// lab's own: real providers keep that in memory, or go by the name alone. It is never sent up.
const annotationUpper = "lab.spillway-project.io/upper"

// member is a cluster behind virtual nodes, shared by those that stand for it.
type member struct {
	client kubernetes.Interface
	pods   corelisters.PodLister

	mu       sync.Mutex
	prepared map[string]bool // namespaces that pods can be created in
	watchers map[string]func(*corev1.Pod, bool)
}

// newMember watches the pods of a cluster until ctx ends.
func newMember(ctx context.Context, kubeconfig string) (*member, error) {
	client, err := kubelet.Client(kubeconfig)
	if err != nil {
		return nil, err
	}
	factory := informers.NewSharedInformerFactory(client, resync)
	informer := factory.Core().V1().Pods()
	m := &member{client: client, pods: informer.Lister(), prepared: map[string]bool{}, watchers: map[string]func(*corev1.Pod, bool){}}
	_, err = informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { m.tell(o, false) },
		UpdateFunc: func(_, o any) { m.tell(o, false) },
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			m.tell(o, true)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watching the member cluster: %w", err)
	}
	factory.Start(ctx.Done())
	synced, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if !cache.WaitForCacheSync(synced.Done(), informer.Informer().HasSynced) {
		return nil, fmt.Errorf("the pods of the member cluster of %s could not be read", kubeconfig)
	}
	return m, nil
}

// follow has a node told of its pods; a later call for the same node replaces the earlier one.
func (m *member) follow(node string, told func(lower *corev1.Pod, gone bool)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[node] = told
}

func (m *member) tell(o any, gone bool) {
	lower, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	node, _ := upperOf(lower)
	m.mu.Lock()
	told := m.watchers[node]
	m.mu.Unlock()
	if told != nil {
		told(lower, gone)
	}
}

// upperOf returns the node and the UID of the upper pod, empty for pods of other origin.
func upperOf(lower *corev1.Pod) (node, uid string) {
	node, uid, _ = strings.Cut(lower.Annotations[annotationUpper], "/")
	return node, uid
}

// mark is the value of annotationUpper.
func mark(node string, upper *corev1.Pod) string { return node + "/" + string(upper.UID) }

// create creates a pod, in a namespace that is made if there is none.
func (m *member) create(ctx context.Context, lower *corev1.Pod) error {
	if err := m.prepare(ctx, lower.Namespace); err != nil {
		return err
	}
	_, err := m.client.CoreV1().Pods(lower.Namespace).Create(ctx, lower, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		// Known before the provider lost its memory, or one that is not gone yet.
		there, getErr := m.client.CoreV1().Pods(lower.Namespace).Get(ctx, lower.Name, metav1.GetOptions{})
		switch {
		case getErr != nil || there.DeletionTimestamp != nil:
		case there.Annotations[annotationUpper] == lower.Annotations[annotationUpper]:
			return nil
		default: // of an upper pod that had this name before
			return errors.Join(err, m.remove(ctx, there, new(int64)))
		}
	}
	if err != nil {
		return fmt.Errorf("creating pod %s/%s in the member cluster: %w", lower.Namespace, lower.Name, err)
	}
	return nil
}

// prepare makes a namespace and waits for the service account that its pods need.
func (m *member) prepare(ctx context.Context, namespace string) error {
	m.mu.Lock()
	done := m.prepared[namespace]
	m.mu.Unlock()
	if done {
		return nil
	}
	_, err := m.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating namespace %s in the member cluster: %w", namespace, err)
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, last = m.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the service account of namespace %s in the member cluster: %w: %w", namespace, err, last)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prepared[namespace] = true
	return nil
}

// remove deletes a pod, gracefully.
func (m *member) remove(ctx context.Context, lower *corev1.Pod, grace *int64) error {
	err := m.client.CoreV1().Pods(lower.Namespace).Delete(ctx, lower.Name, metav1.DeleteOptions{
		GracePeriodSeconds: grace, Preconditions: metav1.NewUIDPreconditions(string(lower.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting pod %s/%s in the member cluster: %w", lower.Namespace, lower.Name, err)
	}
	return nil
}

// without returns a copy of a map without a key.
func without(from map[string]string, key string) map[string]string {
	out := maps.Clone(from)
	delete(out, key)
	return out
}
