package spread

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Evidence is what proves that claims are dead. It rests on one fact: a ReplicaSet's controller
// never has more pods alive and under creation than spec.replicas. At the moment of a live list,
//
//	alive pods + creations under way ≤ demand
//
// so of the claims that stood before the list and whose pods it does not show, at most
// demand − alive − arrivals can still become pods. The rest is dead, whatever killed it: a quota, a
// later webhook, a crashed replica, a lost answer.
type Evidence struct {
	// View is a live list of the owner's pods.
	View View
	// Demand is the owner's spec.replicas, read live, after the owner's controller had observed
	// that very spec (status.observedGeneration): a controller that has not seen a scale-in yet may
	// still be creating for the old number.
	Demand int32
	// Arrivals counts creations of the owner that were waiting in admission, unclaimed, when the
	// list was made; the one that brings the evidence included.
	Arrivals int32
	// UnderWay bounds the owner's creations under way, those that wait in admission included (SlowStart);
	// 0 when there is no such bound.
	UnderWay int32
	// Suspects are the claims of the version that stood before the list was made.
	Suspects map[Token]struct{}
}

// SlowStart bounds the creations that a ReplicaSet's controller has under way at one time, when it has
// created that many pods since it last wrote the ReplicaSet's status. It writes the status at the end of
// each pass. In a pass it creates pods in batches of 1, 2, 4, …, each begun only when all of the one
// before have succeeded (k8s.io/kubernetes pkg/controller/replicaset slowStartBatch): a batch of 2^k
// follows 2^k − 1 pods. A pass in which a creation fails is over, and the next begins with one.
func SlowStart(created int32) int32 {
	batch := int32(1)
	for batch*2-1 <= created && batch < 1<<29 {
		batch *= 2
	}
	return batch
}

// Suspects returns the claims of a version that are old enough to be in doubt at now.
func (b *Book) Suspects(version string, now time.Time) map[Token]struct{} {
	all := make(map[Token]struct{})
	if p := b.pages[version]; p != nil {
		for i := range p.entries {
			for t, at := range p.entries[i].claims {
				if inDoubt(at.Time, now, suspectAge) {
					all[t] = struct{}{}
				}
			}
		}
	}
	return all
}

// weight is what evidence proves.
type weight uint8

const (
	unweighed    weight = iota // there is no evidence yet
	void                       // the numbers contradict each other: it proves nothing
	inconclusive               // no claim is proven dead
	ambiguous                  // more claims are dead than it is certain of which subset
	conclusive                 // every claim that is proven dead was released
)

// weigh counts the version from the evidence and releases every claim that it proves dead.
//
// Of the suspects S at least k = |S| − (demand − alive − arrivals) are dead, or more where the
// controller's slow start allows fewer creations under way. Subset i holds S_i of
// them, the others |S| − S_i; so at least k − (|S| − S_i) of subset i's are dead, and that many may
// go. Which ones does not matter: should a released claim's pod appear after all, it is counted, and
// a dead claim stands in its place.
func (b *Book) weigh(version string, ev *Evidence) weight {
	b.recountVersion(version, ev.View)
	p := b.pages[version]
	spare := ev.Demand - ev.View.Active(version) - ev.Arrivals
	if ev.UnderWay >= ev.Arrivals && ev.UnderWay > 0 {
		spare = min(spare, ev.UnderWay-ev.Arrivals)
	}
	if p == nil || spare < 0 {
		// More pods than the owner wants: it acts on something else than what was read.
		return void
	}
	seen := ev.seen()
	doubted := make([][]Token, len(p.entries))
	var all int32
	for i := range p.entries {
		for _, t := range slices.SortedFunc(maps.Keys(p.entries[i].claims), compareTokens) {
			if _, ok := ev.Suspects[t]; ok && !seen[t] && !seen[Token(t.stem())] {
				doubted[i] = append(doubted[i], t)
			}
		}
		all += int32(len(doubted[i])) //nolint:gosec // pods of one workload
	}
	dead, released := all-spare, int32(0)
	for i, tokens := range doubted {
		mine := int32(len(tokens)) //nolint:gosec // as above
		for _, t := range tokens[:max(min(dead-(all-mine), mine), 0)] {
			delete(p.entries[i].claims, t)
			b.disproved = append(b.disproved, Dead{Version: version, Subset: i, Token: t})
			released++
		}
	}
	switch {
	case dead <= 0:
		return inconclusive
	case dead > released:
		return ambiguous
	default:
		return conclusive
	}
}

// seen indexes the claims that the evidence shows to have become pods, and the stems of those whose pods
// are there, but not recorded yet: they are being adopted.
func (ev *Evidence) seen() map[Token]bool {
	seen := make(map[Token]bool, len(ev.View.Pods))
	for _, p := range ev.View.Pods {
		seen[p.Token], seen[Token(p.Name)] = true, true
		if p.Subset == "" {
			seen[Token(AdoptionStem(p.UID))] = true
		}
	}
	return seen
}

func compareTokens(a, b Token) int { return strings.Compare(string(a), string(b)) }

// Dead is a claim that was released without a pod.
type Dead struct {
	Version string
	Subset  int
	Token   Token
}

// Disproved returns the claims that evidence has released since the book was opened.
func (b *Book) Disproved() []Dead { return b.disproved }
