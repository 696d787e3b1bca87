package spread

import (
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// virtual is the ground of a subset of virtual nodes.
func virtual(names ...string) Ground {
	g := Ground{Nodes: make(map[string][]string)}
	for _, n := range names {
		g.Nodes[n] = []string{"ProviderFailed"}
	}
	return g
}

// refused: the pod has a node, and does not start there for that reason.
func (s *stage) refused(p *Pod, node, reason string) {
	p.Bound, p.Node = true, node
	p.Trouble = Trouble{Since: s.now.Unix(), Reason: reason, Message: "no place below"}
}

// runs: the pod has a node and has started.
func (s *stage) runs(p *Pod, node string) {
	p.Trouble, p.Bound, p.Node, p.Started = Trouble{}, true, node, true
}

func TestPodsThatAreStuckBelowAreMoved(t *testing.T) {
	for name, tc := range map[string]struct {
		ground []Ground
		reason string
		want   string
	}{
		"no place below":                     {[]Ground{virtual("vk"), {}}, corev1.PodReasonUnschedulable, "a SubsetUnschedulable, move pod-1, next 1s"},
		"refused":                            {[]Ground{virtual("vk"), {}}, "ProviderFailed", "a SubsetUnschedulable, move pod-1, next 1s"},
		"a reason that means nothing there":  {[]Ground{virtual("vk"), {}}, "Odd", ""},
		"on a node that is not the subset's": {[]Ground{virtual("other"), {}}, "ProviderFailed", ""},
		"on an own node":                     {nil, corev1.PodReasonUnschedulable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, adaptive(Limit{count, 5}, Limit{}))
			s.ground = tc.ground
			s.admit(1)
			s.refused(s.last(), "vk", tc.reason)
			s.expect("in time", s.after(30*time.Second).adapt(), tc.want)
		})
	}
}

// TestAProbeOnAVirtualNodeHasToRun: that it is bound tells nothing.
func TestAProbeOnAVirtualNodeHasToRun(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 5}, Limit{}))
	s.ground = []Ground{virtual("vk"), {}}
	s.admit(1)
	s.refused(s.last(), "vk", "ProviderFailed")
	s.expect("closed", s.after(30*time.Second).adapt(), "a SubsetUnschedulable, move pod-1, next 1s")
	s.drop(s.last())
	s.expect("the hold is over", s.after(5*time.Minute).adapt(), "a RecoverSchedulable")
	s.admit(2)
	probe := s.last()
	probe.Bound, probe.Node = true, "vk"
	s.expect("bound", s.after(time.Second).adapt(), "next 1s")
	s.refused(probe, "vk", corev1.PodReasonUnschedulable)
	s.expect("stuck", s.after(30*time.Second).adapt(), "a SubsetUnschedulable, move pod-2, next 1s")
	s.expect("the memory", s.condition(0, v1alpha1.ConditionProbe), "True PodUnschedulable failed=1 pod=-")
	s.drop(probe)
	s.expect("twice as long", s.after(10*time.Minute).adapt(), "a RecoverSchedulable")
	s.admit(3)
	s.runs(s.last(), "vk")
	s.expect("it runs", s.after(time.Second).adapt(), "a SubsetRecovered")
}

// TestOneOfSeveralNodesIsLeftOut while the others go on, in the last subset too.
func TestOneOfSeveralNodesIsLeftOut(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 0}, Limit{}))
	s.ground = []Ground{{}, virtual("v1", "v2")}
	s.admit(1)
	s.runs(s.last(), "v2")
	s.admit(2)
	s.refused(s.last(), "v1", "ProviderFailed")
	s.expect("stuck", s.after(30*time.Second).adapt(), "b NodePassedOver v1, move pod-2, next 1s")
	s.expect("the memory", s.condition(1, v1alpha1.ConditionNodes), `True NodePassedOver {"v1":{"failed":0,"until":`+unix(s.now.Add(5*time.Minute))+`}}`)
	s.drop(s.last())
	if g := s.admit(3); g.Subset != 1 || len(g.Avoid) != 1 || g.Avoid[0] != "v1" {
		t.Errorf("a new pod: %+v", g)
	}
	s.runs(s.last(), "v2")
	s.expect("as long as it is left out", s.after(time.Minute).adapt(), "next 4m0s")
	s.after(4 * time.Minute)
	if g := s.admit(4); len(g.Avoid) > 0 {
		t.Errorf("after the hold: %+v", g)
	}
	s.refused(s.last(), "v1", "ProviderFailed")
	s.expect("stuck again", s.after(30*time.Second).adapt(), "b NodePassedOver v1, move pod-4, next 1s")
	s.expect("for twice as long", s.condition(1, v1alpha1.ConditionNodes), `True NodePassedOver {"v1":{"failed":1,"until":`+unix(s.now.Add(10*time.Minute))+`}}`)
	s.drop(s.last())
	s.after(10 * time.Minute).admit(5)
	s.runs(s.last(), "v1")
	s.expect("a pod starts there", s.adapt(), "b NodeRecovered v1")
	s.expect("and all is forgotten", s.condition(1, v1alpha1.ConditionNodes), "")
}

// TestWithoutANodeLeftTheSubsetIsClosed.
func TestWithoutANodeLeftTheSubsetIsClosed(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 9}, Limit{}))
	s.ground = []Ground{virtual("v1", "v2"), {}}
	for n, node := range []string{"v1", "v2"} {
		s.admit(n + 1)
		s.refused(s.last(), node, "ProviderFailed")
	}
	s.expect("both", s.after(30*time.Second).adapt(), "a NodePassedOver v1, a NodePassedOver v2, a SubsetUnschedulable, move pod-1, move pod-2, next 1s")
}

