package state

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestPodsThatWentAreCounted(t *testing.T) {
	p := NewPods(Listener{})
	check := func(since uint64, want int32, known bool) {
		t.Helper()
		if n, ok := p.Gone("rs", since); n != want || ok != known {
			t.Errorf("since %d: %d, %v; want %d, %v", since, n, ok, want, known)
		}
	}
	must(t, p.Replace([]any{pod("a", 3), pod("b", 4)}, "10"))
	check(9, 0, false) // before the list nothing is known
	check(10, 0, true)
	must(t, p.Delete(pod("a", 11)))
	must(t, p.Delete(pod("never-recorded", 12, func(p *corev1.Pod) { p.Annotations = nil })))
	must(t, p.Delete(pod("alone", 13, func(p *corev1.Pod) { p.OwnerReferences = nil })))
	check(10, 2, true)
	check(11, 1, true)
	check(13, 0, true)
	if n, _ := p.Gone("other", 10); n > 0 {
		t.Errorf("%d of another owner", n)
	}
	for i := range departuresKept {
		must(t, p.Delete(pod(fmt.Sprint("c", i), 100+i)))
	}
	check(50, 0, false) // too long ago
	check(uint64(100+departuresKept/2), departuresKept/2-1, true)
	must(t, p.Replace(nil, "9000"))
	check(8999, 0, false)
}
