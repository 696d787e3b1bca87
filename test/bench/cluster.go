package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/test/lab"
)

const (
	system     = "spillway-system"
	floorSpace = "floor-system"
	// scenarioLabel on a namespace says whose webhook sees its pods.
	scenarioLabel = "bench.spillway-project.io/scenario"
	ownLabel      = "node-role.kubernetes.io/WorkerNode"
	virtualLabel  = "node-role.kubernetes.io/local-virtual-kubelet"
)

// cluster is a lab with two releases of the chart: Spillway, and the floor in its place.
type cluster struct {
	lab    *lab.Lab
	client client.WithWatch
	audit  *lab.Audit
	n      int // namespaces made
}

// start starts the lab. The controller manager's own limit is far above what the machine can do, so that
// it never is what is measured.
func start(ctx context.Context) (*cluster, error) {
	audit, err := lab.NewAudit("system:serviceaccount:" + system + ":spillway")
	if err != nil {
		return nil, err
	}
	l, err := lab.Start(ctx, lab.Options{
		APIServerArgs: audit.Args(),
		ComponentQPS:  5000,
		OwnNodes: []lab.NodeGroup{{
			Name: "own", Count: 8, Labels: map[string]string{ownLabel: "true"},
			Capacity: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1000")},
		}},
		VirtualNodes: []lab.VirtualNode{{Name: "virtual-0", Profile: lab.ProfileGeneric, Labels: map[string]string{virtualLabel: "true"}}},
		Logf:         func(format string, args ...any) { fmt.Printf(format+"\n", args...) },
	})
	if err != nil {
		return nil, errors.Join(err, audit.Close())
	}
	c := &cluster{lab: l, audit: audit}
	if err := c.prepare(ctx); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *cluster) prepare(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), appsv1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	var err error
	if c.client, err = client.NewWithWatch(c.lab.Config(), client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("make the client: %w", err)
	}
	for _, r := range []struct{ name, namespace, tag, pkg, crds string }{
		{"spillway", system, "bench", "./cmd/spillway", "true"},
		{"floor", floorSpace, "floor", "./test/bench/floor", "false"},
	} {
		if _, err := c.lab.BuildImage(ctx, "spillway:"+r.tag, r.pkg); err != nil {
			return fmt.Errorf("build %s: %w", r.pkg, err)
		}
		scenario := map[string]string{"spillway": spread, "floor": floored}[r.name]
		out, err := c.lab.Helm(ctx, "upgrade", "--install", r.name, "charts/spillway", "--namespace", r.namespace, "--create-namespace",
			"--wait", "--timeout", "180s",
			"--set", "image.repository=spillway,bindToPodIP=true,fullnameOverride="+r.name,
			"--set", "config.metrics.secure=false", // the benchmark is no ServiceAccount
			"--set", "image.tag="+r.tag+",crds.enabled="+r.crds+",rbac.aggregateToDefaultRoles=false",
			"--set", "webhook.namespaceSelector[0].key="+scenarioLabel+",webhook.namespaceSelector[0].operator=In,webhook.namespaceSelector[0].values[0]="+scenario,
			"--set-string", `nodeSelector.lab\.spillway-project\.io/system=true`,
			"--set", "tolerations[0].key=lab.spillway-project.io/system,tolerations[0].operator=Exists",
		)
		if err != nil {
			return fmt.Errorf("install %s: %w\n%s", r.name, err, out)
		}
	}
	return nil
}

func (c *cluster) stop() error { return errors.Join(c.lab.Stop(), c.audit.Close()) }

// namespace makes one whose pods a scenario's webhook sees.
func (c *cluster) namespace(ctx context.Context, scenario string) (*corev1.Namespace, error) {
	c.n++
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("bench-%d", c.n), Labels: map[string]string{scenarioLabel: scenario},
	}}
	if err := c.client.Create(ctx, ns); err != nil {
		return nil, err
	}
	// Pods need the default service account, which comes a moment later.
	return ns, poll(ctx, time.Minute, func() (bool, error) {
		err := c.client.Get(ctx, client.ObjectKey{Namespace: ns.Name, Name: "default"}, &corev1.ServiceAccount{})
		return err == nil, client.IgnoreNotFound(err)
	})
}

// poll waits for a condition.
func poll(ctx context.Context, limit time.Duration, condition func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := condition()
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func workload(namespace string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					// In every scenario alike: the other nodes are no part of it.
					Tolerations: []corev1.Toleration{{Key: "virtual-kubelet.io/provider", Operator: corev1.TolerationOpExists}},
					Containers:  []corev1.Container{{Name: "main", Image: "app:1"}},
				},
			},
		},
	}
}

func halves(namespace string) *appsv1alpha1.WorkloadSpread {
	half := intstr.FromString("50%")
	ws := &appsv1alpha1.WorkloadSpread{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"}}
	ws.Spec.TargetReference = &appsv1alpha1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}
	for _, s := range []struct{ name, label string }{{"own", ownLabel}, {"virtual", virtualLabel}} {
		ws.Spec.Subsets = append(ws.Spec.Subsets, appsv1alpha1.WorkloadSpreadSubset{
			Name: s.name, MaxReplicas: &half,
			RequiredNodeSelectorTerm: &corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{
				Key: s.label, Operator: corev1.NodeSelectorOpExists,
			}}},
		})
	}
	return ws
}
