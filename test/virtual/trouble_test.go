package virtual

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/test/lab"
	"github.com/spillway-project/spillway/test/lab/labtest"
)

// stuck: a pod that got the virtual node, but that no node of the member cluster has room for, is made anew on an own one.
func stuck(t *testing.T, profile lab.Profile) {
	f := newFixture(t, profile, lab.Knobs{})
	f.virtualFirst(1, nil)
	large := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("40")} // more than a node below has
	f.deploymentOf(1, "{}", corev1.ResourceRequirements{Requests: large})
	first := f.onVirtual("no place below", func(p *corev1.Pod) error {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				return nil
			}
		}
		return fmt.Errorf("conditions %v", p.Status.Conditions)
	})
	f.moved(first)
}

// refused: a pod that the provider does not take is made anew on an own node.
func refused(t *testing.T, profile lab.Profile) {
	f := newFixture(t, profile, lab.Knobs{RefuseEvery: 1})
	f.virtualFirst(1, nil)
	f.deployment(1, "{}")
	first := f.onVirtual("refused", func(p *corev1.Pod) error {
		if p.Status.Reason != "ProviderFailed" {
			return fmt.Errorf("reason %q", p.Status.Reason)
		}
		return nil
	})
	f.moved(first)
}

// onVirtual waits until a pod on the virtual node satisfies check, and returns its UID.
func (f *fixture) onVirtual(what string, check func(*corev1.Pod) error) types.UID {
	f.Helper()
	var uid types.UID
	labtest.Eventually(f, "a pod on the virtual node: "+what, func(context.Context) error {
		pods, err := f.pods(upper)
		if err != nil {
			return err
		}
		last := errors.New("there is none")
		for i := range pods {
			if pods[i].Spec.NodeName != f.node {
				continue
			}
			if last = check(&pods[i]); last == nil {
				uid = pods[i].UID
				return nil
			}
		}
		return fmt.Errorf("%w: %s", last, describe(pods))
	})
	return uid
}

// moved waits until the only pod is another one, on an own node, and the subset of virtual nodes is closed.
func (f *fixture) moved(from types.UID) {
	f.Helper()
	f.split(1, 0)
	pods, err := f.pods(upper)
	if err != nil {
		f.Fatal(err)
	}
	if pods[0].UID == from {
		f.Error("it is the same pod, which cannot be on another node")
	}
	ws, err := f.workloadSpread()
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range ws.Status.SubsetStatuses {
		for _, c := range s.Conditions {
			if s.Name == "virtual" && string(c.Type) == v1alpha1.ConditionSchedulable && c.Status != corev1.ConditionFalse {
				f.Errorf("the subset is open: %+v", c)
			}
		}
	}
}

// overwritten: statuses take the annotations off. They are written back when that ends. While it goes on, again and again,
// the counts stay exact, what comes is placed by them, and the surplus goes first.
func overwritten(t *testing.T, profile lab.Profile) {
	f := newFixture(t, profile, lab.Knobs{OverwriteAnnotations: map[string]string{}})
	f.spread(2)
	f.deployment(4, "{}")
	f.split(2, 2)
	f.onVirtual("without its record", func(p *corev1.Pod) error {
		if v1alpha1.IsRecorded(p.Annotations) {
			return errors.New("it has it")
		}
		return nil
	})
	f.turn(lab.Knobs{})
	f.onVirtual("with its record again", func(p *corev1.Pod) error {
		if r, ok := v1alpha1.ParseRecord(p.Annotations); !ok || r.Subset != "virtual" {
			return fmt.Errorf("annotations %v", p.Annotations)
		}
		return nil
	})
	f.turn(lab.Knobs{OverwriteAnnotations: map[string]string{}})
	f.scale(6)
	f.split(2, 4)
	f.scale(3)
	f.split(2, 1)
}

// impatient ends on a node two seconds after that is not ready any more.
const impatient = `tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 2}, {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 2}]`

// outageHold: pods stay on a virtual node that is not ready, where others are evicted, and go on as if nothing had been.
func outageHold(t *testing.T, profile lab.Profile) {
	f := newFixture(t, profile, lab.Knobs{})
	f.virtualFirst(2, map[string]string{v1alpha1.AnnotationOutage: v1alpha1.OutageHold})
	f.deployment(2, "{}")
	before, _ := f.split(0, 2)
	other := decode[corev1.Pod](t, `{metadata: {name: other}, spec: {containers: [{name: main, image: app}], `+impatient+`}}`)
	other.Spec.NodeName = f.node
	// Providers that eject what they do not know would do so at once.
	other.Spec.Tolerations = append(other.Spec.Tolerations, corev1.Toleration{Key: "virtual-node.liqo.io/not-allowed", Operator: corev1.TolerationOpExists})
	f.create(other)
	f.turn(lab.Knobs{NotReady: true})
	labtest.Eventually(t, "the eviction of a pod that does not hold out", func(ctx context.Context) error {
		err := kube.Get(ctx, client.ObjectKeyFromObject(other), other)
		if err != nil {
			return client.IgnoreNotFound(err)
		}
		if other.DeletionTimestamp == nil {
			return errors.New("it is there")
		}
		return nil
	})
	pods, err := f.pods(upper)
	if err != nil {
		t.Fatal(err)
	}
	if len(pods) != 2 {
		t.Errorf("pods during the outage: %s", describe(pods))
	}
	if err := member.Client().Get(t.Context(), client.ObjectKeyFromObject(&before[0]), &corev1.Pod{}); err != nil {
		t.Errorf("the lower pod does not run on: %v", err)
	}
	f.turn(lab.Knobs{})
	labtest.Eventually(t, "the end of the other pod", func(ctx context.Context) error {
		if err := kube.Get(ctx, client.ObjectKeyFromObject(other), other); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("it is there"), err)
		}
		return nil
	})
	after, below := f.split(0, 2)
	for i := range after {
		if after[i].UID != before[i].UID {
			t.Errorf("pod %s was replaced", after[i].Name)
		}
		for _, t := range below[i].Spec.Tolerations {
			if t.Key == corev1.TaintNodeUnreachable && t.TolerationSeconds == nil {
				f.Errorf("pod %s holds out below as well: %+v", below[i].Name, t)
			}
		}
	}
}

// outageReplace: pods on a virtual node that is not ready are evicted when their time is over, and their successors pass
// that node over.
func outageReplace(t *testing.T, profile lab.Profile) {
	f := newFixture(t, profile, lab.Knobs{})
	f.virtualFirst(1, map[string]string{v1alpha1.AnnotationOutage: v1alpha1.OutageReplace})
	f.deployment(2, impatient)
	f.split(1, 1)
	f.turn(lab.Knobs{NotReady: true})
	f.split(2, 0)
}
