// Package clusterselector carries the scheduling constraints of a pod past a virtual node: into an
// annotation in the cluster where the pod was created (the upper one), and back into the pod where it
// really runs (the lower one). It is pure and imports the standard library and Kubernetes' API types only,
// so that the authors of virtual-kubelet providers can use it.
//
// # What is carried
//
// The value of the annotation is a JSON object, a Selection: nodeSelector, affinity (node affinity, required
// and preferred; pod affinity and anti-affinity), tolerations and topologySpreadConstraints, each as in a pod's
// spec. It stands under AnnotationTensileKube or AnnotationKosmos and is what these two read already; keys that
// they do not know they ignore. A nil list or map is left out and an empty one is written, so that both come back
// as they were.
//
// Spillway keeps, under AnnotationRecord, which fields it moved into the annotation and what it added to the
// pod: a Record. With it a restorer knows that a field which the selection lacks was empty, and need not guess
// which node terms and tolerations were the user's.
//
// # For the author of a provider
//
// Call Restore on the pod that is about to be created in the lower cluster, after it was copied from the upper
// one and before it is sent:
//
//	lower := upper.DeepCopy()
//	// … what the provider does to names, labels, volumes …
//	if _, err := clusterselector.Restore(lower, clusterselector.AnnotationTensileKube); err != nil {
//		return fmt.Errorf("create pod %s/%s: %w", upper.Namespace, upper.Name, err)
//	}
//
// A webhook in the lower cluster, which sees pods when the API server has added its own tolerations, calls
// RestoreAdmitted.
//
// Restore changes nothing but the four scheduling fields. In particular it leaves labels and annotations alone: a
// virtual kubelet that reports the lower pod's status overwrites those of the upper pod with them.
//
// An error means that constraints of the pod are unknown, because an annotation is damaged or was lost. Do not
// create the pod then: without its constraints it may run where its author forbade it. Errors about the text are a
// *FormatError, which knows the annotation, the field and the position.
//
// What each field becomes: what the selection names replaces what the pod has. What it does not name is cleared
// if the record says that it was moved, and kept otherwise. From fields that were not moved, what the record says
// was added is subtracted.
//
// # Laws
//
// For every pod that has no such annotation of its own, Restore after placement gives back the scheduling fields
// as they were, nil and empty told apart, without the two tolerations that the API server adds by itself (see
// IsDefaultToleration). Moving twice is moving once. Text that cannot be read is an error, never an absence.
package clusterselector
