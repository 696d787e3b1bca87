package spread

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Ground is what is known of the virtual nodes of a subset; the zero value is for own nodes.
type Ground struct {
	// Nodes are the subset's virtual nodes by name, each with the values of a pod's status.reason by which its provider
	// refuses it.
	Nodes map[string][]string
	// Down: none of them is ready, and pods are not to wait for them.
	Down bool
}

// ground returns what is known of a subset's nodes.
func (s *Sight) ground(i int) Ground {
	if i < len(s.Ground) {
		return s.Ground[i]
	}
	return Ground{}
}

// troubled reports whether a pod of a subset cannot start where it is: no node takes it, or the virtual node that did
// cannot run it. Of pods on own nodes the kubelet speaks, and nothing else can be done.
func (s *Sight) troubled(i int, p *Pod) bool {
	if p.Trouble.Since == 0 {
		return false
	}
	if !p.Bound {
		return true
	}
	refusals, virtual := s.ground(i).Nodes[p.Node]
	return virtual && (p.Trouble.Reason == corev1.PodReasonUnschedulable || slices.Contains(refusals, p.Trouble.Reason))
}

// nodeHold remembers a virtual node whose pods were stuck. In a subset of several, only it is left out.
type nodeHold struct {
	// Failed counts the holds in a row, from 0.
	Failed int `json:"failed"`
	// Until is when the node is let in again, in seconds since 1970. It is forgotten when as much time has passed
	// without trouble, or a pod has started there.
	Until int64 `json:"until"`
}

// nodesOf reads ConditionNodes.
func nodesOf(conditions []appsv1alpha1.WorkloadSpreadSubsetCondition) map[string]nodeHold {
	for i := range conditions {
		if c := &conditions[i]; c.Type == v1alpha1.ConditionNodes {
			var out map[string]nodeHold
			if json.Unmarshal([]byte(c.Message), &out) != nil {
				return nil // not ours: start over
			}
			return out
		}
	}
	return nil
}

// nodesCondition is the condition that remembers the holds.
func (h *health) nodesCondition() []appsv1alpha1.WorkloadSpreadSubsetCondition {
	if len(h.nodes) == 0 {
		return nil
	}
	text, err := json.Marshal(h.nodes)
	if err != nil {
		return nil // never: numbers and strings only
	}
	return []appsv1alpha1.WorkloadSpreadSubsetCondition{{
		Type: v1alpha1.ConditionNodes, Status: corev1.ConditionTrue, LastTransitionTime: h.nodesSince,
		Reason: string(v1alpha1.ReasonNodePassedOver), Message: string(text),
	}}
}

// avoided are the nodes of a subset that pods are kept off now, in order.
func (b *Book) avoided(i int, now time.Time) []string {
	var out []string
	for name, hold := range b.health[i].nodes {
		if now.Unix() < hold.Until {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// heedNodes brings the holds of a subset's nodes up to date, and returns the pods that speak against the subset as a
// whole: those without a node, and those on virtual nodes when no other one is left.
func (b *Book) heedNodes(i int, stuck []*Pod, s *Sight, out *Adaptation) []*Pod {
	h, nodes := &b.health[i], s.ground(i).Nodes
	b.forgive(i, s, out)
	if len(nodes) < 2 {
		return stuck
	}
	for _, p := range stuck {
		if p.Bound && !h.holds(p, s.Now) {
			b.holdNode(i, p, s, out)
		}
	}
	left := slices.ContainsFunc(slices.Collect(maps.Keys(nodes)), func(name string) bool { return s.Now.Unix() >= h.nodes[name].Until })
	if !left {
		return stuck
	}
	return slices.DeleteFunc(slices.Clone(stuck), func(p *Pod) bool { return p.Bound })
}

// holds reports whether a pod's node is left out already, or has been let in again after the pod came: it tells nothing
// new.
func (h *health) holds(p *Pod, now time.Time) bool {
	hold, known := h.nodes[p.Node]
	return known && (now.Unix() < hold.Until || p.Created < hold.Until)
}

// holdNode leaves a node out.
func (b *Book) holdNode(i int, p *Pod, s *Sight, out *Adaptation) {
	h := &b.health[i]
	hold := nodeHold{}
	if before, known := h.nodes[p.Node]; known {
		hold.Failed = min(before.Failed+1, maxLevel)
	}
	lasts := s.Holds.After(hold.Failed)
	hold.Until = s.Now.Add(lasts).Unix()
	h.nodes = maps.Clone(h.nodes)
	if h.nodes == nil {
		h.nodes = make(map[string]nodeHold)
	}
	h.nodes[p.Node] = hold
	h.nodesSince = metav1.NewTime(s.Now.Truncate(time.Second))
	out.Turns = append(out.Turns, Turn{Subset: i, Reason: v1alpha1.ReasonNodePassedOver, Node: p.Node, Pod: p.Name, Message: p.Trouble.Message, Hold: lasts})
}

// forgive forgets the holds that are over: where a pod has started since, where as much time has passed again, and of
// nodes that are gone.
func (b *Book) forgive(i int, s *Sight, out *Adaptation) {
	h, nodes := &b.health[i], s.ground(i).Nodes
	kept := make(map[string]nodeHold, len(h.nodes))
	for name, hold := range h.nodes {
		_, there := nodes[name]
		started := slices.ContainsFunc(s.View.Pods, func(p *Pod) bool { return p.Active && p.Node == name && p.Started && p.Created >= hold.Until })
		over := s.Now.Unix() - hold.Until
		// Pods that came before its end, and have not started, have not told whether it was worth it: those on the
		// node, and those that were kept off it and found no other.
		waiting := slices.ContainsFunc(s.View.Pods, func(p *Pod) bool {
			return p.Active && p.Subset == b.terms.Name(i) && s.troubled(i, p) && (p.Node == name || (!p.Bound && p.Created < hold.Until))
		})
		switch {
		case !there:
			continue
		case waiting:
			out.wake(time.Duration(-over) * time.Second) // what they do after that is told
		case over >= int64(s.Holds.After(hold.Failed)/time.Second):
			continue
		case started:
			out.Turns = append(out.Turns, Turn{Subset: i, Reason: v1alpha1.ReasonNodeRecovered, Node: name})
			continue
		case over < 0:
			out.wake(time.Duration(-over) * time.Second)
		default:
			out.wake(time.Duration(int64(s.Holds.After(hold.Failed)/time.Second)-over) * time.Second)
		}
		kept[name] = hold
	}
	if len(kept) != len(h.nodes) {
		h.nodes = kept
		h.nodesSince = metav1.NewTime(s.Now.Truncate(time.Second))
	}
}
