// Package sidecar decides which SidecarSets a pod gets and what they make of it.
//
// A SidecarSet is compiled once into a Set: selectors, hashes, the name of its revision. An Index
// finds the sets that match a pod at a cost that does not depend on those that do not. Inject merges
// the chosen sets into a pod, in a fixed order: by priority, then by name.
//
// Inputs are values, the pod, the sets, the labels of its namespace; outputs are the changed pod and a
// Report. There is no client, clock, randomness or log here. Hashes, annotations, environment variables
// and revisions are OpenKruise's, byte for byte, so that its pods and objects are taken over without a
// write.
package sidecar
