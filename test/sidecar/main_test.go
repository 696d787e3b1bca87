// Package sidecar proves what SidecarSets do on a real control plane: the chart is installed with helm,
// two replicas serve, and a test does what a user would do. Own nodes report image changes, slow starts
// and images that cannot be pulled.
package sidecar

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"

	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/test/lab"
	"github.com/spillway-project/spillway/test/lab/labtest"
)

// cluster is the lab that all tests of this package share.
var (
	cluster *lab.Lab
	kube    client.WithWatch
)

const (
	system    = "spillway-system"
	ownLabel  = "node-role.kubernetes.io/WorkerNode"
	virtLabel = "node-role.kubernetes.io/local-virtual-kubelet"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("sidecar: nothing to do with -short")
		return
	}
	os.Exit(labtest.Main(m, lab.Options{
		OwnNodes: []lab.NodeGroup{{
			Name: "own", Count: 6,
			Capacity: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1000")},
			Labels:   map[string]string{ownLabel: "true"},
		}},
	}, &cluster))
}

// installed installs the chart, once for all tests.
func installed(t *testing.T) {
	t.Helper()
	if kube != nil {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if _, err := cluster.BuildImage(ctx, "spillway:sidecar", "./cmd/spillway"); err != nil {
		t.Fatal(err)
	}
	if out, err := cluster.Helm(ctx, installArgs()...); err != nil {
		t.Fatalf("install the chart: %v\n%s", err, out)
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := sidecar.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	scheme.AddKnownTypes(sidecar.GroupVersion, &appsv1alpha1.WorkloadSpread{}, &appsv1alpha1.WorkloadSpreadList{})
	c, err := client.NewWithWatch(cluster.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	kube = c
}

func installArgs(more ...string) []string {
	return append([]string{
		"upgrade", "--install", "spillway", "../../charts/spillway", "--namespace", system, "--create-namespace",
		"--wait", "--timeout", "120s",
		"--set", "image.repository=spillway,image.tag=sidecar,bindToPodIP=true,config.sidecarSet.auditInterval=1s",
		"--set-string", `nodeSelector.lab\.spillway-project\.io/system=true`,
		"--set", "tolerations[0].key=lab.spillway-project.io/system,tolerations[0].operator=Exists",
	}, more...)
}
