package resolve

import (
	"slices"
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/provider"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/state"
)

// bare is a pod on a virtual node whose annotations are gone.
func bare(t *testing.T, name, more string) *corev1.Pod {
	return object[corev1.Pod](t, `{metadata: {name: `+name+`, namespace: ns, uid: `+name+`, resourceVersion: "5", labels: {app: web, pod-template-hash: h1},
		ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-1, uid: rs, controller: true}]},
		spec: {nodeName: vk, affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: other, operator: Exists}, {key: vk, operator: Exists}]}]}}}}`+more+`}`)
}

func TestPodsAreKnownByTheirPin(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, appsv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	ws := virtualThenOwn(t, "")
	ws.Spec.TargetReference = &appsv1alpha1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}
	rs := object[appsv1.ReplicaSet](t, `{metadata: {name: web-1, namespace: ns, uid: rs, labels: {pod-template-hash: h1}, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: d, controller: true}]}, spec: {selector: {matchLabels: {app: web}}}}`)
	web := object[appsv1.Deployment](t, `{metadata: {name: web, namespace: ns, uid: d}, spec: {selector: {matchLabels: {app: web}}}}`)
	foreign := object[appsv1.ReplicaSet](t, `{metadata: {name: other, namespace: ns, uid: other}}`)
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(ws, rs, web, foreign, virtualNode(t, "vk", "True", "")).Build()
	watched := state.NewPods(state.Listener{})
	pods := &Pods{
		Pods: watched, Resolver: &Resolver{Cache: c, Live: c},
		Sites: &Sites{Reader: c, Live: c, Catalog: provider.NewCatalog(nil), Outage: v1alpha1.OutageReplace, Clock: clock.RealClock{}},
	}
	key := types.NamespacedName{Namespace: "ns", Name: "ws"}

	unlabelled := bare(t, "unlabelled", "")
	unlabelled.Labels = nil
	notOurs := bare(t, "not-ours", "")
	notOurs.OwnerReferences[0].Name, notOurs.OwnerReferences[0].UID = "other", "other"
	elsewhere := bare(t, "elsewhere", "")
	elsewhere.Spec.NodeName = "own"
	unpinned := bare(t, "unpinned", "")
	unpinned.Spec.Affinity = nil
	recorded := bare(t, "recorded", "")
	recorded.Annotations = map[string]string{v1alpha1.AnnotationMatched: v1alpha1.Record{Name: "ws", Subset: "virtual", UID: "t"}.Encode()}
	all := []*corev1.Pod{bare(t, "pinned", ""), unlabelled, notOurs, elsewhere, unpinned, recorded}
	list := &corev1.PodList{}
	list.ResourceVersion = "9"
	for _, p := range all {
		if err := watched.Add(p); err != nil {
			t.Fatal(err)
		}
		list.Items = append(list.Items, *p)
	}
	want := []string{"pinned", "recorded", "unlabelled"}
	check := func(what string, v spread.View, want []string) {
		t.Helper()
		var got []string
		for _, p := range v.Pods {
			if p.Subset == "virtual" {
				got = append(got, p.Name)
			}
			if p.Subset == "virtual" && p.Version != "h1" {
				t.Errorf("%s: pod %s is of version %s", what, p.Name, p.Version)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	check("the view", pods.View(key), want)
	// A record that an adoption wrote, and that was overwritten again.
	again := bare(t, "pinned", "")
	again.Annotations = map[string]string{v1alpha1.AnnotationMatched: v1alpha1.Record{Name: "ws", Subset: "virtual", UID: "adopted"}.Encode()}
	for _, p := range []*corev1.Pod{again, bare(t, "pinned", "")} {
		if err := watched.Update(p); err != nil {
			t.Fatal(err)
		}
	}
	counted := slices.DeleteFunc(pods.View(key).Pods, func(p *spread.Pod) bool { return !p.Active })
	check("the view of an adopted pod", spread.View{Pods: counted}, want)
	if v := (&Pods{Pods: watched, Resolver: pods.Resolver}).View(key); v.Active("h1") != 1 {
		t.Errorf("without virtual nodes: %d pods", v.Active("h1"))
	}
	v, err := pods.viewOf(list, func(_ types.NamespacedName, p *spread.Pod) bool { return p.Owner == "rs" })
	if err == nil {
		err = pods.addPinned(t.Context(), ws, &v, strays(list, watched))
	}
	if err != nil {
		t.Fatal(err)
	}
	check("a list of the owner's pods", v, want)
	if len(v.Pods) != 5 {
		t.Errorf("the list has %d pods, of 5", len(v.Pods))
	}
}
