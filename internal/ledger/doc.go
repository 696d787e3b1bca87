// Package ledger reserves places. It is the one writer of a WorkloadSpread's status: webhook
// replicas claim through it, the controller observes and expires through it.
//
// The truth is the status in the API server, changed only under its resource version. What arrives
// for one WorkloadSpread while a write is under way waits and goes out together in the next
// (group commit). A conflict, and an answer that was lost, re-read the object and re-apply the whole
// batch; tokens drawn beforehand tell what is already there. Every batch is applied to a spread.Book,
// recounted first from the replica's own view of pods where that view proves to be new enough, so
// claims and observations cost the same write.
//
// Input: requests with a deadline. Output: grants that stand in the status before they are returned.
// Invariants: see package spread; and nothing is granted that was not written, except places that
// need no claim.
package ledger
