package resolve

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/state"
	"github.com/spillway-project/spillway/internal/workload"
)

// world is a resolver over objects given as YAML, with OpenKruise's kinds and Rollouts served.
type world struct {
	*Resolver
	reads int // of metadata
	fail  error
	clock *testclock.FakePassiveClock
}

func newWorld(t *testing.T, objects ...string) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, appsv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Group: "apps", Version: "v1"}})
	for _, gvk := range []schema.GroupVersionKind{
		{Group: "apps", Version: "v1", Kind: "StatefulSet"},
		{Group: "batch", Version: "v1", Kind: "Job"},
		{Group: "apps.kruise.io", Version: "v1alpha1", Kind: "CloneSet"},
		{Group: "apps.kruise.io", Version: "v1beta1", Kind: "StatefulSet"},
		{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"},
	} {
		mapper.Add(gvk, meta.RESTScopeNamespace)
		if !scheme.Recognizes(gvk) {
			scheme.AddKnownTypeWithName(gvk, &unstructured.Unstructured{})
			scheme.AddKnownTypeWithName(gvk.GroupVersion().WithKind(gvk.Kind+"List"), &unstructured.UnstructuredList{})
		}
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	for _, text := range objects {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		u.SetNamespace("ns")
		builder = builder.WithObjects(u)
	}
	w := &world{clock: testclock.NewFakePassiveClock(time.Unix(0, 0))}
	c := builder.WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if _, ok := o.(*metav1.PartialObjectMetadata); ok {
				w.reads++
				if w.fail != nil {
					return w.fail
				}
			}
			return c.Get(ctx, key, o, opts...)
		},
	}).Build()
	kinds, problems := workload.ParseAllowList(`{"workloads":[{"Group":"argoproj.io","Kind":"Rollout","replicasPath":"spec.replicas"}]}`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w.Resolver = &Resolver{Cache: c, Live: c, Mapper: mapper, Kinds: func() *workload.Kinds { return kinds }, Links: NewLinks(w.clock)}
	return w
}

func onTarget(apiVersion, kind, name string) *appsv1alpha1.WorkloadSpread {
	ws := &appsv1alpha1.WorkloadSpread{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "ws"}}
	ws.Spec.TargetReference = &appsv1alpha1.TargetReference{APIVersion: apiVersion, Kind: kind, Name: name}
	return ws
}

func TestReplicasOfEveryKind(t *testing.T) {
	for name, tc := range map[string]struct {
		object string
		ws     *appsv1alpha1.WorkloadSpread
		want   int32
		err    error
	}{
		"a StatefulSet":              {`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a}, spec: {replicas: 3}}`, onTarget("apps/v1", "StatefulSet", "a"), 3, nil},
		"another version of the API": {`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a}, spec: {replicas: 3}}`, onTarget("apps/v1beta9", "StatefulSet", "a"), 3, nil},
		"a Job":                      {`{apiVersion: batch/v1, kind: Job, metadata: {name: a}, spec: {parallelism: 5}}`, onTarget("batch/v1", "Job", "a"), 5, nil},
		"a Job by default":           {`{apiVersion: batch/v1, kind: Job, metadata: {name: a}}`, onTarget("batch/v1", "Job", "a"), 1, nil},
		"a CloneSet":                 {`{apiVersion: apps.kruise.io/v1alpha1, kind: CloneSet, metadata: {name: a}, spec: {replicas: 7}}`, onTarget("apps.kruise.io/v1alpha1", "CloneSet", "a"), 7, nil},
		"a custom kind":              {`{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: a}, spec: {replicas: 9}}`, onTarget("argoproj.io/v1alpha1", "Rollout", "a"), 9, nil},
		"one that is gone":           {`{apiVersion: batch/v1, kind: Job, metadata: {name: b}}`, onTarget("batch/v1", "Job", "a"), 0, nil},
		"a kind that is not served":  {`{apiVersion: batch/v1, kind: Job, metadata: {name: b}}`, onTarget("batch/v1", "CronJob", "a"), 0, ledger.ErrInvalid},
		"a kind that is not known":   {`{apiVersion: batch/v1, kind: Job, metadata: {name: b}}`, onTarget("example.com/v1", "Thing", "a"), 0, ledger.ErrInvalid},
		"a count that is not one":    {`{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: a}, spec: {replicas: many}}`, onTarget("argoproj.io/v1alpha1", "Rollout", "a"), 0, ledger.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newWorld(t, tc.object).Replicas(t.Context(), tc.ws)
			if !errors.Is(err, tc.err) || got != tc.want {
				t.Errorf("got %d, %v; want %d, %v", got, err, tc.want, tc.err)
			}
		})
	}
}

