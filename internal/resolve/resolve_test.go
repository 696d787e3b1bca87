package resolve

import (
	"errors"
	"strings"
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/workload"
)

func web(replicas *int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "d"},
		Spec:       appsv1.DeploymentSpec{Replicas: replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	}
}

func resolver(t *testing.T, objects ...client.Object) *Resolver {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
	return &Resolver{Cache: c, Live: c}
}

func spreadOn(kind string, paths ...string) *appsv1alpha1.WorkloadSpread {
	ws := &appsv1alpha1.WorkloadSpread{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "ws"}}
	ws.Spec.TargetReference = &appsv1alpha1.TargetReference{APIVersion: "apps/v1", Kind: kind, Name: "web"}
	if paths != nil {
		ws.Spec.TargetFilter = &appsv1alpha1.TargetFilter{ReplicasPathList: paths}
	}
	return ws
}

func TestReplicas(t *testing.T) {
	seven := int32(7)
	for name, tc := range map[string]struct {
		objects []client.Object
		ws      *appsv1alpha1.WorkloadSpread
		want    int32
		err     string
	}{
		"of a Deployment":        {[]client.Object{web(&seven)}, spreadOn("Deployment"), 7, ""},
		"by default one":         {[]client.Object{web(nil)}, spreadOn("Deployment"), 1, ""},
		"of what is gone":        {nil, spreadOn("Deployment"), 0, ""},
		"summed over paths":      {[]client.Object{web(&seven)}, spreadOn("Deployment", "spec.replicas", "spec.replicas"), 14, ""},
		"at a path of no field":  {[]client.Object{web(&seven)}, spreadOn("Deployment", "spec.nothing"), 0, `there is no field "nothing"`},
		"at a path to an object": {[]client.Object{web(&seven)}, spreadOn("Deployment", "spec.selector"), 0, "not an integer"},
		"through a scalar":       {[]client.Object{web(&seven)}, spreadOn("Deployment", "spec.replicas.x"), 0, "leads into"},
		"of an unknown kind":     {nil, spreadOn("Thing"), 0, "not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := resolver(t, tc.objects...).Replicas(t.Context(), tc.ws)
			if tc.err == "" {
				if err != nil || got != tc.want {
					t.Errorf("got %d, %v; want %d", got, err, tc.want)
				}
				return
			}
			if !errors.Is(err, ledger.ErrInvalid) || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got %v, want a permanent error with %q", err, tc.err)
			}
		})
	}
}

func TestDemandIsSettledWhenItsControllerHasActed(t *testing.T) {
	three := int32(3)
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web-1", UID: "rs", Generation: 2}, Spec: appsv1.ReplicaSetSpec{Replicas: &three}}
	rs.Status.ObservedGeneration = 1
	owner := ledger.Owner{Kind: workload.ReplicaSet, Namespace: "ns", Name: "web-1", UID: "rs"}
	if d, err := resolver(t, rs).Demand(t.Context(), owner); err != nil || d.Settled || d.Replicas != 3 {
		t.Errorf("not acted on yet: got %+v, %v", d, err)
	}
	rs.Status.ObservedGeneration = 2
	if d, err := resolver(t, rs).Demand(t.Context(), owner); err != nil || !d.Settled {
		t.Errorf("acted on: got %+v, %v", d, err)
	}
	owner.UID = "another"
	if _, err := resolver(t, rs).Demand(t.Context(), owner); err == nil {
		t.Error("another ReplicaSet of the same name was taken for the owner")
	}
}

// TestAnOwnerThatCreatesAPodWantsOne: a cache that says otherwise is behind, and 0 would stand for
// "unknown".
func TestAnOwnerThatCreatesAPodWantsOne(t *testing.T) {
	rs := func(n int32) *appsv1.ReplicaSet {
		return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web-1", UID: "rs"}, Spec: appsv1.ReplicaSetSpec{Replicas: &n}}
	}
	match := &Match{Kind: workload.Kind{Demand: true}, Owner: ledger.Owner{Kind: workload.ReplicaSet, Namespace: "ns", Name: "web-1", UID: "rs"}}
	for name, tc := range map[string]struct {
		objects []client.Object
		want    int32
	}{
		"three":                  {[]client.Object{rs(3)}, 3},
		"none, before it scaled": {[]client.Object{rs(0)}, 1},
		"not in the cache yet":   {nil, 1},
	} {
		if got := resolver(t, tc.objects...).cachedDemand(t.Context(), match); got != tc.want {
			t.Errorf("%s: got %d, want %d", name, got, tc.want)
		}
	}
}

func FuzzIntAt(f *testing.F) {
	f.Add("spec.replicas")
	f.Add("a.0.b")
	f.Add("..")
	f.Fuzz(func(_ *testing.T, path string) {
		// No path may panic, whatever it leads through.
		_, _ = intAt(map[string]any{"spec": map[string]any{"replicas": int64(1)}, "a": []any{map[string]any{"b": "c"}}}, path)
	})
}
