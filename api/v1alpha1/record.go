package v1alpha1

import (
	"encoding/json"
	"fmt"
)

// Record is the value of AnnotationMatched: which WorkloadSpread and subset a pod was placed by.
// The order of its keys in JSON is part of OpenKruise's contract.
type Record struct {
	// Name of the WorkloadSpread, in the pod's namespace.
	Name string `json:"name"`
	// Subset is the name of the chosen subset.
	Subset string `json:"subset"`
	// UID is the token of the pod's claim. Empty for pods that OpenKruise admitted by name.
	UID string `json:"uid,omitempty"`
}

// Encode returns the annotation's value: compact JSON.
func (r Record) Encode() string {
	b, err := json.Marshal(r)
	if err != nil { // three strings always marshal
		panic(fmt.Sprintf("encode record %+v: %v", r, err))
	}
	return string(b)
}

// ParseRecord reads AnnotationMatched. The second result is false when the annotation is absent,
// is not a JSON object, or lacks the name or the subset: such a pod has no assignment. Keys match
// case-insensitively, as OpenKruise's readers do.
func ParseRecord(annotations map[string]string) (Record, bool) {
	value, ok := annotations[AnnotationMatched]
	if !ok {
		return Record{}, false
	}
	var r Record
	if err := json.Unmarshal([]byte(value), &r); err != nil || r.Name == "" || r.Subset == "" {
		return Record{}, false
	}
	return r, true
}

// IsRecorded reports whether a pod with these annotations carries a record of any kind.
func IsRecorded(annotations map[string]string) bool {
	_, ok := annotations[AnnotationMatched]
	return ok
}
