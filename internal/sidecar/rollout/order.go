package rollout

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	appspub "github.com/openkruise/kruise-api/apps/pub"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// candidate is a pod that may be upgraded, with its place in the input.
type candidate struct {
	*view
	index int
}

// order puts pods in the order in which they are upgraded: those that serve least come first, then
// priorities, then they are scattered.
func order(waiting []candidate, all []view, u *appsv1alpha1.SidecarSetUpdateStrategy) {
	slices.SortFunc(waiting, func(a, b candidate) int { return byService(a.pod, b.pod) })
	if u.PriorityStrategy != nil {
		prioritise(waiting, u.PriorityStrategy)
	}
	for _, t := range expand(u.ScatterStrategy, waiting, all) {
		scatter(waiting, all, t)
	}
}

// byService is the order in which a ReplicaSet removes pods: not scheduled, pending, not ready, ready
// for the shortest time, restarted most often, newest.
func byService(a, b *corev1.Pod) int {
	return cmp.Or(
		first(a.Spec.NodeName == "", b.Spec.NodeName == ""),
		cmp.Compare(rank(a.Status.Phase), rank(b.Status.Phase)),
		first(!IsReady(a), !IsReady(b)),
		cmp.Compare(readySince(b), readySince(a)),
		cmp.Compare(restarts(b), restarts(a)),
		b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
		cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name),
	)
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

func rank(p corev1.PodPhase) int {
	return slices.Index([]corev1.PodPhase{corev1.PodPending, corev1.PodUnknown, corev1.PodRunning}, p)
}

// readySince is when the pod became ready, in seconds; 0 if it is not.
func readySince(pod *corev1.Pod) int64 {
	if c := readyCondition(pod); c != nil && !c.LastTransitionTime.IsZero() {
		return c.LastTransitionTime.Unix()
	}
	return 0
}

func restarts(pod *corev1.Pod) int32 {
	var most int32
	for i := range pod.Status.ContainerStatuses {
		most = max(most, pod.Status.ContainerStatuses[i].RestartCount)
	}
	return most
}

func prioritise(waiting []candidate, p *appspub.UpdatePriorityStrategy) {
	if len(p.WeightPriority) > 0 {
		type term struct {
			weight   int32
			selector labels.Selector
		}
		var terms []term
		for i := range p.WeightPriority {
			if s, err := metav1.LabelSelectorAsSelector(&p.WeightPriority[i].MatchSelector); err == nil {
				terms = append(terms, term{p.WeightPriority[i].Weight, s})
			}
		}
		weight := func(c candidate) (sum int32) {
			for _, t := range terms {
				if t.selector.Matches(labels.Set(c.pod.Labels)) {
					sum += t.weight
				}
			}
			return sum
		}
		slices.SortStableFunc(waiting, func(a, b candidate) int { return cmp.Compare(weight(b), weight(a)) })
		return
	}
	if len(p.OrderPriority) == 0 {
		return
	}
	slices.SortStableFunc(waiting, func(a, b candidate) int {
		keyA, valueA := ordered(a.pod, p.OrderPriority)
		keyB, valueB := ordered(b.pod, p.OrderPriority)
		return cmp.Or(cmp.Compare(keyA, keyB), cmp.Compare(valueB, valueA))
	})
}

// ordered returns which of the keys the pod has, -1 for none, and the number at the end of its value.
func ordered(pod *corev1.Pod, keys []appspub.UpdatePriorityOrderTerm) (key, value int) {
	for i, k := range keys {
		if text, ok := pod.Labels[k.OrderedKey]; ok {
			digits := text[len(strings.TrimRight(text, "0123456789")):]
			n, _ := strconv.Atoi(digits) // none is 0
			return i, n
		}
	}
	return -1, 0
}

// expand returns the terms that concern pods in question, those with most of them first. "*" stands for
// every value that a managed pod has.
func expand(terms appsv1alpha1.UpdateScatterStrategy, waiting []candidate, all []view) []appsv1alpha1.UpdateScatterTerm {
	var out []appsv1alpha1.UpdateScatterTerm
	for _, t := range terms {
		if t.Value != "*" {
			out = append(out, t)
			continue
		}
		seen := make(map[string]bool)
		for i := range all {
			if value, ok := all[i].pod.Labels[t.Key]; ok && !seen[value] {
				seen[value] = true
				out = append(out, appsv1alpha1.UpdateScatterTerm{Key: t.Key, Value: value})
			}
		}
	}
	count := func(t appsv1alpha1.UpdateScatterTerm) (n int) {
		for _, c := range waiting {
			if has(c.pod, t) {
				n++
			}
		}
		return n
	}
	out = slices.DeleteFunc(out, func(t appsv1alpha1.UpdateScatterTerm) bool { return count(t) == 0 })
	slices.SortStableFunc(out, func(a, b appsv1alpha1.UpdateScatterTerm) int {
		return cmp.Or(cmp.Compare(count(b), count(a)), cmp.Compare(a.Value, b.Value))
	})
	return out
}

func has(pod *corev1.Pod, t appsv1alpha1.UpdateScatterTerm) bool {
	value, ok := pod.Labels[t.Key]
	return ok && value == t.Value
}

// scatter spreads the pods of a term evenly among the others, the last of them at the very end.
func scatter(waiting []candidate, all []view, t appsv1alpha1.UpdateScatterTerm) {
	var matched, others []candidate
	for _, c := range waiting {
		if has(c.pod, t) {
			matched = append(matched, c)
		} else {
			others = append(others, c)
		}
	}
	if len(matched) <= 1 || len(others) <= 1 {
		return
	}
	last := matched[len(matched)-1]
	matched = matched[:len(matched)-1]
	total := -1 // the last one is not counted
	for i := range all {
		if has(all[i].pod, t) {
			total++
		}
	}
	groups, ofMatched, ofOthers, byTotals := grouping(len(matched), len(others), total, len(all)-total-1)

	out := waiting[:0:0]
	move := func(from *[]candidate, n int) {
		n = min(n, len(*from))
		out = append(out, (*from)[:n]...)
		*from = (*from)[n:]
	}
	if byTotals { // what is beyond the ratio of all pods goes first
		move(&others, len(others)-groups*ofOthers)
	}
	for range groups {
		move(&matched, ofMatched)
		move(&others, ofOthers)
	}
	move(&matched, len(matched))
	move(&others, len(others))
	copy(waiting, append(out, last))
}

// grouping returns into how many groups m and u pods are dealt, how many of each go into one, and
// whether that is the ratio of all pods, tm to tu, rather than of these.
func grouping(m, u, tm, tu int) (groups, ofM, ofU int, byTotals bool) {
	share := func(m, u int) (int, int, int) {
		g := min(m, u)
		return g, int(math.Round(float64(m) / float64(g))), int(math.Round(float64(u) / float64(g)))
	}
	if tu*m >= u*tm {
		groups, ofM, ofU = share(m, u)
		return groups, ofM, ofU, false
	}
	_, ofM, ofU = share(tm, tu)
	return min(m/ofM, u/ofU), ofM, ofU, true
}
