// Package e2e proves Spillway on a real control plane: the chart is installed with helm beside
// cert-manager, two replicas serve, and a test does what a user would do.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/spillway-project/spillway/test/lab"
)

// cluster is the lab that all tests of this package share, with Spillway installed.
var cluster struct {
	*lab.Lab
	client client.WithWatch // knows the kinds of OpenKruise too
	audit  *lab.Audit       // of the manager's requests
}

// hold is shorter than the default, so that tests see it end.
const hold = 12 * time.Second

const (
	system    = "spillway-system"
	ownLabel  = "node-role.kubernetes.io/WorkerNode"
	virtLabel = "node-role.kubernetes.io/local-virtual-kubelet"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("e2e: nothing to do with -short")
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctrllog.SetLogger(logr.Discard()) // the client's; ours are the lab's logs
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	record, err := lab.NewAudit("system:serviceaccount:" + system + ":spillway")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer record.Close()
	cluster.audit = record
	l, err := lab.Start(ctx, lab.Options{
		APIServerArgs: record.Args(),
		OwnNodes: []lab.NodeGroup{{
			Name: "own", Count: 6,
			Capacity: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1000")},
			Labels:   map[string]string{ownLabel: "true"},
			Taints:   []corev1.Taint{{Key: "unscheduer", Value: "true", Effect: corev1.TaintEffectNoSchedule}},
		}},
		Logf: func(format string, args ...any) { fmt.Printf(format+"\n", args...) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the lab:", err)
		return 1
	}
	code := 1
	defer func() {
		if code != 0 {
			keepLogs(l)
		}
		if err := l.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the lab:", err)
		}
	}()
	if err := install(ctx, l); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return code
	}
	code = m.Run()
	return code
}

// install builds the manager and installs the chart, as a user would.
func install(ctx context.Context, l *lab.Lab) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if _, err := l.BuildImage(ctx, "spillway:e2e", "./cmd/spillway"); err != nil {
		return fmt.Errorf("build the manager: %w", err)
	}
	out, err := l.Helm(ctx, installArgs()...)
	if err != nil {
		return fmt.Errorf("install the chart: %w\n%s", err, out)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, appsv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("make the scheme: %w", err)
		}
	}
	c, err := client.NewWithWatch(l.Config(), client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("make the client: %w", err)
	}
	cluster.Lab, cluster.client = l, c
	return nil
}

func installArgs(more ...string) []string {
	return append([]string{
		"upgrade", "--install", "spillway", "../../charts/spillway", "--namespace", system, "--create-namespace",
		"--wait", "--timeout", "120s",
		"--set", "image.repository=spillway,image.tag=e2e,bindToPodIP=true",
		"--set", "config.workloadSpread.hold=" + hold.String(),
		"--set-string", `nodeSelector.lab\.spillway-project\.io/system=true`,
		"--set", "tolerations[0].key=lab.spillway-project.io/system,tolerations[0].operator=Exists",
	}, more...)
}

func keepLogs(l *lab.Lab) {
	dir, err := os.MkdirTemp("", "spillway-e2e-logs-")
	if err == nil {
		err = l.CopyLogs(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "keep the logs:", err)
		return
	}
	fmt.Fprintln(os.Stderr, "logs of the failed run:", dir)
}
