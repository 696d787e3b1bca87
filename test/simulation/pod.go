package simulation

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/spread"
)

// pod is a stored pod. What the ledger sees of it is replaced, never changed.
type pod struct {
	*spread.Pod
	stored  uint64    // revision since which it counts
	under   types.UID // the WorkloadSpread object that placed it; empty for none
	cost    int32
	fits    string // the subset that its node belongs to, should it have to be adopted
	removed bool
	by      *creation // nil for one that was there before
}

// podEvent is what a watch tells: a pod as it is now, or that it is gone.
type podEvent struct {
	revision uint64
	uid      types.UID
	owner    types.UID
	pod      *spread.Pod // nil: gone
	recorded bool        // on the WorkloadSpread
	gone     *spread.Pod // what state.Pods remembers of a pod that went
}

// applyTo brings a list of pods up to date. The list may be shared: it is copied if fresh.
func (e podEvent) applyTo(pods []*spread.Pod, fresh bool) []*spread.Pod {
	if fresh {
		pods = slices.Clone(pods)
	}
	i := slices.IndexFunc(pods, func(p *spread.Pod) bool { return p.UID == e.uid })
	switch {
	case e.pod == nil && i >= 0:
		return slices.Delete(pods, i, i+1)
	case e.pod == nil:
		return pods
	case i >= 0:
		pods[i] = e.pod
		return pods
	default:
		return append(pods, e.pod)
	}
}

// log tells the watches about a pod.
func (w *World) log(p *pod) {
	w.revision++
	after := *p.Pod
	after.ResourceVersion = strconv.FormatUint(w.revision, 10)
	p.Pod = &after
	e := podEvent{revision: w.revision, uid: p.UID, owner: p.Owner, pod: p.Pod, recorded: p.Subset != ""}
	if p.removed {
		e.pod = nil
		e.gone = &spread.Pod{Version: p.Version, Subset: p.Subset, Token: p.Token}
	}
	w.podLog = append(w.podLog, e)
}

// store creates the pod of a creation.
func (w *World) store(c *creation) *pod {
	w.uids++
	name := fmt.Sprint("pod-", w.uids)
	p := &pod{
		Pod: &spread.Pod{
			Name: name, UID: types.UID(name), Owner: c.set.uid, Version: c.version,
			Subset: c.subset, Token: c.token, Active: true,
		},
		under: c.under, cost: c.cost, by: c,
	}
	if !w.homeless {
		p.fits = string(rune('a' + w.rng.IntN(len(w.limits))))
	}
	w.pods = append(w.pods, p)
	w.log(p)
	p.stored = w.revision
	w.tell("%s of %s is stored in subset %q with token %q", p.Name, p.Version, p.Subset, p.Token)
	return p
}

// terminate begins or completes the end of a pod.
func (w *World) terminate(p *pod) {
	if p.Active {
		after := *p.Pod
		after.Active = false
		p.Pod = &after
		w.tell("%s in %q is being deleted", p.Name, p.Subset)
		w.log(p)
		return
	}
	p.removed = true
	w.pods = slices.DeleteFunc(w.pods, func(other *pod) bool { return other == p })
	w.tell("%s is gone", p.Name)
	w.log(p)
}

// active counts the pods of a version in a subset.
func (w *World) active(version, subset string) int32 {
	var n int32
	for _, p := range w.pods {
		if p.Active && p.Version == version && p.Subset == subset {
			n++
		}
	}
	return n
}

// adoption gives a running pod an assignment.
type adoption struct {
	pod           *pod
	before, after *spread.Pod
	cost          int32
	claimed       bool
}

// adoptions finds the subsets of pods that run without an assignment, as resolve.Pods does.
func (w *World) adoptions(ws *appsv1alpha1.WorkloadSpread) []adoption {
	terms, err := spread.ParseTerms(&ws.Spec)
	if err != nil {
		return nil
	}
	book := spread.Open(terms, &appsv1alpha1.WorkloadSpreadStatus{}, w.replicas)
	view := spread.View{Revision: 1}
	for _, p := range w.pods {
		if p.Subset != "" {
			view.Pods = append(view.Pods, p.Pod)
		}
	}
	book.Recount(view)
	var out []adoption
	for _, p := range w.pods {
		if i := terms.Index(p.fits); p.Subset == "" && p.Active && i >= 0 {
			rank, _ := book.Take(p.Version, i)
			after := *p.Pod
			after.Subset, after.Token = p.fits, spread.NewToken(spread.AdoptionStem(p.UID), rank)
			a := adoption{pod: p, before: p.Pod, after: &after, cost: terms.Cost(i, rank)}
			for _, c := range claimsIn(ws, p.Version) {
				if c.stem() == stemOf(after.Token) {
					a.claimed, after.Token = true, spread.Token(c.token)
				}
			}
			out = append(out, a)
		}
	}
	return out
}

// adopt is what the controller does about pods that run without an assignment: it enters their claims,
// then records each that is still what it was.
func (w *World) adopt(ctx context.Context, p *process, ws *appsv1alpha1.WorkloadSpread) error {
	all := w.adoptions(ws)
	w.pause()
	if len(all) == 0 {
		return ctx.Err()
	}
	w.moved, w.adopted = true, true
	claims := make([]ledger.Adopted, len(all))
	for i, a := range all {
		claims[i] = ledger.Adopted{Version: a.after.Version, Subset: a.after.Subset, Token: a.after.Token}
	}
	if err := p.ledger.Adopt(ctx, ws, claims); err != nil {
		return fmt.Errorf("enter claims: %w", err)
	}
	gone := make(map[string][]spread.Token)
	changed := false
	for _, a := range all {
		w.pause()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case a.pod.removed:
			gone[a.after.Version] = append(gone[a.after.Version], a.after.Token)
		case a.pod.Pod != a.before:
			changed = true
		default:
			w.record(a, ws)
		}
	}
	if len(gone) > 0 {
		if err := p.ledger.Expire(ctx, ws, gone); err != nil {
			return fmt.Errorf("give claims back: %w", err)
		}
	}
	if changed {
		return errNewer
	}
	return nil
}

func (w *World) record(a adoption, ws *appsv1alpha1.WorkloadSpread) {
	a.pod.Pod, a.pod.cost, a.pod.under = a.after, a.cost, ws.UID
	w.tell("%s is adopted into %q with token %q", a.pod.Name, a.pod.Subset, a.pod.Token)
	w.log(a.pod)
	a.pod.stored = w.revision
}

// strays reports whether pods run that fit a subset and have none.
func (w *World) strays() bool {
	return slices.ContainsFunc(w.pods, func(p *pod) bool { return p.Active && p.Subset == "" && p.fits != "" && w.ws != nil })
}
