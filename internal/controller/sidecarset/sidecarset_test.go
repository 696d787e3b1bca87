package sidecarset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/metrics"
	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/state"
)

// bench is a controller over a model of the API server.
type bench struct {
	testing.TB
	*Reconciler
	clock  *clocktesting.FakeClock
	patch  func(client.Object) error // may refuse a patch of a pod
	writes atomic.Int32
}

const agentSet = `
metadata: {name: agent, uid: set, generation: 1, resourceVersion: "1", labels: {team: a}}
spec: {selector: {matchLabels: {app: web}}, updateStrategy: {maxUnavailable: 100%}, revisionHistoryLimit: 2, containers: [{name: agent, image: "agent:1"}]}
`

func newBench(t testing.TB) *bench {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, sidecar.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{TB: t, clock: clocktesting.NewFakeClock(time.Unix(1_700_000_000, 0))}
	c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&sidecar.SidecarSet{}, &corev1.Pod{}).
		WithIndex(&corev1.Pod{}, IndexInjected, func(o client.Object) []string { return sidecar.ParseList(o.GetAnnotations()) }).
		WithIndex(&appsv1.ControllerRevision{}, IndexRevision, RevisionIndex).
		WithObjects(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}}).
		WithInterceptorFuncs(interceptor.Funcs{
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				if b.patch != nil {
					if err := b.patch(o); err != nil {
						return err
					}
				}
				b.writes.Add(1)
				return c.Patch(ctx, o, p, opts...)
			},
		}).Build()
	b.Reconciler = &Reconciler{
		Client: c, Live: c, Sets: state.NewSidecarSets(), Namespaces: &state.Namespaces{Cache: c, Live: c}, Namespace: "system",
		Written: &Written{Clock: b.clock}, Attempts: &Attempts{Clock: b.clock}, Metrics: metrics.NewSidecar(prometheus.NewRegistry()),
		Recorder: events.NewFakeRecorder(100), Clock: b.clock,
	}
	b.put(agentSet)
	return b
}

// put stores a set, in place of the one that is there.
func (b *bench) put(text string) {
	b.Helper()
	s := new(sidecar.SidecarSet)
	if err := yaml.Unmarshal([]byte(text), s); err != nil {
		b.Fatal(err)
	}
	var old sidecar.SidecarSet
	ctx := context.Background()
	if err := b.Client.Get(ctx, client.ObjectKeyFromObject(s), &old); err == nil {
		s.ResourceVersion, s.Status, s.Generation = old.ResourceVersion, old.Status, old.Generation+1
		if err := b.Client.Update(ctx, s); err != nil {
			b.Fatal(err)
		}
	} else {
		s.ResourceVersion = ""
		if err := b.Client.Create(ctx, s); err != nil {
			b.Fatal(err)
		}
	}
	if err := b.Sets.Put(s); err != nil {
		b.Fatal(err)
	}
}

// pod creates a pod as the webhook and a kubelet leave it.
func (b *bench) pod(name string) *corev1.Pod {
	b.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"}}}
	pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "app:1"}}
	set := b.Sets.Get("agent")
	revision, _, _ := set.Revision()
	if _, err := sidecar.Inject(pod, []sidecar.Choice{{Set: set, Revision: revision}}, b.clock.Now()); err != nil {
		b.Fatal(err)
	}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	for _, c := range pod.Spec.Containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, Image: c.Image, Ready: true, ContainerID: c.Image})
	}
	if err := b.Client.Create(context.Background(), pod); err != nil {
		b.Fatal(err)
	}
	return pod
}

func (b *bench) reconcile() (reconcile.Result, error) {
	return b.Reconcile(context.Background(), reconcile.Request{NamespacedName: types.NamespacedName{Name: "agent"}})
}

func (b *bench) mustReconcile() reconcile.Result {
	b.Helper()
	out, err := b.reconcile()
	if err != nil {
		b.Fatal(err)
	}
	return out
}

func (b *bench) image(pod string) string {
	b.Helper()
	var p corev1.Pod
	if err := b.Client.Get(context.Background(), client.ObjectKey{Namespace: "ns", Name: pod}, &p); err != nil {
		b.Fatal(err)
	}
	return p.Spec.Containers[0].Image
}

func (b *bench) status() string {
	b.Helper()
	var s sidecar.SidecarSet
	if err := b.Client.Get(context.Background(), client.ObjectKey{Name: "agent"}, &s); err != nil {
		b.Fatal(err)
	}
	return fmt.Sprintf("%d/%d/%d/%d", s.Status.MatchedPods, s.Status.UpdatedPods, s.Status.ReadyPods, s.Status.UpdatedReadyPods)
}

const second = `
metadata: {name: agent, uid: set, labels: {team: a}}
spec: {selector: {matchLabels: {app: web}}, updateStrategy: {maxUnavailable: 100%}, revisionHistoryLimit: 2, containers: [{name: agent, image: "agent:2"}]}
`

func TestARound(t *testing.T) {
	b := newBench(t)
	b.pod("a")
	b.pod("b")
	b.mustReconcile()
	if got := b.status(); got != "2/2/2/2" {
		t.Errorf("status %s", got)
	}
	b.put(second)
	b.mustReconcile()
	if b.image("a") != "agent:2" || b.image("b") != "agent:2" {
		t.Error("not upgraded")
	}
	b.mustReconcile()
	if got := b.status(); got != "2/2/0/0" {
		t.Errorf("the containers do not run the image yet: status %s", got)
	}
	var list appsv1.ControllerRevisionList
	if err := b.Client.List(t.Context(), &list); err != nil || len(list.Items) != 2 {
		t.Fatalf("revisions: %d, %v", len(list.Items), err)
	}
	for _, r := range list.Items {
		if r.Labels["team"] != "a" || r.Namespace != "system" || !metav1.IsControlledBy(&r, b.Sets.Get("agent").Object) {
			t.Errorf("revision %+v", r)
		}
	}
	writes := b.writes.Load()
	b.mustReconcile()
	if b.writes.Load() != writes {
		t.Error("nothing changed, and something was written")
	}
}