// TestPodsStayWhereNoOtherSubsetCanTakeThem: those that could not run there, and those of which nobody knows yet.
func TestPodsStayWhereNoOtherSubsetCanTakeThem(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 9}, Limit{}))
	s.ground = []Ground{{}, virtual("vk")}
	for n, uid := range []types.UID{"barred", "free", "unknown"} {
		s.admit(n + 1)
		s.last().UID = uid
		s.stuck(s.last())
	}
	s.barred = map[types.UID]map[string]v1alpha1.Reason{"barred": {"b": v1alpha1.ReasonHostPath}, "free": {"a": v1alpha1.ReasonHostPath}}
	s.expect("moved", s.after(30*time.Second).adapt(), "a SubsetUnschedulable, move pod-2, next 1s")
}

// TestAPodStuckInTheLastSubsetGoesWhereThereIsRoom by now; without any it stays.
func TestAPodStuckInTheLastSubsetGoesWhereThereIsRoom(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 1}, Limit{}))
	s.ground = []Ground{{}, virtual("vk")}
	s.admit(1)
	s.runs(s.last(), "own")
	s.admit(2)
	s.refused(s.last(), "vk", "ProviderFailed")
	s.expect("no room", s.after(30*time.Second).adapt(), "")
	s.drop(s.pods[0])
	s.expect("room", s.adapt(), "move pod-2, next 1s")
}

func TestNodesOfConditionsThatAreNotOurs(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 1}, Limit{}))
	s.ground = []Ground{{}, virtual("v1", "v2")}
	s.admit(1)
	s.expect("nothing yet", s.adapt(), "")
	s.status.SubsetStatuses[1].Conditions = append(s.status.SubsetStatuses[1].Conditions,
		condition(v1alpha1.ConditionNodes, "not JSON"))
	if g := s.admit(2); len(g.Avoid) > 0 {
		t.Errorf("got %+v", g)
	}
}

func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

func condition(kind, message string) appsv1alpha1.WorkloadSpreadSubsetCondition {
	return appsv1alpha1.WorkloadSpreadSubsetCondition{Type: appsv1alpha1.WorkloadSpreadSubsetConditionType(kind), Status: corev1.ConditionTrue, Message: message}
}

// TestAPodThatWasKeptOffANodeIsLetOut: its spec keeps it off for good. When the hold has ended and it found no other node,
// it is made anew, once.
func TestAPodThatWasKeptOffANodeIsLetOut(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 0}, Limit{}))
	s.ground = []Ground{{}, virtual("v1", "v2")}
	s.admit(1)
	s.refused(s.last(), "v1", "ProviderFailed")
	s.expect("stuck", s.after(30*time.Second).adapt(), "b NodePassedOver v1, move pod-1, next 1s")
	s.drop(s.last())
	s.admit(2)
	s.stuck(s.last()) // v2 is full
	s.expect("while it is left out", s.after(time.Minute).adapt(), "next 4m0s")
	s.expect("afterwards", s.after(4*time.Minute).adapt(), "move pod-2, next 1s")
	s.drop(s.last())
	s.admit(3)
	s.stuck(s.last())
	s.expect("its successor stays", s.after(time.Minute).adapt(), "next 4m0s")
}

// TestAHoldIsNotForgottenWhilePodsWait: with a long wait and a short hold the back-off would never grow.
func TestAHoldIsNotForgottenWhilePodsWait(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 0}, Limit{}))
	s.terms.Critical = 10 * time.Minute
	s.ground = []Ground{{}, virtual("v1", "v2")}
	for n, want := range []string{`"failed":0`, `"failed":1`, `"failed":2`} {
		s.admit(n + 1)
		s.refused(s.last(), "v1", "ProviderFailed")
		s.after(s.terms.Critical - time.Second).adapt()
		s.after(time.Second).adapt()
		if got := s.condition(1, v1alpha1.ConditionNodes); !strings.Contains(got, want) {
			t.Fatalf("round %d: %s, want %s", n+1, got, want)
		}
		s.drop(s.last())
		s.after(holds.After(n)) // the hold ends
	}
}

// TestANumberedPodGoesWhereItsNumberSays: that another subset has room does not help it.
func TestANumberedPodGoesWhereItsNumberSays(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 3}, Limit{}))
	s.numbered = true
	s.ground = []Ground{{}, virtual("vk")}
	s.admit(1)
	s.last().Subset = "b"
	s.refused(s.last(), "vk", "ProviderFailed")
	s.expect("room elsewhere", s.after(30*time.Second).adapt(), "")
}

// TestAProbeWithAnotherProblem: it has its node, and an image that does not exist. The subset is not closed for that.
func TestAProbeWithAnotherProblem(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 5}, Limit{}))
	s.ground = []Ground{virtual("vk"), {}}
	s.admit(1)
	s.refused(s.last(), "vk", "ProviderFailed")
	s.after(30 * time.Second).adapt()
	s.drop(s.last())
	s.expect("the hold is over", s.after(5*time.Minute).adapt(), "a RecoverSchedulable")
	s.admit(2)
	s.last().Bound, s.last().Node = true, "vk"
	s.expect("not yet", s.after(59*time.Second).adapt(), "next 1s")
	s.expect("long enough", s.after(time.Second).adapt(), "a SubsetRecovered")
}
