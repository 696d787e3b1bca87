// Package rollout decides which running pods of a SidecarSet are upgraded now, and how.
//
// Input is the compiled set, the pods that it manages, as they are known, and the time. Output is a
// Plan: what each pod is in for and why, the changes to write, in order, and the figures of the status.
// A change is a JSON patch that tests what it was computed from, so it never overwrites what somebody
// else wrote meanwhile. There is no client, clock or log here.
//
// With T pods, P kept back and M that may be unavailable, after every round:
//
//	pods on an old version ≥ P, as far as there are that many
//	pods of an upgrade that are not available ≤ M, unless they were unavailable before
//
// and as long as a pod is upgradable, allowed by P and able to run, some later round upgrades it.
package rollout
