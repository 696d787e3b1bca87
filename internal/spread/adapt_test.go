package spread

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// adaptive makes terms that reschedule after 30 s.
func adaptive(limits ...Limit) Terms {
	t := termsOf(limits)
	t.Critical = 30 * time.Second
	return t
}

// stage is a WorkloadSpread over time: every step opens the book from the status that the last one
// wrote, as replicas and leaders do.
type stage struct {
	testing.TB
	terms    Terms
	status   *appsv1alpha1.WorkloadSpreadStatus
	now      time.Time
	revision uint64
	pods     []*Pod
	replicas int32
	numbered bool
	ground   []Ground
	barred   map[types.UID]map[string]v1alpha1.Reason
}

var holds = Holds{First: 5 * time.Minute, Most: time.Hour}

func newStage(t testing.TB, terms Terms) *stage {
	return &stage{TB: t, terms: terms, status: &appsv1alpha1.WorkloadSpreadStatus{}, now: noon, replicas: 100}
}

func (s *stage) after(d time.Duration) *stage { s.now = s.now.Add(d); return s }

func (s *stage) open() *Book {
	s.revision++
	b := Open(s.terms, s.status, s.replicas)
	b.Recount(View{Revision: s.revision, Pods: s.pods})
	return b
}

func (s *stage) keep(b *Book) { s.status, _ = b.Status(s.status, s.now) }

// admit claims a place and stores the pod.
func (s *stage) admit(n int) Grant {
	b := s.open()
	c := claim(n)
	c.Now = s.now
	g := b.Claim(c)
	s.keep(b)
	if g.Outcome == Placed {
		s.pods = append(s.pods, &Pod{
			Name: fmt.Sprintf("pod-%d", n), Version: "v1", Subset: s.terms.Name(g.Subset), Token: Token(stemOf(n)), Active: true, Created: s.now.Unix(),
		})
	}
	return g
}

func (s *stage) last() *Pod { return s.pods[len(s.pods)-1] }

// stuck: the scheduler finds no node for the pod from now on.
func (s *stage) stuck(p *Pod) {
	p.Trouble = Trouble{Since: s.now.Unix(), Message: "0/3 nodes are available"}
}

func (s *stage) bind(p *Pod) { p.Trouble, p.Bound = Trouble{}, true }

func (s *stage) drop(p *Pod) {
	for i := range s.pods {
		if s.pods[i] == p {
			s.pods = append(s.pods[:i:i], s.pods[i+1:]...)
			return
		}
	}
}

// adapt takes one pass and says what came of it in one line.
func (s *stage) adapt() string {
	b := s.open()
	a := b.Adapt(Sight{View: View{Revision: s.revision, Pods: s.pods}, Now: s.now, Holds: holds, Numbered: s.numbered, Ground: s.ground, Barred: s.barred})
	s.keep(b)
	var out []string
	for _, t := range a.Turns {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", s.terms.Name(t.Subset), t.Reason, t.Node)))
	}
	for _, p := range a.Move {
		out = append(out, "move "+p.Name)
	}
	if a.Next > 0 {
		out = append(out, "next "+a.Next.String())
	}
	return strings.Join(out, ", ")
}

func (s *stage) expect(what, got, want string) {
	s.Helper()
	if got != want {
		s.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func (s *stage) condition(subset int, kind string) string {
	for _, c := range s.status.SubsetStatuses[subset].Conditions {
		if string(c.Type) == kind {
			return fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message)
		}
	}
	return ""
}

func TestAPodInTroubleClosesItsSubsetAndIsMoved(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 5}, Limit{}))
	s.admit(1)
	s.stuck(s.last())
	s.expect("before its time", s.after(10*time.Second).adapt(), "next 20s")
	s.expect("the condition until then", s.condition(0, v1alpha1.ConditionSchedulable), "True Sufficient ")
	s.expect("in time", s.after(20*time.Second).adapt(), "a SubsetUnschedulable, move pod-1, next 1s")
	s.expect("the condition", s.condition(0, v1alpha1.ConditionSchedulable), "False PodUnschedulable Pod pod-1: 0/3 nodes are available")
	s.drop(s.last())
	if g := s.admit(2); g.Subset != 1 || len(g.Passed) != 1 || g.Passed[0].Reason != v1alpha1.ReasonSubsetUnschedulable {
		t.Errorf("the replacement: %+v", g)
	}
	s.expect("the rest of the hold", s.after(time.Second).adapt(), "next 4m59s")
	s.expect("the last subset", s.condition(1, v1alpha1.ConditionSchedulable), "True Sufficient ")
}

