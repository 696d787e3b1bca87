package sidecar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
)

// PatchMetadata applies a set's patchPodMetadata to annotations and returns what they become, a new map
// if anything changes. A patch that does not fit the pod's value is skipped and returned.
func PatchMetadata(set string, patches []appsv1alpha1.SidecarSetPatchPodMetadata, annotations map[string]string) (map[string]string, []Skipped) {
	out, copied := annotations, false
	var skipped []Skipped
	put := func(key, value string) {
		if old, ok := out[key]; ok && old == value {
			return
		}
		if !copied {
			fresh := make(map[string]string, len(out)+1)
			maps.Copy(fresh, out)
			out, copied = fresh, true
		}
		out[key] = value
	}
	for _, p := range patches {
		for _, key := range sortedKeys(p.Annotations) {
			value := p.Annotations[key]
			present, has := out[key]
			switch p.PatchPolicy {
			case appsv1alpha1.SidecarSetRetainPatchPolicy, "":
				if !has {
					put(key, value)
				}
			case appsv1alpha1.SidecarSetOverwritePatchPolicy:
				put(key, value)
			case appsv1alpha1.SidecarSetMergePatchJsonPatchPolicy:
				if present == "" {
					put(key, value)
					continue
				}
				merged, err := MergePatch(present, value)
				if err != nil {
					skipped = append(skipped, Skipped{Set: set, Annotation: key, Err: err})
					continue
				}
				put(key, merged)
			}
		}
	}
	return out, skipped
}

// MergePatch applies a JSON merge patch (RFC 7386) to a document. The result's keys are sorted; a
// document that the patch does not change stays as it is written.
func MergePatch(document, patch string) (string, error) {
	d, err := decodeAny(document)
	if err != nil {
		return "", fmt.Errorf("the pod's value is no JSON: %w", err)
	}
	p, err := decodeAny(patch)
	if err != nil {
		return "", fmt.Errorf("the patch is no JSON: %w", err)
	}
	if document == patch { // applied already, as it was: it may hold nulls
		return document, nil
	}
	before, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("encode the value: %w", err)
	}
	out, err := json.Marshal(merge(d, p))
	if err != nil {
		return "", fmt.Errorf("encode the merged value: %w", err)
	}
	if bytes.Equal(before, out) {
		return document, nil
	}
	return string(out), nil
}

// decodeAny keeps numbers as they are written.
func decodeAny(text string) (any, error) {
	if !json.Valid([]byte(text)) { // a decoder would accept what follows a value
		var v any
		return nil, json.Unmarshal([]byte(text), &v)
	}
	var out any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return out, d.Decode(&out)
}

func merge(document, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out, ok := document.(map[string]any)
	if !ok {
		out = make(map[string]any)
	}
	for key, value := range p {
		if value == nil {
			delete(out, key)
			continue
		}
		out[key] = merge(out[key], value)
	}
	return out
}

// metadata applies a set's patches to the pod.
func (in *injection) metadata(c Choice) {
	patched, skipped := PatchMetadata(c.Name(), c.Object.Spec.PatchPodMetadata, in.pod.Annotations)
	in.pod.Annotations = patched
	in.report.Skipped = append(in.report.Skipped, skipped...)
}
