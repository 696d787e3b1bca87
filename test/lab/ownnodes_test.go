package lab_test

import (
	"context"
	"fmt"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/test/lab"
	"github.com/spillway-project/spillway/test/lab/labtest"
)

func TestOwnNodesRunANewImageInPlace(t *testing.T) {
	t.Parallel()
	namespace := labtest.Namespace(t, cluster)
	always := corev1.ContainerRestartPolicyAlways
	pod := makePod(namespace, "in-place", func(pod *corev1.Pod) {
		pod.Spec.InitContainers = []corev1.Container{
			{Name: "sidecar", Image: "sidecar:1", RestartPolicy: &always}, {Name: "init", Image: "init:1"},
		}
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "other", Image: "other:1"})
	})
	create(t, pod)
	before := eventuallyReady(t, pod)

	for _, tc := range []struct {
		list      string
		container string
	}{{"containers", "main"}, {"initContainers", "sidecar"}} {
		old, err := statusOf(before, tc.container)
		if err != nil {
			t.Fatal(err)
		}
		setImage(t, pod, tc.list, 0, tc.container+":2")
		after := eventually(t, pod, "new image of "+tc.container, func(pod *corev1.Pod) error {
			status, err := statusOf(pod, tc.container)
			if err != nil {
				return err
			}
			if status.Image != tc.container+":2" || status.ImageID == old.ImageID || status.RestartCount != old.RestartCount+1 {
				return fmt.Errorf("image %s, ID %s, restarts %d", status.Image, status.ImageID, status.RestartCount)
			}
			return isReady(pod)
		})
		if other, err := statusOf(after, "other"); err != nil || other.RestartCount != 0 {
			t.Errorf("container other was restarted %d times, want 0 (%v)", other.RestartCount, err)
		}
	}
}

func TestOwnNodesBrokenImage(t *testing.T) {
	t.Parallel()
	namespace := labtest.Namespace(t, cluster)
	fromStart := makePod(namespace, "from-start", func(pod *corev1.Pod) { pod.Spec.Containers[0].Image = "main:broken" })
	create(t, fromStart)
	later := makePod(namespace, "later")
	create(t, later)
	eventuallyReady(t, later)

	eventually(t, fromStart, "broken", isWaiting("main", "ImagePullBackOff"))
	setImage(t, later, "containers", 0, "main"+lab.BrokenImage)
	eventually(t, later, "broken", isWaiting("main", "ImagePullBackOff"))
	setImage(t, later, "containers", 0, "main:2")
	repaired := eventuallyReady(t, later)
	if status, err := statusOf(repaired, "main"); err != nil || status.RestartCount != 1 {
		t.Errorf("repaired container has %d restarts, want 1 (%v)", status.RestartCount, err)
	}
	setImage(t, fromStart, "containers", 0, "main:2")
	eventuallyReady(t, fromStart)
}

func TestOwnNodesBrokenByAnnotation(t *testing.T) {
	t.Parallel()
	pod := makePod(labtest.Namespace(t, cluster), "annotated", annotated(lab.AnnotationBroken, "true"))
	create(t, pod)
	eventually(t, pod, "broken", isWaiting("main", "ImagePullBackOff"))
	found := eventually(t, pod, "found", func(*corev1.Pod) error { return nil })
	found.Annotations[lab.AnnotationBroken] = "false"
	if err := cluster.Client().Update(t.Context(), found); err != nil {
		t.Fatalf("repairing the pod: %v", err)
	}
	eventuallyReady(t, pod)
}