func TestABlockedSubsetRecoversByOneProbe(t *testing.T) {
	s := newStage(t, adaptive(Limit{}, Limit{})) // no limit: without a probe nothing would be written
	s.admit(1)
	s.stuck(s.last())
	s.after(30 * time.Second).adapt()
	s.drop(s.last())
	s.expect("after the hold", s.after(5*time.Minute).adapt(), "a RecoverSchedulable")
	s.expect("the condition", s.condition(0, v1alpha1.ConditionSchedulable),
		"True Probing The hold is over: one pod is let in to see whether it can be scheduled.")

	if g := s.admit(2); g.Subset != 0 || g.Token == "" {
		t.Errorf("the probe: %+v", g)
	}
	probe := s.last()
	if g := s.admit(3); g.Subset != 1 || g.Passed[0].Reason != v1alpha1.ReasonProbing {
		t.Errorf("while it probes: %+v", g)
	}
	s.expect("the memory", s.condition(0, v1alpha1.ConditionProbe), "True Probing failed=0 pod=s0000002")
	s.expect("nothing known yet", s.adapt(), "")
	s.bind(probe)
	s.expect("the probe has a node", s.adapt(), "a SubsetRecovered")
	s.expect("the condition", s.condition(0, v1alpha1.ConditionSchedulable), "True Sufficient ")
	s.expect("the memory", s.condition(0, v1alpha1.ConditionProbe), "")
	if g := s.admit(4); g.Subset != 0 || len(g.Passed) > 0 {
		t.Errorf("afterwards: %+v", g)
	}
}

func TestAFailedProbeDoublesTheHold(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 5}, Limit{}))
	s.admit(1)
	s.stuck(s.last())
	s.after(30 * time.Second).adapt()
	s.drop(s.last())
	hold := 5 * time.Minute
	for n := 2; n < 8; n++ {
		s.expect("one second before the end of the hold", s.after(hold-time.Second).adapt(), "next 1s")
		s.expect("the end of the hold", s.after(time.Second).adapt(), "a RecoverSchedulable")
		s.admit(n)
		s.stuck(s.last())
		hold = min(2*hold, time.Hour)
		s.expect("the probe fails", s.after(30*time.Second).adapt(), fmt.Sprintf("a SubsetUnschedulable, move pod-%d, next 1s", n))
		s.expect("the memory", s.condition(0, v1alpha1.ConditionProbe), fmt.Sprintf("True PodUnschedulable failed=%d pod=-", n-1))
		s.drop(s.last())
	}
	s.after(hold).adapt()
	s.admit(20)
	s.bind(s.last())
	s.expect("a probe that succeeds", s.adapt(), "a SubsetRecovered")
	s.expect("the memory", s.condition(0, v1alpha1.ConditionProbe), "")
}

func TestAProbeThatGoesAwayLetsTheNextOneTry(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 5}, Limit{}))
	s.admit(1)
	s.stuck(s.last())
	s.after(30 * time.Second).adapt()
	s.drop(s.last())
	s.after(5 * time.Minute).adapt()
	s.admit(2)
	s.open()
	s.keep(s.open()) // its pod is seen, so that the claim is settled
	s.drop(s.last())
	s.expect("it is deleted", s.adapt(), "")
	if g := s.admit(3); g.Subset != 0 {
		t.Errorf("the next one: %+v", g)
	}
}

func TestPodsAreMovedOnlyWhereThereIsRoomAndAFewAtATime(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 100}, Limit{count, 3}, Limit{count, 4}))
	for n := range 60 {
		s.admit(n)
		s.stuck(s.last())
	}
	s.expect("room for seven", s.after(30*time.Second).adapt(),
		"a SubsetUnschedulable, move pod-0, move pod-1, move pod-10, move pod-11, move pod-12, move pod-13, move pod-14, next 1s")

	s = newStage(t, adaptive(Limit{count, 100}, Limit{}))
	for n := range 60 {
		s.admit(n)
		s.stuck(s.last())
	}
	if got := s.after(30 * time.Second).adapt(); strings.Count(got, "move") != 12 || !strings.HasSuffix(got, "next 1s") {
		t.Errorf("20 %% of 60: %s", got)
	}
	for range 20 {
		s.drop(s.last())
	}
	if got := s.after(time.Second).adapt(); strings.Count(got, "move") != 10 {
		t.Errorf("ten of 40: %s", got)
	}
}

func TestTroubleWithoutReschedulingMeansNothing(t *testing.T) {
	for name, terms := range map[string]Terms{"Fixed": termsOf([]Limit{{count, 5}, {}}), "one subset": adaptive(Limit{count, 5})} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, terms)
			s.admit(1)
			s.stuck(s.last())
			s.expect("an hour later", s.after(time.Hour).adapt(), "")
			s.expect("the condition", s.condition(0, v1alpha1.ConditionSchedulable), "")
		})
	}
}

func TestConditionsGoWithTheStrategy(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 5}, Limit{}))
	s.admit(1)
	s.stuck(s.last())
	s.after(30 * time.Second).adapt()
	s.terms = termsOf([]Limit{{count, 5}, {}})
	if g := s.admit(2); g.Subset != 0 {
		t.Errorf("the first pod after the change of strategy: %+v", g)
	}
	s.expect("the condition", s.condition(0, v1alpha1.ConditionSchedulable), "")
}

