package resolve

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/provider"
)

func object[T any](t *testing.T, text string) *T {
	t.Helper()
	o := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// sitesOf is over a model of the API server with the given objects, and a clock.
func sitesOf(t *testing.T, f interceptor.Funcs, objects ...client.Object) (*Sites, *testclock.FakeClock) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(f).Build()
	now := testclock.NewFakeClock(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	return &Sites{Reader: c, Live: c, Catalog: provider.NewCatalog(nil), Outage: v1alpha1.OutageReplace, Clock: now}, now
}

func virtualNode(t *testing.T, name, ready, more string) *corev1.Node {
	return object[corev1.Node](t, `{metadata: {name: `+name+`, labels: {type: virtual-kubelet, vk: "true", zone: b}}, status: {conditions: [{type: Ready, status: "`+ready+`"}]`+more+`}}`)
}

func virtualThenOwn(t *testing.T, annotations string) *appsv1alpha1.WorkloadSpread {
	return object[appsv1alpha1.WorkloadSpread](t, `{metadata: {name: ws, namespace: ns, uid: ws, annotations: {`+annotations+`}}, spec: {subsets: [
		{name: virtual, requiredNodeSelectorTerm: {matchExpressions: [{key: vk, operator: Exists}]}},
		{name: own, requiredNodeSelectorTerm: {matchExpressions: [{key: own, operator: Exists}]}}]}}`)
}

func TestWhatTheNodesOfSubsetsAre(t *testing.T) {
	const hold = "spillway-project.io/outage: Hold"
	for name, tc := range map[string]struct {
		nodes       []string // readiness of the virtual nodes
		annotations string
		hold, down  bool
	}{
		"ready":                              {nodes: []string{"True"}},
		"one of two is ready":                {nodes: []string{"False", "True"}},
		"none is ready":                      {nodes: []string{"False", "Unknown"}, down: true},
		"none is ready, which is sat out":    {nodes: []string{"False"}, annotations: hold, hold: true},
		"the spread says replace":            {nodes: []string{"False"}, annotations: "spillway-project.io/outage: Replace", down: true},
		"a mode that was never let in":       {nodes: []string{"False"}, annotations: "spillway-project.io/outage: Nap", down: true},
		"named by annotation, without nodes": {annotations: `spillway-project.io/virtual-subsets: '{"virtual":"kosmos"}', ` + hold, hold: true},
		"a node comes with each pod":         {annotations: `spillway-project.io/virtual-subsets: '{"virtual":"aws-fargate"}'`, nodes: []string{"False"}},
		"named by annotation, none is ready": {annotations: `spillway-project.io/virtual-subsets: '{"virtual":"kosmos"}'`, nodes: []string{"False"}, down: true},
	} {
		t.Run(name, func(t *testing.T) {
			var nodes []client.Object
			for i, ready := range tc.nodes {
				nodes = append(nodes, virtualNode(t, string(rune('a'+i)), ready, ""))
			}
			s, _ := sitesOf(t, interceptor.Funcs{}, nodes...)
			got, err := s.Of(t.Context(), virtualThenOwn(t, tc.annotations))
			if err != nil || len(got) != 2 || got[0].Profile == nil || got[1].Profile != nil {
				t.Fatalf("got %+v, %v", got, err)
			}
			if got[0].Hold != tc.hold || got[0].Down != tc.down || got[1].Hold || got[1].Down {
				t.Errorf("got hold %v, down %v", got[0].Hold, got[0].Down)
			}
			ground := Ground(got)
			if len(ground[0].Nodes) != len(tc.nodes) || ground[0].Down != tc.down || ground[1].Nodes != nil {
				t.Errorf("ground: %+v", ground)
			}
		})
	}
	if got, err := (*Sites)(nil).Of(t.Context(), virtualThenOwn(t, "")); got != nil || err != nil {
		t.Errorf("without virtual nodes: %+v, %v", got, err)
	}
}

// TestNodesAreComparedOnceASecond, and anew for an annotation that changes.
func TestNodesAreComparedOnceASecond(t *testing.T) {
	lists := 0
	s, now := sitesOf(t, interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, o ...client.ListOption) error {
		lists++
		return c.List(ctx, l, o...)
	}}, virtualNode(t, "vk", "True", ""))
	look := func(annotations string, want int) {
		t.Helper()
		if _, err := s.Of(t.Context(), virtualThenOwn(t, annotations)); err != nil || lists != want {
			t.Errorf("%d lists, want %d; %v", lists, want, err)
		}
	}
	look("", 1)
	look("", 1)
	look("spillway-project.io/outage: Hold", 2)
	now.Step(time.Second)
	look("", 3)
}

