package pod

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/placement"
	"github.com/spillway-project/spillway/internal/resolve"
)

// surroundings is what the nodes of the subsets mean for one pod.
type surroundings struct {
	bars map[string]resolve.Bar // by subset
}

// look finds out which subsets the pod cannot go to, whatever room they have.
func (m *Mutator) look(ctx context.Context, pod *corev1.Pod, match *resolve.Match, namespace string) (surroundings, error) {
	if m.Sites == nil || !placement.Touchable(pod) {
		return surroundings{}, nil
	}
	sites, err := m.Sites.Of(ctx, match.Spread)
	if err != nil {
		return surroundings{}, err
	}
	bars, err := m.Sites.Bars(ctx, match.Spread, sites, namespace, pod)
	return surroundings{bars}, err
}

// named translates the subsets that were passed over.
func (s surroundings) named(g ledger.Grant) []Passed {
	out := make([]Passed, len(g.Passed))
	for i, p := range g.Passed {
		out[i] = Passed{Subset: g.Terms.Name(p.Subset), Reason: p.Reason}
		if bar, ok := s.bars[out[i].Subset]; ok && bar.Reason == p.Reason {
			out[i].Message, out[i].NotEligible = bar.Message, bar.Reason != v1alpha1.ReasonNodesNotReady
		}
	}
	return out
}

// notEligible warns of the subsets that the pod itself cannot run in.
func notEligible(passed []Passed) []string {
	var out []string
	for _, p := range passed {
		if p.NotEligible {
			out = append(out, fmt.Sprintf("subset %q is of virtual nodes, and the pod was not placed there: %s", p.Subset, p.Message))
		}
	}
	return out
}
