package sidecarset

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// audited is an audit over the model, whose evictions are noted instead of done.
type audited struct {
	*bench
	*Audit
	evictions []string
	refuse    error
}

func newAudited(t *testing.T, annotation string) *audited {
	t.Helper()
	b := newBench(t)
	if annotation != "" {
		b.put(strings.Replace(agentSet, "labels:", "annotations: {"+v1alpha1.AnnotationReplaceUninjected+`: "`+annotation+`"}, labels:`, 1))
	}
	a := &audited{bench: b}
	c := interceptor.NewClient(b.Client.(client.WithWatch), interceptor.Funcs{
		SubResourceCreate: func(_ context.Context, _ client.Client, name string, o client.Object, _ client.Object, _ ...client.SubResourceCreateOption) error {
			if a.refuse == nil {
				a.evictions = append(a.evictions, name+" "+o.GetName())
			}
			return a.refuse
		},
	})
	a.Audit = &Audit{
		Client: c, Sets: b.Sets, Namespaces: b.Namespaces, Metrics: b.Reconciler.Metrics, Recorder: events.NewFakeRecorder(100), Clock: b.clock, Every: time.Second, Excluded: []string{"kube-system"}, Log: logr.Discard(),
	}
	return a
}

// bare creates a pod without sidecars, of a workload.
func (a *audited) bare(name string, change ...func(*corev1.Pod)) {
	a.Helper()
	yes := true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"}, CreationTimestamp: metav1.NewTime(a.clock.Now()),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "rs", UID: "rs", Controller: &yes}},
	}}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	for _, c := range change {
		c(pod)
	}
	if err := a.bench.Client.Create(context.Background(), pod); err != nil {
		a.Fatal(err)
	}
}

func (a *audited) round() []string {
	a.Helper()
	a.evictions = nil
	if err := a.Round(context.Background()); err != nil {
		a.Fatal(err)
	}
	slices.Sort(a.evictions)
	return a.evictions
}

func unready(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }

func TestPodsWithoutSidecarsAreTold(t *testing.T) {
	a := newAudited(t, "")
	a.bare("a")
	a.pod("with")
	a.bare("out", func(p *corev1.Pod) { p.Labels[v1alpha1.LabelInject] = "disabled" })
	a.bare("ended", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	a.bare("other", func(p *corev1.Pod) { p.Labels["app"] = "other" })
	a.bare("unseen", func(p *corev1.Pod) { p.Namespace = "kube-system" })
	a.bare("mirror", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} })
	if got := a.round(); len(got) > 0 {
		t.Errorf("nobody asked for evictions, got %v", got)
	}
	recorder := a.Audit.Recorder.(*events.FakeRecorder)
	if len(recorder.Events) != 1 {
		t.Fatalf("%d events", len(recorder.Events))
	}
	if text := <-recorder.Events; !strings.Contains(text, "1 of 2 pods run without sidecars, for example ns/a") {
		t.Error(text)
	}
	if a.round(); len(recorder.Events) > 0 {
		t.Error("told again though nothing changed")
	}
}

func TestTheRateOfReplacement(t *testing.T) {
	a := newAudited(t, "50%")
	for _, name := range []string{"a", "b", "c", "d"} {
		a.bare(name)
	}
	if got := a.round(); len(got) != 2 {
		t.Errorf("half of four may be away, got %v", got)
	}
	b := newAudited(t, "50%")
	b.bare("a")
	b.bare("b")
	b.bare("c", unready)
	b.bare("d", func(p *corev1.Pod) { p.OwnerReferences = nil })
	if got := b.round(); !slices.Equal(got, []string{"eviction a", "eviction c"}) {
		t.Errorf("one is away already and costs nothing, one has nobody to replace it: got %v", got)
	}
}

// TestReplacementEnds: the replacement has no sidecars either.
func TestReplacementEnds(t *testing.T) {
	a := newAudited(t, "100%")
	a.bare("a")
	if got := a.round(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	if err := a.bench.Client.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}}); err != nil {
		t.Fatal(err)
	}
	a.clock.Step(time.Minute)
	a.bare("again")
	if got := a.round(); len(got) > 0 {
		t.Errorf("a pod that replaced one is evicted: %v", got)
	}
}

func TestARefusedEvictionIsTriedAgain(t *testing.T) {
	a := newAudited(t, "100%")
	a.bare("a")
	a.refuse = apierrors.NewTooManyRequestsError("a budget says no")
	a.round()
	a.refuse = nil
	if got := a.round(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}
