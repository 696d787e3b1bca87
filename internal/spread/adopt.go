package spread

import (
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Adopt finds the subset that a pod belongs to which runs already and has no assignment: it was
// created before the WorkloadSpread, or past the webhook. The rules are OpenKruise's, except that
// cordons and soft taints do not matter: they keep new pods away, not this one.
//
// A subset fits when its pods tolerate the taints of the pod's node and the node matches the required
// term. Of those that fit, preferred terms weigh most (100 each point), then whether the subset's patch
// would leave the pod as it is (10), then whether it has room (1); the earlier one wins a tie.
// unchanged and room answer for the i-th subset. The result is -1 when none fits.
func Adopt(pod *corev1.Pod, node *corev1.Node, subsets []appsv1alpha1.WorkloadSpreadSubset, unchanged, room func(i int) bool) int {
	best, most := -1, int64(-1)
	for i := range subsets {
		s := &subsets[i]
		if !tolerates(pod, s, node) || !matches(s.RequiredNodeSelectorTerm, node) {
			continue
		}
		score := 100 * preference(s, node)
		if unchanged(i) {
			score += 10
		}
		if room(i) {
			score++
		}
		if score > most {
			best, most = i, score
		}
	}
	return best
}

func tolerates(pod *corev1.Pod, s *appsv1alpha1.WorkloadSpreadSubset, node *corev1.Node) bool {
	tolerations := slices.Concat(pod.Spec.Tolerations, s.Tolerations)
	tolerated := silent(corev1helpers.TolerationsTolerateTaint)
	for i := range node.Spec.Taints {
		t := &node.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectPreferNoSchedule && t.Key != corev1.TaintNodeUnschedulable && !tolerated(tolerations, t) {
			return false
		}
	}
	return true
}

// silent leaves out the logger that the scheduler's helper takes: decisions do not log.
func silent[L any](f func(L, []corev1.Toleration, *corev1.Taint, bool) bool) func([]corev1.Toleration, *corev1.Taint) bool {
	var none L
	return func(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
		return f(none, tolerations, taint, false)
	}
}

func matches(term *corev1.NodeSelectorTerm, node *corev1.Node) bool {
	if term == nil {
		return true
	}
	selector, err := nodeaffinity.NewNodeSelector(&corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{*term}})
	return err == nil && selector.Match(node)
}

func preference(s *appsv1alpha1.WorkloadSpreadSubset, node *corev1.Node) int64 {
	preferred, err := nodeaffinity.NewPreferredSchedulingTerms(s.PreferredNodeSelectorTerms)
	if err != nil {
		return 0
	}
	return preferred.Score(node)
}

// Take counts a pod that runs already into the i-th subset, whatever the limit, and returns its rank
// and whether it is within the limit.
func (b *Book) Take(version string, i int) (rank int32, within bool) {
	e := &b.page(version).entries[i]
	within = b.room(i, e.replicas, e.claimed()) != 0
	rank = e.ranks.next(e.replicas + e.claimed())
	e.ranks.take(rank)
	e.replicas++
	return rank, within
}

// AdoptionStem is the random part of the token of a pod that is adopted: always the same for a pod, so
// that its claim is known as its own by whoever meets it.
func AdoptionStem(pod types.UID) string {
	h := fnv.New64a()
	h.Write([]byte(pod))
	digits := strconv.FormatUint(h.Sum64(), 36)
	return strings.Repeat("0", max(TokenStem-len(digits), 0)) + digits[max(len(digits)-TokenStem, 0):]
}

// Enter enters the claim of a pod that runs already and is about to be recorded on a subset, whatever
// the limit: from then on every count knows it, also one from a view in which it is not recorded yet.
// A pod that has a claim keeps it.
func (b *Book) Enter(version, subset string, t Token, now time.Time) {
	at := b.terms.Index(subset)
	if at < 0 {
		return
	}
	p := b.page(version)
	for i := range p.entries {
		for have := range p.entries[i].claims {
			if have.stem() == t.stem() {
				return
			}
		}
	}
	p.entries[at].claim(t, metav1.NewTime(now.Truncate(time.Second)))
}

// HasRoom reports whether the i-th subset would take another pod of the version.
func (b *Book) HasRoom(version string, i int) bool {
	p := b.pages[version]
	return p == nil || b.room(i, p.entries[i].replicas, p.entries[i].claimed()) != 0
}
