package virtual

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/test/lab"
	"github.com/spillway-project/spillway/test/lab/labtest"
)

// fixture is a namespace of one test, which both clusters have under the same name, and its virtual node.
type fixture struct {
	*testing.T
	ns, node string
	profile  lab.Profile
}

func newFixture(t *testing.T, profile lab.Profile, knobs lab.Knobs) *fixture {
	t.Helper()
	if err := installed(); err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, ns: labtest.Namespace(t, upper), profile: profile}
	f.node = "virtual-" + f.ns
	labels := map[string]string{testLabel: f.ns, sampleLabel: "false"}
	if profile == lab.ProfileGeneric {
		labels[handsOver] = "true"
	}
	if err := upper.AddVirtualNode(t.Context(), lab.VirtualNode{Name: f.node, Profile: profile, Labels: labels, Knobs: knobs, Member: member.Kubeconfig()}); err != nil {
		t.Fatal(err)
	}
	return f
}

// turn sets the knobs of the test's node.
func (f *fixture) turn(knobs lab.Knobs) {
	f.Helper()
	if err := upper.SetKnobs(f.Context(), f.node, knobs); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) create(o client.Object) {
	f.Helper()
	if o.GetNamespace() == "" {
		o.SetNamespace(f.ns)
	}
	if err := kube.Create(f.Context(), o); err != nil {
		f.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
}

// decode reads an object from YAML, strictly.
func decode[T any](t testing.TB, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

// spread creates a WorkloadSpread of the Deployment web: so many pods on own nodes, the rest on the test's virtual
// node.
func (f *fixture) spread(own int) {
	f.Helper()
	f.create(f.workloadSpreadOf([2]string{"own", "virtual"}, own))
}

// virtualFirst creates a WorkloadSpread the other way round, with annotations: so many pods on the virtual node, the rest
// on own ones. A pod that cannot run where it is goes elsewhere within seconds.
func (f *fixture) virtualFirst(virtual int, annotations map[string]string) {
	f.Helper()
	ws := f.workloadSpreadOf([2]string{"virtual", "own"}, virtual)
	ws.Annotations = annotations
	ws.Spec.ScheduleStrategy = adaptive()
	f.create(ws)
}

// adaptive moves pods that cannot start after two seconds.
func adaptive() appsv1alpha1.WorkloadSpreadScheduleStrategy {
	seconds := int32(2)
	return appsv1alpha1.WorkloadSpreadScheduleStrategy{
		Type:     appsv1alpha1.AdaptiveWorkloadSpreadScheduleStrategyType,
		Adaptive: &appsv1alpha1.AdaptiveWorkloadSpreadStrategy{RescheduleCriticalSeconds: &seconds},
	}
}

// workloadSpreadOf has two subsets, of which the first has a limit.
func (f *fixture) workloadSpreadOf(order [2]string, limit int) *appsv1alpha1.WorkloadSpread {
	subsets := map[string]string{
		"own": fmt.Sprintf(`
  - name: own
    requiredNodeSelectorTerm: {matchExpressions: [{key: %s, operator: Exists}]}
    tolerations: [{key: %s, operator: Exists}]`, ownLabel, ownTaint),
		"virtual": fmt.Sprintf(`
  - name: virtual
    requiredNodeSelectorTerm: {matchExpressions: [{key: %s, operator: In, values: [%s]}]}`, testLabel, f.ns),
	}
	if f.profile == lab.ProfileLiqo { // which marks no pods itself, and passes labels on
		subsets["virtual"] += fmt.Sprintf(`
    patch: {metadata: {labels: {%s: "true"}}}`, lab.LabelGenericPod)
	}
	return decode[appsv1alpha1.WorkloadSpread](f, fmt.Sprintf(`
metadata: {name: web}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  subsets:%s
    maxReplicas: %d%s`, subsets[order[0]], limit, subsets[order[1]]))
}

// deployment creates the Deployment web, with the given spec of its pods besides the container.
func (f *fixture) deployment(replicas int32, spec string) *appsv1.Deployment {
	f.Helper()
	return f.deploymentOf(replicas, spec, corev1.ResourceRequirements{})
}

// deploymentOf is deployment with the resources of the container.
func (f *fixture) deploymentOf(replicas int32, spec string, resources corev1.ResourceRequirements) *appsv1.Deployment {
	f.Helper()
	d := decode[appsv1.Deployment](f, `
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}}
`)
	if err := yaml.UnmarshalStrict([]byte(spec), &d.Spec.Template.Spec); err != nil {
		f.Fatal(err)
	}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "main", Image: "app:1", Resources: resources}}
	d.Spec.Replicas = &replicas
	f.create(d)
	return d
}

