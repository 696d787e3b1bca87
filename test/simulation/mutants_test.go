package simulation

// mutant is one way in which the ledger could be wrong. The old text has to be found once in the file;
// a mutant whose text has moved on fails the test and has to be brought up to date.
type mutant struct {
	name     string
	file     string // from the root of the repository
	old, new string
}

// mutants are the faults that the simulation has to find. Whoever adds a rule to the ledger adds the
// mutant that breaks it.
var mutants = []mutant{
	{
		"a conflict is not followed by a new read", "internal/ledger/batch.go",
		"base, live, err := b.live(ctx)",
		"base, live, err := b.last, true, error(nil)",
	},
	{
		"a conflict is taken for success", "internal/ledger/batch.go",
		"case apierrors.IsConflict(err):\n\t\tb.met = true",
		"case apierrors.IsConflict(err):\n\t\tb.answer(nil)\n\t\treturn false",
	},
	{
		"the claim of a stored pod is not removed", "internal/spread/book.go",
		"delete(e.claims, pod.Token)",
		"_ = pod.Token",
	},
	{
		"an attempt does not know the claim that an earlier one left", "internal/spread/claim.go",
		"return t.stem() == c.Stem",
		"return false",
	},
	{
		"the token of a pod that is admitted again is ignored", "internal/spread/claim.go",
		"case c.Incoming != \"\" && t == c.Incoming:",
		"case false:",
	},
	{
		"pods are counted from an older view", "internal/spread/book.go",
		"if v.Revision == 0 || v.Revision < b.observed {\n\t\tb.markRanks(v)",
		"if v.Revision == 0 {\n\t\tb.markRanks(v)",
	},
	{
		"claims end too early", "internal/ledger/expiry.go",
		"rest := e.Life - now.Sub(at)",
		"rest := e.Life/10 - now.Sub(at)",
	},
	{
		"the default of claimExpiry is below the API server's timeout", "api/config/v1alpha1/defaults.go",
		"duration(&c.Ledger.ClaimExpiry, 70*time.Second)",
		"duration(&c.Ledger.ClaimExpiry, 30*time.Second)",
	},
	{
		"evidence releases claims of which it is not certain", "internal/spread/evidence.go",
		"tokens[:max(min(dead-(all-mine), mine), 0)]",
		"tokens[:max(min(dead, mine), 0)]",
	},
	{
		"evidence forgets the creations that wait beside it", "internal/spread/evidence.go",
		"ev.Demand - ev.View.Active(version) - ev.Arrivals",
		"ev.Demand - ev.View.Active(version) - ev.Arrivals - 1",
	},
	{
		"an owner whose controller has not acted yet is believed", "internal/ledger/prove.go",
		"if before.Settled && before == after {",
		"if before == before || before == after {",
	},
	{
		"a subset is taken that cannot take the pod", "internal/spread/claim.go",
		"return c.Barred[b.terms.Name(i)]",
		"return \"\"",
	},
	{
		"an absent status is read as zero", "internal/ledger/batch.go",
		"if unseen || (book.Observed() == 0 && view.Revision < revisionOf(base)) {",
		"if false {",
	},
	{
		"an edited spec is counted for from the view", "internal/ledger/batch.go",
		"unseen := base.Status.ObservedGeneration != base.Generation",
		"unseen := base.Status.ObservedGeneration == 0",
	},
	{
		"claims are left out of a limit", "internal/spread/book.go",
		"return max(b.limits[i]-replicas-claims, 0)",
		"return max(b.limits[i]-replicas, 0)",
	},
	{
		"a surplus pod is never asked for evidence", "internal/spread/claim.go",
		"if c.Demand > 0 && b.surprising(&c, &g) && b.waits(&c, g.Outcome, weight) {",
		"if false && b.waits(&c, g.Outcome, weight) {",
	},
	{
		"a pod that finds no room is not asked for evidence", "internal/spread/claim.go",
		"case g.Outcome == NoRoom && c.Evidence == nil && b.Total(c.Version) > 0:",
		"case false:",
	},
	{
		"overflow into an unlimited subset is not claimed", "internal/spread/claim.go",
		"|| c.Ranked || (c.Demand > 0 && g.passedFull())",
		"|| c.Ranked",
	},
	{
		"a running pod is recorded without a claim", "internal/ledger/operation.go",
		"b.Enter(p.Version, p.Subset, p.Token, o.now)",
		"_ = p",
	},
	{
		"the controller's observation does not mark what it saw", "internal/ledger/operation.go",
		"if o.generation == ws.Generation {",
		"if false {",
	},
	{
		"claims never end", "internal/ledger/expiry.go",
		"case rest <= 0:",
		"case false:",
	},
	{
		"a controller is taken to create one pod at a time", "internal/ledger/prove.go",
		"spread.SlowStart(youngerThan(before.Written, ev.View))",
		"max(1, min(0, youngerThan(before.Written, ev.View)))",
	},
}
