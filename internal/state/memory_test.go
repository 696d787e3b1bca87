package state

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/workload"
)

// virtual: the pod runs on a virtual node, and carries what that takes.
func virtual(p *corev1.Pod) {
	p.Spec.NodeName = "vk"
	p.Labels["virtual-pod"] = "true"
	record := clusterselector.Record{Annotation: "clusterSelector", Added: clusterselector.Added{
		Labels: map[string]string{"virtual-pod": "true"}, Annotations: map[string]string{"elect": ""}}}
	maps.Copy(p.Annotations, map[string]string{"clusterSelector": "{}", "elect": "", clusterselector.AnnotationRecord: record.Encode(), "their": "own"})
}

func stripped(p *corev1.Pod) { p.Annotations = map[string]string{"from": "below"} }

func unlabelled(p *corev1.Pod) { p.Labels = nil }

func only(t *testing.T, p *Pods) *spread.Pod {
	t.Helper()
	v := p.View(key)
	if len(v.Pods) != 1 {
		t.Fatalf("the view has %d pods", len(v.Pods))
	}
	return v.Pods[0]
}

func TestAPodIsKnownAfterItsMetadataWasOverwritten(t *testing.T) {
	told := 0
	p := NewPods(Listener{Strayed: func(Stray) { told++ }})
	must(t, p.Add(pod("a", 1, virtual)))
	before := *only(t, p)
	must(t, p.Update(pod("a", 2, virtual, stripped, unlabelled)))
	got := only(t, p)
	if got.Subset != before.Subset || got.Token != before.Token || got.Version != before.Version || !got.Lost || before.Lost {
		t.Errorf("got %+v, before %+v", got, before)
	}
	lost := p.Lost(key)
	want := map[string]string{
		v1alpha1.AnnotationMatched: pod("a", 1).Annotations[v1alpha1.AnnotationMatched], "clusterSelector": "{}", "elect": "",
		clusterselector.AnnotationRecord: pod("a", 1, virtual).Annotations[clusterselector.AnnotationRecord],
	}
	if len(lost) != 1 || !maps.Equal(lost[0].Annotations, want) || !maps.Equal(lost[0].Labels, map[string]string{"virtual-pod": "true"}) {
		t.Errorf("lost %+v", lost)
	}
	if told > 0 || len(p.Strays("ns")) > 0 {
		t.Error("it is taken for a stray")
	}
	if at, facts := p.Facts(pod("a", 3, virtual, stripped)); at != key || facts.Subset != "own" {
		t.Errorf("in a live list: %v, %+v", at, facts)
	}
	// A relist that is as poor brings it back; one without it forgets it.
	must(t, p.Replace([]any{pod("a", 4, virtual, stripped)}, "10"))
	if got := only(t, p); got.Subset != "own" {
		t.Errorf("after a relist: %+v", got)
	}
	must(t, p.Update(pod("a", 11, virtual)))
	if got := only(t, p); got.Lost || len(p.Lost(key)) > 0 {
		t.Errorf("repaired: %+v, lost %v", got, p.Lost(key))
	}
	must(t, p.Replace(nil, "20"))
	if len(p.memory) > 0 {
		t.Error("a pod that is gone is remembered")
	}
	must(t, p.Add(pod("a", 21, virtual)))
	must(t, p.Delete(pod("a", 22, virtual, stripped)))
	if len(p.memory) > 0 || len(p.Lost(key)) > 0 {
		t.Error("a pod that was deleted is remembered")
	}
}

// TestPodsOnOwnNodesAreNotRemembered: nobody overwrites their metadata, and who removes a record means it.
func TestPodsOnOwnNodesAreNotRemembered(t *testing.T) {
	p := NewPods(Listener{})
	must(t, p.Add(pod("a", 1, func(p *corev1.Pod) { p.Spec.NodeName = "n" })))
	must(t, p.Update(pod("a", 2, func(p *corev1.Pod) { p.Spec.NodeName = "n" }, stripped)))
	if v := p.View(key); len(p.memory) > 0 || v.Active("h1") > 0 || len(p.Strays("ns")) != 1 {
		t.Errorf("got %+v", v)
	}
}

// TestPartOfTheMetadataIsLost: the record is there, the label of the version and the constraints are not.
func TestPartOfTheMetadataIsLost(t *testing.T) {
	p := NewPods(Listener{})
	must(t, p.Add(pod("a", 1, virtual)))
	must(t, p.Update(pod("a", 2, virtual, unlabelled, func(p *corev1.Pod) {
		delete(p.Annotations, "clusterSelector")
		p.Annotations[v1alpha1.AnnotationMatched] = v1alpha1.Record{Name: "ws", Subset: "own", UID: "token-new"}.Encode()
	})))
	if got := only(t, p); got.Version != "h1" || got.Token != "token-new" || !got.Lost {
		t.Errorf("got %+v", got)
	}
	must(t, p.Update(pod("a", 3, virtual, stripped)))
	if lost := p.Lost(key); len(lost) != 1 || lost[0].Annotations["clusterSelector"] != "{}" || only(t, p).Token != "token-new" {
		t.Errorf("then %+v", lost)
	}
	if _, facts := FromPod(pod("a", 3, virtual, unlabelled)); facts.Version != workload.VersionIgnored {
		t.Error("a pod without labels has a version by itself")
	}
}

// TestAnAdoptedPodIsRemembered: it may be on a virtual node, where nothing was written at its creation.
func TestAnAdoptedPodIsRemembered(t *testing.T) {
	p := NewPods(Listener{})
	adopted := func(pod *corev1.Pod) {
		pod.Spec.NodeName = "vk"
		pod.Annotations = map[string]string{v1alpha1.AnnotationMatched: v1alpha1.Record{Name: "ws", Subset: "own", UID: spread.AdoptionStem(pod.UID) + "1"}.Encode()}
	}
	must(t, p.Add(pod("a", 1, adopted)))
	must(t, p.Update(pod("a", 2, adopted, stripped)))
	if got := only(t, p); got.Subset != "own" || !got.Lost {
		t.Errorf("got %+v", got)
	}
}

// TestAPodThatItsControllerLetGoCountsNoMore: owners cannot be overwritten by a status.
func TestAPodThatItsControllerLetGoCountsNoMore(t *testing.T) {
	p := NewPods(Listener{})
	must(t, p.Add(pod("a", 1, virtual)))
	must(t, p.Update(pod("a", 2, virtual, unlabelled, func(p *corev1.Pod) { p.OwnerReferences = nil })))
	if v := p.View(key); v.Active("h1") > 0 {
		t.Errorf("got %+v", v.Pods)
	}
}