func TestTheLastSubsetIsNeverClosed(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 1}, Limit{}))
	s.status.SubsetStatuses = []appsv1alpha1.WorkloadSpreadSubsetStatus{{Name: "a"}, {
		Name: "b", Conditions: []appsv1alpha1.WorkloadSpreadSubsetCondition{{Type: v1alpha1.ConditionSchedulable, Status: corev1.ConditionFalse}},
	}}
	s.admit(1)
	if g := s.admit(2); g.Outcome != Placed || g.Subset != 1 {
		t.Errorf("got %+v", g)
	}
	s.stuck(s.last())
	s.expect("its pod in trouble", s.after(time.Hour).adapt(), "")
	s.expect("the condition", s.condition(1, v1alpha1.ConditionSchedulable), "True Sufficient ")
}

func TestABlockedSubsetOfNumberedPods(t *testing.T) {
	s := newStage(t, adaptive(Limit{count, 2}, Limit{count, 2}, Limit{}))
	s.numbered = true
	at := func(n int32) string {
		b := s.open()
		c := Claim{Version: "v1", Name: fmt.Sprintf("web-%d", n), Position: &n, Now: s.now}
		g := b.Claim(c)
		s.keep(b)
		return fmt.Sprint(s.terms.Name(g.Subset), " ", g.Token)
	}
	s.expect("position 1", at(1), "a ")
	s.pods = append(s.pods, &Pod{Name: "web-1", Version: "v1", Subset: "a", Active: true})
	s.stuck(s.last())
	s.expect("in trouble", s.after(30*time.Second).adapt(), "a SubsetUnschedulable, move web-1, next 1s")
	s.drop(s.last())
	// Later thresholds do not move.
	s.expect("position 1", at(1), "b ")
	s.expect("position 2", at(2), "b ")
	s.expect("position 4", at(4), "c ")
	s.after(5 * time.Minute).adapt()
	s.expect("the probe", at(0), "a web-0")
	s.expect("the next one", at(1), "b ")
	s.expect("the probe again", at(0), "a web-0")
}

func TestHolds(t *testing.T) {
	var got []string
	for failed := range 6 {
		got = append(got, holds.After(failed).String())
	}
	if diff := cmp.Diff([]string{"5m0s", "10m0s", "20m0s", "40m0s", "1h0m0s", "1h0m0s"}, got); diff != "" {
		t.Error(diff)
	}
	if got := holds.After(1 << 30); got != time.Hour {
		t.Error(got)
	}
}

// TestOneProbeAtATime: whatever happens, at most one pod is on its way into a subset that probes, and
// no pod is moved that no other subset can take.
func TestOneProbeAtATime(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := newStage(t, adaptive(Limit{count, 6}, Limit{count, 4}, Limit{}))
		n := 0
		for range rapid.IntRange(10, 80).Draw(r, "steps") {
			s.after(time.Duration(rapid.IntRange(0, 200).Draw(r, "seconds")) * time.Second)
			switch rapid.IntRange(0, 4).Draw(r, "step") {
			case 0, 1:
				n++
				before := s.probes()
				g := s.admit(n)
				if g.Outcome != Placed {
					r.Fatalf("no place in an unlimited subset: %+v", g)
				}
				if p, probing := before[g.Subset]; probing && p != "" {
					r.Fatalf("a second pod was let into subset %d while %q probes", g.Subset, p)
				}
			case 2:
				if len(s.pods) > 0 {
					p := s.pods[rapid.IntRange(0, len(s.pods)-1).Draw(r, "pod")]
					if !p.Bound && p.Trouble.Since == 0 {
						s.stuck(p)
					}
				}
			case 3:
				if len(s.pods) > 0 {
					s.bind(s.pods[rapid.IntRange(0, len(s.pods)-1).Draw(r, "pod")])
				}
			case 4:
				b := s.open()
				a := b.Adapt(Sight{View: View{Revision: s.revision, Pods: s.pods}, Now: s.now, Holds: holds})
				s.keep(b)
				for _, p := range a.Move {
					if p.Bound || s.now.Sub(time.Unix(p.Trouble.Since, 0)) < s.terms.Critical {
						r.Fatalf("moved %+v", p)
					}
					s.drop(p)
				}
			}
		}
	})
}

// probes returns the probing subsets and their pods.
func (s *stage) probes() map[int]Token {
	out := make(map[int]Token)
	for i, h := range s.open().health {
		if h.state == probing {
			out[i] = h.probe
		}
	}
	return out
}

func FuzzReadProbe(f *testing.F) {
	f.Add("failed=1 pod=s0000001")
	f.Add("failed=-3 pod=-")
	f.Fuzz(func(t *testing.T, message string) {
		h := health{}
		h.level, h.probe = readProbe(message)
		if level, probe := readProbe(h.probeMessage()); level != h.level || probe != h.probe {
			t.Errorf("%q: %d %q, then %d %q", message, h.level, h.probe, level, probe)
		}
		_ = holds.After(h.level)
	})
}
