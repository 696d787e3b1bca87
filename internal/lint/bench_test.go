package lint

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkWarnings is what a webhook pays for an object, sound and with a mistake in every subset.
func BenchmarkWarnings(b *testing.B) {
	for _, subsets := range []int{2, 100, 1000} {
		for kind, patch := range map[string]string{
			"sound":    `{"metadata":{"labels":{"a":"b"}}}`,
			"mistaken": `{"metadata":{"a":"b"},"spec":{"affinity":{"nodeAffinity":null},"requiredNodeSelectorTerm":{}}}`,
		} {
			var list []string
			for i := range subsets {
				list = append(list, fmt.Sprintf(`{"name":"s%d","maxReplicas":1,"patch":%s}`, i, patch))
			}
			object := fmt.Appendf(nil, `{"apiVersion":"apps.kruise.io/v1alpha1","kind":"WorkloadSpread","spec":{"subsets":[%s]}}`, strings.Join(list, ","))
			b.Run(fmt.Sprintf("%s/subsets=%d", kind, subsets), func(b *testing.B) {
				for b.Loop() {
					Warnings(object)
				}
			})
		}
	}
}
