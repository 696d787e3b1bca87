// Package spread is the arithmetic of a WorkloadSpread: what its subsets may hold, what they hold,
// and which of them takes the next pod. It is pure: status, pods and time come in as values, a new
// status and decisions with their reasons go out. The webhook, the controller, the tests and the
// command-line tools all compute with it.
//
// The central type is Book, one WorkloadSpread's account. For each version of the workload's
// template and each subset it holds
//
//	replicas  active pods, counted from a View
//	claims    places promised to pods that the view does not show yet: token or pod name → time
//	limit     what the spec allows now; Unlimited for none
//	missing   limit − replicas − claims, never below 0; −1 for an unlimited subset
//
// Invariants: a claim is only ever added while replicas + claims < limit. A claim leaves when its
// pod is counted, when its request withdraws it, or when it is proved or declared dead. Counts are
// replaced only by a View at least as new as the one they came from.
package spread
