package simulation

import (
	"fmt"
	"slices"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/spread"
)

// checkCommit checks the promise of safety on a status that is about to be stored: where it adds a
// claim, what is and what can still become a pod stays within the limit. The truth is the model's,
// not the counts in the status: a claim of a creation that has failed cannot become a pod, and one
// that has been released in the place of such a claim still can.
func (w *World) checkCommit(ws *appsv1alpha1.WorkloadSpread, writer *actor) {
	terms, err := spread.ParseTerms(&w.ws.Spec)
	if err != nil {
		w.violate("a spec that cannot be computed with was written over: %v", err)
		return
	}
	for _, set := range w.sets {
		before, after := claimsIn(w.ws, set.version), claimsIn(ws, set.version)
		w.checkEnded(before, after)
		added := w.enter(set.version, before, after)
		for _, subset := range added {
			// Percentages refer to a number that was read before the write; it may be another by now.
			limit := terms.Limit(terms.Index(subset))
			most := max(limit.Of(writer.replicas), limit.Of(w.replicas))
			if used := w.usage(set.version, subset); !limit.IsUnlimited() && used > most {
				w.violate("safety: %s has %d pods of %s active or admitted after a commit that adds to them, its limit is %d: %s",
					subset, used, set.version, most, summary(ws))
			}
		}
	}
}

// enter notes the claims that a commit adds, and returns the subsets that thereby get another pod.
func (w *World) enter(version string, before, after []standing) []string {
	var added []string
	for i, s := range after {
		if i > 0 && after[i-1].stem() == s.stem() {
			w.violate("token: one admission holds two claims of %s: %v", version, after)
		}
		c := w.claims[s.stem()]
		if c == nil || slices.Contains(before, s) {
			continue
		}
		if c.at == 0 {
			c.at = w.now
		}
		if !c.by.over && c.by.stem == s.stem() {
			c.by.committed = place{w.ws.UID, s.subset}
			added = append(added, s.subset)
		}
	}
	return added
}

// checkEnded counts the claims that nothing but time has ended.
func (w *World) checkEnded(before, after []standing) {
	for _, s := range before {
		c := w.claims[s.stem()]
		if c == nil || slices.Contains(after, s) || c.counted {
			continue
		}
		if !c.by.succeeded && w.now-c.at >= settings.ClaimExpiry.Duration {
			c.counted = true
			w.lost++
		}
	}
}

// usage is what a subset has of a version: active pods, and creations under way that have a place
// there. Creations that an earlier WorkloadSpread of the same name let in are beyond the knowledge of
// this one.
func (w *World) usage(version, subset string) int32 {
	var n int32
	for _, p := range w.pods {
		if p.Active && p.Version == version && p.Subset == subset && (p.under == w.ws.UID || p.stored <= w.born) {
			n++
		}
	}
	for _, c := range w.creations {
		if c.version == version && c.committed == (place{w.ws.UID, subset}) {
			n++
		}
	}
	return n
}

// checkGrant checks that a place was committed before it is given.
func (w *World) checkGrant(c *creation, g ledger.Grant) {
	subset := g.Terms.Name(g.Subset)
	if g.Token == "" {
		if !g.Terms.Limit(g.Subset).IsUnlimited() {
			w.violate("a place in %s, which has a limit, was given without a claim", subset)
		}
		return
	}
	if !c.over && c.committed != (place{g.Spread.UID, subset}) {
		w.violate("a place in %s was given by claim %s, which was never committed for this creation", subset, g.Token)
	}
}

// standing is a claim in a status.
type standing struct{ token, subset string }

func (s standing) stem() string { return s.token[:min(len(s.token), spread.TokenStem)] }

// claimsIn lists the claims of a version, by token.
func claimsIn(ws *appsv1alpha1.WorkloadSpread, version string) []standing {
	var all []standing
	for i := range ws.Status.VersionedSubsetStatuses[version] {
		s := &ws.Status.VersionedSubsetStatuses[version][i]
		for token := range s.CreatingPods {
			all = append(all, standing{token, s.Name})
		}
	}
	slices.SortFunc(all, func(a, b standing) int { return strings.Compare(a.token, b.token) })
	return all
}

// stands reports whether a token is an outstanding claim of any version.
func stands(ws *appsv1alpha1.WorkloadSpread, t spread.Token) bool {
	return slices.ContainsFunc(ledger.ClaimsOf(ws), func(o ledger.Outstanding) bool { return o.Token == t })
}

// summary is a status in a line.
func summary(ws *appsv1alpha1.WorkloadSpread) string {
	var out strings.Builder
	fmt.Fprintf(&out, "revision %s, generation %d seen:", ws.ResourceVersion, ws.Status.ObservedGeneration)
	versions := make([]string, 0, len(ws.Status.VersionedSubsetStatuses))
	for v := range ws.Status.VersionedSubsetStatuses {
		versions = append(versions, v)
	}
	slices.Sort(versions)
	for _, v := range versions {
		for i := range ws.Status.VersionedSubsetStatuses[v] {
			s := &ws.Status.VersionedSubsetStatuses[v][i]
			fmt.Fprintf(&out, " %s/%s %d", v, s.Name, s.Replicas)
			for _, c := range claimsIn(ws, v) {
				if c.subset == s.Name {
					fmt.Fprintf(&out, "+%s", c.token)
				}
			}
		}
	}
	for i := range ws.Status.SubsetStatuses {
		for _, c := range ws.Status.SubsetStatuses[i].Conditions {
			fmt.Fprintf(&out, " view %s", c.Message)
		}
	}
	return out.String()
}
