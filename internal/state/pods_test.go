package state

import (
	"fmt"
	"maps"
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
	p := NewPods(Listener{Changed: func(types.NamespacedName) { told++ }})
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
	p := NewPods(Listener{})
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
	p := NewPods(Listener{})
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
	p := NewPods(Listener{})
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

func TestTroubleIsWhyAPodThatNeverRanDoesNotStart(t *testing.T) {
	at := metav1.Unix(1000, 0)
	verdict := func(status corev1.ConditionStatus, reason string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodPending
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: status, Reason: reason, Message: "no room", LastTransitionTime: at}}
		}
	}
	onNode := func(p *corev1.Pod) { p.Spec.NodeName = "n" }
	refused := func(p *corev1.Pod) { p.Status.Phase, p.Status.Reason = corev1.PodPending, "ProviderFailed" }
	container := func(state corev1.ContainerState) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Status.InitContainerStatuses = []corev1.ContainerStatus{{State: state}} }
	}
	unschedulable := verdict(corev1.ConditionFalse, "Unschedulable")
	for name, tc := range map[string]struct {
		change []func(*corev1.Pod)
		want   int64
	}{
		"no node fits":   {[]func(*corev1.Pod){unschedulable}, 1000},
		"a gate":         {[]func(*corev1.Pod){verdict(corev1.ConditionFalse, "SchedulingGated")}, 0},
		"scheduled":      {[]func(*corev1.Pod){verdict(corev1.ConditionTrue, "")}, 0},
		"from below":     {[]func(*corev1.Pod){unschedulable, onNode}, 1000},
		"refused":        {[]func(*corev1.Pod){verdict(corev1.ConditionTrue, ""), onNode, refused}, 1000},
		"no node yet":    {[]func(*corev1.Pod){verdict(corev1.ConditionTrue, ""), refused}, 0},
		"on a node":      {[]func(*corev1.Pod){verdict(corev1.ConditionTrue, ""), onNode}, 0},
		"it runs":        {[]func(*corev1.Pod){unschedulable, onNode, container(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})}, 0},
		"it ran":         {[]func(*corev1.Pod){onNode, refused, container(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}})}, 0},
		"it waits":       {[]func(*corev1.Pod){unschedulable, onNode, container(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}})}, 1000},
		"terminating":    {[]func(*corev1.Pod){unschedulable, func(p *corev1.Pod) { p.DeletionTimestamp = &at }}, 0},
		"nothing known":  {nil, 0},
		"already failed": {[]func(*corev1.Pod){unschedulable, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if _, got := FromPod(pod("a", 1, tc.change...)); got.Trouble.Since != tc.want {
				t.Errorf("got %+v", got.Trouble)
			}
		})
	}
}

func TestWhoseCostItIs(t *testing.T) {
	const cost, ours = v1alpha1.PodDeletionCost, v1alpha1.AnnotationDeletionCost
	for name, tc := range map[string]struct {
		annotations map[string]string
		token       string
		ours        bool
	}{
		"none":                                {nil, "s0000001", false},
		"written by Spillway":                 {map[string]string{cost: "200", ours: "200"}, "s0000001", true},
		"the user's":                          {map[string]string{cost: "200"}, "s0000001", false},
		"changed by the user":                 {map[string]string{cost: "7", ours: "200"}, "s0000001", false},
		"written by OpenKruise":               {map[string]string{cost: "-100"}, "9c5b94b1-35ad-49bb-b118-8e8fc24abf80", true},
		"on a pod that OpenKruise adopted":    {map[string]string{cost: "100"}, "", true},
		"the user's on a pod of OpenKruise's": {map[string]string{cost: "150"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := FromPod(pod("a", 1, func(p *corev1.Pod) {
				maps.Copy(p.Annotations, tc.annotations)
				p.Annotations[v1alpha1.AnnotationMatched] = v1alpha1.Record{Name: "ws", Subset: "own", UID: tc.token}.Encode()
			}))
			if got.Cost.Ours != tc.ours || !got.Cost.Heeded {
				t.Errorf("got %+v", got.Cost)
			}
		})
	}
	if _, got := FromPod(pod("a", 1, func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "Job"; p.OwnerReferences[0].APIVersion = "batch/v1" })); got.Cost.Heeded {
		t.Error("a Job does not heed the cost")
	}
}

func TestStraysAreRunningPodsWithoutARecord(t *testing.T) {
	var told []types.UID
	p := NewPods(Listener{Strayed: func(s Stray) { told = append(told, s.UID) }})
	stray := func(p *corev1.Pod) { p.Annotations, p.Spec.NodeName = nil, "n" }
	must(t, p.Replace([]any{pod("recorded", 1), pod("a", 2, stray), pod("waiting", 3, func(p *corev1.Pod) { p.Annotations = nil })}, "10"))
	must(t, p.Update(pod("waiting", 11, stray)))
	must(t, p.Update(pod("waiting", 12, stray)))
	if len(told) != 2 || len(p.Strays("ns")) != 2 {
		t.Errorf("told of %v; strays %v", told, p.Strays("ns"))
	}
	must(t, p.Update(pod("a", 13)))
	must(t, p.Delete(pod("waiting", 14)))
	if got := p.Strays("ns"); len(got) != 0 {
		t.Errorf("one has a record now, the other is gone: %v", got)
	}
}