// TestARefusedPodWaitsAlone, longer each time, and is tried again.
func TestARefusedPodWaitsAlone(t *testing.T) {
	b := newBench(t)
	b.pod("a")
	b.pod("b")
	b.mustReconcile()
	b.put(second)
	refusing := true
	b.patch = func(o client.Object) error {
		if o.GetName() == "a" && refusing {
			return apierrors.NewForbidden(corev1.Resource("pods"), "a", errors.New("a budget says no"))
		}
		return nil
	}
	if out := b.mustReconcile(); out.RequeueAfter <= 0 || out.RequeueAfter > firstPause {
		t.Errorf("again after %s", out.RequeueAfter)
	}
	if b.image("a") != "agent:1" || b.image("b") != "agent:2" {
		t.Errorf("a runs %s, b %s", b.image("a"), b.image("b"))
	}
	b.clock.Step(firstPause)
	if out := b.mustReconcile(); out.RequeueAfter <= firstPause {
		t.Errorf("again after %s", out.RequeueAfter)
	}
	refusing = false
	b.clock.Step(2 * firstPause)
	b.mustReconcile()
	if b.image("a") != "agent:2" {
		t.Error("not tried again")
	}
}

// TestALostAnswer: the pod is read, and counted as what it is.
func TestALostAnswer(t *testing.T) {
	b := newBench(t)
	b.pod("a")
	b.mustReconcile()
	b.put(second)
	b.patch = func(o client.Object) error {
		if o.GetName() == "a" {
			return errors.New("connection reset")
		}
		return nil
	}
	b.mustReconcile() // it could be read, so the round goes on
	if waiting, unsure, _ := b.Attempts.Waiting("agent", map[types.UID]bool{"a": true}); !waiting["a"] || len(unsure) > 0 {
		t.Errorf("waiting %v, unsure %v", waiting, unsure)
	}
}

func TestASetThatIsGone(t *testing.T) {
	b := newBench(t)
	pod := b.pod("a")
	b.mustReconcile()
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
		Type: v1alpha1.ConditionSidecarSetUpgradable, Status: corev1.ConditionFalse, Reason: "UpdateImmutableField", Message: `{"agent":false}`,
	})
	if err := b.Client.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if err := b.Client.Delete(t.Context(), b.Sets.Get("agent").Object.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	b.Sets.Remove("agent")
	b.mustReconcile()
	var p corev1.Pod
	if err := b.Client.Get(t.Context(), client.ObjectKeyFromObject(pod), &p); err != nil {
		t.Fatal(err)
	}
	if c := p.Status.Conditions[1]; c.Status != corev1.ConditionTrue || c.Message != "{}" {
		t.Errorf("the condition is %+v", c)
	}
}

func TestWritten(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(1_700_000_000, 0))
	w := &Written{Clock: clock}
	at := func(revision int) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "a", ResourceVersion: strconv.Itoa(revision)}}
	}
	w.Put(at(9))
	w.Put(at(7))
	if got := w.Newest(at(8)).ResourceVersion; got != "9" {
		t.Errorf("the watch is behind, got %s", got)
	}
	if got := w.Newest(at(10)).ResourceVersion; got != "10" || len(w.pods) != 0 {
		t.Errorf("the watch is ahead, got %s", got)
	}
	w.Put(at(20))
	clock.Step(expiry)
	if got := w.Newest(at(15)).ResourceVersion; got != "15" {
		t.Errorf("it has expired, got %s", got)
	}
	w.Put(at(21))
	w.Forget("a")
	if len(w.pods) != 0 {
		t.Error("not forgotten")
	}
	w.Put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "gone", ResourceVersion: "1"}})
	clock.Step(2 * expiry)
	w.Put(at(30))
	if _, ok := w.pods["gone"]; ok {
		t.Error("what vanished is remembered for ever")
	}
}

// TestStrip: what a plan reads is kept.
func TestStrip(t *testing.T) {
	b := newBench(t)
	pod := b.pod("a")
	full, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	plain := pod.DeepCopy()
	plain.Annotations = map[string]string{"mine": "x"}
	if p := Strip(plain); p.Annotations != nil || p.Spec.Containers != nil || p.Labels["app"] != "web" {
		t.Errorf("a pod without sidecars: %+v", p)
	}
	foreign := pod.DeepCopy()
	foreign.OwnerReferences = nil
	foreign.Annotations[clusterselector.AnnotationRecord] = clusterselector.Record{Cluster: "there"}.Encode()
	if p := Strip(Disown(foreign, "here")); p.Labels[v1alpha1.LabelInject] != v1alpha1.AdmissionDisabled || len(p.Labels) != 1 || p.Annotations != nil {
		t.Errorf("a pod of another cluster: %+v", p.ObjectMeta)
	}
	stripped := Strip(Disown(pod, "here"))
	short, err := json.Marshal(stripped)
	if err != nil {
		t.Fatal(err)
	}
	if len(short) >= len(full) || stripped.Spec.Containers[0].Image != "agent:1" || !stripped.Status.ContainerStatuses[0].Ready {
		t.Errorf("%s", short)
	}
}
