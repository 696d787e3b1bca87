package spread

import (
	"encoding/json"
	"fmt"
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
)

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// BenchmarkCommit is one group commit of 50 claims on a workload of n pods: open, recount, claim,
// write back.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(n, "pods"), func(b *testing.B) {
			terms := termsOf([]Limit{{percent, 50}, {percent, 50}})
			view := View{Revision: 9, Pods: pods("a", n/2)}
			status := &appsv1alpha1.WorkloadSpreadStatus{}
			b.ReportAllocs()
			for b.Loop() {
				book := Open(terms, status, int32(n))
				book.Recount(view)
				for i := range 50 {
					c := claim(i)
					c.Ranked = true
					book.Claim(c)
				}
				book.Status(status, noon)
			}
		})
	}
}
