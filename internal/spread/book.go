package spread

import (
	"maps"
	"slices"
	"strconv"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Book is the account of one WorkloadSpread: its status in a form to compute on. It is made from a
// status by Open, changed by Recount, Claim, Withdraw and Expire, and turned back by Status. It is
// not safe for concurrent use.
type Book struct {
	terms  Terms
	limits []int32 // by subset, for the current replicas
	pages  map[string]*page

	health   []health // by subset
	observed uint64   // revision of the view that the counts come from; 0 for none
	turnover Turnover

	disproved []Dead
}

// page is the account of one version.
type page struct {
	entries []entry // by subset
	// others counts active pods without an assignment; known only after a recount.
	others int32
	// leaving counts, by subset, the pods of a revision that is being replaced; see Turnover.
	leaving []int32
}

// entry is the account of one subset in one version.
type entry struct {
	replicas   int32
	claims     map[Token]metav1.Time
	conditions []appsv1alpha1.WorkloadSpreadSubsetCondition
	ranks      ranks
}

// Open reads a status. replicas is the workload's current replica count; it matters only for
// percentages. Entries are matched to the spec's subsets by name; entries of subsets that the spec
// no longer has are dropped, and so are deletingPods, which OpenKruise wrote and Spillway does not
// need.
func Open(terms Terms, status *appsv1alpha1.WorkloadSpreadStatus, replicas int32) *Book {
	b := &Book{
		terms:    terms,
		limits:   make([]int32, terms.Len()),
		pages:    make(map[string]*page, len(status.VersionedSubsetStatuses)),
		observed: observedRevision(status),
	}
	for i, l := range terms.limits {
		b.limits[i] = l.Of(replicas)
	}
	b.healths(status)
	for version, stored := range status.VersionedSubsetStatuses {
		p := b.page(version)
		for i := range stored {
			if at := terms.Index(stored[i].Name); at >= 0 {
				p.entries[at].load(&stored[i])
			}
		}
	}
	return b
}

func (e *entry) load(s *appsv1alpha1.WorkloadSpreadSubsetStatus) {
	e.replicas = max(s.Replicas, 0)
	e.conditions = s.Conditions
	for key, at := range s.CreatingPods {
		e.claim(Token(key), at)
	}
}

func (e *entry) claim(t Token, at metav1.Time) {
	if e.claims == nil {
		e.claims = make(map[Token]metav1.Time)
	}
	e.claims[t] = at
	e.ranks.take(t.rank())
}

// page returns the account of a version, opening it when there is none.
func (b *Book) page(version string) *page {
	p := b.pages[version]
	if p == nil {
		p = &page{entries: make([]entry, b.terms.Len())}
		b.pages[version] = p
	}
	return p
}

// Observed returns the revision of the view that the counts come from, 0 when the status does not
// tell: then nothing is known, and a view at least as new as the status itself has to be brought.
func (b *Book) Observed() uint64 { return b.observed }

// Renew forgets which view the counts come from, so that the next recount sets it.
func (b *Book) Renew() { b.observed = 0 }

// Recount replaces the counts of all versions by those of a view of all pods of the WorkloadSpread,
// and drops the claims whose pods it shows. It returns false, and changes nothing, when the view is
// older than the one the counts come from: pods whose claims were dropped since would be forgotten.
func (b *Book) Recount(v View) bool {
	defer b.leave(v)
	if v.Revision == 0 || v.Revision < b.observed {
		b.markRanks(v)
		return false
	}
	before := b.tallies()
	for _, p := range b.pages {
		p.reset()
	}
	for _, pod := range v.Pods {
		b.count(pod)
	}
	for version, p := range b.pages {
		p.complete()
		if p.empty() {
			delete(b.pages, version)
		}
	}
	b.settle(v.Revision, before)
	return true
}

// recountVersion is Recount for a view that holds the pods of one version only.
func (b *Book) recountVersion(version string, v View) {
	if v.Revision == 0 || v.Revision < b.observed {
		return
	}
	before := b.tallies()
	b.page(version).reset()
	for _, pod := range v.Pods {
		if pod.Version == version {
			b.count(pod)
		}
	}
	b.page(version).complete()
	b.settle(v.Revision, before)
}

// settle remembers the view if it changed anything.
func (b *Book) settle(revision uint64, before map[string][]tally) {
	if b.observed == 0 || !maps.EqualFunc(before, b.tallies(), slices.Equal) {
		b.observed = revision
	}
}

// tally is what a view can change of an entry: it sets the count and only ever removes claims.
type tally struct {
	replicas int32
	claims   int
}

func (b *Book) tallies() map[string][]tally {
	all := make(map[string][]tally, len(b.pages))
	for version, p := range b.pages {
		row := make([]tally, len(p.entries))
		for i := range p.entries {
			row[i] = tally{p.entries[i].replicas, len(p.entries[i].claims)}
		}
		all[version] = row
	}
	return all
}

func (p *page) reset() {
	p.others = 0
	for i := range p.entries {
		e := &p.entries[i]
		e.replicas = 0
		e.ranks = ranks{}
		for t := range e.claims {
			e.ranks.take(t.rank())
		}
	}
}

// complete marks that every counted pod's rank is known.
func (p *page) complete() {
	for i := range p.entries {
		p.entries[i].ranks.exact = true
	}
}

func (p *page) empty() bool {
	for i := range p.entries {
		if p.entries[i].replicas > 0 || len(p.entries[i].claims) > 0 {
			return false
		}
	}
	return p.others == 0
}

// count enters one pod of a view.
func (b *Book) count(pod *Pod) {
	at := b.terms.Index(pod.Subset)
	if at < 0 {
		if pod.Active {
			b.page(pod.Version).others++
		}
		return
	}
	e := &b.page(pod.Version).entries[at]
	// Even a pod that has ended settles its claim: the creation is no longer under way.
	delete(e.claims, pod.Token)
	if at, ok := e.claims[Token(pod.Name)]; ok && (pod.Active || pod.Created >= at.Unix()-reuseSkew) {
		delete(e.claims, Token(pod.Name)) // but not that of the next pod of the same name
	}
	if pod.Active {
		e.replicas++
		e.ranks.take(pod.Token.rank())
	}
}

// reuseSkew is how many seconds the clocks of the API server and of a webhook may be apart when a
// pod's name is used again.
const reuseSkew = 5

// markRanks enters the ranks of a view that is too old to count from: they may be free by now, but
// taking one of them twice would be worse than leaving a gap.
func (b *Book) markRanks(v View) {
	for _, pod := range v.Pods {
		p, at := b.pages[pod.Version], b.terms.Index(pod.Subset)
		if p != nil && at >= 0 && pod.Active {
			p.entries[at].ranks.take(pod.Token.rank())
		}
	}
}

// Withdraw removes a claim that nobody will use, and reports whether there was one.
func (b *Book) Withdraw(version string, t Token) bool {
	p := b.pages[version]
	if p == nil {
		return false
	}
	for i := range p.entries {
		if _, ok := p.entries[i].claims[t]; ok {
			delete(p.entries[i].claims, t)
			return true
		}
	}
	return false
}

// Claims calls f for every outstanding claim.
func (b *Book) Claims(f func(version, subset string, t Token, at time.Time)) {
	for version, p := range b.pages {
		for i := range p.entries {
			for t, at := range p.entries[i].claims {
				f(version, b.terms.Name(i), t, at.Time)
			}
		}
	}
}

// room is how many more pods the entry may take, or Unlimited.
func (b *Book) room(i int, replicas, claims int32) int32 {
	if b.limits[i] == Unlimited {
		return Unlimited
	}
	return max(b.limits[i]-replicas-claims, 0)
}

func observedRevision(status *appsv1alpha1.WorkloadSpreadStatus) uint64 {
	for i := range status.SubsetStatuses {
		for _, c := range status.SubsetStatuses[i].Conditions {
			if c.Type == v1alpha1.ConditionView {
				n, err := strconv.ParseUint(c.Message, 10, 64)
				if err != nil {
					return 0 // not ours: know nothing rather than something wrong
				}
				return n
			}
		}
	}
	return 0
}
