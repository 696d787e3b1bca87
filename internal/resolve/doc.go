// Package resolve finds what rules a pod: it walks the chain of controllers above the pod and
// compares every link with the targets of the namespace's WorkloadSpreads. It also reads, live, the
// numbers that percentages and demand refer to.
//
// Of subsets it finds out what their nodes are, which pods cannot run there (Sites), and which pods without a record
// are theirs by their pin (Pods).
//
// Input: a pod and the manager's caches. Output: the WorkloadSpread and the pod's owner, or nothing.
// A pod of a namespace without WorkloadSpreads costs one index look-up.
package resolve
