package pod_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/state"
	"github.com/spillway-project/spillway/webhooks/pod"
	"github.com/spillway-project/spillway/webhooks/review"
)

// toldOfSidecars counts what the injector tells.
type toldOfSidecars struct{ injected, missing, skipped int }

func (t *toldOfSidecars) SidecarsInjected(*sidecar.Set)                 { t.injected++ }
func (t *toldOfSidecars) RevisionMissing(*sidecar.Set, error)           { t.missing++ }
func (t *toldOfSidecars) MetadataSkipped(*sidecar.Set, sidecar.Skipped) { t.skipped++ }

// withSidecars gives the webhook sets, and namespaces of which the cache knows only the first.
func (b *bench) withSidecars(live func() error, sets ...string) *toldOfSidecars {
	b.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		b.Fatal(err)
	}
	namespace := func(name string, labels map[string]string) client.Object {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	cached := fake.NewClientBuilder().WithScheme(scheme).WithObjects(namespace("ns", map[string]string{"team": "a"}), namespace("out", map[string]string{v1alpha1.LabelInject: "disabled"})).Build()
	all := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		namespace("fresh", map[string]string{"team": "a"}),
		&appsv1.ControllerRevision{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "system", Name: "agent-old", Labels: map[string]string{v1alpha1.LabelSidecarSetName: "agent"},
				Annotations: map[string]string{v1alpha1.AnnotationSidecarHash: "old", v1alpha1.AnnotationSidecarHashWithoutImage: "old-bare"},
			},
			Data: runtime.RawExtension{Raw: []byte(`{"spec":{"$patch":"replace","containers":[{"name":"agent","image":"agent:0","future":1}]}}`)},
		},
	).WithInterceptorFuncs(interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
		if live != nil {
			return live()
		}
		return c.Get(ctx, key, o, opts...)
	}}).Build()
	store := state.NewSidecarSets()
	for _, text := range sets {
		if err := store.Put(parse[sidecar.SidecarSet](b, text)); err != nil {
			b.Fatal(err)
		}
	}
	told := &toldOfSidecars{}
	b.mutator.Injector = &pod.Sidecars{
		Sets: store, Namespaces: &state.Namespaces{Cache: cached, Live: all}, Revisions: &state.Revisions{Cache: cached, Live: all, Namespace: "system"},
		Teller: told, Clock: clock.RealClock{}, Nonce: func() string { return "nonce" },
	}
	return told
}

const agentSet = `
metadata: {name: agent}
spec:
  selector: {matchLabels: {vk: "true"}}
  namespaceSelector: {matchLabels: {team: a}}
  containers: [{name: agent, image: "agent:1", future: 2}]
`

const barePod = `
metadata: {name: alone, namespace: ns, labels: {vk: "true"}}
spec: {containers: [{name: main, image: app, future: kept}]}
`