// pods lists the pods of a cluster in the test's namespace that are not on their way out, by name.
func (f *fixture) pods(l *lab.Lab) ([]corev1.Pod, error) {
	var list corev1.PodList
	if err := l.Client().List(f.Context(), &list, client.InNamespace(f.ns)); err != nil {
		return nil, err
	}
	active := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
	})
	slices.SortFunc(active, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return active, nil
}

// split waits until so many pods are ready on own nodes and on the virtual node, each of the latter with a lower pod
// that is ready too, and the WorkloadSpread counts the same. It returns the pods on the virtual node and the lower
// ones, in the same order.
func (f *fixture) split(own, virtual int) (above, below []corev1.Pod) {
	f.Helper()
	labtest.Eventually(f, fmt.Sprintf("%d pods on own nodes, %d on the virtual node", own, virtual), func(context.Context) error {
		all, err := f.pods(upper)
		if err != nil {
			return err
		}
		if below, err = f.pods(member); err != nil {
			return err
		}
		above = slices.DeleteFunc(slices.Clone(all), func(p corev1.Pod) bool { return p.Spec.NodeName != f.node })
		seen := fmt.Sprintf("%s; below %s", describe(all), describe(below))
		switch {
		case len(all) != own+virtual || len(above) != virtual || len(below) != virtual:
			return errors.New(seen)
		case !slices.ContainsFunc(slices.Concat(all, below), func(p corev1.Pod) bool { return !ready(&p) }):
		default:
			return fmt.Errorf("not ready: %s", seen)
		}
		for i := range above {
			if above[i].Name != below[i].Name || above[i].Status.PodIP != below[i].Status.PodIP {
				return fmt.Errorf("pods above and below differ: %s", seen)
			}
		}
		return f.counted(map[string]int32{"own": int32(own), "virtual": int32(virtual)}) //nolint:gosec // small
	})
	return above, below
}

// counted returns an error unless the WorkloadSpread has these figures.
func (f *fixture) counted(want map[string]int32) error {
	ws, err := f.workloadSpread()
	if err != nil {
		return err
	}
	for _, s := range ws.Status.SubsetStatuses {
		if s.Replicas != want[s.Name] || len(s.CreatingPods) > 0 {
			return fmt.Errorf("subset %s counts %d pods and %d claims, wanted %d", s.Name, s.Replicas, len(s.CreatingPods), want[s.Name])
		}
	}
	if len(ws.Status.SubsetStatuses) != len(want) {
		return fmt.Errorf("%d subsets have a status", len(ws.Status.SubsetStatuses))
	}
	return nil
}

func (f *fixture) workloadSpread() (*appsv1alpha1.WorkloadSpread, error) {
	var ws appsv1alpha1.WorkloadSpread
	return &ws, kube.Get(f.Context(), client.ObjectKey{Namespace: f.ns, Name: "web"}, &ws)
}

func (f *fixture) scale(replicas int32) {
	f.Helper()
	if err := kube.SubResource("scale").Patch(f.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: f.ns, Name: "web"}},
		client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas))); err != nil {
		f.Fatal(err)
	}
}

// unplaced returns a pod as either cluster would store it: it has no owner and no annotation by which anybody would
// place it, or restore it.
func (f *fixture) unplaced(l *lab.Lab, labels map[string]string, spec corev1.PodSpec) *corev1.Pod {
	f.Helper()
	namespaces := l.Clientset().CoreV1().Namespaces()
	if _, err := namespaces.Create(f.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.ns}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		f.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: f.ns, Name: "unplaced", Labels: labels}, Spec: *spec.DeepCopy()}
	labtest.Eventually(f, "a pod that is not placed", func(ctx context.Context) error {
		return l.Client().Create(ctx, pod, client.DryRunAll) // the service account may take a moment
	})
	return pod
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// describe says in one line where pods are.
func describe(pods []corev1.Pod) string {
	parts := make([]string, len(pods))
	for i := range pods {
		p := &pods[i]
		parts[i] = fmt.Sprintf("%s on %q %s %s", p.Name, p.Spec.NodeName, p.Status.Phase, p.Status.Reason+p.Status.Message)
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				parts[i] += " (" + c.Message + ")"
			}
		}
	}
	return strings.Join(parts, ", ")
}
