package sidecar

import (
	"encoding/json"
	"reflect"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// FuzzMergePatch compares with another implementation of RFC 7386 on objects.
func FuzzMergePatch(f *testing.F) {
	f.Add(`{"a":1,"b":{"c":[1,2]}}`, `{"a":null,"b":{"d":{}}}`)
	f.Add(`[]`, `{"a":1}`)
	f.Add(`{"a":1e400}`, `2`)
	f.Fuzz(func(t *testing.T, document, patch string) {
		got, err := MergePatch(document, patch)
		if err != nil {
			return
		}
		if !json.Valid([]byte(got)) {
			t.Fatalf("%s with %s gives %s, which is no JSON", document, patch, got)
		}
		again, err := MergePatch(got, patch)
		if err != nil || again != got {
			t.Fatalf("%s with %s gives %s, and with the same again %s, %v", document, patch, got, again, err)
		}
		var d, p map[string]any
		if json.Unmarshal([]byte(document), &d) != nil || json.Unmarshal([]byte(patch), &p) != nil || d == nil || p == nil || document == patch {
			return
		}
		theirs, err := jsonpatch.MergePatch([]byte(document), []byte(patch))
		if err != nil {
			return
		}
		var a, b any
		if json.Unmarshal([]byte(got), &a) != nil || json.Unmarshal(theirs, &b) != nil {
			return
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s with %s: got %s, want %s", document, patch, got, theirs)
		}
	})
}

// FuzzAnnotations: whatever stands in the annotations, reading never panics, and what is read and
// written is read the same again.
func FuzzAnnotations(f *testing.F) {
	f.Add(`{"ss":{"updateTimestamp":"2025-01-02T03:04:05Z","hash":"h","sidecarSetName":"ss","sidecarList":["c1"],"controllerRevision":"ss-1"}}`)
	f.Add(`{"ss":"legacy"}`)
	f.Add(`{"ss":null}`)
	f.Add(`null`)
	f.Add(`{"ss":{"revision":"h","updateTimestamp":"2025-01-02T03:04:05Z","lastContainerStatuses":{"c":{"imageID":"x"}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		annotations := map[string]string{v1alpha1.AnnotationSidecarHash: text, v1alpha1.AnnotationSidecarList: text, v1alpha1.AnnotationSidecarWorking: text, v1alpha1.AnnotationSidecarInPlace: text}
		ParseWorking(annotations)
		ParseStates[InPlaceState](annotations, v1alpha1.AnnotationSidecarInPlace)
		list := ParseList(annotations)
		for i, name := range ParseList(map[string]string{v1alpha1.AnnotationSidecarList: EncodeList(list)}) {
			if name == "" || i > len(list) {
				t.Errorf("%q: the list grows", text)
			}
		}
		records, err := ParseRecords(annotations, v1alpha1.AnnotationSidecarHash)
		if err != nil {
			return
		}
		written := records.Encode()
		again, err := ParseRecords(map[string]string{v1alpha1.AnnotationSidecarHash: written}, v1alpha1.AnnotationSidecarHash)
		if err != nil || again.Encode() != written {
			t.Errorf("%q: written %s, read and written again %s, %v", text, written, again.Encode(), err)
		}
	})
}

// FuzzImage: no reference panics, and each is the same as itself.
func FuzzImage(f *testing.F) {
	for _, seed := range []string{"busybox", "a.b:5000/c/d:tag@sha256:00", "docker-pullable://x@sha256:ab", "sha256:0123456789abcdef0123456789abcdef", ":", "@", "/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		i := ParseImage(ref)
		if !i.Same(i) || !i.Resembles(i) {
			t.Errorf("%q is not itself: %+v", ref, i)
		}
	})
}
