package virtual

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/test/lab"
	"github.com/spillway-project/spillway/test/lab/labtest"
)

var (
	//go:embed testdata/published-workloadspread.yaml
	publishedSpread string
	//go:embed testdata/published-sidecarset.yaml
	publishedSidecars string
)

// TestThePublishedManifests: what operators of such a platform published, set right only where an API server refuses
// it or has nothing to go by. Half of the pods on own nodes, the others on the virtual node with the sidecar; the
// patch that sets node affinity to null does not cost the pin.
func TestThePublishedManifests(t *testing.T) {
	if err := installed(); err != nil {
		t.Fatal(err)
	}
	if err := upper.AddVirtualNode(t.Context(), lab.VirtualNode{Name: "published", Profile: lab.ProfileTensileKube, Member: member.Kubeconfig()}); err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, ns: labtest.Namespace(t, upper), node: "published", profile: lab.ProfileTensileKube}
	set := decode[appsv1alpha1.SidecarSet](t, publishedSidecars)
	f.create(set)
	t.Cleanup(func() {
		if err := kube.Delete(context.WithoutCancel(t.Context()), set); err != nil {
			t.Error(err)
		}
	})
	labtest.Eventually(t, "the SidecarSet to be served", func(ctx context.Context) error {
		if err := kube.Get(ctx, client.ObjectKeyFromObject(set), set); err != nil {
			return err
		}
		if set.Status.ObservedGeneration != set.Generation {
			return fmt.Errorf("generation %d of %d", set.Status.ObservedGeneration, set.Generation)
		}
		return nil
	})
	ws := decode[appsv1alpha1.WorkloadSpread](t, publishedSpread)
	f.create(ws)
	// What the workload itself asks for means nodes of the cluster that the pod runs in.
	f.deployment(6, `{nodeSelector: {kubernetes.io/os: linux}, affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}}]}}}`)

	var all, below []corev1.Pod
	labtest.Eventually(t, "three pods on own nodes and three below", func(context.Context) error {
		var errs [2]error
		all, errs[0] = f.pods(upper)
		below, errs[1] = f.pods(member)
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		if len(all) != 6 || len(below) != 3 || slices.ContainsFunc(slices.Concat(all, below), func(p corev1.Pod) bool { return !ready(&p) }) {
			return fmt.Errorf("%s; below %s", describe(all), describe(below))
		}
		return nil
	})
	for i := range all {
		published(t, &all[i])
	}
	for i := range below {
		p := &below[i]
		if p.Spec.NodeSelector["kubernetes.io/os"] != "linux" || p.Spec.Affinity == nil || p.Spec.Affinity.PodAntiAffinity == nil || p.Spec.Affinity.NodeAffinity != nil {
			t.Errorf("pod %s below has constraints %v, %v", p.Name, p.Spec.NodeSelector, p.Spec.Affinity)
		}
		for _, key := range []string{"test", "test1", "test2", "test3"} {
			if !slices.ContainsFunc(p.Spec.Tolerations, func(t corev1.Toleration) bool { return t.Key == key }) {
				t.Errorf("pod %s below does not tolerate %s", p.Name, key)
			}
		}
		if !hasContainer(p, "sidecar1") {
			t.Errorf("pod %s below has no sidecar", p.Name)
		}
	}
}

// published checks a pod of the upper cluster: subset, node, pin and sidecar belong together.
func published(t *testing.T, p *corev1.Pod) {
	t.Helper()
	virtual := p.Annotations["subset"] == "local-virtual-kubelet"
	if !virtual && p.Annotations["subset"] != "common" {
		t.Errorf("pod %s has the patch of subset %q", p.Name, p.Annotations["subset"])
	}
	label := ownLabel
	if virtual {
		label = sampleLabel
	}
	required := p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if len(required.NodeSelectorTerms) != 1 || required.NodeSelectorTerms[0].MatchExpressions[0].Key != label {
		t.Errorf("pod %s in subset %s has the pin %+v", p.Name, p.Annotations["subset"], required)
	}
	if onOwn := strings.HasPrefix(p.Spec.NodeName, "own-"); onOwn == virtual {
		t.Errorf("pod %s in subset %s is on node %s", p.Name, p.Annotations["subset"], p.Spec.NodeName)
	}
	if hasContainer(p, "sidecar1") != virtual {
		t.Errorf("pod %s in subset %s: sidecar %v", p.Name, p.Annotations["subset"], hasContainer(p, "sidecar1"))
	}
	if owner := metav1.GetControllerOf(p); owner == nil {
		t.Errorf("pod %s lost its owner", p.Name)
	}
}

func hasContainer(p *corev1.Pod, name string) bool {
	return slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool { return c.Name == name })
}
