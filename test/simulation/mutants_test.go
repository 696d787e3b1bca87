package simulation

// mutant is one way in which the ledger could be wrong. The old text has to be found once in the file;
// a mutant whose text has moved on fails the test and has to be brought up to date.
type mutant struct {
	name     string
	file     string // from the root of the repository
	old, new string
	// first is the seed of the first schedule; 0 for the usual one.
	first uint64
}

// mutants are the faults that the simulation has to find. Whoever adds a rule to the ledger adds the
// mutant that breaks it.
var mutants = []mutant{
	{
		name: "a conflict is not followed by a new read", file: "internal/ledger/batch.go",
		old: "base, live, err := b.live(ctx)",
		new: "base, live, err := b.last, true, error(nil)",
	},
	{
		name: "a conflict is taken for success", file: "internal/ledger/batch.go",
		old: "case apierrors.IsConflict(err):\n\t\tb.met = true",
		new: "case apierrors.IsConflict(err):\n\t\tb.answer(nil)\n\t\treturn false",
	},
	{
		name: "the claim of a stored pod is not removed", file: "internal/spread/book.go",
		old: "delete(e.claims, pod.Token)",
		new: "_ = pod.Token",
	},
	{
		name: "an attempt does not know the claim that an earlier one left", file: "internal/spread/claim.go",
		old: "return t.stem() == c.Stem",
		new: "return false",
	},
	{
		name: "the token of a pod that is admitted again is ignored", file: "internal/spread/claim.go",
		old: "case c.Incoming != \"\" && t == c.Incoming:",
		new: "case false:",
	},
	{
		name: "pods are counted from an older view", file: "internal/spread/book.go",
		old: "if v.Revision == 0 || v.Revision < b.observed {\n\t\tb.markRanks(v)",
		new: "if v.Revision == 0 {\n\t\tb.markRanks(v)",
	},
	{
		name: "claims end too early", file: "internal/ledger/expiry.go",
		old: "rest := e.Life - now.Sub(at)",
		new: "rest := e.Life/10 - now.Sub(at)",
	},
	{
		name: "the default of claimExpiry is below the API server's timeout", file: "api/config/v1alpha1/defaults.go",
		old: "duration(&c.Ledger.ClaimExpiry, 70*time.Second)",
		new: "duration(&c.Ledger.ClaimExpiry, 30*time.Second)",
	},
	{
		name: "evidence releases claims of which it is not certain", file: "internal/spread/evidence.go",
		old: "tokens[:max(min(dead-(all-mine), mine), 0)]",
		new: "tokens[:max(min(dead, mine), 0)]",
	},
	{
		name: "evidence forgets the creations that wait beside it", file: "internal/spread/evidence.go",
		old: "ev.Demand - ev.View.Active(version) - ev.Arrivals",
		new: "ev.Demand - ev.View.Active(version) - ev.Arrivals - 1",
	},
	{
		name: "an owner whose controller has not acted yet is believed", file: "internal/ledger/prove.go",
		old: "if before.Settled && before == after {",
		new: "if before == before || before == after {",
	},
	{
		name: "a subset is taken that cannot take the pod", file: "internal/spread/claim.go",
		old: "return c.Barred[b.terms.Name(i)]",
		new: "return \"\"",
	},
	{
		name: "an absent status is read as zero", file: "internal/ledger/batch.go",
		old: "if unseen || (book.Observed() == 0 && view.Revision < revisionOf(base)) {",
		new: "if false {",
	},
	{
		name: "an edited spec is counted for from the view", file: "internal/ledger/batch.go",
		old: "unseen := base.Status.ObservedGeneration != base.Generation",
		new: "unseen := base.Status.ObservedGeneration == 0",
	},
	{
		name: "claims are left out of a limit", file: "internal/spread/book.go",
		old: "return max(b.limits[i]-replicas-claims, 0)",
		new: "return max(b.limits[i]-replicas, 0)",
	},
	{
		name: "a surplus pod is never asked for evidence", file: "internal/spread/claim.go",
		old: "if c.Demand > 0 && b.surprising(&c, &g) && b.waits(&c, g.Outcome, weight) {",
		new: "if false && b.waits(&c, g.Outcome, weight) {",
	},
	{
		name: "a pod that finds no room is not asked for evidence", file: "internal/spread/claim.go",
		old: "case g.Outcome == NoRoom && c.Evidence == nil && b.Total(c.Version) > 0:",
		new: "case false:",
	},
	{
		name: "overflow into an unlimited subset is not claimed", file: "internal/spread/claim.go",
		old: "|| c.Ranked || (c.Demand > 0 && g.passedFull())",
		new: "|| c.Ranked",
	},
	{
		name: "a running pod is recorded without a claim", file: "internal/ledger/operation.go",
		old: "b.Enter(p.Version, p.Subset, p.Token, o.now)",
		new: "_ = p",
	},
	{
		name: "the controller's observation does not mark what it saw", file: "internal/ledger/operation.go",
		old: "if o.generation != ws.Generation {",
		new: "if true {",
	},
	{
		name: "claims never end", file: "internal/ledger/expiry.go",
		old: "case rest <= 0:",
		new: "case false:",
	},
	{
		name: "a controller is taken to create one pod at a time", file: "internal/ledger/prove.go",
		old: "spread.SlowStart(youngerThan(before.Written, ev.View) + gone)",
		new: "max(1, min(0, youngerThan(before.Written, ev.View)+gone))",
	},
	{
		name: "pods that came and went are no creations", file: "internal/ledger/prove.go",
		old:   "spread.SlowStart(youngerThan(before.Written, ev.View) + gone)",
		new:   "spread.SlowStart(youngerThan(before.Written, ev.View) + 0*gone)",
		first: 96_000, // it takes many schedules
	},
}
