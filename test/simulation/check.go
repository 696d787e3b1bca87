package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

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
		w.noteEnded(before, after)
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
			w.entered = append(w.entered, c)
		}
		c.where, c.ended = place{w.ws.UID, s.subset}, 0
		if !c.by.over && c.by.stem == s.stem() {
			c.by.committed = place{w.ws.UID, s.subset}
			added = append(added, s.subset)
		}
	}
	return added
}

// noteEnded notes the claims that a commit removes, and which of them nothing but time has ended.
func (w *World) noteEnded(before, after []standing) {
	for _, s := range before {
		if c := w.claims[s.stem()]; c != nil && !slices.Contains(after, s) {
			c.ended = w.now
			if c.dead() && w.now-c.at >= settings.ClaimExpiry.Duration {
				w.hinder(c)
			}
		}
	}
}

// noteDetour notes the dead claims on whose account a pod was sent past a subset, where they could not
// be recognised.
func (w *World) noteDetour(by *creation, g ledger.Grant) {
	past := g.Subset
	if g.Outcome != spread.Placed {
		past = g.Terms.Len()
	}
	for i := range past {
		where := place{g.Spread.UID, g.Terms.Name(i)}
		for _, c := range w.entered {
			if c.where == where && c.by.version == by.version && c.dead() && (c.ended == 0 || c.ended >= by.asked) && !w.recognisable(by, c) {
				w.hinder(c)
			}
		}
	}
}

// recognisable reports whether the admission of a creation had to find out that a claim is dead: the
// claim is old enough, no other creation of the owner was under way, and all dead claims are of the
// same subset.
func (w *World) recognisable(by *creation, c *claimed) bool {
	set := by.set
	if w.on[setClock] || set.observed != set.generation || set.lastEnd >= by.asked || c.at+3*time.Second > by.asked {
		return false
	}
	for _, other := range w.creations {
		if other != by && other.set == set {
			return false
		}
	}
	for _, other := range w.entered {
		if other.ended == 0 && other.by.version == by.version && other.dead() && other.where != c.where {
			return false
		}
	}
	return true
}

// hinder counts a claim that keeps a pod from the place that is specified for it.
func (w *World) hinder(c *claimed) {
	if !c.hindered {
		c.hindered = true
		w.hindered++
	}
}

// usage is what a subset has of a version: active pods, and creations under way that have a place
// there.
func (w *World) usage(version, subset string) int32 {
	var n int32
	for _, p := range w.pods {
		if p.Active && p.Version == version && p.Subset == subset && w.knowable(p) {
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

// knowable leaves out what nobody can know of: creations that were under way when the WorkloadSpread
// was created, let in by an earlier one of the same name, or when a subset got its limit.
func (w *World) knowable(p *pod) bool {
	if p.by != nil && p.by.blind && p.stored > w.edited && p.by.asked < w.editedAt {
		return false
	}
	return p.under == w.ws.UID || p.stored <= w.born
}

// checkGrant checks that a place was committed before it is given.
func (w *World) checkGrant(c *creation, g ledger.Grant) {
	subset := g.Terms.Name(g.Subset)
	if c.barred[subset] != "" {
		w.violate("a pod was given a place in %s, which cannot take it", subset)
	}
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
