package virtual

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/test/lab"
	"github.com/spillway-project/spillway/test/lab/labtest"
)

// awaitEvent waits for an event on the WorkloadSpread whose note contains a text.
func (f *fixture) awaitEvent(reason v1alpha1.Reason, text string) {
	f.Helper()
	labtest.Eventually(f, fmt.Sprintf("event %s with %q", reason, text), func(ctx context.Context) error {
		var list eventsv1.EventList
		if err := kube.List(ctx, &list, client.InNamespace(f.ns)); err != nil {
			return err
		}
		var seen []string
		for i := range list.Items {
			if list.Items[i].Reason == string(reason) && strings.Contains(list.Items[i].Note, text) {
				return nil
			}
			seen = append(seen, list.Items[i].Reason)
		}
		return fmt.Errorf("events: %v", seen)
	})
}

// TestANodeThatIsStuckIsLeftOut: of two virtual nodes of the last subset one takes no pods. All run on the other.
func TestANodeThatIsStuckIsLeftOut(t *testing.T) {
	f := newFixture(t, lab.ProfileTensileKube, lab.Knobs{})
	broken := f.node + "-broken"
	if err := upper.AddVirtualNode(t.Context(), lab.VirtualNode{
		Name: broken, Profile: lab.ProfileTensileKube, Labels: map[string]string{testLabel: f.ns, sampleLabel: "false"},
		Knobs: lab.Knobs{RefuseEvery: 1}, Member: member.Kubeconfig(),
	}); err != nil {
		t.Fatal(err)
	}
	ws := f.workloadSpreadOf([2]string{"own", "virtual"}, 1)
	ws.Spec.ScheduleStrategy = adaptive()
	f.create(ws)
	f.deployment(6, "{}")
	f.split(1, 5)
	f.awaitEvent(v1alpha1.ReasonNodePassedOver, broken)
	got, err := f.workloadSpread()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range got.Status.SubsetStatuses {
		for _, c := range s.Conditions {
			if c.Type == v1alpha1.ConditionSchedulable && c.Status != corev1.ConditionTrue {
				t.Errorf("subset %s is closed: %+v", s.Name, c)
			}
		}
	}
	f.scale(9) // while it is left out
	above, _ := f.split(1, 8)
	for i := range above {
		if above[i].Spec.NodeName == broken {
			t.Errorf("pod %s is on the broken node", above[i].Name)
		}
	}
}

// TestPodsThatVirtualNodesCannotRun pass them over, and are told of where there is no other room.
func TestPodsThatVirtualNodesCannotRun(t *testing.T) {
	const hostPath = `{volumes: [{name: logs, hostPath: {path: /var/log}}]}`
	t.Run("own nodes have room", func(t *testing.T) {
		f := newFixture(t, lab.ProfileTensileKube, lab.Knobs{})
		f.virtualFirst(2, nil)
		f.deployment(3, hostPath)
		f.split(3, 0)
		f.awaitEvent(v1alpha1.ReasonOverflow, "spec.volumes[0].hostPath")
	})
	t.Run("they have none", func(t *testing.T) {
		f := newFixture(t, lab.ProfileTensileKube, lab.Knobs{})
		f.spread(1)
		f.deployment(2, hostPath)
		f.awaitEvent(v1alpha1.ReasonNotEligibleForVirtual, "spec.volumes[0].hostPath")
		labtest.Eventually(t, "one pod on an own node, one as it was", func(context.Context) error {
			pods, err := f.pods(upper)
			if err != nil {
				return err
			}
			subsets := map[string]int{}
			for i := range pods {
				r, _ := v1alpha1.ParseRecord(pods[i].Annotations)
				subsets[r.Subset]++
			}
			if len(pods) != 2 || subsets["own"] != 1 || subsets[""] != 1 {
				return fmt.Errorf("subsets %v", subsets)
			}
			return f.counted(map[string]int32{"own": 1, "virtual": 0})
		})
	})
}

// TestNewManagersCountPodsThatLostTheirRecord: the provider takes all annotations off with every status, for good, and
// no manager is left that has ever seen them. The counts are exact all the same.
func TestNewManagersCountPodsThatLostTheirRecord(t *testing.T) {
	f := newFixture(t, lab.ProfileTensileKube, lab.Knobs{OverwriteAnnotations: map[string]string{"from": "below"}})
	ws := f.workloadSpreadOf([2]string{"virtual", "own"}, 3) // a limit that would be exceeded if the pods were not known
	f.create(ws)
	f.deployment(5, "{}")
	f.split(2, 3)
	labtest.Eventually(t, "the loss of all records on the virtual node", func(context.Context) error {
		pods, err := f.pods(upper)
		if err != nil {
			return err
		}
		for i := range pods {
			if pods[i].Spec.NodeName == f.node && pods[i].Annotations[v1alpha1.AnnotationMatched] != "" {
				return fmt.Errorf("pod %s has its record", pods[i].Name)
			}
		}
		return nil
	})
	restartManagers(t)
	f.scale(9)
	f.split(6, 3)
	f.scale(12)
	f.split(9, 3)
}

// restartManagers kills the managers of the upper cluster at the same time, and waits for new ones.
func restartManagers(t *testing.T) {
	t.Helper()
	if err := kube.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(system), client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, "new managers", func(ctx context.Context) error {
		var d appsv1.Deployment
		if err := kube.Get(ctx, client.ObjectKey{Namespace: system, Name: "spillway"}, &d); err != nil {
			return err
		}
		var pods corev1.PodList
		if err := kube.List(ctx, &pods, client.InNamespace(system)); err != nil {
			return err
		}
		running := 0
		for i := range pods.Items {
			if pods.Items[i].DeletionTimestamp == nil && ready(&pods.Items[i]) {
				running++
			}
		}
		if running != 2 || len(pods.Items) != 2 || d.Status.ReadyReplicas != 2 {
			return errors.New(describe(pods.Items))
		}
		return nil
	})
}