func TestWhichSubsetsCannotTakeAPod(t *testing.T) {
	const claim = `{metadata: {name: data, namespace: ns}, spec: {storageClassName: disk}}`
	bound := object[corev1.PersistentVolumeClaim](t, `{metadata: {name: data, namespace: ns}, spec: {volumeName: pv}}`)
	in := func(zone string) *corev1.PersistentVolume {
		return object[corev1.PersistentVolume](t, `{metadata: {name: pv}, spec: {nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [`+zone+`]}]}]}}}}`)
	}
	class := func(mode string) *storagev1.StorageClass {
		return object[storagev1.StorageClass](t, `{metadata: {name: disk}, provisioner: p, volumeBindingMode: `+mode+`}`)
	}
	withClaim := `{volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]}`
	ready := virtualNode(t, "vk", "True", `, allocatable: {example.com/fpga: "1"}`)
	for name, tc := range map[string]struct {
		pod     string
		objects []client.Object
		want    v1alpha1.Reason
	}{
		"nothing in the way":                     {`{}`, []client.Object{ready}, ""},
		"a path of the node":                     {`{volumes: [{name: v, hostPath: {path: /var}}]}`, []client.Object{ready}, v1alpha1.ReasonHostPath},
		"nodes that are down":                    {`{hostNetwork: true}`, []client.Object{virtualNode(t, "vk", "False", "")}, v1alpha1.ReasonNodesNotReady},
		"a resource that the nodes offer":        {`{containers: [{name: a, resources: {limits: {example.com/fpga: 1}}}]}`, []client.Object{ready}, ""},
		"a resource that they lack":              {`{containers: [{name: a, resources: {limits: {example.com/other: 1}}}]}`, []client.Object{ready}, v1alpha1.ReasonResourceMissing},
		"a volume in their zone":                 {withClaim, []client.Object{ready, bound, in("b")}, ""},
		"a volume in another zone":               {withClaim, []client.Object{ready, bound, in("a")}, v1alpha1.ReasonVolumeElsewhere},
		"a volume for any node":                  {withClaim, []client.Object{ready, bound, object[corev1.PersistentVolume](t, `{metadata: {name: pv}}`)}, ""},
		"a volume that is gone":                  {withClaim, []client.Object{ready, bound}, ""},
		"a claim that waits for its pod":         {withClaim, []client.Object{ready, object[corev1.PersistentVolumeClaim](t, claim), class("WaitForFirstConsumer")}, ""},
		"a claim that is bound at once":          {withClaim, []client.Object{ready, object[corev1.PersistentVolumeClaim](t, claim), class("Immediate")}, v1alpha1.ReasonVolumeImmediate},
		"a claim of a class that nobody knows":   {withClaim, []client.Object{ready, object[corev1.PersistentVolumeClaim](t, claim)}, ""},
		"a claim that does not exist yet":        {withClaim, []client.Object{ready}, ""},
		"a claim without a class":                {withClaim, []client.Object{ready, object[corev1.PersistentVolumeClaim](t, `{metadata: {name: data, namespace: ns}}`)}, ""},
		"a volume elsewhere, and no node by now": {withClaim, []client.Object{bound, in("a")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := sitesOf(t, interceptor.Funcs{}, tc.objects...)
			ws := virtualThenOwn(t, `spillway-project.io/virtual-subsets: '{"virtual":"generic"}'`)
			sites, err := s.Of(t.Context(), ws)
			if err != nil {
				t.Fatal(err)
			}
			pod := &corev1.Pod{Spec: *object[corev1.PodSpec](t, tc.pod)}
			bars, err := s.Bars(t.Context(), ws, sites, "ns", pod)
			if err != nil || Reasons(bars)["virtual"] != tc.want || len(bars) > 1 || (tc.want != "") != (bars["virtual"].Message != "") {
				t.Errorf("got %v, %v, want %q", bars, err, tc.want)
			}
		})
	}
}

// TestTheLastSubsetIsNotBarredByAnOutage: it takes what the others cannot.
func TestTheLastSubsetIsNotBarredByAnOutage(t *testing.T) {
	s, _ := sitesOf(t, interceptor.Funcs{}, virtualNode(t, "vk", "False", ""))
	ws := virtualThenOwn(t, "")
	slices.Reverse(ws.Spec.Subsets)
	sites, err := s.Of(t.Context(), ws)
	if err != nil || !sites[1].Down {
		t.Fatalf("got %+v, %v", sites, err)
	}
	bars, err := s.Bars(t.Context(), ws, sites, "ns", &corev1.Pod{})
	if err != nil || len(bars) > 0 {
		t.Errorf("got %v, %v", slices.Collect(maps.Keys(bars)), err)
	}
}

// TestAClaimThatMayNotBeReadHoldsNobodyUp, but an API server that does not answer does: the failure policy decides.
func TestAClaimThatMayNotBeReadHoldsNobodyUp(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"not allowed": {apierrors.NewForbidden(schema.GroupResource{Resource: "persistentvolumeclaims"}, "data", nil), false},
		"not there":   {errors.New("no answer"), true},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := sitesOf(t, interceptor.Funcs{Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
				return tc.err
			}},
				virtualNode(t, "vk", "True", ""))
			ws := virtualThenOwn(t, "")
			sites, err := s.Of(t.Context(), ws)
			if err != nil {
				t.Fatal(err)
			}
			pod := &corev1.Pod{Spec: *object[corev1.PodSpec](t, `{volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]}`)}
			if _, err := s.Bars(t.Context(), ws, sites, "ns", pod); (err != nil) != tc.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestAPodIsNotKeptOffEveryNode: it could never run, long after they have recovered.
func TestAPodIsNotKeptOffEveryNode(t *testing.T) {
	site := Site{}
	site.Nodes = []*corev1.Node{virtualNode(t, "b", "True", ""), virtualNode(t, "a", "True", ""), virtualNode(t, "c", "True", "")}
	for _, tc := range []struct{ nodes, want []string }{
		{nil, nil},
		{[]string{"gone"}, nil},
		{[]string{"a", "b", "gone"}, []string{"a", "b"}},
		{[]string{"a", "b", "c"}, nil},
		{[]string{"a", "c"}, []string{"a", "c"}},
	} {
		if got := site.Avoidable(tc.nodes); !slices.Equal(got, tc.want) {
			t.Errorf("of %v: %v, want %v", tc.nodes, got, tc.want)
		}
	}
	site.Nodes[0] = virtualNode(t, "b", "False", "") // the last one that is left
	if got := site.Avoidable([]string{"a", "c"}); got != nil {
		t.Errorf("with none that is ready: %v", got)
	}
}
