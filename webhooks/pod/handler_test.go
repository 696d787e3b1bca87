package pod_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/delta"
	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/provider"
	"github.com/spillway-project/spillway/internal/resolve"
	"github.com/spillway-project/spillway/internal/state"
	"github.com/spillway-project/spillway/webhooks/pod"
	"github.com/spillway-project/spillway/webhooks/review"
)

const objects = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: ns, uid: deploy}
spec: {replicas: 4, selector: {matchLabels: {app: web}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata:
  {name: web-1, namespace: ns, uid: rs, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: deploy, controller: true}]}
spec: {replicas: 4, selector: {matchLabels: {app: web}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: alone, namespace: ns, uid: alone}
spec: {replicas: 4, selector: {matchLabels: {app: alone}}}
---
apiVersion: apps.kruise.io/v1alpha1
kind: WorkloadSpread
metadata: {name: ws, namespace: ns, uid: ws}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  targetFilter: {selector: {matchExpressions: [{key: unspread, operator: DoesNotExist}]}}
  subsets:
  - name: own
    maxReplicas: 50%
    requiredNodeSelectorTerm: {matchExpressions: [{key: own, operator: Exists}]}
  - name: virtual
    requiredNodeSelectorTerm: {matchExpressions: [{key: virtual, operator: Exists}]}
    patch: {metadata: {labels: {vk: "true"}}}
`

// bench is a webhook over a model of the API server.
type bench struct {
	testing.TB
	mutator *pod.Mutator
	client  client.Client
	told    *told
}

type told struct {
	placed, noRoom, invalid int
	lost                    []clusterselector.Field
	passed                  []pod.Passed
}

func (t *told) Placed(_ *appsv1alpha1.WorkloadSpread, _ string, passed []pod.Passed) {
	t.placed++
	t.passed = passed
}
func (t *told) NoRoom(_ *appsv1alpha1.WorkloadSpread, _ string, passed []pod.Passed) {
	t.noRoom++
	t.passed = passed
}
func (t *told) Invalid(*appsv1alpha1.WorkloadSpread, error) { t.invalid++ }
func (t *told) NotHonoured(_ *appsv1alpha1.WorkloadSpread, _ string, fields []clusterselector.Field) {
	t.lost = fields
}

type silent struct{}

func (silent) Committed(types.NamespacedName, int, float64, error)    {}
func (silent) ClaimsEnded(types.NamespacedName, v1alpha1.Reason, int) {}

func newBench(t testing.TB) *bench {
	t.Helper()
	return newBenchOf(t, objects, clock.RealClock{})
}

// newBenchOf is a webhook over a model of the API server that holds the given objects.
func newBenchOf(t testing.TB, objects string, now clock.Clock) *bench {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, appsv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	builder := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&appsv1alpha1.WorkloadSpread{})
	if !strings.Contains(objects, "kind: Namespace") {
		for _, name := range []string{"ns", "other"} {
			objects += "\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: " + name + "}}"
		}
	}
	for text := range strings.SplitSeq(objects, "---") {
		o := map[string]client.Object{
			"Deployment": &appsv1.Deployment{}, "ReplicaSet": &appsv1.ReplicaSet{}, "StatefulSet": &appsv1.StatefulSet{},
			"Job": &batchv1.Job{}, "WorkloadSpread": &appsv1alpha1.WorkloadSpread{}, "Node": &corev1.Node{}, "Namespace": &corev1.Namespace{},
			"PersistentVolumeClaim": &corev1.PersistentVolumeClaim{}, "PersistentVolume": &corev1.PersistentVolume{}, "StorageClass": &storagev1.StorageClass{},
		}[parse[metav1.TypeMeta](t, text).Kind]
		if err := yaml.Unmarshal([]byte(text), o); err != nil {
			t.Fatal(err)
		}
		builder = builder.WithObjects(o)
	}
	// The API server's lists carry a resource version; the fake's do not.
	c := builder.WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
			err := c.List(ctx, list, o...)
			list.SetResourceVersion("1000")
			return err
		},
	}).Build()
	n := 0
	stem := func() string { n++; return fmt.Sprintf("stem%04d", n) }
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(appsv1.SchemeGroupVersion.WithKind("StatefulSet"), meta.RESTScopeNamespace)
	mapper.Add(batchv1.SchemeGroupVersion.WithKind("Job"), meta.RESTScopeNamespace)
	resolver := &resolve.Resolver{Cache: c, Live: c, Mapper: mapper, Links: resolve.NewLinks(now)}
	b := &bench{TB: t, client: c, told: &told{}}
	b.mutator = &pod.Mutator{
		Resolver: resolver, Differ: new(delta.Differ), Teller: b.told, Clock: now, Stem: stem, Log: logr.Discard(),
		Sites:      &resolve.Sites{Reader: c, Live: c, Catalog: provider.NewCatalog(nil), FixedIPAnnotations: []string{"example.com/ip"}, Outage: v1alpha1.OutageReplace, Clock: now},
		Placements: &pod.Placements{Reader: c, Namespaces: &state.Namespaces{Cache: c, Live: c}, Catalog: provider.NewCatalog(nil), FixedIPAnnotations: []string{"example.com/ip"}, Clock: now},
		Ledger: ledger.New(ledger.Options{
			Spreads:   &resolve.Spreads{Reader: c, Direct: c, Writer: c.Status()},
			Pods:      &resolve.Pods{Pods: state.NewPods(state.Listener{}), Resolver: resolver, Stem: stem},
			Workloads: resolver, Recorder: silent{}, Clock: now, Stem: stem, DemandWait: time.Millisecond,
		}),
	}
	return b
}

func parse[T any](t testing.TB, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.Unmarshal([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

const webPod = `
metadata: {generateName: web-1-, namespace: ns, labels: {app: web, pod-template-hash: h1}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-1, uid: rs, controller: true}]}
spec: {containers: [{name: main, image: app, future: kept}]}
`

// admit sends a pod through the webhook and returns it as the API server would store it.
func (b *bench) admit(raw []byte, change func(*admissionv1.AdmissionRequest)) ([]byte, v1alpha1.Reason, error) {
	b.Helper()
	request := &admissionv1.AdmissionRequest{
		UID: "u", Namespace: "ns", Operation: admissionv1.Create,
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"}, Object: runtime.RawExtension{Raw: raw},
	}
	if change != nil {
		change(request)
	}
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
	defer cancel()
	v, err := b.mutator.Review(ctx, request)
	if err != nil || len(v.Patch) == 0 {
		return raw, v.Reason, err
	}
	encoded, err := json.Marshal(v.Patch)
	if err != nil {
		b.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(encoded)
	if err != nil {
		b.Fatal(err)
	}
	out, err := patch.Apply(raw)
	if err != nil {
		b.Fatalf("apply %s: %v", encoded, err)
	}
	return out, v.Reason, nil
}

func (b *bench) json(text string) []byte {
	b.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

func record(t *testing.T, raw []byte) v1alpha1.Record {
	t.Helper()
	r, _ := v1alpha1.ParseRecord(parse[corev1.Pod](t, string(raw)).Annotations)
	return r
}

func TestPodsArePlacedAndKeepWhatWeDoNotKnow(t *testing.T) {
	b := newBench(t)
	var got []string
	for range 4 {
		out, _, err := b.admit(b.json(webPod), nil)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(out), `"future":"kept"`) {
			t.Errorf("an unknown field was lost: %s", out)
		}
		p := parse[corev1.Pod](t, string(out))
		r := record(t, out)
		got = append(got, r.Subset+" "+p.Annotations[v1alpha1.PodDeletionCost]+" "+p.Labels["vk"])
	}
	want := []string{"own 999999 ", "own 999997 ", "virtual 999998 true", "virtual 999996 true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if b.told.placed != 4 {
		t.Errorf("told of %d pods", b.told.placed)
	}
}

func TestASecondAdmissionChangesNothingAndTakesNoPlace(t *testing.T) {
	b := newBench(t)
	for range 4 { // two in each subset
		once, _, err := b.admit(b.json(webPod), nil)
		if err != nil {
			t.Fatal(err)
		}
		twice, _, err := b.admit(once, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(once), string(twice)); diff != "" {
			t.Error(diff)
		}
	}
	var ws appsv1alpha1.WorkloadSpread
	if err := b.client.Get(t.Context(), types.NamespacedName{Namespace: "ns", Name: "ws"}, &ws); err != nil {
		t.Fatal(err)
	}
	for i, s := range ws.Status.VersionedSubsetStatuses["h1"] {
		if len(s.CreatingPods) != 2 {
			t.Errorf("subset %d has %d claims, want 2", i, len(s.CreatingPods))
		}
	}
}

func TestPodsThatAreNotOursPassUntouched(t *testing.T) {
	for name, tc := range map[string]struct {
		pod    string
		change func(*admissionv1.AdmissionRequest)
		want   v1alpha1.Reason
	}{
		"a bare pod":              {pod: `{metadata: {name: p}}`, want: v1alpha1.ReasonNotManaged},
		"another workload's":      {pod: strings.NewReplacer("name: web-1", "name: alone", "uid: rs", "uid: alone").Replace(webPod), want: v1alpha1.ReasonNotManaged},
		"an owner of no kind":     {pod: strings.Replace(webPod, "kind: ReplicaSet", "kind: Thing", 1), want: v1alpha1.ReasonNotManaged},
		"an owner that is gone":   {pod: strings.Replace(webPod, "name: web-1", "name: web-9", 1), want: v1alpha1.ReasonNotManaged},
		"an owner of old":         {pod: strings.Replace(webPod, "uid: rs", "uid: old", 1), want: v1alpha1.ReasonNotManaged},
		"not selected":            {pod: strings.Replace(webPod, "app: web,", "app: web, unspread: x,", 1), want: v1alpha1.ReasonNotManaged},
		"bound to a node":         {pod: strings.Replace(webPod, "{containers", "{nodeName: node-1, containers", 1), want: v1alpha1.ReasonPodBound},
		"ended":                   {pod: webPod + "status: {phase: Failed}", want: v1alpha1.ReasonPodInactive},
		"an update":               {pod: webPod, change: func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Update }, want: v1alpha1.ReasonNotManaged},
		"a subresource":           {pod: webPod, change: func(r *admissionv1.AdmissionRequest) { r.SubResource = "status" }, want: v1alpha1.ReasonNotManaged},
		"a namespace without any": {pod: webPod, change: func(r *admissionv1.AdmissionRequest) { r.Namespace = "other" }, want: v1alpha1.ReasonNotManaged},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			raw := b.json(tc.pod)
			out, reason, err := b.admit(raw, tc.change)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(raw), string(out)); diff != "" || reason != tc.want {
				t.Errorf("reason %s, want %s; change: %s", reason, tc.want, diff)
			}
		})
	}
}

func TestACopiedRecordIsNotTrusted(t *testing.T) {
	b := newBench(t)
	for name, tc := range map[string]struct{ pod, want string }{
		"on a pod that no spread selects":   {strings.NewReplacer("name: web-1", "name: alone", "uid: rs", "uid: alone").Replace(webPod), ""},
		"with a token that is no claim":     {webPod, "own"},
		"with a pass that has long expired": {strings.Replace(webPod, "x", ".t1abc", 1), "own"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(tc.pod, "labels:", `annotations: {apps.kruise.io/matched-workloadspread: '{"name":"ws","subset":"virtual","uid":"copied01"}'}, labels:`, 1)
			out, _, err := b.admit(b.json(text), nil)
			if err != nil {
				t.Fatal(err)
			}
			if r := record(t, out); r.Subset != tc.want || r.UID == "copied01" {
				t.Errorf("the pod carries %+v, want subset %q and a token of its own", r, tc.want)
			}
		})
	}
}

func TestADryRunDecidesAndReservesNothing(t *testing.T) {
	b := newBench(t)
	dry := true
	for range 5 {
		out, _, err := b.admit(b.json(webPod), func(r *admissionv1.AdmissionRequest) { r.DryRun = &dry })
		if err != nil {
			t.Fatal(err)
		}
		if r := record(t, out); r.Subset != "own" {
			t.Errorf("placed into %q", r.Subset)
		}
	}
	var ws appsv1alpha1.WorkloadSpread
	if err := b.client.Get(t.Context(), types.NamespacedName{Namespace: "ns", Name: "ws"}, &ws); err != nil {
		t.Fatal(err)
	}
	if len(ws.Status.VersionedSubsetStatuses) != 0 || b.told.placed != 0 {
		t.Errorf("a dry run left traces: %+v, told %d", ws.Status, b.told.placed)
	}
}

// setSubsets replaces the subsets of the WorkloadSpread, past validation.
func (b *bench) setSubsets(text string) {
	b.Helper()
	ws := &appsv1alpha1.WorkloadSpread{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "ws"}}
	patch := fmt.Appendf(nil, `{"spec":{"subsets":%s}}`, text)
	if err := b.client.Patch(b.Context(), ws, client.RawPatch(types.MergePatchType, patch)); err != nil {
		b.Fatal(err)
	}
}

func TestAStoredSpecThatMakesNoSenseBlocksNothing(t *testing.T) {
	b := newBench(t)
	b.setSubsets(`[{"name":"own","maxReplicas":"50"},{"name":"virtual"}]`)
	raw := b.json(webPod)
	out, reason, err := b.admit(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(raw), string(out)); diff != "" || reason != v1alpha1.ReasonInvalidSpec || b.told.invalid != 1 {
		t.Errorf("reason %s, told %d; change: %s", reason, b.told.invalid, diff)
	}
}

// TestAPatchThatFailsGivesThePlaceBack: the creation fails, and its retries must not pile up claims.
func TestAPatchThatFailsGivesThePlaceBack(t *testing.T) {
	b := newBench(t)
	b.setSubsets(`[{"name":"own","maxReplicas":1,"patch":{"spec":{"containers":"none"}}}]`)
	if _, _, err := b.admit(b.json(webPod), nil); err == nil || !strings.Contains(err.Error(), "containers") {
		t.Fatalf("got %v, want an error that names the field", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, 5*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		var ws appsv1alpha1.WorkloadSpread
		err := b.client.Get(ctx, types.NamespacedName{Namespace: "ns", Name: "ws"}, &ws)
		return err == nil && len(ws.Status.SubsetStatuses) == 1 && ws.Status.SubsetStatuses[0].MissingReplicas == 1, nil
	})
	if err != nil {
		t.Errorf("the claim stays: %v", err)
	}
}

func TestNoRoomAdmitsThePodAsItIs(t *testing.T) {
	b := newBench(t)
	b.setSubsets(`[{"name":"own","maxReplicas":0}]`)
	raw := b.json(webPod)
	out, reason, err := b.admit(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(raw), string(out)); diff != "" || reason != v1alpha1.ReasonNoSubsetAvailable || b.told.noRoom != 1 {
		t.Errorf("reason %s, told %d; change: %s", reason, b.told.noRoom, diff)
	}
}

func TestAPodThatCannotBeReadIsAFault(t *testing.T) {
	b := newBench(t)
	_, _, err := b.admit([]byte(`{"spec":{"containers":"none"}}`), nil)
	var fault *review.Fault
	if !errors.As(err, &fault) || fault.Code != 400 {
		t.Errorf("got %v, want a fault with 400", err)
	}
}

// BenchmarkUnmanaged is the cost of a pod that no rule matches.
func BenchmarkUnmanaged(b *testing.B) {
	bn := newBench(b)
	raw, err := yaml.YAMLToJSON([]byte(webPod))
	if err != nil {
		b.Fatal(err)
	}
	request := &admissionv1.AdmissionRequest{
		UID: "u", Namespace: "other", Operation: admissionv1.Create,
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"}, Object: runtime.RawExtension{Raw: raw},
	}
	for b.Loop() {
		if _, err := bn.mutator.Review(b.Context(), request); err != nil {
			b.Fatal(err)
		}
	}
}

// awaitClaims waits until the subsets of the pods' version have so many claims.
func (b *bench) awaitClaims(want ...int) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
	defer cancel()
	var got []int
	if err := wait.PollUntilContextCancel(ctx, 5*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		var ws appsv1alpha1.WorkloadSpread
		if err := b.client.Get(ctx, types.NamespacedName{Namespace: "ns", Name: "ws"}, &ws); err != nil {
			return false, fmt.Errorf("read the status: %w", err)
		}
		got = nil
		for _, s := range ws.Status.VersionedSubsetStatuses["h1"] {
			got = append(got, len(s.CreatingPods))
		}
		return slices.Equal(got, want), nil
	}); err != nil {
		b.Errorf("claims %v, want %v: %v", got, want, err)
	}
}
