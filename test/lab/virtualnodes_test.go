package lab_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/test/lab"
	"github.com/spillway-project/spillway/test/lab/labtest"
)

func TestProfilesMarkTheirNodes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		node   string
		labels map[string]string
		taints []string
	}{
		{"tensile", map[string]string{
			"type": "virtual-kubelet", "clusterID": "tensile", "node-role.kubernetes.io/local-virtual-kubelet": "true",
		}, nil},
		{"kosmos", map[string]string{"kosmos.io/node": "true"}, []string{"kosmos.io/node=true:NoSchedule"}},
		{"liqo", map[string]string{"liqo.io/type": "virtual-node", "liqo.io/remote-cluster-id": "liqo"}, []string{"virtual-node.liqo.io/not-allowed=true:NoExecute"}},
		{"generic", map[string]string{"type": "virtual-kubelet", "zone": "far"}, []string{"virtual-kubelet.io/provider=lab:NoSchedule", "extra:NoSchedule"}},
	} {
		node, err := cluster.Clientset().CoreV1().Nodes().Get(t.Context(), tc.node, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range tc.labels {
			if got := node.Labels[key]; got != want {
				t.Errorf("node %s: label %s is %q, want %q", tc.node, key, got, want)
			}
		}
		var taints []string
		for _, taint := range node.Spec.Taints {
			taints = append(taints, taint.ToString())
		}
		if got, want := strings.Join(taints, " "), strings.Join(tc.taints, " "); got != want {
			t.Errorf("node %s: taints %q, want %q", tc.node, got, want)
		}
	}
}

// knobbed adds a virtual node for one test.
func knobbed(t *testing.T, knobs lab.Knobs) string {
	t.Helper()
	name := strings.ToLower(t.Name())
	err := cluster.AddVirtualNode(t.Context(), lab.VirtualNode{Name: name, Profile: lab.ProfileKosmos, Knobs: knobs})
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func turn(t *testing.T, node string, knobs lab.Knobs) {
	t.Helper()
	if err := cluster.SetKnobs(t.Context(), node, knobs); err != nil {
		t.Fatal(err)
	}
}

func TestVirtualNodeRunsAndRemovesPods(t *testing.T) {
	t.Parallel()
	pod := makePod(labtest.Namespace(t, cluster), "plain", onNode("kosmos"))
	create(t, pod)
	eventuallyReady(t, pod)
	setImage(t, pod, "containers", 0, "main:2")
	eventually(t, pod, "new image", func(pod *corev1.Pod) error {
		status, err := statusOf(pod, "main")
		if err != nil || status.Image != "main:2" || status.RestartCount != 1 {
			return fmt.Errorf("status %v: %w", status, err)
		}
		return nil
	})
	deletePod(t, pod)
	eventuallyGone(t, pod)
	// Again under the same name: the provider must not take the new one for the old.
	again := makePod(pod.Namespace, "plain", onNode("kosmos"))
	create(t, again)
	eventuallyReady(t, again)
}

func TestKnobRefuse(t *testing.T) {
	t.Parallel()
	node := knobbed(t, lab.Knobs{RefuseEvery: 1})
	pod := makePod(labtest.Namespace(t, cluster), "refused", onNode(node))
	create(t, pod)
	eventually(t, pod, "refused", func(pod *corev1.Pod) error {
		if pod.Status.Reason != "ProviderFailed" {
			return fmt.Errorf("reason %q", pod.Status.Reason)
		}
		return nil
	})
	// The library tries again by itself; the refusals that are left run out.
	turn(t, node, lab.Knobs{RefuseNext: 1})
	eventuallyReady(t, pod)
	labtest.Eventually(t, "count of refusals", func(ctx context.Context) error {
		nodes, err := cluster.VirtualNodes(ctx)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if n.Name == node && n.Refused >= 2 && n.Running == 1 {
				return nil
			}
		}
		return fmt.Errorf("nodes: %v", nodes)
	})
}

func TestKnobUnschedulable(t *testing.T) {
	t.Parallel()
	const message = "no room below"
	node := knobbed(t, lab.Knobs{Unschedulable: message})
	pod := makePod(labtest.Namespace(t, cluster), "stuck", onNode(node))
	create(t, pod)
	eventually(t, pod, "unschedulable below", func(pod *corev1.Pod) error {
		if pod.Spec.NodeName != node || pod.Status.Phase != corev1.PodPending {
			return fmt.Errorf("node %q, phase %s", pod.Spec.NodeName, pod.Status.Phase)
		}
		return isUnschedulable(pod)
	})
	turn(t, node, lab.Knobs{})
	eventuallyReady(t, pod)
}

func TestKnobOverwrite(t *testing.T) {
	t.Parallel()
	node := knobbed(t, lab.Knobs{OverwriteLabels: map[string]string{"from": "below"}, OverwriteAnnotations: map[string]string{}})
	pod := makePod(labtest.Namespace(t, cluster), "overwritten", onNode(node), annotated("mine", "yes"))
	create(t, pod)
	eventually(t, pod, "overwritten", func(pod *corev1.Pod) error {
		if !maps.Equal(pod.Labels, map[string]string{"from": "below"}) || len(pod.Annotations) != 0 {
			return fmt.Errorf("labels %v, annotations %v", pod.Labels, pod.Annotations)
		}
		return isReady(pod)
	})
}