// containers of a stored pod, as text.
func containers(t *testing.T, raw []byte) string {
	t.Helper()
	var p struct {
		Spec struct{ Containers []map[string]any }
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range p.Spec.Containers {
		future, _ := json.Marshal(c["future"])
		out = append(out, c["name"].(string)+" "+c["image"].(string)+" "+string(future))
	}
	return strings.Join(out, ", ")
}

// TestALabelOfASubsetSelectsASet: sidecars come last, on the pod as placed.
func TestALabelOfASubsetSelectsASet(t *testing.T) {
	b := newBench(t)
	told := b.withSidecars(nil, agentSet)
	injected := 0
	for range 4 {
		stored, _, err := b.admit(b.json(webPod), nil)
		if err != nil {
			t.Fatal(err)
		}
		switch got := containers(t, stored); {
		case strings.Contains(string(stored), `"vk":"true"`):
			injected++
			if got != `agent agent:1 2, main app "kept"` {
				t.Errorf("an overflow pod has %s", got)
			}
		case got != `main app "kept"`:
			t.Errorf("a pod on own nodes has %s", got)
		}
	}
	if injected != 2 || told.injected != 2 {
		t.Errorf("%d pods were injected, told of %d", injected, told.injected)
	}
}

func TestAPodWithoutAController(t *testing.T) {
	b := newBench(t)
	b.withSidecars(nil, agentSet)
	for name, tc := range map[string]struct {
		pod, want string
		reason    v1alpha1.Reason
	}{
		"injected":            {barePod, `agent agent:1 2, main app "kept"`, v1alpha1.ReasonInjected},
		"bound already":       {strings.Replace(barePod, "spec: {", "spec: {nodeName: n1, ", 1), `agent agent:1 2, main app "kept"`, v1alpha1.ReasonInjected},
		"opted out":           {strings.Replace(barePod, `vk: "true"`, `vk: "true", spillway-project.io/inject: disabled`, 1), `main app "kept"`, v1alpha1.ReasonNotManaged},
		"other labels":        {strings.Replace(barePod, "vk:", "x:", 1), `main app "kept"`, v1alpha1.ReasonNotManaged},
		"bound, not selected": {strings.Replace(strings.Replace(barePod, "vk:", "x:", 1), "spec: {", "spec: {nodeName: n1, ", 1), `main app "kept"`, v1alpha1.ReasonPodBound},
	} {
		t.Run(name, func(t *testing.T) {
			stored, reason, err := b.admit(b.json(tc.pod), nil)
			if err != nil || reason != tc.reason || containers(t, stored) != tc.want {
				t.Errorf("got %s, %s, %v", containers(t, stored), reason, err)
			}
			again, _, err := b.admit(stored, nil)
			if err != nil || string(again) != string(stored) {
				t.Errorf("the second pass gives %s, %v", again, err)
			}
		})
	}
}

// TestNamespacesThatTheCacheDoesNotKnow are read from the API server; an error there is a fault, so that
// the creation is tried again.
func TestNamespacesThatTheCacheDoesNotKnow(t *testing.T) {
	b := newBench(t)
	b.mutator.Placements = nil
	in := func(ns string) func(*admissionv1.AdmissionRequest) {
		return func(r *admissionv1.AdmissionRequest) { r.Namespace = ns }
	}
	b.withSidecars(nil, agentSet)
	if stored, _, err := b.admit(b.json(barePod), in("fresh")); err != nil || !strings.HasPrefix(containers(t, stored), "agent") {
		t.Errorf("a new namespace: %v", err)
	}
	if stored, _, err := b.admit(b.json(barePod), in("out")); err != nil || strings.HasPrefix(containers(t, stored), "agent") {
		t.Errorf("a namespace that opted out: %v", err)
	}
	b.withSidecars(func() error { return errors.New("down") }, agentSet)
	_, _, err := b.admit(b.json(barePod), in("fresh"))
	var fault *review.Fault
	if !errors.As(err, &fault) || fault.Code != http.StatusServiceUnavailable {
		t.Errorf("got %v", err)
	}
}

func TestPinsOfPods(t *testing.T) {
	b := newBench(t)
	pin := func(name string) string {
		return strings.Replace(agentSet, "spec:", "spec:\n  injectionStrategy: {revision: {revisionName: "+name+"}}", 1)
	}
	b.withSidecars(nil, pin("agent-old"))
	stored, _, err := b.admit(b.json(barePod), nil)
	if err != nil || containers(t, stored) != `agent agent:0 1, main app "kept"` || !strings.Contains(string(stored), `\"controllerRevision\":\"agent-old\"`) || !strings.Contains(string(stored), `\"hash\":\"old\"`) {
		t.Errorf("got %s, %v", stored, err)
	}
	told := b.withSidecars(nil, pin("agent-gone"))
	stored, _, err = b.admit(b.json(barePod), nil)
	if err != nil || containers(t, stored) != `agent agent:1 2, main app "kept"` || told.missing != 1 {
		t.Errorf("got %s, %v, told %+v", stored, err, told)
	}
	partial := strings.Replace(pin("agent-old"), "revisionName", "policy: Partial, revisionName", 1)
	b.withSidecars(nil, strings.Replace(partial, "spec:", "spec:\n  updateStrategy: {partition: 50%}", 1))
	stored, _, err = b.admit(b.json(barePod), nil)
	if err != nil || !strings.Contains(string(stored), `"spillway-project.io/sidecarset-draw":"nonce"`) {
		t.Errorf("the nonce is not stored: %s, %v", stored, err)
	}
}

func TestADryRunTellsNothing(t *testing.T) {
	b := newBench(t)
	told := b.withSidecars(nil, agentSet)
	dry := true
	stored, _, err := b.admit(b.json(barePod), func(r *admissionv1.AdmissionRequest) { r.DryRun = &dry })
	if err != nil || !strings.HasPrefix(containers(t, stored), "agent") || *told != (toldOfSidecars{}) {
		t.Errorf("got %s, %v, told %+v", stored, err, told)
	}
}

func TestAClashIsAVerdict(t *testing.T) {
	b := newBench(t)
	b.withSidecars(nil, agentSet)
	request := &admissionv1.AdmissionRequest{
		UID: "u", Namespace: "ns", Operation: admissionv1.Create, Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
		Object: runtime.RawExtension{Raw: b.json(strings.Replace(barePod, "name: main", "name: agent", 1))},
	}
	verdict, err := b.mutator.Review(t.Context(), request)
	if err != nil || verdict.Refusal == nil || verdict.Refusal.Code != http.StatusUnprocessableEntity || verdict.Reason != v1alpha1.ReasonSidecarNameTaken {
		t.Errorf("got %+v, %v", verdict, err)
	}
}

// TestARefusedPodGivesItsPlaceBack: the first two go to own nodes, the third would go where its sidecar clashes.
func TestARefusedPodGivesItsPlaceBack(t *testing.T) {
	b := newBench(t)
	b.withSidecars(nil, agentSet)
	clash := strings.Replace(webPod, "name: main", "name: agent", 1)
	for range 2 {
		if _, _, err := b.admit(b.json(clash), nil); err != nil {
			t.Fatal(err)
		}
	}
	verdict, err := b.mutator.Review(t.Context(), &admissionv1.AdmissionRequest{
		UID: "u", Namespace: "ns", Operation: admissionv1.Create, Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
		Object: runtime.RawExtension{Raw: b.json(clash)},
	})
	if err != nil || verdict.Refusal == nil {
		t.Fatalf("got %+v, %v", verdict, err)
	}
	b.awaitClaims(2, 0)
}
