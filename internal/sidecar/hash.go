package sidecar

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Hashes identify what a set injects. Pods whose HashWithoutImage equals the set's can be upgraded to
// it in place.
type Hashes struct {
	Hash         string
	WithoutImage string
}

// HashesOf computes the hashes of a defaulted spec.
func HashesOf(spec *Spec) (Hashes, error) {
	full, err := hashOf(spec.Containers, spec.InitContainers)
	if err != nil {
		return Hashes{}, err
	}
	bare, err := hashOf(withoutImages(spec.Containers), withoutImages(spec.InitContainers))
	if err != nil {
		return Hashes{}, err
	}
	return Hashes{Hash: full, WithoutImage: bare}, nil
}

func withoutImages(list []Container) []Container {
	out := slices.Clone(list)
	for i := range out {
		out[i].Image = ""
	}
	return out
}

// hashOf covers init containers only if one of them is native: plain ones have run when a pod is
// upgraded.
func hashOf(containers, initContainers []Container) (string, error) {
	parts := map[string]any{"containers": containers}
	if slices.ContainsFunc(initContainers, func(c Container) bool { return c.IsNative() }) {
		parts["initContainers"] = initContainers
	}
	raw, err := json.Marshal(parts)
	if err != nil {
		return "", fmt.Errorf("encode containers for their hash: %w", err)
	}
	sum := sha256.Sum256(raw)
	return rand.SafeEncodeString(hex.EncodeToString(sum[:])), nil
}

// shapeOf is the hash of what is left without images and resources.
func shapeOf(spec *Spec) (string, error) {
	strip := func(list []Container) []Container {
		out := withoutImages(list)
		for i := range out {
			out[i].Resources = corev1.ResourceRequirements{}
		}
		return out
	}
	return hashOf(strip(spec.Containers), strip(spec.InitContainers))
}

// Resizable reports whether pods of a former version can be brought to the set by new images and new
// resources alone. Resources can be changed in a running pod, and added to, but not removed.
func Resizable(s, former *Set) bool {
	is, err := shapeOf(&s.Object.Spec)
	was, formerErr := shapeOf(&former.Object.Spec)
	if err != nil || formerErr != nil || is != was {
		return false
	}
	before := make(map[string]*Container)
	former.Sidecars(func(c *Container, _ bool) { before[c.Name] = c })
	out := true
	s.Sidecars(func(c *Container, _ bool) {
		old := before[c.Name]
		out = out && old != nil && c.ResourcesPolicy == nil && // computed for each pod at its creation
			covers(c.Resources.Limits, old.Resources.Limits) && covers(c.Resources.Requests, old.Resources.Requests)
	})
	return out
}

func covers(list, old corev1.ResourceList) bool {
	for name := range old {
		if _, ok := list[name]; !ok {
			return false
		}
	}
	return true
}

// StoredHashes returns the hashes that the object carries, else computes them. What is stored wins:
// it was computed by the version that admitted the object, and pods carry the same.
func StoredHashes(s *SidecarSet) (Hashes, error) {
	stored := Hashes{
		Hash:         s.Annotations[v1alpha1.AnnotationSidecarHash],
		WithoutImage: s.Annotations[v1alpha1.AnnotationSidecarHashWithoutImage],
	}
	if stored.Hash != "" && stored.WithoutImage != "" {
		return stored, nil
	}
	return HashesOf(&s.Spec)
}

// RevisionData is what a ControllerRevision of the set holds: the parts of the spec that are injected.
func RevisionData(spec *Spec) ([]byte, error) {
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encode the spec for its revision: %w", err)
	}
	var all map[string]any
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("decode the spec for its revision: %w", err)
	}
	overlayUnknown(all["containers"], spec.Containers)
	overlayUnknown(all["initContainers"], spec.InitContainers)
	parts := map[string]any{"$patch": "replace"}
	for _, name := range []string{"containers", "imagePullSecrets", "initContainers", "patchPodMetadata", "volumes"} {
		parts[name] = all[name]
	}
	out, err := json.Marshal(map[string]any{"spec": parts})
	if err != nil {
		return nil, fmt.Errorf("encode a revision: %w", err)
	}
	return out, nil
}

// RevisionHash is the hash in the name of a revision. collisions counts the names that were taken by
// other data.
func RevisionHash(data []byte, collisions int32) string {
	sum := fnv.New32()
	_, _ = sum.Write(data) // never fails
	_, _ = sum.Write([]byte(strconv.Itoa(int(collisions))))
	return rand.SafeEncodeString(strconv.FormatUint(uint64(sum.Sum32()), 10))
}

// RevisionName is the name of a revision.
func RevisionName(set string, data []byte, collisions int32) string {
	return set + "-" + RevisionHash(data, collisions)
}

// Restore returns the set as a revision has it: the recorded parts of the spec, and nothing else of
// it that is injected.
func Restore(live *SidecarSet, data []byte) (*SidecarSet, error) {
	// Decoded as a SidecarSet, so that unknown fields of containers are kept.
	var recorded SidecarSet
	if err := json.Unmarshal(data, &recorded); err != nil {
		return nil, fmt.Errorf("decode a revision of SidecarSet %s: %w", live.Name, err)
	}
	out := live.DeepCopy()
	out.Spec.Containers, out.Spec.InitContainers = recorded.Spec.Containers, recorded.Spec.InitContainers
	out.Spec.Volumes, out.Spec.ImagePullSecrets = recorded.Spec.Volumes, recorded.Spec.ImagePullSecrets
	out.Spec.PatchPodMetadata = recorded.Spec.PatchPodMetadata
	return out, nil
}
