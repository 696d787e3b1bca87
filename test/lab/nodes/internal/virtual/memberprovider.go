package virtual

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/virtual-kubelet/virtual-kubelet/node"
	"github.com/virtual-kubelet/virtual-kubelet/node/nodeutil"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/spillway-project/spillway/test/lab/nodes/internal/kubelet"
)

// memberProvider creates the pods of a virtual node in a member cluster. An upper pod and its lower one have the
// same namespace and name.
type memberProvider struct {
	*provider // marks, heartbeat and knobs
	member    *member
	manners   manners

	linkMu sync.Mutex
	link   chan struct{} // closed while the node can be heard
	up     bool
	notify func(*corev1.Pod)

	reportMu sync.Mutex
	reports  map[types.NamespacedName]bool // pods that are being reported; true: changed since
}

func newMemberProvider(p *provider, m *member) (*memberProvider, error) {
	chosen, ok := providerManners[p.spec.Profile]
	if !ok {
		return nil, fmt.Errorf("a node of profile %q cannot have a member cluster", p.spec.Profile)
	}
	if err := possible(p.spec.Knobs); err != nil {
		return nil, err
	}
	made := &memberProvider{provider: p, member: m, manners: chosen, link: make(chan struct{}), reports: map[types.NamespacedName]bool{}}
	made.connect(!p.spec.Knobs.Silent)
	return made, nil
}

// possible refuses knobs that play what is real here.
func possible(knobs Knobs) error {
	if knobs.Unschedulable != "" || knobs.StartDelay.Duration != 0 || knobs.StopDelay.Duration != 0 {
		return errors.New("a node with a member cluster has no knobs unschedulable, startDelay and stopDelay: " +
			"its pods are scheduled by that cluster, and heed the annotations for pods of own nodes")
	}
	return nil
}

func (p *memberProvider) attach(listers nodeutil.ProviderConfig) (nodeutil.Provider, node.NodeProvider, error) {
	_, heartbeat, err := p.provider.attach(listers)
	return p, heartbeat, err
}

// turn replaces the knobs. A node that is heard again sends up what it could not.
func (p *memberProvider) turn(knobs Knobs) error {
	if err := possible(knobs); err != nil {
		return err
	}
	if err := p.provider.turn(knobs); err != nil {
		return err
	}
	p.connect(!knobs.Silent)
	lowers, err := p.lowers()
	if err != nil {
		return err
	}
	for _, lower := range lowers {
		p.changed(lower, false)
	}
	return nil
}

// connect cuts the node's link or mends it.
func (p *memberProvider) connect(up bool) {
	p.linkMu.Lock()
	defer p.linkMu.Unlock()
	switch {
	case up && !p.up:
		close(p.link)
	case !up && p.up:
		p.link = make(chan struct{})
	}
	p.up = up
}

