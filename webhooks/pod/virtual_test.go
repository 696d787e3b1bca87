package pod_test

import (
	"context"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/webhooks/review"
)

const virtualObjects = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: ns, uid: deploy}
spec: {replicas: 4, selector: {matchLabels: {app: web}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-1, namespace: ns, uid: rs, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: deploy, controller: true}]}
spec: {replicas: 4, selector: {matchLabels: {app: web}}}
---
apiVersion: apps.kruise.io/v1alpha1
kind: WorkloadSpread
metadata: {name: ws, namespace: ns, uid: ws, generation: 1}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  subsets: [{name: virtual, requiredNodeSelectorTerm: {matchExpressions: [{key: type, operator: Exists}]}}]
---
apiVersion: v1
kind: Node
metadata: {name: vk, labels: {type: virtual-kubelet, clusterID: c1}}
`

// reviewed sends a pod of the workload, with more in its metadata and spec, through the webhook.
func reviewed(t *testing.T, metadata, spec string) (review.Verdict, error) {
	t.Helper()
	b := newBenchOf(t, virtualObjects, clock.RealClock{})
	raw := b.json(strings.NewReplacer("metadata: {", "metadata: {"+metadata, "spec: {", "spec: {"+spec).Replace(webPod))
	return b.mutator.Review(logr.NewContext(context.Background(), logr.Discard()), &admissionv1.AdmissionRequest{
		UID: "u", Namespace: "ns", Operation: admissionv1.Create,
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"}, Object: runtime.RawExtension{Raw: raw},
	})
}

func TestConstraintsThatCannotBeReadRefuseThePod(t *testing.T) {
	for name, tc := range map[string]struct{ metadata, want string }{
		"no JSON":   {`annotations: {clusterSelector: '{"tolerations": [}'}, `, "annotation clusterSelector, line 1, column 18"},
		"too large": {`annotations: {big: ` + strings.Repeat("x", 256<<10-40) + `}, `, "more than the API server allows"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := reviewed(t, tc.metadata, `nodeSelector: {disk: ssd}, `)
			if err != nil || v.Refusal == nil || v.Refusal.Code != 422 || !strings.Contains(v.Refusal.Message, tc.want) || !strings.Contains(v.Refusal.Message, "WorkloadSpread ws") {
				t.Errorf("got %+v, %v, want %q", v.Refusal, err, tc.want)
			}
		})
	}
}

func TestTheUserIsWarnedOfWhatIsLost(t *testing.T) {
	v, err := reviewed(t, `annotations: {example.com/ip: 10.0.0.1}, `, `hostNetwork: true, nodeSelector: {disk: ssd}, topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}], `)
	if err != nil || v.Refusal != nil {
		t.Fatalf("got %+v, %v", v.Refusal, err)
	}
	for _, want := range []string{"spec.hostNetwork: the pod uses the node's network", "metadata.annotations[example.com/ip]", "spec.topologySpreadConstraints is not honoured below: tensile-kube does not pass it on"} {
		if !strings.Contains(strings.Join(v.Warnings, "\n"), want) {
			t.Errorf("no warning says %q:\n%s", want, strings.Join(v.Warnings, "\n"))
		}
	}
	if len(v.Warnings) != 3 {
		t.Errorf("%d warnings", len(v.Warnings))
	}
}

// TestAPodOfAnotherClusterIsLeftAlone: a provider made it here after another cluster had placed it and given it its
// sidecars. A workload's pod that brings the same record along from a copied manifest is placed.
func TestAPodOfAnotherClusterIsLeftAlone(t *testing.T) {
	const foreign = `annotations: {apps.kruise.io/matched-workloadspread: '{"name":"ws","subset":"virtual"}', clusterSelector: '{}',` +
		` spillway-project.io/placement-record: '{"cluster":"there","annotation":"clusterSelector","moved":["nodeSelector"]}'}`
	for name, tc := range map[string]struct {
		pod  string
		want v1alpha1.Reason
	}{
		"a provider's": {`{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: ns, ` + foreign + `}, spec: {containers: [{name: main}]}}`, v1alpha1.ReasonPlacedElsewhere},
		"a workload's": {strings.Replace(webPod, "metadata: {", "metadata: {"+foreign+", ", 1), v1alpha1.ReasonSubsetAssigned},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchOf(t, virtualObjects, clock.RealClock{})
			b.mutator.Cluster = "here"
			before := b.json(tc.pod)
			after, reason, err := b.admit(before, nil)
			if err != nil || reason != tc.want {
				t.Fatalf("got %s, %v, want %s", reason, err, tc.want)
			}
			if left := string(before) == string(after); left != (tc.want == v1alpha1.ReasonPlacedElsewhere) {
				t.Errorf("stored: %s", after)
			}
			if reason == v1alpha1.ReasonSubsetAssigned && !strings.Contains(string(after), `\"cluster\":\"here\"`) {
				t.Errorf("the record names no cluster: %s", after)
			}
		})
	}
}