// A delay of an hour: what must not happen before it is over has not happened when other pods, made later, are through.
func TestOwnNodesDelays(t *testing.T) {
	t.Parallel()
	namespace := labtest.Namespace(t, cluster)
	slowStart := makePod(namespace, "slow-start", annotated(lab.AnnotationStartDelay, "1h"))
	slowRestart := makePod(namespace, "slow-restart", annotated(lab.AnnotationRestartDelay, "1h"))
	slowStop := makePod(namespace, "slow-stop", annotated(lab.AnnotationStopDelay, "1h"))
	for _, pod := range []*corev1.Pod{slowStart, slowRestart, slowStop} {
		create(t, pod)
	}
	eventuallyReady(t, slowRestart)
	eventuallyReady(t, slowStop)
	setImage(t, slowRestart, "containers", 0, "main:2")
	deletePod(t, slowStop)

	quick := makePod(namespace, "quick", annotated(lab.AnnotationStartDelay, "100ms"))
	create(t, quick)
	eventuallyReady(t, quick)
	eventually(t, slowStart, "pending", func(pod *corev1.Pod) error {
		if pod.Spec.NodeName == "" || pod.Status.Phase != corev1.PodPending {
			return fmt.Errorf("node %q, phase %s", pod.Spec.NodeName, pod.Status.Phase)
		}
		return nil
	})
	eventually(t, slowRestart, "old image", func(pod *corev1.Pod) error {
		if image := pod.Status.ContainerStatuses[0].Image; image != "main:1" {
			return fmt.Errorf("image %s", image)
		}
		return nil
	})
	eventually(t, slowStop, "terminating", func(pod *corev1.Pod) error {
		if pod.DeletionTimestamp == nil {
			return fmt.Errorf("not deleted")
		}
		return nil
	})
}

func TestOwnNodesReadinessGates(t *testing.T) {
	t.Parallel()
	const gate = "lab.test/gate"
	pod := makePod(labtest.Namespace(t, cluster), "gated", func(pod *corev1.Pod) {
		pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: gate}}
	})
	create(t, pod)
	found := eventually(t, pod, "running, not ready", func(pod *corev1.Pod) error {
		if pod.Status.Phase != corev1.PodRunning || isReady(pod) == nil {
			return fmt.Errorf("phase %s, conditions %v", pod.Status.Phase, pod.Status.Conditions)
		}
		return nil
	})
	found.Status.Conditions = append(found.Status.Conditions, corev1.PodCondition{Type: gate, Status: corev1.ConditionTrue})
	if err := cluster.Client().Status().Update(t.Context(), found); err != nil {
		t.Fatalf("opening the gate: %v", err)
	}
	eventuallyReady(t, pod)
}

func TestOwnNodesFullTaintedAndCordoned(t *testing.T) {
	t.Parallel()
	namespace := labtest.Namespace(t, cluster)
	group := func(name string, taints ...corev1.Taint) lab.NodeGroup {
		return lab.NodeGroup{
			Name: name, Count: 1, Labels: map[string]string{"only": name}, Taints: taints,
			Capacity: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")},
		}
	}
	for _, g := range []lab.NodeGroup{
		group("full"), group("tainted", corev1.Taint{Key: "keep-off", Effect: corev1.TaintEffectNoSchedule}), group("cordoned"),
	} {
		if err := cluster.AddOwnNodes(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cluster.Kubectl(t.Context(), "cordon", "cordoned-0"); err != nil {
		t.Fatal(err)
	}
	only := func(name string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Spec.NodeSelector = map[string]string{"only": name} }
	}
	first := makePod(namespace, "first", only("full"))
	create(t, first)
	eventuallyReady(t, first)
	for _, name := range []string{"full", "tainted", "cordoned"} {
		pod := makePod(namespace, "on-"+name, only(name))
		create(t, pod)
		eventually(t, pod, "unschedulable", isUnschedulable)
	}
}

func isUnschedulable(pod *corev1.Pod) error {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return nil
		}
	}
	return fmt.Errorf("conditions are %v", pod.Status.Conditions)
}

func TestJobsComplete(t *testing.T) {
	t.Parallel()
	namespace := labtest.Namespace(t, cluster)
	for name, place := range map[string]func(*corev1.Pod){"own": func(*corev1.Pod) {}, "virtual": onNode("kosmos")} {
		pod := makePod(namespace, name, place)
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		job := &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: pod.Spec}},
		}
		if err := cluster.Client().Create(t.Context(), job); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"own", "virtual"} {
		labtest.Eventually(t, "job on a node of kind "+name, func(ctx context.Context) error {
			job, err := cluster.Clientset().BatchV1().Jobs(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if job.Status.Succeeded != 1 {
				return fmt.Errorf("%d succeeded", job.Status.Succeeded)
			}
			return nil
		})
	}
}
