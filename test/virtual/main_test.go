// Package virtual proves what Spillway does for pods on virtual nodes, with two real clusters: the upper one, where
// workloads are created and spread, and the member, where the providers of the virtual nodes create their pods. The
// chart is installed in both, with the roles both and member.
package virtual

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/test/lab"
	"github.com/spillway-project/spillway/test/lab/labtest"
)

// upper and member are shared by all tests of this package. A test has a namespace and a virtual node of its own.
var (
	upper, member *lab.Lab
	kube          client.WithWatch // of the upper cluster
)

const (
	system = "spillway-system"

	ownLabel    = "node-role.kubernetes.io/WorkerNode"
	sampleLabel = "node-role.kubernetes.io/local-virtual-kubelet"
	ownTaint    = "unscheduer"
	// testLabel ties the virtual node of a test to its WorkloadSpread.
	testLabel = "example.com/test"
	// handsOver marks nodes of a provider that Spillway is told about by its configuration, and constraints is the
	// annotation for it.
	handsOver, constraints = "example.com/hands-over", "example.com/constraints"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("virtual: nothing to do with -short")
		return
	}
	// Tests wait for clusters more than they work.
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		if err := parallel.Value.Set("6"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	ssd := lab.NodeGroup{Name: "below", Count: 3, Labels: map[string]string{"disk": "ssd", "zone": "a"}}
	os.Exit(labtest.MainWithMember(m, lab.Options{
		// By default nodes are given up one by one, every ten seconds, and none at all while most are not ready.
		ControllerManagerArgs: []string{"--node-eviction-rate=100", "--unhealthy-zone-threshold=1"},
		OwnNodes: []lab.NodeGroup{{
			Name: "own", Count: 3, Capacity: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000")}, Labels: map[string]string{ownLabel: "true"},
			Taints: []corev1.Taint{{Key: ownTaint, Value: "true", Effect: corev1.TaintEffectNoSchedule}},
		}},
	}, lab.Options{OwnNodes: []lab.NodeGroup{ssd}}, &upper, &member))
}

const (
	chart = "../../charts/spillway"
	both  = `
image: {repository: spillway, tag: virtual}
bindToPodIP: true
nodeSelector: {lab.spillway-project.io/system: "true"}
tolerations: [{key: lab.spillway-project.io/system, operator: Exists}]
`
	// Role both does all that upper does, and must not restore what it set aside itself.
	upperValues = both + `
role: both
config:
  workloadSpread: {hold: 12s}
  virtualNodes:
    handOver: true
    profiles:
    - name: told
      nodes: [{selector: {matchLabels: {` + handsOver + `: "true"}}}]
      tolerations: [{key: virtual-kubelet.io/provider, operator: Exists, effect: NoSchedule}]
      handOver: {annotation: ` + constraints + `}
      stuckReasons: [ProviderFailed]
`
	memberValues = both + `
role: member
member: {podLabels: {` + lab.LabelGenericPod + `: "true"}}
`
)

// installed installs the chart in both clusters, once for all tests.
var installed = sync.OnceValue(func() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := install(ctx, upper, upperValues); err != nil {
		return fmt.Errorf("the upper cluster: %w", err)
	}
	if err := install(ctx, member, memberValues); err != nil {
		return fmt.Errorf("the member cluster: %w", err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, appsv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	var err error
	kube, err = client.NewWithWatch(upper.Config(), client.Options{Scheme: scheme})
	return err
})

func install(ctx context.Context, l *lab.Lab, values string) error {
	if _, err := l.BuildImage(ctx, "spillway:virtual", "./cmd/spillway"); err != nil {
		return err
	}
	file, err := os.CreateTemp("", "spillway-values-*.yaml")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := file.WriteString(values); err != nil {
		return err
	}
	out, err := l.Helm(ctx, "upgrade", "--install", "spillway", chart, "--namespace", system, "--create-namespace",
		"--wait", "--timeout", "120s", "-f", file.Name())
	if err != nil {
		return fmt.Errorf("install the chart: %w\n%s", err, out)
	}
	return nil
}
