package pod_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/metrics"
	"github.com/spillway-project/spillway/webhooks/pod"
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

// review sends a pod of the workload, with more in its metadata and spec, through the webhook.
func (b *bench) review(metadata, spec string) (review.Verdict, error) {
	b.Helper()
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
			v, err := newBenchOf(t, virtualObjects, clock.RealClock{}).review(tc.metadata, `nodeSelector: {disk: ssd}, `)
			if err != nil || v.Refusal == nil || v.Refusal.Code != 422 || !strings.Contains(v.Refusal.Message, tc.want) || !strings.Contains(v.Refusal.Message, "WorkloadSpread ws") {
				t.Errorf("got %+v, %v, want %q", v.Refusal, err, tc.want)
			}
		})
	}
}

// TestConstraintsThatAreInvalidRefuseThePod: those that the API server does not see any more, because they are handed over.
func TestConstraintsThatAreInvalidRefuseThePod(t *testing.T) {
	for name, tc := range map[string]struct{ metadata, spec, want string }{
		"of the pod": {``, `topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: Never}], `,
			`WorkloadSpread ws: subset "virtual": spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Never": supported values: "DoNotSchedule", "ScheduleAnyway": the pod would be refused behind the virtual node: correct that in the template`},
		"in a text of its own": {`annotations: {clusterSelector: '{"tolerations":[{"key":"a","effect":"No"}]}'}, `, ``,
			`WorkloadSpread ws: subset "virtual": metadata.annotations[clusterSelector].tolerations[0].effect: Unsupported value: "No"`},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := newBenchOf(t, virtualObjects, clock.RealClock{}).review(tc.metadata, tc.spec)
			if err != nil || v.Refusal == nil || v.Refusal.Code != 422 || v.Reason != v1alpha1.ReasonConstraintInvalid || !strings.Contains(v.Refusal.Message, tc.want) {
				t.Errorf("got %+v (%s), %v, want %q", v.Refusal, v.Reason, err, tc.want)
			}
		})
	}
}

func TestTheUserIsToldOfWhatIsLost(t *testing.T) {
	b := newBenchOf(t, virtualObjects, clock.RealClock{})
	v, err := b.review(``, `nodeSelector: {disk: ssd}, topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}], `)
	if err != nil || v.Refusal != nil {
		t.Fatalf("got %+v, %v", v.Refusal, err)
	}
	const want = `subset "virtual" is of virtual nodes: spec.topologySpreadConstraints is not honoured below: tensile-kube does not pass it on`
	if len(v.Warnings) != 1 || v.Warnings[0] != want {
		t.Errorf("warnings: %q", v.Warnings)
	}
	if len(b.told.lost) != 1 || b.told.lost[0] != "topologySpreadConstraints" {
		t.Errorf("told of %q", b.told.lost)
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

func TestTheUserIsToldWhyAPodWasNotPlacedOnVirtualNodes(t *testing.T) {
	b := newBenchOf(t, virtualObjects, clock.RealClock{})
	v, err := b.review(`annotations: {example.com/ip: 10.0.0.1}, `, `hostNetwork: true, `)
	if err != nil || v.Refusal != nil || v.Reason != v1alpha1.ReasonNoSubsetAvailable {
		t.Fatalf("got %+v, %v", v, err)
	}
	for _, want := range []string{"spec.hostNetwork: the pod uses the node's network", "metadata.annotations[example.com/ip]"} {
		if len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], want) {
			t.Errorf("the warnings are %q, and do not say %q", v.Warnings, want)
		}
	}
	if b.told.noRoom != 1 || len(b.told.passed) != 1 || !b.told.passed[0].NotEligible || b.told.passed[0].Message == "" {
		t.Errorf("told: %+v", b.told)
	}
}

// TestWhatIsToldOfPodsThatAreNotEligible is the event that people see.
func TestWhatIsToldOfPodsThatAreNotEligible(t *testing.T) {
	recorder := &recorded{}
	e := &pod.Events{Recorder: recorder, Metrics: metrics.New(prometheus.NewRegistry()), Clock: clock.RealClock{}}
	ws := &appsv1alpha1.WorkloadSpread{}
	e.NoRoom(ws, "web-1", []pod.Passed{{Subset: "own", Reason: v1alpha1.ReasonSubsetFull}, {Subset: "virtual", Reason: v1alpha1.ReasonHostPath, Message: "spec.volumes[0].hostPath: it is there", NotEligible: true}})
	e.NoRoom(ws, "web-1", []pod.Passed{{Subset: "own", Reason: v1alpha1.ReasonSubsetFull}})
	e.NotHonoured(ws, "virtual", []clusterselector.Field{clusterselector.TopologySpreadConstraints})
	e.NotHonoured(ws, "virtual", []clusterselector.Field{clusterselector.TopologySpreadConstraints})
	want := []string{
		`NotEligibleForVirtual A pod of web-1 was admitted without a subset: "own" is full, "virtual" cannot take it: spec.volumes[0].hostPath: it is there. Change the pod, or give a subset of own nodes room for it`,
		`NoSubsetAvailable A pod of web-1 was admitted without a subset: "own" is full. Raise a limit, or leave the last subset without maxReplicas`,
		`ConstraintNotHonoured Pods in subset "virtual" lose constraints on the way to the lower cluster: spec.topologySpreadConstraints is not passed on by the provider of its nodes. Run Spillway below in the member role, or take the constraint off the workload`,
	}
	if !slices.Equal(recorder.events, want) {
		t.Errorf("events:\n%s", strings.Join(recorder.events, "\n"))
	}
}

// recorded keeps events as text.
type recorded struct{ events []string }

func (r *recorded) Eventf(_, _ runtime.Object, _, reason, _, note string, args ...any) {
	r.events = append(r.events, reason+" "+fmt.Sprintf(note, args...))
}

func (r *recorded) AnnotatedEventf(o, related runtime.Object, _ map[string]string, kind, reason, action, note string, args ...any) {
	r.Eventf(o, related, kind, reason, action, note, args...)
}

// TestASecondPassKeepsThePlace: a sidecar that came in between, and could not run there, takes it from no pod.
func TestASecondPassKeepsThePlace(t *testing.T) {
	for name, subsets := range map[string]string{
		"of a subset without a limit": `[{"name":"own","maxReplicas":0},{"name":"virtual","requiredNodeSelectorTerm":{"matchExpressions":[{"key":"type","operator":"Exists"}]}}]`,
		"of the only subset":          `[{"name":"virtual","requiredNodeSelectorTerm":{"matchExpressions":[{"key":"type","operator":"Exists"}]}}]`,
	} {
		b := newBenchOf(t, virtualObjects, clock.RealClock{})
		b.setSubsets(subsets)
		once, _, err := b.admit(b.json(webPod), nil)
		if err != nil {
			t.Fatal(err)
		}
		injected := []byte(strings.Replace(string(once), `"spec":{`, `"spec":{"hostPID":true,`, 1))
		twice, _, err := b.admit(injected, nil)
		if err != nil {
			t.Fatal(err)
		}
		if first, second := record(t, once), record(t, twice); first.Subset != "virtual" || first != second {
			t.Errorf("%s: first %+v, then %+v", name, first, second)
		}
	}
}