// linked waits until the node can be heard: a silent one does nothing, neither above nor below.
func (p *memberProvider) linked(ctx context.Context) error {
	p.linkMu.Lock()
	link := p.link
	p.linkMu.Unlock()
	select {
	case <-link:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

func (p *memberProvider) silent() bool {
	p.linkMu.Lock()
	defer p.linkMu.Unlock()
	return !p.up
}

// CreatePod implements node.PodLifecycleHandler.
func (p *memberProvider) CreatePod(ctx context.Context, upper *corev1.Pod) error {
	if err := p.linked(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	refused, knobs := p.refuses(), p.knobs
	p.mu.Unlock()
	if refused {
		return fmt.Errorf("node %s was told to refuse pod %s/%s", p.spec.Name, upper.Namespace, upper.Name)
	}
	return p.member.create(ctx, p.lower(upper, knobs))
}

// lower is the pod as the provider creates it below.
func (p *memberProvider) lower(upper *corev1.Pod, knobs Knobs) *corev1.Pod {
	lower := p.manners.lower(upper)
	lower.Annotations[annotationUpper] = mark(p.spec.Name, upper)
	if knobs.AddContainer != "" {
		lower.Spec.Containers = append(lower.Spec.Containers, corev1.Container{Name: addedContainer, Image: knobs.AddContainer})
	}
	return lower
}

// UpdatePod implements node.PodLifecycleHandler: images, labels and annotations go down.
func (p *memberProvider) UpdatePod(ctx context.Context, upper *corev1.Pod) error {
	if err := p.linked(ctx); err != nil {
		return err
	}
	knobs := p.current()
	fresh := p.lower(upper, knobs)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		lower, err := p.member.client.CoreV1().Pods(upper.Namespace).Get(ctx, upper.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if lower.Annotations[annotationUpper] != fresh.Annotations[annotationUpper] {
			return nil // of an earlier pod of that name: CreatePod has to wait for its end
		}
		if !knobs.Stale {
			lower.Labels, lower.Annotations = fresh.Labels, fresh.Annotations
		}
		takeImages(lower.Spec.Containers, upper.Spec.Containers)
		takeImages(lower.Spec.InitContainers, upper.Spec.InitContainers)
		_, err = p.member.client.CoreV1().Pods(upper.Namespace).Update(ctx, lower, metav1.UpdateOptions{})
		return err
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("updating pod %s/%s in the member cluster: %w", upper.Namespace, upper.Name, err)
	}
	return nil
}

// takeImages goes by name: below there may be more containers than above.
func takeImages(to, from []corev1.Container) {
	for i := range to {
		for _, c := range from {
			if c.Name == to[i].Name {
				to[i].Image = c.Image
			}
		}
	}
}

// DeletePod implements node.PodLifecycleHandler; the upper pod goes when the lower one has gone.
func (p *memberProvider) DeletePod(ctx context.Context, upper *corev1.Pod) error {
	if err := p.linked(ctx); err != nil {
		return err
	}
	if p.manners.heedsDeletion != nil && !p.manners.heedsDeletion(upper) {
		p.log.Warn("pod is leaked below: above it lacks the provider's mark", "pod", upper.Namespace+"/"+upper.Name)
		return nil
	}
	lower, err := p.member.client.CoreV1().Pods(upper.Namespace).Get(ctx, upper.Name, metav1.GetOptions{})
	if err == nil && (lower.Annotations[annotationUpper] == mark(p.spec.Name, upper) || lower.UID == upper.UID) {
		return p.member.remove(ctx, lower, upper.DeletionGracePeriodSeconds)
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("looking for pod %s/%s in the member cluster: %w", upper.Namespace, upper.Name, err)
	}
	return kubelet.Remove(ctx, p.client, upper) // it never came to be below
}

// lowers lists the pods that the node created.
func (p *memberProvider) lowers() ([]*corev1.Pod, error) {
	all, err := p.member.pods.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing the pods of the member cluster: %w", err)
	}
	var out []*corev1.Pod
	for _, lower := range all {
		if of, _ := upperOf(lower); of == p.spec.Name {
			out = append(out, lower)
		}
	}
	return out, nil
}

// GetPod implements node.PodLifecycleHandler: the upper pod as the provider has it.
func (p *memberProvider) GetPod(_ context.Context, namespace, name string) (*corev1.Pod, error) {
	lower, err := p.member.pods.Pods(namespace).Get(name)
	if err != nil || lower.DeletionTimestamp != nil {
		return nil, notFound{fmt.Sprintf("pod %s/%s is not known", namespace, name)}
	}
	upper, err := p.listers.Pods.Pods(namespace).Get(name)
	of, _ := upperOf(lower)
	switch {
	case of != p.spec.Name, err == nil && lower.Annotations[annotationUpper] != mark(p.spec.Name, upper):
		return nil, notFound{fmt.Sprintf("pod %s/%s is another one's", namespace, name)}
	case err != nil:
		return lower.DeepCopy(), nil //nolint:nilerr // it went above without a word: the library will have it deleted
	}
	seen := p.seen(upper, lower)
	takeImages(seen.Spec.Containers, lower.Spec.Containers)
	takeImages(seen.Spec.InitContainers, lower.Spec.InitContainers)
	return seen, nil
}

// GetPodStatus implements node.PodLifecycleHandler.
func (p *memberProvider) GetPodStatus(ctx context.Context, namespace, name string) (*corev1.PodStatus, error) {
	seen, err := p.GetPod(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	return &seen.Status, nil
}

// GetPods implements node.PodLifecycleHandler: the library deletes those that are not above.
func (p *memberProvider) GetPods(context.Context) ([]*corev1.Pod, error) {
	lowers, err := p.lowers()
	if err != nil {
		return nil, err
	}
	out := make([]*corev1.Pod, len(lowers))
	for i := range lowers {
		out[i] = lowers[i].DeepCopy()
	}
	return out, nil
}

// NotifyPods implements node.PodNotifier.
func (p *memberProvider) NotifyPods(_ context.Context, notify func(*corev1.Pod)) {
	p.linkMu.Lock()
	p.notify = notify
	p.linkMu.Unlock()
	p.member.follow(p.spec.Name, p.changed)
	lowers, err := p.lowers()
	if err != nil {
		p.log.Error("pods are not reported", "error", err)
	}
	for _, lower := range lowers {
		p.changed(lower, false)
	}
}

// changed has a lower pod reported, as it is by then: reporting may take a while, and must neither hold up the others
// nor send an old state after a new one.
func (p *memberProvider) changed(lower *corev1.Pod, gone bool) {
	key := types.NamespacedName{Namespace: lower.Namespace, Name: lower.Name}
	if gone {
		go p.gone(lower)
		return
	}
	p.reportMu.Lock()
	defer p.reportMu.Unlock()
	_, under := p.reports[key]
	if p.reports[key] = under; !under {
		go p.reportWhileChanging(key)
	}
}

func (p *memberProvider) reportWhileChanging(key types.NamespacedName) {
	for again := true; again; {
		if lower, err := p.member.pods.Pods(key.Namespace).Get(key.Name); err == nil {
			p.report(lower)
		}
		p.reportMu.Lock()
		if again = p.reports[key]; again {
			p.reports[key] = false
		} else {
			delete(p.reports, key)
		}
		p.reportMu.Unlock()
	}
}

// reported returns the upper pod that a lower one is to be reported for, nil if there is none.
func (p *memberProvider) reported(lower *corev1.Pod) *corev1.Pod {
	if p.ctx.Err() != nil || p.silent() {
		return nil
	}
	upper, err := p.listers.Pods.Pods(lower.Namespace).Get(lower.Name)
	if err != nil || lower.Annotations[annotationUpper] != mark(p.spec.Name, upper) {
		return nil // not above any more, or another one by now
	}
	return upper
}

// report sends up what became of a lower pod, as the kind of provider does it.
func (p *memberProvider) report(lower *corev1.Pod) {
	upper := p.reported(lower)
	if upper == nil {
		return
	}
	if lower.DeletionTimestamp != nil && upper.DeletionTimestamp == nil && !p.manners.recreates {
		// What ends below ends above.
		err := p.client.CoreV1().Pods(upper.Namespace).Delete(p.ctx, upper.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(upper.UID))})
		if err != nil && !apierrors.IsNotFound(err) && p.ctx.Err() == nil {
			p.log.Error("a pod that ends below does not end above", "error", err)
		}
	}
	seen := p.seen(upper, lower)
	if p.manners.statusOnly && !p.current().overwrites() {
		if err := kubelet.PatchStatus(p.ctx, p.client, upper, seen.Status); err != nil && p.ctx.Err() == nil {
			p.log.Warn("the status of a pod was not written", "error", err)
		}
		return
	}
	p.linkMu.Lock()
	notify := p.notify
	p.linkMu.Unlock()
	if notify != nil {
		notify(seen) // waits until the library knows the pod
	}
}

// gone has the upper pod follow the lower one, which does not exist any more; or creates another one if that is how the
// provider keeps its word.
func (p *memberProvider) gone(lower *corev1.Pod) {
	upper := p.reported(lower)
	if upper == nil {
		return
	}
	if upper.DeletionTimestamp == nil && p.manners.recreates {
		if err := p.CreatePod(p.ctx, upper); err != nil && p.ctx.Err() == nil {
			p.log.Error("a pod that was lost below is not created again", "error", err)
		}
		return
	}
	if err := kubelet.Remove(p.ctx, p.client, upper); err != nil && p.ctx.Err() == nil {
		p.log.Error("the library will delete it when the grace period is over", "error", err)
	}
}

// seen is the upper pod with labels, annotations and status from below.
func (p *memberProvider) seen(upper, lower *corev1.Pod) *corev1.Pod {
	knobs := p.current()
	seen := upper.DeepCopy()
	seen.Labels, seen.Annotations = lower.Labels, without(lower.Annotations, annotationUpper)
	if p.manners.statusOnly && !knobs.Stale {
		seen.Labels, seen.Annotations = upper.Labels, upper.Annotations
	}
	if knobs.OverwriteLabels != nil {
		seen.Labels = knobs.OverwriteLabels
	}
	if knobs.OverwriteAnnotations != nil {
		seen.Annotations = knobs.OverwriteAnnotations
	}
	status := lower.Status.DeepCopy()
	status.QOSClass, status.ObservedGeneration = upper.Status.QOSClass, upper.Status.ObservedGeneration
	seen.Status = *status
	return seen
}

// status reports on the node.
func (p *memberProvider) status() NodeStatus {
	lowers, err := p.lowers()
	if err != nil {
		p.log.Error("pods are not counted", "error", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	status := NodeStatus{NodeSpec: p.spec, Pods: len(lowers), Refused: p.refused}
	status.Knobs = p.knobs
	for _, lower := range lowers {
		if lower.Status.Phase == corev1.PodRunning {
			status.Running++
		}
	}
	return status
}
