package pod_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/webhooks/review"
)

const (
	askingNamespace = `{kind: Namespace, apiVersion: v1, metadata: {name: ns, labels: {spillway-project.io/placement: virtual}}}`
	tensileNode     = `{kind: Node, apiVersion: v1, metadata: {name: vk, labels: {type: virtual-kubelet, clusterID: c1}}}`
)

// asked sends a pod without a WorkloadSpread through the webhook.
func asked(t *testing.T, change func(*bench), objects, pod string) (review.Verdict, error) {
	t.Helper()
	b := newBenchOf(t, objects, clock.RealClock{})
	if change != nil {
		change(b)
	}
	return b.mutator.Review(logr.NewContext(context.Background(), logr.Discard()), &admissionv1.AdmissionRequest{
		UID: "u", Namespace: "ns", Operation: admissionv1.Create,
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"}, Object: runtime.RawExtension{Raw: b.json(pod)},
	})
}

func TestPlacementsThatCannotBeRefuseThePod(t *testing.T) {
	for name, tc := range map[string]struct {
		objects, pod string
		reason       v1alpha1.Reason
		want         string
	}{
		"a value of the pod's that does not exist": {askingNamespace, `{metadata: {name: web, annotations: {spillway-project.io/placement: own-first}}}`, v1alpha1.ReasonPlacementInvalid, "Pod ns/web: metadata.annotations"},
		"no virtual node":                          {askingNamespace, `{}`, v1alpha1.ReasonNoVirtualNode, "Namespace ns: metadata.labels[spillway-project.io/placement]: there is no virtual node now"},
		"a pod that may not go there": {askingNamespace + "\n---\n" + tensileNode, `{metadata: {annotations: {example.com/ip: 10.0.0.1}}}`, v1alpha1.ReasonFixedIP,
			"metadata.annotations[example.com/ip]: the pod has a fixed address"},
		"a constraint that no API server takes": {askingNamespace + "\n---\n" + tensileNode, `{spec: {nodeSelector: {disk: "s s d"}}}`, v1alpha1.ReasonConstraintInvalid,
			`Namespace ns: metadata.labels[spillway-project.io/placement]: spec.nodeSelector[disk]: Invalid value: "s s d"`},
		"one in a text of the pod's": {askingNamespace + "\n---\n" + tensileNode, `{metadata: {annotations: {clusterSelector: '{"tolerations":[{"operator":"Equal"}]}'}}}`, v1alpha1.ReasonConstraintInvalid,
			`metadata.annotations[clusterSelector].tolerations[0].operator: Invalid value: "Equal": without a key only Exists is possible`},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := asked(t, nil, tc.objects, tc.pod)
			if err != nil || v.Refusal == nil || v.Refusal.Code != http.StatusUnprocessableEntity || v.Reason != tc.reason || !strings.Contains(v.Refusal.Message, tc.want) {
				t.Errorf("got %+v (%s), %v, want %q", v.Refusal, v.Reason, err, tc.want)
			}
		})
	}
}

func TestTheAuthorIsWarned(t *testing.T) {
	v, err := asked(t, nil, askingNamespace+"\n---\n"+tensileNode, `{spec: {topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]}}`)
	if err != nil || v.Reason != v1alpha1.ReasonPlaced || len(v.Patch) == 0 || len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "spec.topologySpreadConstraints is not honoured below") {
		t.Errorf("got %+v, %v", v, err)
	}
}

// deaf is an API server that does not answer.
type deaf struct{ client.Reader }

func (deaf) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errors.New("down")
}

func (deaf) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("down")
}

// TestWhatCannotBeReadIsAFault: a pod does not go without the placement that it asks for because we cannot see.
func TestWhatCannotBeReadIsAFault(t *testing.T) {
	for name, change := range map[string]func(*bench){
		"the namespace": func(b *bench) { b.mutator.Placements.Namespaces.Cache = deaf{} },
		"the nodes":     func(b *bench) { b.mutator.Placements.Reader = deaf{} },
	} {
		_, err := asked(t, change, askingNamespace, `{}`)
		var fault *review.Fault
		if !errors.As(err, &fault) || fault.Code != http.StatusServiceUnavailable {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestPodsThatAskForNothingCostNothing: neither nodes nor the API server are asked.
func TestPodsThatAskForNothingCostNothing(t *testing.T) {
	v, err := asked(t, func(b *bench) { b.mutator.Placements.Reader, b.mutator.Placements.Namespaces.Live = deaf{}, deaf{} },
		`{kind: Namespace, apiVersion: v1, metadata: {name: ns}}`, `{}`)
	if err != nil || v.Reason != v1alpha1.ReasonNotManaged || v.Patch != nil {
		t.Errorf("got %+v, %v", v, err)
	}
}
