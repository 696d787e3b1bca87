package provider

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhoMadeThePod(t *testing.T) {
	yes, no := true, false
	for name, tc := range map[string]struct {
		owners []metav1.OwnerReference
		want   bool
	}{
		"a workload":                        {[]metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Controller: &yes}}, true},
		"a workload of a kind nobody knows": {[]metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Worker", Controller: &yes}}, true},
		"nobody":                            {nil, false},
		"an owner that controls nothing":    {[]metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Controller: &no}}, false},
		"Liqo":                              {[]metav1.OwnerReference{{APIVersion: "offloading.liqo.io/v1beta1", Kind: "ShadowPod", Controller: &yes}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := MadeHere(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: tc.owners}}); got != tc.want {
				t.Errorf("made here: %v", got)
			}
		})
	}
}
