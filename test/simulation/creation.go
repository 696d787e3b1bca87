package simulation

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/spread"
)

const (
	webhookTimeout = 10 * time.Second
	requestTimeout = time.Minute // of the API server
)

// creation is one request to create a pod.
type creation struct {
	id      int
	set     *replicaSet
	version string
	started time.Duration
	actor   *actor
	asking  bool // a webhook is being called
	asked   time.Duration

	done      chan struct{}
	over      bool
	succeeded bool

	// barred are subsets that cannot take this pod.
	barred map[string]v1alpha1.Reason

	// What the last admission gave: the record that the pod will carry.
	under  types.UID
	subset string
	token  spread.Token
	cost   int32
	blind  bool // placed without a claim

	// The claim that may still become this pod: that of the admission under way, or of the last one.
	stem      string
	committed place
	pod       *pod
}

// place is where a claim was committed.
type place struct {
	under  types.UID
	subset string
}

// claimed is a claim that was drawn, by its stem.
type claimed struct {
	by       *creation
	stem     string
	at       time.Duration // of its commit; 0 for never
	ended    time.Duration // 0 while it stands
	where    place
	hindered bool // a pod went elsewhere on its account, or only time has ended it
}

// dead reports whether no pod can come of a claim any more.
func (c *claimed) dead() bool {
	b := c.by
	switch {
	case b.pod != nil:
		return stemOf(b.token) != c.stem || !b.pod.Active
	case b.over:
		return true
	default:
		return b.stem != c.stem && stemOf(b.token) != c.stem
	}
}

// stemOf is the random part of a token.
func stemOf(t spread.Token) string { return string(t[:min(len(t), spread.TokenStem)]) }

// stem draws the random part of a token, for the creation whose turn it is.
func (w *World) stem() string {
	w.serial++
	stem := fmt.Sprintf("%08s", strconv.FormatInt(int64(w.serial), 36))
	if c := w.creationOf(w.current); c != nil {
		c.stem = stem
		w.claims[stem] = &claimed{by: c, stem: stem}
	}
	return stem
}

// creationOf returns the creation that an actor carries out, or nil.
func (w *World) creationOf(a *actor) *creation {
	for _, c := range w.creations {
		if c.actor == a && a != nil {
			return c
		}
	}
	return nil
}

// create begins the creation of a pod.
func (w *World) create(s *replicaSet) *creation {
	w.serial++
	c := &creation{id: w.serial, set: s, version: s.version, started: w.now, done: make(chan struct{})}
	w.bar(c)
	if w.faults() && w.on[copyTokens] && w.chance(10) {
		c.token = w.oldToken()
	}
	w.creations = append(w.creations, c)
	c.actor = w.spawn(fmt.Sprint("creation ", c.id), nil, func() { w.carryOut(c) })
	return c
}

// carryOut is a creation as the API server sees it: admission, perhaps twice, then the store.
func (w *World) carryOut(c *creation) {
	w.pause()
	for again := true; again; {
		if !w.admit(c) {
			return
		}
		again = w.faults() && w.on[admitTwice] && w.chance(3)
	}
	switch {
	case w.faults() && w.on[slowCreations] && w.chance(4):
		w.wait(w.upTo(58*time.Second), nil, nil)
	default:
		w.pause()
	}
	switch {
	case c.over:
	case w.now >= c.started+requestTimeout:
		w.fail(c, "the API server's time is up")
	case w.refusing > 0:
		w.refusing--
		w.fail(c, "refused after admission")
	default:
		c.pod = w.store(c)
		c.set.expected = max(c.set.expected, w.revision)
		w.end(c, true)
	}
}

// admit calls the webhook of some replica, and reports whether the creation goes on.
func (w *World) admit(c *creation) bool {
	p := w.processes[w.rng.IntN(len(w.processes))]
	if p.down {
		w.fail(c, "no webhook answers")
		return false
	}
	c.asking, c.asked, c.actor.process = true, w.now, p
	ctx := w.deadline(w.now+webhookTimeout, p.skew)
	err := w.review(ctx, p, c)
	ctx.end(context.Canceled)
	c.asking, c.actor.process = false, nil
	switch {
	case c.over:
		return false
	case err != nil:
		w.fail(c, err.Error())
		return false
	case w.faults() && w.on[crash] && w.chance(20):
		w.fail(c, "the webhook's answer was lost")
		return false
	}
	return true
}