func TestNumbering(t *testing.T) {
	for name, tc := range map[string]struct {
		object, apiVersion string
		want               spread.Numbering
	}{
		"from 0":            {`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a}}`, "apps/v1", spread.Numbering{}},
		"from a start":      {`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a}, spec: {ordinals: {start: 4}}}`, "apps/v1", spread.Numbering{Start: 4}},
		"reserved":          {`{apiVersion: apps.kruise.io/v1beta1, kind: StatefulSet, metadata: {name: a}, spec: {reserveOrdinals: [1, 3]}}`, "apps.kruise.io/v1beta1", spread.Numbering{Reserved: []int32{1, 3}}},
		"reserved in parts": {`{apiVersion: apps.kruise.io/v1beta1, kind: StatefulSet, metadata: {name: a}, spec: {reserveOrdinals: [1, "3-5", "7", "x", "9-2", -1]}}`, "apps.kruise.io/v1beta1", spread.Numbering{Reserved: []int32{1, 3, 4, 5, 7}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newWorld(t, tc.object).Numbering(t.Context(), onTarget(tc.apiVersion, "StatefulSet", "a"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatAnUpdateGivesUp(t *testing.T) {
	const set = `{apiVersion: apps.kruise.io/v1alpha1, kind: CloneSet, metadata: {name: a, generation: 2}, spec: {replicas: 10, updateStrategy: {%s}}, status: {observedGeneration: %d, updateRevision: a-7f, replicas: 10, updatedReplicas: 3}}`
	for name, tc := range map[string]struct {
		strategy string
		observed int
		want     spread.Turnover
	}{
		"re-created with surge":    {"maxSurge: 2", 2, spread.Turnover{Revision: "7f", GiveUp: 7}},
		"a surge in percent":       {"type: ReCreate, maxSurge: 20%", 2, spread.Turnover{Revision: "7f", GiveUp: 7}},
		"some are kept":            {"maxSurge: 2, partition: 4", 2, spread.Turnover{Revision: "7f", GiveUp: 3}},
		"a share is kept":          {"maxSurge: 2, partition: 45%", 2, spread.Turnover{Revision: "7f", GiveUp: 2}},
		"all are kept":             {"maxSurge: 2, partition: 9", 2, spread.Turnover{Revision: "7f"}},
		"no surge":                 {"type: ReCreate", 2, spread.Turnover{}},
		"in place only":            {"type: InPlaceOnly, maxSurge: 2", 2, spread.Turnover{}},
		"paused":                   {"maxSurge: 2, paused: true", 2, spread.Turnover{}},
		"a status of another spec": {"maxSurge: 2", 1, spread.Turnover{}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, fmt.Sprintf(set, tc.strategy, tc.observed))
			got, err := w.Turnover(t.Context(), onTarget("apps.kruise.io/v1alpha1", "CloneSet", "a"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got, err := newWorld(t).Turnover(t.Context(), onTarget("apps/v1", "Deployment", "a")); err != nil || got != (spread.Turnover{}) {
		t.Errorf("a Deployment: %v, %v", got, err)
	}
}

// TestOwnersOfCustomKindsAreAskedForOnce: a burst of pods costs one request an owner, not one a pod.
func TestOwnersOfCustomKindsAreAskedForOnce(t *testing.T) {
	yes := true
	w := newWorld(t,
		`{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: a, uid: r}}`,
		`{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: a-1, uid: rs, ownerReferences: [{apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: a, uid: r, controller: true}]}}`,
		`{apiVersion: apps.kruise.io/v1alpha1, kind: WorkloadSpread, metadata: {name: other}, spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: x}, subsets: [{name: s}]}}`,
	)
	pod := &corev1.Pod{}
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "a-1", UID: "rs", Controller: &yes}}
	find := func() {
		t.Helper()
		if m, err := w.Pod(t.Context(), "ns", pod); err != nil || m != nil {
			t.Fatalf("got %v, %v", m, err)
		}
	}
	for range 5 {
		find()
	}
	if w.reads != 1 {
		t.Errorf("%d requests for one owner", w.reads)
	}
	w.clock.SetTime(w.clock.Now().Add(linkLife))
	find()
	if w.reads != 2 {
		t.Errorf("%d requests after the answer has become old", w.reads)
	}
	for _, fail := range []error{apierrors.NewForbidden(schema.GroupResource{}, "a", nil), &meta.NoKindMatchError{}} {
		w.fail = fail
		w.clock.SetTime(w.clock.Now().Add(linkLife))
		find() // whoever may not be read holds up no pod
	}
	w.fail = apierrors.NewInternalError(errors.New("down"))
	w.clock.SetTime(w.clock.Now().Add(linkLife))
	if _, err := w.Pod(t.Context(), "ns", pod); err == nil {
		t.Error("an API server that is down is no answer")
	}
}

func TestLineage(t *testing.T) {
	const rs = `{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: %s, uid: %s, labels: {pod-template-hash: %s}, annotations: {deployment.kubernetes.io/revision: "%d"}, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: d, controller: true}]}}`
	objects := []string{
		`{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, uid: d}, spec: {replicas: 3}}`,
		fmt.Sprintf(rs, "web-old", "old", "h1", 9), fmt.Sprintf(rs, "web-new", "new", "h2", 10),
	}
	ws := onTarget("apps/v1", "Deployment", "web")
	pods := func(versions ...string) spread.View {
		v := spread.View{}
		for _, version := range versions {
			v.Pods = append(v.Pods, &spread.Pod{Active: true, Version: version})
		}
		return v
	}
	for name, tc := range map[string]struct {
		view spread.View
		want spread.Lineage
	}{
		"complete":            {pods("h2", "h2", "h2"), spread.Lineage{Latest: "h2", Settled: true}},
		"a rollout under way": {pods("h1", "h2", "h2"), spread.Lineage{Latest: "h2"}},
		"too few":             {pods("h2"), spread.Lineage{Latest: "h2"}},
		"not begun":           {pods("h1", "h1", "h1"), spread.Lineage{Latest: "h2"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newWorld(t, objects...).Lineage(t.Context(), ws, tc.view, true)
			if err != nil || got != tc.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
	alone := onTarget("apps/v1", "ReplicaSet", "web-old")
	if got, err := newWorld(t, objects...).Lineage(t.Context(), alone, pods("h1"), false); err != nil || got.Latest != "" {
		t.Errorf("a ReplicaSet's own pods are its latest: %+v, %v", got, err)
	}
}

func TestDemandOfAJob(t *testing.T) {
	for generation, want := range map[int64]ledger.Demand{1: {Replicas: 4, Generation: 1, Settled: true}, 2: {Generation: 2}} {
		w := newWorld(t, fmt.Sprintf(`{apiVersion: batch/v1, kind: Job, metadata: {name: a, uid: j, generation: %d}, spec: {parallelism: 4}}`, generation))
		got, err := w.Demand(t.Context(), ledger.Owner{Kind: workload.Job, Namespace: "ns", Name: "a", UID: "j"})
		if err != nil || got != want {
			t.Errorf("generation %d: %+v, %v; want %+v", generation, got, err, want)
		}
	}
}

func TestTheTemplateHasTheVolumesOfItsClaims(t *testing.T) {
	w := newWorld(t, `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a}, spec: {volumeClaimTemplates: [{metadata: {name: data}}], template: {spec: {containers: [{name: main, image: app}]}}}}`)
	got, err := w.Template(t.Context(), onTarget("apps/v1", "StatefulSet", "a"))
	if err != nil || got == nil || len(got.Spec.Volumes) != 1 || got.Spec.Volumes[0].Name != "data" {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := w.Template(t.Context(), onTarget("apps/v1", "StatefulSet", "gone")); err != nil || got != nil {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAnAllowListThatCannotBeUsedIsTold(t *testing.T) {
	var problems, changes int
	told := &recorder{}
	a := &AllowList{Recorder: told, Count: func(n int) { problems = n }, Changed: func() { changes++ }}
	cm := &corev1.ConfigMap{Data: map[string]string{workload.AllowListKey: `{"workloads":[{"Group":"x"},{"Group":"argoproj.io","Kind":"Rollout"}]}`}}
	a.Take(cm)
	a.Take(cm)
	if _, ok := a.Kinds().Target(schema.GroupKind{Group: "argoproj.io", Kind: "Rollout"}); !ok || problems != 1 || changes != 1 || len(told.events) != 1 {
		t.Errorf("known %t, %d problems, %d changes, events %v", ok, problems, changes, told.events)
	}
	a.Take(nil)
	if _, ok := a.Kinds().Target(schema.GroupKind{Group: "argoproj.io", Kind: "Rollout"}); ok || problems != 0 || changes != 2 {
		t.Errorf("after the ConfigMap is gone: known %t, %d problems, %d changes", ok, problems, changes)
	}
}

type recorder struct{ events []string }

func (r *recorder) Eventf(_, _ runtime.Object, _, reason, _, _ string, _ ...any) {
	r.events = append(r.events, reason)
}

func TestAStatusWriteIsTheLastChangeOnlyWhenItIsCertain(t *testing.T) {
	entry := func(subresource string, seconds int64) metav1.ManagedFieldsEntry {
		at := metav1.Unix(seconds, 0)
		return metav1.ManagedFieldsEntry{Subresource: subresource, Time: &at}
	}
	for name, tc := range map[string]struct {
		fields []metav1.ManagedFieldsEntry
		want   uint64
	}{
		"the status last":          {[]metav1.ManagedFieldsEntry{entry("", 5), entry("status", 6)}, 77},
		"within one second":        {[]metav1.ManagedFieldsEntry{entry("", 6), entry("status", 6)}, 0},
		"something else last":      {[]metav1.ManagedFieldsEntry{entry("", 7), entry("status", 6)}, 0},
		"no status yet":            {[]metav1.ManagedFieldsEntry{entry("", 7)}, 0},
		"changes without a time":   {[]metav1.ManagedFieldsEntry{{Subresource: "status"}}, 0},
		"nothing is known of them": {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			rs := &metav1.PartialObjectMetadata{}
			rs.ResourceVersion, rs.ManagedFields = "77", tc.fields
			if got := statusWritten(rs); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestPodsAreNotAdoptedWhereSpillwayIsKeptAway(t *testing.T) {
	const pod = `{apiVersion: v1, kind: Pod, metadata: {name: %s, uid: %s, labels: {app: web%s}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web, uid: rs, controller: true}]}, spec: {nodeName: node-1, containers: [{name: main, image: app}]}}`
	objects := []string{
		`{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web, uid: rs}, spec: {replicas: 2, selector: {matchLabels: {app: web}}}}`,
		fmt.Sprintf(pod, "a", "a", ""), fmt.Sprintf(pod, "b", "b", ", spillway-project.io/admission: disabled"),
	}
	ws := onTarget("apps/v1", "ReplicaSet", "web")
	ws.Spec.Subsets = []appsv1alpha1.WorkloadSpreadSubset{{Name: "own"}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}
	for name, tc := range map[string]struct {
		away bool
		want int
	}{"one of two opted out": {false, 1}, "the namespace did": {true, 0}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, objects...)
			if err := w.Live.(client.Client).Create(t.Context(), node.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			w.Away = func(context.Context, string) (bool, error) { return tc.away, nil }
			got, err := (&Pods{Pods: state.NewPods(state.Listener{}), Resolver: w.Resolver, Stem: func() string { return "stem0001" }}).Adoptions(t.Context(), ws)
			if err != nil || len(got) != tc.want {
				t.Errorf("got %d adoptions, %v; want %d", len(got), err, tc.want)
			}
		})
	}
}
