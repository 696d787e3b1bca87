package main

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestTable(t *testing.T) {
	o := &observation{subsets: []subset{
		{name: "own", limit: "50% = 5", onNodes: map[string]int{"own-1": 2, "own-0": 1}, missing: 2},
		{name: "virtual", limit: "none", onNodes: map[string]int{"virtual-0": 10}, missing: -1},
	}, astray: 1}
	const plain = `
   SUBSET    LIMIT      PODS  MISSING   SPREAD        NODES
   own       50% = 5       3        2   ███░░         own-0, own-1 ×2
   virtual   none         10        -   ██████████    virtual-0 ×10
   pods on a node of no subset: 1

`
	var out strings.Builder
	(&printer{out: &out}).table(o)
	if out.String() != plain {
		t.Errorf("got\n%s\nwant\n%s", out.String(), plain)
	}

	out.Reset()
	(&printer{out: &out, colour: true}).table(o)
	if !strings.Contains(out.String(), "\x1b[32m███░░\x1b[0m   ") {
		t.Errorf("no colour in %q", out.String())
	}
}

func TestPodsAreCountedWhereTheyAre(t *testing.T) {
	node := func(name, label string) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{label: "true"}}}
	}
	pod := func(node, patch string, change ...func(*corev1.Pod)) corev1.Pod {
		p := corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"subset": patch}},
			Spec:       corev1.PodSpec{NodeName: node},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning},
		}
		for _, c := range change {
			c(&p)
		}
		return p
	}
	o := &observation{subsets: []subset{
		{name: "own", onNodes: map[string]int{}},
		{name: "virtual", onNodes: map[string]int{}},
	}}
	o.place([]corev1.Pod{
		pod("own-0", "own"),
		pod("own-0", "own"),
		pod("virtual-0", "virtual"),
		pod("virtual-0", "own"), // patched for one subset, bound to another
		pod("", "own", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }),
		pod("own-0", "own", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }),
	}, []corev1.Node{node("own-0", ownLabel), node("virtual-0", virtualLabel)})

	if own, virtual := o.subsets[0].pods(), o.subsets[1].pods(); own != 2 || virtual != 2 {
		t.Errorf("own %d, virtual %d", own, virtual)
	}
	if o.astray != 1 || o.unready != 1 || o.leaving != 1 || len(o.wrong) != 1 {
		t.Errorf("astray %d, unready %d, leaving %d, wrong %q", o.astray, o.unready, o.leaving, o.wrong)
	}
}

func TestCrew(t *testing.T) {
	pod := func(labels map[string]string, spec, status string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: labels, UID: types.UID(spec + status)}}
		if spec != "" {
			p.Spec.Containers = []corev1.Container{{Name: agent, Image: spec}}
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: agent, Image: status, Ready: true}}
		}
		return p
	}
	over := map[string]string{overflowLabel: "true"}
	c := &crew{images: map[string]int{}, pods: map[types.UID]bool{}}
	for _, p := range []*corev1.Pod{
		pod(over, firstImage, firstImage), pod(over, nextImage, firstImage), pod(over, nextImage, nextImage), pod(over, "", ""), pod(nil, "", ""),
	} {
		c.add(p)
	}
	if got, want := c.line(), "○○ busybox:1.37 ×2   ● busybox:1.38 ×1   without ×1   restarting ×1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if c.is(map[string]int{firstImage: 2, nextImage: 1}) {
		t.Error("one has no agent, and one does not run its image yet")
	}
	c.add(pod(nil, firstImage, firstImage))
	if c.intrude != 1 {
		t.Error("an agent on an own node was not seen")
	}
}

func TestColumns(t *testing.T) {
	var out strings.Builder
	(&printer{out: &out}).columns([3]string{"", "ABOVE", "BELOW"}, [][3]string{{"node", "virtual-0", "below-1"}, {"", "ü", ""}})
	const want = `
          ABOVE       BELOW
   node   virtual-0   below-1
          ü
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestAPodAboveAndBelow(t *testing.T) {
	above, below := &corev1.Pod{}, &corev1.Pod{}
	above.Annotations = map[string]string{"clusterSelector": `{"nodeSelector":{"a":"b"},"tolerations":[{"key":"c"}]}`}
	below.Spec.NodeSelector = map[string]string{"a": "b"}
	got := compare(above, below)
	for _, want := range [][3]string{{"node selector", "-", "a=b"}, {"handed over", "nodeSelector", "-"}, {"", "tolerations", ""}} {
		if !slices.Contains(got, want) {
			t.Errorf("no line %q in %q", want, got)
		}
	}
}
