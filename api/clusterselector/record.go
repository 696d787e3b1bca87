package clusterselector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
)

// Record is the value of AnnotationRecord: what placement did to a pod, so that it can be undone by subtraction.
type Record struct {
	// Cluster is the cluster that the pod was placed in: the UID of its namespace kube-system. Empty if that was not
	// recorded. A cluster that is both an upper and a lower one knows by it which pods it placed itself.
	Cluster string `json:"cluster,omitempty"`
	// Provider is the name of the profile that the pod was made ready for.
	Provider string `json:"provider,omitempty"`
	// Subset is the name of the subset that the pod was placed into.
	Subset string `json:"subset,omitempty"`
	// Placement is what the pod or its namespace asked for (spillway-project.io/placement), if it was placed by that
	// and not by a subset.
	Placement string `json:"placement,omitempty"`
	// Annotation is where the constraints were moved to; empty if they were left on the pod.
	Annotation string `json:"annotation,omitempty"`
	// Own is the text that stood in that annotation before; nil if there was none.
	Own *string `json:"own,omitempty"`
	// Moved lists the keys of the selection that were moved: the pod's fields were cleared, whether they held
	// anything or not.
	Moved []string `json:"moved,omitempty"`
	// Added is what the pod got.
	Added Added `json:"added,omitzero"`
}

// Added is what a pod got that it did not have.
type Added struct {
	// Created is the outermost structure that had to be made for a node term: affinity, nodeAffinity or required;
	// empty if all of them were there.
	Created string `json:"created,omitempty"`
	// Required is what was added to the terms of required node affinity.
	Required []AddedTerm `json:"required,omitempty"`
	// Preferred are terms that were added to preferred node affinity.
	Preferred []corev1.PreferredSchedulingTerm `json:"preferred,omitempty"`
	// Tolerations that were added.
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// Labels that were added.
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations that were added, except for those of the record itself.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// AddedTerm is what was added to one of the terms, which are alternatives: one may have had what another lacked.
type AddedTerm struct {
	// Term is the index of the term, from 0.
	Term int `json:"term"`
	// New is true if there was no such term.
	New bool `json:"new,omitempty"`
	// MatchExpressions and MatchFields that were added to the term.
	MatchExpressions []corev1.NodeSelectorRequirement `json:"matchExpressions,omitempty"`
	MatchFields      []corev1.NodeSelectorRequirement `json:"matchFields,omitempty"`
}

// moved is what Stash puts into Record.Moved.
func moved() []string {
	return []string{string(NodeSelector), "affinity", string(Tolerations), string(TopologySpreadConstraints)}
}

// Encode returns the annotation's value: compact JSON, always the same for the same record.
func (r Record) Encode() string { return encode(r) }

// ParseRecord reads AnnotationRecord. The second result says whether there is one. The error, of text that is no
// record, is a *FormatError: what was done to the pod is not known then.
func ParseRecord(annotations map[string]string) (Record, bool, error) {
	text, ok := annotations[AnnotationRecord]
	if !ok {
		return Record{}, false, nil
	}
	var r Record
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	err := d.Decode(&r)
	if err == nil {
		if _, trailing := d.Token(); !errors.Is(trailing, io.EOF) {
			err = errors.New("something follows the JSON object")
		}
	}
	if err == nil && r.Annotation == "" && len(r.Moved) > 0 {
		err = errors.New("it says that fields were moved, but not to which annotation")
	}
	if err != nil {
		wrong := formatError(text, "", int(d.InputOffset()), fmt.Errorf("it is not a record of Spillway: %w", err))
		wrong.Annotation = AnnotationRecord
		return Record{}, true, wrong
	}
	return r, true, nil
}