// review is what the webhook of pods does around the ledger.
func (w *World) review(ctx context.Context, p *process, c *creation) error {
	if p.ws == nil {
		c.placeNowhere()
		return nil
	}
	terms, err := spread.ParseTerms(&p.ws.Spec)
	if err != nil {
		return fmt.Errorf("parse a spec: %w", err)
	}
	now := wall{w: w, p: p}.Now()
	if i := terms.Index(c.subset); i >= 0 && terms.Limit(i).IsUnlimited() && c.token.IsPass(now) {
		return nil
	}
	g, err := p.ledger.Claim(ctx, ledger.Request{
		Spread: p.ws, Version: c.version, Incoming: c.token, Ranked: terms.Percent, Barred: c.barred,
		Owner: ledger.Owner{Namespace: key.Namespace, Name: c.version, UID: c.set.uid, Demand: w.demandOf(p, c.set)},
	})
	switch {
	case errors.Is(err, ledger.ErrGone) || (err == nil && g.Outcome != spread.Placed):
		w.tell("no place: %v, passed %v", err, g.Passed)
		if err == nil {
			w.noteDetour(c, g)
		}
		c.placeNowhere()
		return nil
	case err != nil:
		return fmt.Errorf("claim: %w", err)
	}
	w.checkGrant(c, g)
	w.noteDetour(c, g)
	c.under, c.subset, c.token = g.Spread.UID, g.Terms.Name(g.Subset), g.Token
	c.cost, c.blind = g.Terms.Cost(g.Subset, g.Rank), g.Token == ""
	if g.Token == "" {
		c.committed = place{}
		c.token = spread.Pass(now, c.stem)
	}
	w.tell("gets %q with token %q, passed %v", c.subset, c.token, g.Passed)
	return nil
}

// bar draws the subsets that cannot take a pod. While the world comes to rest every subset can take every pod.
func (w *World) bar(c *creation) {
	if !w.barring || w.quiet || w.ws == nil || w.rng.IntN(2) == 0 {
		return
	}
	c.barred = make(map[string]v1alpha1.Reason)
	for i := range w.ws.Spec.Subsets {
		if w.rng.IntN(2) == 0 {
			c.barred[w.ws.Spec.Subsets[i].Name] = v1alpha1.ReasonHostPath
		}
	}
}

func (c *creation) placeNowhere() {
	c.under, c.subset, c.token, c.committed = "", "", "", place{}
}

// fail ends a creation without a pod.
func (w *World) fail(c *creation, why string) {
	if !c.over {
		w.tell("creation %d fails: %s", c.id, why)
		w.end(c, false)
	}
}

func (w *World) end(c *creation, ok bool) {
	c.over, c.succeeded, c.set.lastEnd = true, ok, w.now
	close(c.done)
	for i, other := range w.creations {
		if other == c {
			w.creations = append(w.creations[:i], w.creations[i+1:]...)
			break
		}
	}
}

// timeOut ends the creations whose webhook did not answer in time; it may still be at work.
func (w *World) timeOut() {
	for i := 0; i < len(w.creations); i++ {
		if c := w.creations[i]; c.asking && w.now >= c.asked+webhookTimeout+time.Second {
			w.fail(c, "the webhook did not answer in time")
			i--
		}
	}
}

// oldToken is one that someone copied from a pod that has been there for long.
func (w *World) oldToken() spread.Token {
	if len(w.pods) == 0 {
		return ""
	}
	p := w.pods[w.rng.IntN(len(w.pods))]
	for _, other := range w.processes {
		if other.ws == nil || other.wsAt < len(w.wsLog) || stands(other.ws, p.Token) {
			return "" // a second admission cannot be told from it yet
		}
	}
	return p.Token
}
