package sidecar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// InjectionRecord says what a set put into a pod. The order of its fields is OpenKruise's.
type InjectionRecord struct {
	UpdateTimestamp    metav1.Time `json:"updateTimestamp"`
	Hash               string      `json:"hash"`
	SidecarSetName     string      `json:"sidecarSetName"`
	SidecarList        []string    `json:"sidecarList"`
	ControllerRevision string      `json:"controllerRevision,omitempty"`
}

// Records are those of a pod, by the name of the set.
type Records map[string]InjectionRecord

// ParseRecords reads one of the two annotations, also in the oldest form, in which a set has nothing
// but its hash.
func ParseRecords(annotations map[string]string, key string) (Records, error) {
	text, ok := annotations[key]
	if !ok || text == "" {
		return Records{}, nil
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		return nil, fmt.Errorf("annotation %s: %w", key, err)
	}
	out := make(Records, len(entries))
	for name, raw := range entries {
		r := InjectionRecord{SidecarSetName: name}
		var err error
		if bytes.HasPrefix(raw, []byte(`"`)) {
			err = json.Unmarshal(raw, &r.Hash)
		} else {
			err = json.Unmarshal(raw, &r)
		}
		if err != nil {
			return nil, fmt.Errorf("annotation %s: entry %q: %w", key, name, err)
		}
		out[name] = r
	}
	return out, nil
}

// Encode writes the annotation.
func (r Records) Encode() string {
	for name, record := range r {
		if record.SidecarList == nil {
			record.SidecarList = []string{}
			r[name] = record
		}
	}
	return encode(r)
}

// encode writes values of this package, which always can be.
func encode(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return string(raw)
}

// ParseList reads the names of the sets that were injected.
func ParseList(annotations map[string]string) []string {
	var out []string
	for name := range strings.SplitSeq(annotations[v1alpha1.AnnotationSidecarList], ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// EncodeList writes names sorted, each once.
func EncodeList(names []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(names))), ",")
}

// InPlaceState is what a set's containers were before its last upgrade of the pod (OpenKruise).
type InPlaceState struct {
	Revision              string                `json:"revision"`
	UpdateTimestamp       metav1.Time           `json:"updateTimestamp"`
	LastContainerStatuses map[string]LastStatus `json:"lastContainerStatuses"`
}

// LastStatus of a container.
type LastStatus struct {
	ImageID string `json:"imageID,omitempty"`
}

// UpgradeState is what Spillway knows beyond that: enough to tell a container that was replaced.
type UpgradeState map[string]ContainerState

// ContainerState is what a container was when its image was changed.
type ContainerState struct {
	Image        string      `json:"image,omitempty"`
	ContainerID  string      `json:"containerID,omitempty"`
	RestartCount int32       `json:"restartCount,omitempty"`
	Changed      metav1.Time `json:"changed"`
}

// ParseStates reads an annotation that maps sets to states. What cannot be read counts as absent: the
// next upgrade writes it anew.
func ParseStates[T any](annotations map[string]string, key string) map[string]T {
	out := map[string]T{}
	if err := json.Unmarshal([]byte(annotations[key]), &out); err != nil || out == nil {
		return map[string]T{}
	}
	return out
}

// EncodeStates writes what ParseStates reads.
func EncodeStates[T any](states map[string]T) string { return encode(states) }

// ParseWorking reads which container of each hot-upgrade pair works.
func ParseWorking(annotations map[string]string) map[string]string {
	return ParseStates[string](annotations, v1alpha1.AnnotationSidecarWorking)
}
