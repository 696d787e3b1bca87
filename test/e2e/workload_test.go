package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/state"
)

// fixture is a namespace of one test.
type fixture struct {
	*testing.T
	ctx context.Context
	ns  string
	// patience is how long a condition is waited for.
	patience time.Duration
}

// newFixture makes a namespace; it goes with the test. The context leaves time to clean up.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureFor(t, 4*time.Minute)
}

// newFixtureFor is newFixture for a test that may take longer.
func newFixtureFor(t *testing.T, limit time.Duration) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}
	if err := cluster.client.Create(ctx, ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.client.Delete(context.WithoutCancel(ctx), ns); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return &fixture{T: t, ctx: ctx, ns: ns.Name, patience: max(limit-time.Minute, 3*time.Minute)}
}

// figure notes something measured, for the summary of the run (dist/e2e-figures.txt).
func (f *fixture) figure(format string, args ...any) {
	f.Helper()
	f.Logf(format, args...)
	if err := os.MkdirAll("../../dist", 0o755); err != nil {
		f.Fatal(err)
	}
	file, err := os.OpenFile("../../dist/e2e-figures.txt", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	if _, err := fmt.Fprintf(file, format+"\n", args...); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) create(o client.Object) {
	f.Helper()
	o.SetNamespace(f.ns)
	if err := cluster.client.Create(f.ctx, o); err != nil {
		f.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
}

// eventually waits for a condition; last says what was seen when time runs out.
func (f *fixture) eventually(what string, condition func() (done bool, seen string)) {
	f.Helper()
	var seen string
	err := wait.PollUntilContextTimeout(f.ctx, 100*time.Millisecond, f.patience, true, func(context.Context) (bool, error) {
		var done bool
		done, seen = condition()
		return done, nil
	})
	if err != nil {
		f.Fatalf("%s: %v; last seen: %s", what, err, seen)
	}
}

// subset describes one subset of a WorkloadSpread.
type subset struct{ name, max string }

// workloadSpread pins the first subset to own nodes and the others to the virtual node.
func workloadSpread(name, target string, subsets ...subset) *appsv1alpha1.WorkloadSpread {
	ws := &appsv1alpha1.WorkloadSpread{ObjectMeta: metav1.ObjectMeta{Name: name}}
	ws.Spec.TargetReference = &appsv1alpha1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: target}
	for i, s := range subsets {
		label := virtLabel
		if i == 0 {
			label = ownLabel
		}
		out := appsv1alpha1.WorkloadSpreadSubset{
			Name: s.name,
			RequiredNodeSelectorTerm: &corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{
				Key: label, Operator: corev1.NodeSelectorOpIn, Values: []string{"true"},
			}}},
			Patch: runtime.RawExtension{Raw: fmt.Appendf(nil, `{"metadata":{"labels":{"subset":%q}}}`, s.name)},
		}
		if i == 0 {
			out.Tolerations = []corev1.Toleration{{Key: "unscheduer", Operator: corev1.TolerationOpExists}}
		}
		if s.max != "" {
			v := intstr.Parse(s.max)
			out.MaxReplicas = &v
		}
		ws.Spec.Subsets = append(ws.Spec.Subsets, out)
	}
	return ws
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "app:1"}}},
			},
		},
	}
}

// scale sets the replicas of a Deployment.
func (f *fixture) scale(name string, replicas int32) {
	f.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: f.ns, Name: name}}
	if err := cluster.client.Patch(f.ctx, d, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		f.Fatal(err)
	}
}

// pods lists the active pods of a Deployment.
func (f *fixture) pods(name string) []corev1.Pod {
	f.Helper()
	var list corev1.PodList
	if err := cluster.client.List(f.ctx, &list, client.InNamespace(f.ns), client.MatchingLabels{"app": name}); err != nil {
		f.Fatal(err)
	}
	var out []corev1.Pod
	for _, p := range list.Items {
		if state.IsActive(&p) {
			out = append(out, p)
		}
	}
	return out
}

// settled waits until the Deployment's rollout is complete, all pods ready on a node that their
// subset allows, and checks the split: by the records of the pods, by the nodes they run on, and by
// the status, with no claim left.
func (f *fixture) settled(deploy, ws string, want map[string]int) {
	f.Helper()
	total := 0
	for _, n := range want {
		total += n
	}
	f.eventually(fmt.Sprintf("%s settles at %v", deploy, want), func() (bool, string) {
		var d appsv1.Deployment
		if err := cluster.client.Get(f.ctx, client.ObjectKey{Namespace: f.ns, Name: deploy}, &d); err != nil {
			return false, err.Error()
		}
		seen := fmt.Sprintf("generation %d/%d, %d replicas, %d updated, %d ready", d.Status.ObservedGeneration, d.Generation,
			d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas)
		return d.Status.ObservedGeneration == d.Generation && int(d.Status.Replicas) == total &&
			int(d.Status.UpdatedReplicas) == total && int(d.Status.ReadyReplicas) == total, seen
	})
	if got := f.split(deploy); !maps.Equal(got, want) {
		f.Errorf("%s: pods are split %v, want %v; status %s", deploy, got, want, f.statusOf(ws))
	}
	f.eventually(fmt.Sprintf("the status of %s says %v and holds no claim", ws, want), func() (bool, string) {
		status := f.statusOf(ws)
		for name, n := range want {
			if !strings.Contains(status, fmt.Sprintf("%s=%d+0 ", name, n)) {
				return false, status
			}
		}
		return true, status
	})
}

// split counts the active pods by subset, and checks that each runs on a node of its subset.
func (f *fixture) split(deploy string) map[string]int {
	f.Helper()
	out := map[string]int{}
	for _, p := range f.pods(deploy) {
		record, _ := v1alpha1.ParseRecord(p.Annotations)
		out[record.Subset]++
		if p.Spec.NodeName != "" && record.Subset != "" && strings.HasPrefix(p.Spec.NodeName, "own-") != (record.Subset == "own") {
			f.Errorf("pod %s of subset %q runs on node %s", p.Name, record.Subset, p.Spec.NodeName)
		}
	}
	return out
}

// statusOf sums the versions of a WorkloadSpread's status: "own=5+0 virtual=5+0 ".
func (f *fixture) statusOf(name string) string {
	f.Helper()
	var ws appsv1alpha1.WorkloadSpread
	if err := cluster.client.Get(f.ctx, client.ObjectKey{Namespace: f.ns, Name: name}, &ws); err != nil {
		return err.Error()
	}
	replicas, claims := map[string]int32{}, map[string]int{}
	for _, row := range ws.Status.VersionedSubsetStatuses {
		for _, s := range row {
			replicas[s.Name] += s.Replicas
			claims[s.Name] += len(s.CreatingPods)
		}
	}
	out := ""
	for _, s := range ws.Status.SubsetStatuses {
		if s.Replicas != replicas[s.Name] {
			return fmt.Sprintf("%s: the aggregate says %d, the versions %d", s.Name, s.Replicas, replicas[s.Name])
		}
		out += fmt.Sprintf("%s=%d+%d ", s.Name, s.Replicas, claims[s.Name])
	}
	return out
}
