// Package v1alpha1 is Spillway's contract on the wire: the labels, annotations and condition types
// it reads and writes on other people's objects, and the one vocabulary of reasons that its events,
// metrics, logs and commands share.
//
// The kinds themselves (WorkloadSpread, SidecarSet) are OpenKruise's; their Go types come from
// github.com/openkruise/kruise-api. This package imports nothing but the standard library, so that
// anyone may import it.
package v1alpha1
