package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	kruisev1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/test/lab"
)

const (
	namespace  = "spillway-system"
	imageTag   = "demo"
	labCommand = "github.com/spillway-project/spillway/test/lab/cmd/lab"
)

// The labels and taints by which the samples know their nodes.
const (
	ownLabel     = "node-role.kubernetes.io/WorkerNode"
	ownTaint     = "unscheduer"
	virtualLabel = "node-role.kubernetes.io/local-virtual-kubelet"
	virtualTaint = "virtual-kubelet.io/provider"
)

// A cluster is a running lab with a client for it, and its member: the one that the virtual node stands for.
type cluster struct {
	lab    *lab.Lab
	member *lab.Lab
	client client.Client
	repo   string
}

// memberOptions describe the cluster behind the virtual node.
func memberOptions(logf func(string, ...any)) lab.Options {
	return lab.Options{OwnNodes: []lab.NodeGroup{{Name: "below", Count: 4}}, VirtualNodes: []lab.VirtualNode{}, Logf: logf}
}

// options describe nodes on which no pod of the workload fits without Spillway's help.
func options(member string, logf func(string, ...any)) lab.Options {
	return lab.Options{
		OwnNodes: []lab.NodeGroup{{
			Name: "own", Count: 3,
			Labels: map[string]string{ownLabel: "true"},
			Taints: []corev1.Taint{{Key: ownTaint, Value: "true", Effect: corev1.TaintEffectNoSchedule}},
		}},
		VirtualNodes: []lab.VirtualNode{{
			Name: "virtual-0", Profile: lab.ProfileTensileKube,
			Labels: map[string]string{virtualLabel: "true"}, Member: member,
			Taints: []corev1.Taint{{Key: virtualTaint, Value: "tensile-kube", Effect: corev1.TaintEffectNoSchedule}},
		}},
		Logf: logf,
	}
}

// startCluster starts the member and then the cluster, in this process or, to be kept, in the background.
func startCluster(ctx context.Context, keep bool, out *printer) (*cluster, error) {
	start := func(opts lab.Options) (*lab.Lab, error) {
		if keep {
			return startApart(ctx, opts, out)
		}
		return lab.Start(ctx, opts)
	}
	member, err := start(memberOptions(out.progress))
	if err != nil {
		return nil, err
	}
	l, err := start(options(member.Kubeconfig(), out.progress))
	if err != nil {
		return nil, errors.Join(err, member.Stop())
	}
	c, err := connect(l, member)
	if err != nil {
		return nil, errors.Join(err, l.Stop(), member.Stop())
	}
	return c, nil
}

// stop ends both.
func (c *cluster) stop() error { return errors.Join(c.lab.Stop(), c.member.Stop()) }

func connect(l, member *lab.Lab) (*cluster, error) {
	builder, err := lab.NewBuilder(nil)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), kruisev1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	reader, err := client.New(l.Config(), client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return &cluster{lab: l, member: member, client: reader, repo: builder.Repo}, nil
}

// startApart starts a lab in the background, as "lab up" does for a user.
func startApart(ctx context.Context, opts lab.Options, out *printer) (*lab.Lab, error) {
	dir, err := os.MkdirTemp("", "spillway-demo-")
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(opts)
	if err != nil {
		return nil, err
	}
	file := dir + ".json"
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	command := exec.CommandContext(ctx, "go", "run", labCommand, "--dir", dir, "up", "-f", file)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.Stdout, command.Stderr = out.indented(), os.Stderr
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("starting the cluster in the background: %w", err)
	}
	return lab.Attach(dir)
}

// install builds the manager, makes it an image of a system node and installs the chart with the given value.
func (c *cluster) install(ctx context.Context, l *lab.Lab, value string, logf func(string, ...any)) error {
	if _, err := l.BuildImage(ctx, "spillway:"+imageTag, "./cmd/spillway"); err != nil {
		return err
	}
	began := time.Now()
	_, err := l.Helm(ctx, "install", "spillway", filepath.Join(c.repo, "charts/spillway"),
		"--namespace", namespace, "--create-namespace", "--wait", "--timeout", "3m",
		"--set", value,
		"--set", "image.tag="+imageTag,
		// Pods of the lab's system node are processes of one host.
		"--set", "bindToPodIP=true",
		"--set-json", fmt.Sprintf(`nodeSelector={%q:"true"}`, lab.LabelSystemNode),
		"--set-json", fmt.Sprintf(`tolerations=[{"key":%q,"operator":"Exists"}]`, lab.LabelSystemNode))
	if err != nil {
		return err
	}
	logf("%-8s %-24s %s", "ready", "2 managers", time.Since(began).Round(10*time.Millisecond))
	return nil
}

// applySamples applies the WorkloadSpread before the Deployment, as a user does who wants
// every pod spread from the first one on.
func (c *cluster) applySamples(ctx context.Context) error {
	for _, file := range []string{"workloadspread.yaml", "deployment.yaml"} {
		if _, err := c.lab.Kubectl(ctx, "apply", "-f", filepath.Join(c.repo, "config/samples", file)); err != nil {
			return err
		}
	}
	return nil
}

// saveLogs keeps the logs of a cluster in which something went wrong.
func (c *cluster) saveLogs(logf func(string, ...any)) error {
	dir := filepath.Join(c.repo, "bin", "demo-logs")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := errors.Join(c.lab.CopyLogs(dir), c.member.CopyLogs(filepath.Join(dir, "member"))); err != nil {
		return err
	}
	logf("%-8s %s", "logs", dir)
	return nil
}

// farewell says what can be done with a cluster that goes on running.
func (c *cluster) farewell(ctx context.Context, out *printer) error {
	kubectl, err := c.lab.KubectlCommand(ctx)
	if err != nil {
		return err
	}
	out.hint("The clusters are still running. To try next:")
	out.commands(
		"export KUBECONFIG="+c.lab.Kubeconfig(),
		"alias kubectl="+kubectl.Path,
		"kubectl get workloadspreads",
		"kubectl get sidecarsets",
		"kubectl get pods --output wide",
		"kubectl scale deployment web --replicas=7",
		"kubectl get events --field-selector involvedObject.kind=WorkloadSpread",
		"kubectl --namespace "+namespace+" get pods",
	)
	out.hint("Behind the virtual node:")
	out.commands("kubectl --kubeconfig=" + c.member.Kubeconfig() + " get pods --output wide")
	out.hint("To stop both:")
	for _, l := range []*lab.Lab{c.lab, c.member} {
		out.commands("go run ./test/lab/cmd/lab --dir " + l.Dir() + " down")
	}
	return nil
}
