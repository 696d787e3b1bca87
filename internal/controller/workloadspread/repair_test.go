package workloadspread

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/metrics"
	"github.com/spillway-project/spillway/internal/resolve"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/state"
)

// patches keeps the bodies of patches.
type patches struct {
	client.Writer
	bodies []string
	err    error
}

func (w *patches) Patch(_ context.Context, o client.Object, p client.Patch, _ ...client.PatchOption) error {
	body, err := p.Data(o)
	if err != nil {
		return err
	}
	w.bodies = append(w.bodies, string(body))
	return w.err
}

// events keeps events as text.
type events struct{ said []string }

func (e *events) Eventf(_, _ runtime.Object, _, reason, _, note string, _ ...any) {
	e.said = append(e.said, reason)
	_ = note
}

func (e *events) AnnotatedEventf(o, related runtime.Object, _ map[string]string, kind, reason, action, note string, args ...any) {
	e.Eventf(o, related, kind, reason, action, note, args...)
}

// placed is a pod in a virtual subset, with and without what Spillway wrote onto it.
func placed(revision string, whole bool) *corev1.Pod {
	yes := true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: "web-1", UID: "u", ResourceVersion: revision, Labels: map[string]string{"app": "web"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "rs", Controller: &yes}},
	}}
	pod.Spec.NodeName = "vk"
	if whole {
		record := clusterselector.Record{Annotation: "clusterSelector", Added: clusterselector.Added{Labels: map[string]string{"virtual-pod": "true"}}}
		pod.Labels["virtual-pod"] = "true"
		pod.Annotations = map[string]string{
			v1alpha1.AnnotationMatched: v1alpha1.Record{Name: "ws", Subset: "virtual", UID: "token001"}.Encode(), "clusterSelector": "{}",
			clusterselector.AnnotationRecord: record.Encode(), v1alpha1.PodDeletionCost: "100", v1alpha1.AnnotationDeletionCost: "100", "their": "own",
		}
	}
	return pod
}

func TestOverwrittenMetadataIsWrittenBackThreeTimes(t *testing.T) {
	clock := testclock.NewFakeClock(time.Unix(1_700_000_000, 0))
	pods, writer, said := state.NewPods(state.Listener{}), &patches{}, &events{}
	r := &Reconciler{
		Pods: &resolve.Pods{Pods: pods}, Writer: writer, Recorder: said, Clock: clock, Metrics: metrics.New(prometheus.NewRegistry()),
	}
	key := types.NamespacedName{Namespace: "ns", Name: "ws"}
	revision := 1
	report := func(whole bool) {
		t.Helper()
		revision++
		if err := pods.Update(placed(string(rune('0'+revision%10)), whole)); err != nil {
			t.Fatal(err)
		}
	}
	look := func(patched, told int, next time.Duration) {
		t.Helper()
		p := pass{Reconciler: r, key: key, ws: &appsv1alpha1.WorkloadSpread{}}
		if err := p.repair(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(writer.bodies) != patched || len(said.said) != told || p.next != next {
			t.Errorf("%d patches, %d events, next %s; want %d, %d, %s", len(writer.bodies), len(said.said), p.next, patched, told, next)
		}
	}
	report(true)
	look(0, 0, 0)
	report(false)
	look(1, 0, time.Second)
	var body struct {
		Metadata struct {
			UID, ResourceVersion string
			Labels, Annotations  map[string]string
		}
	}
	if err := json.Unmarshal([]byte(writer.bodies[0]), &body); err != nil {
		t.Fatal(err)
	}
	want := placed("3", true)
	delete(want.Annotations, "their") // not Spillway's to repair
	if m := body.Metadata; m.UID != "u" || m.ResourceVersion != "3" || len(m.Labels) != 1 || m.Labels["virtual-pod"] != "true" || len(m.Annotations) != len(want.Annotations) ||
		m.Annotations[v1alpha1.AnnotationMatched] != want.Annotations[v1alpha1.AnnotationMatched] || m.Annotations["clusterSelector"] != "{}" {
		t.Errorf("the patch is %s", writer.bodies[0])
	}
	report(true)
	report(false)
	look(1, 0, 5*time.Second)
	clock.Step(5 * time.Second)
	look(2, 0, time.Second)
	clock.Step(30 * time.Second)
	look(3, 0, time.Second)
	clock.Step(time.Hour)
	look(3, 1, 0)
	look(3, 1, 0)
	if said.said[0] != string(v1alpha1.ReasonMetadataOverwritten) {
		t.Errorf("told %s", said.said)
	}
}

// TestARepairWithoutLabelsLeavesLabelsAlone: null would remove them all, and the ReplicaSet would let the pod go.
func TestARepairWithoutLabelsLeavesLabelsAlone(t *testing.T) {
	writer := &patches{}
	p := pass{Reconciler: &Reconciler{Writer: writer}}
	if err := p.writeBack(t.Context(), state.Lost{Pod: &spread.Pod{Name: "a"}, Annotations: map[string]string{"a": "b"}}); err != nil || strings.Contains(writer.bodies[0], "labels") {
		t.Errorf("got %v, %v", writer.bodies, err)
	}
}

// TestAPodThatChangedMeanwhileIsLookedAtAgain: a conflict is no attempt.
func TestAPodThatChangedMeanwhileIsLookedAtAgain(t *testing.T) {
	writer := &patches{err: apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "a", nil)}
	p := pass{Reconciler: &Reconciler{Writer: writer}}
	now := time.Unix(1000, 0)
	for range 5 {
		if may, _, _ := p.patience.ask(p.key, "u", now); !may {
			t.Fatal("no attempt was left")
		}
		if err := p.writeBack(t.Context(), state.Lost{Pod: &spread.Pod{Name: "a", UID: "u"}}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestACostThatIsOverwrittenIsNotFoughtFor, but another one may be written.
func TestACostThatIsOverwrittenIsNotFoughtFor(t *testing.T) {
	var p patience
	key := types.NamespacedName{Name: "ws"}
	for range 3 {
		if !p.cost(key, "u", "100") {
			t.Fatal("given up too early")
		}
	}
	if p.cost(key, "u", "100") || !p.cost(key, "u", "-100") {
		t.Error("the same cost a fourth time, or no other one")
	}
	p.keep(key, spread.View{})
	if !p.cost(key, "u", "100") {
		t.Error("a pod that is gone is remembered")
	}
}

// TestPodsThatAreOverwrittenTakeNobodysTurn: however many they are, the costs of the others are written, and a pass that has
// nothing to write does not ask for another.
func TestPodsThatAreOverwrittenTakeNobodysTurn(t *testing.T) {
	p := pass{Reconciler: &Reconciler{}}
	var all []spread.Recost
	for i := range 2 * recostsMost {
		all = append(all, spread.Recost{Pod: &spread.Pod{UID: types.UID(fmt.Sprint("lost-", i)), Lost: true}, Cost: 100})
	}
	if due, more := p.due(all); len(due) > 0 || more {
		t.Errorf("of pods that are overwritten: %d are due, more %v", len(due), more)
	}
	for i := range recostsMost + 1 {
		all = append(all, spread.Recost{Pod: &spread.Pod{UID: types.UID(fmt.Sprint("whole-", i))}, Cost: 100})
	}
	if due, more := p.due(all); len(due) != recostsMost || !more {
		t.Errorf("%d are due, more %v", len(due), more)
	}
}
