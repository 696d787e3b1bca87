package lab_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/test/lab"
	"github.com/spillway-project/spillway/test/lab/labtest"
)

// cluster is shared by the tests of this package: each works in a namespace of its own, and those
// that turn knobs have a virtual node of their own.
var cluster *lab.Lab

// startOnlyEnv makes the test binary start a lab, say where and wait: it is what TestKilledLab kills.
const startOnlyEnv = "SPILLWAY_LAB_TEST_START_ONLY"

func TestMain(m *testing.M) {
	if os.Getenv(startOnlyEnv) != "" {
		startOnly()
	}
	os.Exit(labtest.Main(m, lab.Options{
		OwnNodes: []lab.NodeGroup{{Name: "own", Count: 2}},
		VirtualNodes: []lab.VirtualNode{
			{Name: "tensile", Profile: lab.ProfileTensileKube},
			{Name: "kosmos", Profile: lab.ProfileKosmos},
			{Name: "liqo", Profile: lab.ProfileLiqo},
			{
				Name: "generic", Profile: lab.ProfileGeneric, Labels: map[string]string{"zone": "far"},
				Taints: []corev1.Taint{{Key: "extra", Effect: corev1.TaintEffectNoSchedule}},
			},
			{Name: "silent", Profile: lab.ProfileKosmos},
		},
		NodeMonitorGracePeriod: 20 * time.Second,
	}, &cluster))
}

// makePod returns a pod with one container, placed on own nodes unless changed.
func makePod(namespace, name string, changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}, Annotations: map[string]string{}},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"type": "kwok"},
			Containers:   []corev1.Container{{Name: "main", Image: "main:1"}},
		},
	}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

// onNode places a pod on one node, whatever its taints.
func onNode(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: name}
		pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
}

func annotated(key, value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Annotations[key] = value }
}

func create(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	if err := cluster.Client().Create(t.Context(), pod); err != nil {
		t.Fatalf("creating pod %s: %v", pod.Name, err)
	}
}

// eventually waits until the pod, as it is now, satisfies check.
func eventually(t *testing.T, pod *corev1.Pod, what string, check func(*corev1.Pod) error) *corev1.Pod {
	t.Helper()
	found := &corev1.Pod{}
	labtest.Eventually(t, fmt.Sprintf("pod %s: %s", pod.Name, what), func(ctx context.Context) error {
		if err := cluster.Client().Get(ctx, types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}, found); err != nil {
			return err
		}
		return check(found)
	})
	return found
}

func eventuallyReady(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	return eventually(t, pod, "ready", isReady)
}

func isReady(pod *corev1.Pod) error {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("not ready: phase %q, reason %q, conditions %v, containers %v", pod.Status.Phase, pod.Status.Reason, pod.Status.Conditions, pod.Status.ContainerStatuses)
}

// isWaiting tells whether the container of that name waits for that reason and the pod is not ready.
func isWaiting(container, reason string) func(*corev1.Pod) error {
	return func(pod *corev1.Pod) error {
		status, err := statusOf(pod, container)
		if err != nil {
			return err
		}
		if status.State.Waiting == nil || status.State.Waiting.Reason != reason {
			return fmt.Errorf("state is %v", status.State)
		}
		if isReady(pod) == nil {
			return fmt.Errorf("the pod is ready")
		}
		return nil
	}
}

func statusOf(pod *corev1.Pod, container string) (corev1.ContainerStatus, error) {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for _, status := range list {
			if status.Name == container {
				return status, nil
			}
		}
	}
	return corev1.ContainerStatus{}, fmt.Errorf("no status of container %s", container)
}

// setImage changes the image of a container in a running pod.
func setImage(t *testing.T, pod *corev1.Pod, list string, index int, image string) {
	t.Helper()
	patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/%s/%d/image","value":%q}]`, list, index, image)
	_, err := cluster.Clientset().CoreV1().Pods(pod.Namespace).Patch(t.Context(), pod.Name, types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatalf("changing the image of pod %s: %v", pod.Name, err)
	}
}

func deletePod(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	if err := cluster.Client().Delete(t.Context(), pod); err != nil {
		t.Fatalf("deleting pod %s: %v", pod.Name, err)
	}
}

func eventuallyGone(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	labtest.Eventually(t, "end of pod "+pod.Name, func(ctx context.Context) error {
		found, err := cluster.Clientset().CoreV1().Pods(pod.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + pod.Name})
		if err != nil {
			return err
		}
		if len(found.Items) > 0 && found.Items[0].UID == pod.UID {
			return fmt.Errorf("it is there: phase %s", found.Items[0].Status.Phase)
		}
		return nil
	})
}
