package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/lint"
)

// TestPodsWithoutASpreadGoWhereTheyAsk: the namespace says own, and one workload says otherwise. The virtual node of
// the lab has no taint, so nothing but Spillway keeps pods off it.
func TestPodsWithoutASpreadGoWhereTheyAsk(t *testing.T) {
	f := newFixture(t)
	ns := &corev1.Namespace{}
	ns.Name = f.ns
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:"own"}}}`, v1alpha1.KeyPlacement)
	if err := cluster.client.Patch(f.ctx, ns, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		f.Fatal(err)
	}
	// The webhook's cache learns of it in a moment; a dry run costs nothing.
	f.eventually("the webhook knows the namespace's label", func() (bool, string) {
		probe := pod("probe", "")
		probe.Namespace = f.ns
		err := cluster.client.Create(f.ctx, probe, client.DryRunAll)
		return err == nil && probe.Annotations[clusterselector.AnnotationRecord] != "", fmt.Sprint(err)
	})
	tolerant := []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	for name, placement := range map[string]v1alpha1.Placement{"home": "", "away": v1alpha1.PlacementVirtual, "both": v1alpha1.PlacementAny} {
		d := deployment(name, 10)
		d.Spec.Template.Spec.Tolerations = tolerant
		if placement != "" {
			d.Spec.Template.Annotations = map[string]string{v1alpha1.KeyPlacement: string(placement)}
		}
		f.create(d)
	}
	f.eventually("all pods have nodes", func() (bool, string) {
		seen := ""
		for _, name := range []string{"home", "away", "both"} {
			bound := 0
			for _, p := range f.pods(name) {
				if p.Spec.NodeName != "" {
					bound++
				}
			}
			seen += fmt.Sprintf("%s %d ", name, bound)
		}
		return seen == "home 10 away 10 both 10 ", seen
	})
	for _, p := range f.pods("home") {
		if p.Spec.NodeName == "virtual-0" {
			t.Errorf("pod %s is on node %s", p.Name, p.Spec.NodeName)
		}
	}
	for _, p := range f.pods("away") {
		if p.Spec.NodeName != "virtual-0" || p.Labels["virtual-pod"] != "true" {
			t.Errorf("pod %s is on node %s with the labels %v", p.Name, p.Spec.NodeName, p.Labels)
		}
	}
}

// TestPlacementsThatCannotBeAreRefused: what a user sees.
func TestPlacementsThatCannotBeAreRefused(t *testing.T) {
	f := newFixture(t)
	for placement, want := range map[v1alpha1.Placement]string{
		v1alpha1.PlacementOwnFirst: `metadata.annotations[spillway-project.io/placement]: "own-first" takes a WorkloadSpread`,
		"anywhere":                 `"anywhere" is no placement: use own (kept off virtual nodes), virtual (only on virtual nodes) or any (both)`,
	} {
		p := pod("web", placement)
		p.Namespace = f.ns
		if err := cluster.client.Create(f.ctx, p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want a refusal with %q", err, want)
		}
	}
	p := pod("host", v1alpha1.PlacementVirtual)
	p.Namespace, p.Spec.HostNetwork = f.ns, true
	if err := cluster.client.Create(f.ctx, p); err == nil || !strings.Contains(err.Error(), "spec.hostNetwork: the pod uses the node's network, which tensile-kube cannot run") {
		t.Errorf("got %v", err)
	}
}

func pod(name string, placement v1alpha1.Placement) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "app:1"}}}}
	p.Name = name
	if placement != "" {
		p.Annotations = map[string]string{v1alpha1.KeyPlacement: string(placement)}
	}
	return p
}

// TestCorrectedManifestsAreTaken: what lint makes of manifests with mistakes is applied by kubectl, strictly and
// without a warning; what it would correct, the webhook warns of.
func TestCorrectedManifestsAreTaken(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"as-published", "labels-and-values"} {
		text, err := os.ReadFile(filepath.Join("../../internal/lint/testdata", name+".in.yaml"))
		if err != nil {
			f.Fatal(err)
		}
		out, err := f.apply(lint.YAML(text).Fixed)
		if err != nil || strings.Contains(out, "is not honoured") || strings.Contains(out, "(misplaced-field)") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	out, err := f.apply([]byte(`{apiVersion: apps.kruise.io/v1alpha1, kind: WorkloadSpread, metadata: {name: slipped}, spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: slipped},
  subsets: [{name: a, patch: {spec: {requiredNodeSelectorTerm: {matchExpressions: [{key: a, operator: Exists}]}}}}]}}`))
	if err != nil || !strings.Contains(out, "Warning: spec.subsets[0].patch.spec.requiredNodeSelectorTerm: spec has no field requiredNodeSelectorTerm, so it has no effect: move it to spec.subsets[0].requiredNodeSelectorTerm (misplaced-field)") {
		t.Errorf("%v\n%s", err, out)
	}
}

// apply runs kubectl apply on a text, with strict validation, and returns all it says. What is made goes with the test.
func (f *fixture) apply(text []byte) (string, error) {
	f.Helper()
	file := filepath.Join(f.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if out, err := cluster.Kubectl(context.WithoutCancel(f.ctx), "delete", "--namespace", f.ns, "--ignore-not-found", "--wait=false", "-f", file); err != nil {
			f.Errorf("%v\n%s", err, out)
		}
	})
	cmd, err := cluster.KubectlCommand(f.ctx, "apply", "--namespace", f.ns, "--validate=strict", "-f", file)
	if err != nil {
		f.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
