package virtual

import (
	"context"
	"fmt"
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/test/lab"
	"github.com/spillway-project/spillway/test/lab/labtest"
)

// TestPodsOfAnotherClusterInOneThatIsBoth: the cluster that places pods of its own takes in those of another one. Their
// constraints are restored, they keep the record of their place there, and get no sidecars again. A pod that this cluster
// placed is on its way down and keeps its constraints aside: all other tests of this package rely on that.
func TestPodsOfAnotherClusterInOneThatIsBoth(t *testing.T) {
	f := newFixture(t, lab.ProfileTensileKube, lab.Knobs{})
	set := decode[appsv1alpha1.SidecarSet](t, `
metadata: {name: both-`+f.ns+`}
spec:
  namespace: `+f.ns+`
  selector: {matchLabels: {app: web}}
  containers: [{name: sidecar, image: "sidecar:1"}]
`)
	f.create(set)
	t.Cleanup(func() {
		if err := kube.Delete(context.WithoutCancel(t.Context()), set); err != nil {
			t.Error(err)
		}
	})
	f.spread(0)
	f.deployment(1, rich)
	var own corev1.Pod
	labtest.Eventually(t, "a pod of this cluster with its sidecar", func(context.Context) error {
		pods, err := f.pods(upper)
		if err != nil {
			return err
		}
		if len(pods) != 1 || !hasContainer(&pods[0], "sidecar") {
			// Made before the set was served: its successor has it.
			if len(pods) > 0 {
				_ = kube.Delete(t.Context(), &pods[0])
			}
			return fmt.Errorf("pods: %s", describe(pods))
		}
		own = pods[0]
		return nil
	})
	record, _, err := clusterselector.ParseRecord(own.Annotations)
	if err != nil || record.Cluster == "" || own.Spec.NodeSelector != nil {
		t.Fatalf("the pod of this cluster was restored here, or its record names no cluster: %+v, %v", record, err)
	}

	record.Cluster = "elsewhere"
	pod := &corev1.Pod{Spec: *own.Spec.DeepCopy()}
	pod.Namespace, pod.Name, pod.Labels, pod.Annotations = f.ns, "from-elsewhere", own.Labels, own.Annotations
	pod.Annotations[clusterselector.AnnotationRecord] = record.Encode()
	pod.Spec.NodeName = ""
	pod.Spec.Containers = pod.Spec.Containers[:0]
	for _, c := range own.Spec.Containers {
		if c.Name != "sidecar" {
			pod.Spec.Containers = append(pod.Spec.Containers, c)
		}
	}
	wanted := pod.Annotations[clusterselector.AnnotationRecord]
	if err := kube.Create(t.Context(), pod, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	if pod.Spec.NodeSelector["disk"] != "ssd" || pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
		t.Errorf("not restored: %v, %v", pod.Spec.NodeSelector, pod.Spec.Affinity)
	}
	if hasContainer(pod, "sidecar") || pod.Annotations[clusterselector.AnnotationRecord] != wanted {
		t.Errorf("placed again: %d containers, record %s", len(pod.Spec.Containers), pod.Annotations[clusterselector.AnnotationRecord])
	}
}