func TestKnobStale(t *testing.T) {
	t.Parallel()
	node := knobbed(t, lab.Knobs{Stale: true})
	pod := makePod(labtest.Namespace(t, cluster), "stale", onNode(node))
	create(t, pod)
	eventuallyReady(t, pod)
	if _, err := cluster.Kubectl(t.Context(), "-n", pod.Namespace, "annotate", "pod", pod.Name, "late=yes"); err != nil {
		t.Fatal(err)
	}
	// The change makes the provider send a status, and with it the annotations of old.
	eventually(t, pod, "annotation undone", func(pod *corev1.Pod) error {
		if _, ok := pod.Annotations["late"]; ok {
			return fmt.Errorf("annotations %v", pod.Annotations)
		}
		return nil
	})
}

func TestKnobAddContainer(t *testing.T) {
	t.Parallel()
	node := knobbed(t, lab.Knobs{AddContainer: "mesh:1"})
	pod := makePod(labtest.Namespace(t, cluster), "injected", onNode(node))
	create(t, pod)
	eventually(t, pod, "injected container", func(pod *corev1.Pod) error {
		if n := len(pod.Status.ContainerStatuses); n != 2 {
			return fmt.Errorf("%d containers have a status", n)
		}
		return isReady(pod)
	})
}

func TestKnobStopDelay(t *testing.T) {
	t.Parallel()
	node := knobbed(t, lab.Knobs{StopDelay: metav1.Duration{Duration: time.Hour}})
	patient := func(pod *corev1.Pod) { pod.Spec.TerminationGracePeriodSeconds = new(int64(600)) }
	slow := makePod(labtest.Namespace(t, cluster), "slow", onNode(node), patient)
	other := makePod(slow.Namespace, "other", onNode("kosmos"), patient)
	for _, pod := range []*corev1.Pod{slow, other} {
		create(t, pod)
		eventuallyReady(t, pod)
		deletePod(t, pod)
	}
	eventuallyGone(t, other)
	eventually(t, slow, "terminating", func(pod *corev1.Pod) error {
		if pod.DeletionTimestamp == nil {
			return errors.New("not terminating")
		}
		return nil
	})
	turn(t, node, lab.Knobs{})
	eventuallyGone(t, slow)
}

func TestKnobStartDelay(t *testing.T) {
	t.Parallel()
	hour := metav1.Duration{Duration: time.Hour}
	node := knobbed(t, lab.Knobs{StartDelay: hour})
	pod := makePod(labtest.Namespace(t, cluster), "slow", onNode(node))
	create(t, pod)
	other := makePod(pod.Namespace, "other", onNode("kosmos"))
	create(t, other)
	eventuallyReady(t, other)
	eventually(t, pod, "pending", func(pod *corev1.Pod) error {
		if pod.Status.Phase != corev1.PodPending {
			return fmt.Errorf("phase %s", pod.Status.Phase)
		}
		return nil
	})
	turn(t, node, lab.Knobs{})
	eventuallyReady(t, pod)
}

func TestKnobNotReady(t *testing.T) {
	t.Parallel()
	node := knobbed(t, lab.Knobs{})
	turn(t, node, lab.Knobs{NotReady: true})
	eventuallyNode(t, node, corev1.ConditionFalse)
	turn(t, node, lab.Knobs{})
	eventuallyNode(t, node, corev1.ConditionTrue)
}

func TestKnobSilent(t *testing.T) {
	t.Parallel()
	turn(t, "silent", lab.Knobs{Silent: true})
	eventuallyNode(t, "silent", corev1.ConditionUnknown)
	turn(t, "silent", lab.Knobs{})
	eventuallyNode(t, "silent", corev1.ConditionTrue)
}

func eventuallyNode(t *testing.T, name string, want corev1.ConditionStatus) {
	t.Helper()
	labtest.Eventually(t, fmt.Sprintf("readiness %s of node %s", want, name), func(ctx context.Context) error {
		node, err := cluster.Clientset().CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == want {
				return nil
			}
		}
		return fmt.Errorf("conditions %v", node.Status.Conditions)
	})
}

func TestRestartWithoutMemory(t *testing.T) {
	t.Parallel()
	node := knobbed(t, lab.Knobs{})
	pod := makePod(labtest.Namespace(t, cluster), "remembered", onNode(node))
	create(t, pod)
	before := eventuallyReady(t, pod)
	if err := cluster.RestartVirtualNode(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, "the pod to be known again", func(ctx context.Context) error {
		nodes, err := cluster.VirtualNodes(ctx)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if n.Name == node && n.Running == 1 {
				return nil
			}
		}
		return fmt.Errorf("nodes: %v", nodes)
	})
	after := eventuallyReady(t, pod)
	if before.Status.PodIP != after.Status.PodIP || after.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the pod was started anew: address %s, was %s; %d restarts", after.Status.PodIP, before.Status.PodIP, after.Status.ContainerStatuses[0].RestartCount)
	}
	deletePod(t, pod)
	eventuallyGone(t, pod)
}
