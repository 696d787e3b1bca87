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

// look finds out which subsets the pod cannot go to, whatever room they have, by name.
func (m *Mutator) look(ctx context.Context, pod *corev1.Pod, match *resolve.Match, namespace string) (map[string]resolve.Bar, error) {
	if m.Sites == nil || !placement.Touchable(pod) {
		return nil, nil
	}
	sites, err := m.Sites.Of(ctx, match.Spread)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it was about
	}
	return m.Sites.Bars(ctx, match.Spread, sites, namespace, pod) //nolint:wrapcheck // as above
}

// named translates the subsets that were passed over.
func named(g ledger.Grant, bars map[string]resolve.Bar) []Passed {
	out := make([]Passed, len(g.Passed))
	for i, p := range g.Passed {
		out[i] = Passed{Subset: g.Terms.Name(p.Subset), Reason: p.Reason}
		if bar, ok := bars[out[i].Subset]; ok && bar.Reason == p.Reason {
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
