package state

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

var key = types.NamespacedName{Namespace: "ns", Name: "ws"}

func pod(name string, revision int, change ...func(*corev1.Pod)) *corev1.Pod {
	yes := true
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: name, UID: types.UID(name), ResourceVersion: fmt.Sprint(revision),
		Labels:          map[string]string{"pod-template-hash": "h1"},
		Annotations:     map[string]string{v1alpha1.AnnotationMatched: v1alpha1.Record{Name: "ws", Subset: "own", UID: "token-" + name}.Encode()},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "rs", UID: "rs", Controller: &yes}},
	}}
	for _, c := range change {
		c(p)
	}
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheViewFollowsTheWatch(t *testing.T) {
	told := 0
	p := NewPods(func(types.NamespacedName) { told++ })
	if p.Synced() {
		t.Error("synced before the first list")
	}
	must(t, p.Replace([]any{pod("a", 3), pod("b", 5)}, "10"))
	if v := p.View(key); !p.Synced() || v.Revision != 10 || len(v.Pods) != 2 {
		t.Errorf("after the list: %+v", v)
	}
	must(t, p.Add(pod("c", 11)))
	must(t, p.Update(pod("a", 12, func(p *corev1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now })))
	if v := p.View(key); v.Revision != 12 || v.Active("h1") != 2 || len(v.Pods) != 3 {
		t.Errorf("a pod came, one is terminating: %+v", v)
	}
	must(t, p.Delete(pod("a", 13)))
	must(t, p.Bookmark("20"))
	if v := p.View(key); v.Revision != 20 || len(v.Pods) != 3 || v.Active("h1") != 2 {
		t.Errorf("after a deletion and a bookmark: %+v", v)
	}
	if told != 4 {
		t.Errorf("told %d times of 4 changes", told)
	}
	must(t, p.Update(pod("b", 21)))
	if told != 4 {
		t.Error("told of an update that changes nothing we keep")
	}
}

func TestARelistIsAllThereIs(t *testing.T) {
	p := NewPods(nil)
	must(t, p.Replace([]any{pod("a", 3), pod("b", 5)}, "10"))
	must(t, p.Replace([]any{pod("b", 5), pod("c", 12)}, "15"))
	v := p.View(key)
	names := map[string]bool{}
	for _, pod := range v.Pods {
		if pod.Active {
			names[pod.Name] = true
		}
	}
	if v.Revision != 15 || len(names) != 2 || names["a"] {
		t.Errorf("got %v at %d", names, v.Revision)
	}
}

func TestChangesWakeWhoWaits(t *testing.T) {
	p := NewPods(nil)
	changed := p.Changed(key)
	other := p.Changed(types.NamespacedName{Namespace: "ns", Name: "other"})
	must(t, p.Add(pod("a", 3)))
	select {
	case <-changed:
	default:
		t.Error("not woken")
	}
	select {
	case <-other:
		t.Error("woken by another's pod")
	default:
	}
}

func TestFromPod(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(*corev1.Pod)
		key     types.NamespacedName
		version string
		active  bool
	}{
		"placed":                     {func(*corev1.Pod) {}, key, "h1", true},
		"ended":                      {func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, key, "h1", false},
		"without a controller":       {func(p *corev1.Pod) { p.OwnerReferences = nil }, types.NamespacedName{}, "versionIgnored", true},
		"without a record":           {func(p *corev1.Pod) { p.Annotations = nil }, types.NamespacedName{}, "h1", true},
		"of a kind without versions": {func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "Job" }, key, "versionIgnored", true},
		"of an Argo Rollout":         {func(p *corev1.Pod) { p.Labels = map[string]string{"rollouts-pod-template-hash": "h2"} }, key, "h2", true},
		"of a ReplicaSet by itself":  {func(p *corev1.Pod) { p.Labels = nil }, key, "versionIgnored", true},
	} {
		t.Run(name, func(t *testing.T) {
			k, got := FromPod(pod("a", 1, tc.change))
			if k != tc.key || got.Version != tc.version || got.Active != tc.active {
				t.Errorf("got %v, %+v", k, got)
			}
		})
	}
}

// TestAPodThatWentIsRememberedByItsToken: it may have come and gone between two commits.
func TestAPodThatWentIsRememberedByItsToken(t *testing.T) {
	p := NewPods(nil)
	for n := range 2 * goneKept {
		must(t, p.Add(pod(fmt.Sprint("p", n), 2*n+1)))
		must(t, p.Delete(pod(fmt.Sprint("p", n), 2*n+2)))
	}
	v := p.View(key)
	if len(v.Pods) != goneKept {
		t.Fatalf("%d pods are remembered, want %d", len(v.Pods), goneKept)
	}
	for _, got := range v.Pods {
		if got.Active || got.Name != "" || got.Token == "" {
			t.Errorf("got %+v: want a token without a name, which a new pod may have, and not active", got)
		}
	}
}
