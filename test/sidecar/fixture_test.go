package sidecar

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/test/lab/labtest"
)

// fixture is a namespace of one test, and the sets that it makes for it.
type fixture struct {
	*testing.T
	ctx context.Context
	ns  string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureFor(t, 2*patience)
}

// newFixtureFor is a fixture for a test that takes its time.
func newFixtureFor(t *testing.T, limit time.Duration) *fixture {
	t.Helper()
	installed(t)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return &fixture{T: t, ctx: ctx, ns: labtest.Namespace(t, cluster)}
}

// set creates a SidecarSet from the text of its spec, for this namespace alone.
func (f *fixture) set(name, spec string) *sidecar.SidecarSet {
	f.Helper()
	s, err := f.trySet(name, spec)
	if err != nil {
		f.Fatalf("create SidecarSet %s: %v", name, err)
	}
	return s
}

// named is the name of a set in the cluster: sets have no namespace.
func (f *fixture) named(name string) string { return name + "-" + f.ns }

func (f *fixture) trySet(name, spec string, change ...func(*sidecar.SidecarSet)) (*sidecar.SidecarSet, error) {
	f.Helper()
	s := &sidecar.SidecarSet{ObjectMeta: metav1.ObjectMeta{Name: f.named(name)}}
	if err := yaml.Unmarshal([]byte(spec), &s.Spec); err != nil {
		f.Fatal(err)
	}
	// Fields that the type does not know are part of what is tested.
	whole := new(sidecar.SidecarSet)
	if err := yaml.Unmarshal([]byte("spec:\n"+indent(spec)), whole); err != nil {
		f.Fatal(err)
	}
	s.Spec = whole.Spec
	if s.Spec.Namespace == "" && s.Spec.NamespaceSelector == nil {
		s.Spec.Namespace = f.ns
	}
	for _, c := range change {
		c(s)
	}
	err := kube.Create(f.ctx, s)
	if err == nil {
		f.Cleanup(func() {
			if err := kube.Delete(context.WithoutCancel(f.ctx), s); err != nil && !apierrors.IsNotFound(err) {
				f.Error(err)
			}
		})
	}
	return s, err
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}

// patchSet changes a set by a JSON patch.
func (f *fixture) patchSet(name, patch string) {
	f.Helper()
	if err := f.tryPatchSet(name, patch); err != nil {
		f.Fatalf("patch SidecarSet %s: %v", name, err)
	}
}

func (f *fixture) tryPatchSet(name, patch string) error {
	s := &sidecar.SidecarSet{ObjectMeta: metav1.ObjectMeta{Name: f.named(name)}}
	return kube.Patch(f.ctx, s, client.RawPatch(types.JSONPatchType, []byte(patch)))
}

// image changes the image of the first container of a set.
func (f *fixture) image(name, image string) {
	f.Helper()
	f.patchSet(name, fmt.Sprintf(`[{"op":"replace","path":"/spec/containers/0/image","value":%q}]`, image))
}

func (f *fixture) create(o client.Object) {
	f.Helper()
	o.SetNamespace(f.ns)
	if err := kube.Create(f.ctx, o); err != nil {
		f.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
}

// deployment makes pods on own nodes.
func deployment(name string, replicas int32, change ...func(*corev1.PodTemplateSpec)) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{}},
				Spec: corev1.PodSpec{
					Containers:   []corev1.Container{{Name: "main", Image: "app:1"}},
					NodeSelector: map[string]string{ownLabel: "true"},
				},
			},
		},
	}
	for _, c := range change {
		c(&d.Spec.Template)
	}
	return d
}

// pods lists the active pods with a label app.
func (f *fixture) pods(app string) []corev1.Pod {
	f.Helper()
	var list corev1.PodList
	if err := kube.List(f.ctx, &list, client.InNamespace(f.ns), client.MatchingLabels{"app": app}); err != nil {
		f.Fatal(err)
	}
	var out []corev1.Pod
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded {
			out = append(out, p)
		}
	}
	return out
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// running waits for so many ready pods.
func (f *fixture) running(app string, n int) []corev1.Pod {
	f.Helper()
	var pods []corev1.Pod
	f.eventually(fmt.Sprintf("%d pods of %s are ready", n, app), func() (bool, string) {
		pods = f.pods(app)
		ready := 0
		for i := range pods {
			if isReady(&pods[i]) {
				ready++
			}
		}
		return ready == n && len(pods) == n, fmt.Sprintf("%d of %d", ready, len(pods))
	})
	return pods
}

// status waits for figures of a set: matched, updated, ready.
func (f *fixture) status(name string, matched, updated, ready int32) {
	f.Helper()
	f.eventually(fmt.Sprintf("SidecarSet %s has %d pods, %d updated, %d ready", name, matched, updated, ready), func() (bool, string) {
		s := f.get(name)
		got := s.Status
		return got.ObservedGeneration == s.Generation && got.MatchedPods == matched && got.UpdatedPods == updated && got.ReadyPods == ready,
			fmt.Sprintf("%d pods, %d updated, %d ready (generation %d of %d)", got.MatchedPods, got.UpdatedPods, got.ReadyPods, got.ObservedGeneration, s.Generation)
	})
}

func (f *fixture) get(name string) *sidecar.SidecarSet {
	f.Helper()
	var s sidecar.SidecarSet
	if err := kube.Get(f.ctx, client.ObjectKey{Name: f.named(name)}, &s); err != nil {
		f.Fatal(err)
	}
	return &s
}

// patience is far longer than anything takes on a machine at work.
const patience = 3 * time.Minute

// eventually waits for a condition; last says what was seen when time runs out.
func (f *fixture) eventually(what string, condition func() (done bool, seen string)) {
	f.Helper()
	var seen string
	err := wait.PollUntilContextTimeout(f.ctx, 100*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		var done bool
		done, seen = condition()
		return done, nil
	})
	if err != nil {
		f.Fatalf("%s: %v; last seen: %s", what, err, seen)
	}
}

// imageOf returns the image of a container, in the spec and in the status.
func imageOf(p *corev1.Pod, container string) (spec, status string) {
	for _, c := range append(p.Spec.InitContainers, p.Spec.Containers...) {
		if c.Name == container {
			spec = c.Image
		}
	}
	for _, c := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
		if c.Name == container {
			status = c.Image
		}
	}
	return spec, status
}

// events counts the events of a reason on an object.
func (f *fixture) events(reason, name string) int {
	f.Helper()
	var list corev1.EventList
	if err := kube.List(f.ctx, &list); err != nil {
		f.Fatal(err)
	}
	n := 0
	for _, e := range list.Items {
		if e.Reason == reason && e.InvolvedObject.Name == name {
			n++
		}
	}
	return n
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
