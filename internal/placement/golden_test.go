package placement

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/provider"
	"github.com/spillway-project/spillway/internal/testing/golden"
)

// TestGolden runs every pair in testdata. NAME.in.yaml holds the profile's name, the subset and the pod, and whether
// the pod comes back as it was; NAME.out.yaml is the pod that is stored. -update writes the latter.
func TestGolden(t *testing.T) { golden.Pairs(t, "testdata", ".in.yaml", ".out.yaml", upAndDown) }

type example struct {
	Profile string                            `json:"profile"`
	Subset  appsv1alpha1.WorkloadSpreadSubset `json:"subset"`
	Pod     corev1.Pod                        `json:"pod"`
	// Below is what the constraints are in the lower cluster; nil: those of the pod, without the API server's defaults.
	Below *corev1.PodSpec `json:"below,omitempty"`
}

// upAndDown returns the pod of an example as it is placed, and checks that it comes back as it was.
func upAndDown(t *testing.T, text string) string {
	var e example
	if err := yaml.UnmarshalStrict([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	virtual := plan(&e.Subset)
	virtual.Virtual = provider.NewCatalog(nil).ByName(e.Profile)
	placed := e.Pod.DeepCopy()
	twice(t, placed, virtual)
	got, err := yaml.Marshal(placed)
	if err != nil {
		t.Fatal(err)
	}
	below := e.Pod.Spec
	if e.Below != nil {
		below = *e.Below
	}
	if _, err := clusterselector.Restore(placed, ""); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(clusterselector.Of(&below), clusterselector.Of(&placed.Spec)); diff != "" {
		t.Errorf("in the lower cluster (-want +got):\n%s", diff)
	}
	return string(got)
}

// twice places a pod two times; the second time must change nothing.
func twice(t testing.TB, pod *corev1.Pod, p Plan) {
	t.Helper()
	if err := Place(pod, p); err != nil {
		t.Fatal(err)
	}
	once := pod.DeepCopy()
	if err := Place(pod, p); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(once, pod); diff != "" {
		t.Errorf("a second pass changes the pod (-first +second):\n%s", diff)
	}
}

// TestThePublishedSample: the platform's own manifest, corrected only where an API server refuses it (the second
// subset stands on the level of the first, the label's value is text), ends as its author meant it.
func TestThePublishedSample(t *testing.T) {
	spec := parse[appsv1alpha1.WorkloadSpreadSpec](t, publishedSample)
	node := parse[corev1.Node](t, `{metadata: {name: vk, labels: {type: virtual-kubelet, node-role.kubernetes.io/local-virtual-kubelet: "true"}}}`)
	virtual := spec.Subsets[1]
	nature := provider.NewCatalog(nil).Subset(virtual.RequiredNodeSelectorTerm, []*corev1.Node{node}, virtual.Patch.Raw)
	if nature.Profile == nil || nature.Profile.Name != provider.TensileKube {
		t.Fatalf("the subset is taken for %+v", nature)
	}
	pod := parse[corev1.Pod](t, `{metadata: {labels: {app: web}}, spec: {nodeSelector: {disk: ssd}, tolerations: [{key: own, operator: Exists}],
  affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname}]}}}}`)
	placed := pod.DeepCopy()
	twice(t, placed, Plan{Subset: &virtual, Record: v1alpha1.Record{Name: "ws", Subset: virtual.Name}, Virtual: nature.Profile, Tolerations: nature.Tolerations()})
	if placed.Annotations["subset"] != "local-virtual-kubelet" || placed.Labels["vk"] != "true" || placed.Labels["virtual-pod"] != "true" || placed.Spec.NodeSelector != nil || placed.Spec.Affinity.PodAntiAffinity != nil {
		t.Errorf("placed: %+v, %+v", placed.ObjectMeta, placed.Spec)
	}
	pinned := placed.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	if len(pinned) != 1 || pinned[0].MatchExpressions[0].Key != "node-role.kubernetes.io/local-virtual-kubelet" {
		t.Errorf("pin: %+v", pinned)
	}
	if _, err := clusterselector.Restore(placed, clusterselector.AnnotationTensileKube); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pod.Spec.NodeSelector, placed.Spec.NodeSelector); diff != "" {
		t.Errorf("the static text cost the pod its node selector: %s", diff)
	}
	if diff := cmp.Diff(pod.Spec.Affinity, placed.Spec.Affinity); diff != "" {
		t.Errorf("affinity below: %s", diff)
	}
	if n := len(placed.Spec.Tolerations); n != 6 || placed.Spec.Tolerations[5].Key != "test3" {
		t.Errorf("the text's six tolerations win below: %+v", placed.Spec.Tolerations)
	}
}

const publishedSample = `
subsets:
- name: common
  maxReplicas: 50%
  requiredNodeSelectorTerm:
    matchExpressions:
    - {key: node-role.kubernetes.io/WorkerNode, operator: In, values: ["true"]}
  tolerations:
  - {effect: NoSchedule, key: unscheduer, operator: Equal, value: "true"}
  patch:
    metadata: {annotations: {subset: common}}
- name: local-virtual-kubelet
  requiredNodeSelectorTerm:
    matchExpressions:
    - {key: node-role.kubernetes.io/local-virtual-kubelet, operator: In, values: ["true"]}
  patch:
    metadata:
      labels: {vk: "true"}
      annotations:
        clusterSelector: '{"tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute"}, {"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute"}, {"key":"test","operator":"Exists","effect":"NoExecute"}, {"key":"test1","operator":"Exists","effect":"NoExecute"}, {"key":"test2","operator":"Exists","effect":"NoExecute"}, {"key":"test3","operator":"Exists","effect":"NoExecute"}]}'
        subset: local-virtual-kubelet
    spec:
      affinity:
        nodeAffinity: null
        podAntiAffinity: null
        nodeSelector: null
`
