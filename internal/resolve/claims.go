package resolve

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/internal/provider"
)

// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims;persistentvolumes,verbs=get
// +kubebuilder:rbac:groups=storage.k8s.io,resources=storageclasses,verbs=get

// claims says how the claims of a pod's volumes stand to some virtual nodes, by name; nil for a pod without any. They
// are read live: such pods are few, and a claim is bound at any time.
func (s *Sites) claims(ctx context.Context, namespace string, pod *corev1.Pod, nodes []*corev1.Node) (map[string]provider.ClaimState, error) {
	var out map[string]provider.ClaimState
	for i := range pod.Spec.Volumes {
		source := pod.Spec.Volumes[i].PersistentVolumeClaim
		if source == nil {
			continue
		}
		state, err := s.claim(ctx, types.NamespacedName{Namespace: namespace, Name: source.ClaimName}, nodes)
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = make(map[string]provider.ClaimState)
		}
		out[source.ClaimName] = state
	}
	return out, nil
}

func (s *Sites) claim(ctx context.Context, key types.NamespacedName, nodes []*corev1.Node) (provider.ClaimState, error) {
	var claim corev1.PersistentVolumeClaim
	if known, err := s.read(ctx, "PersistentVolumeClaim", key, &claim); err != nil || !known {
		return provider.ClaimUnknown, err
	}
	if claim.Spec.VolumeName != "" {
		return s.volume(ctx, claim.Spec.VolumeName, nodes)
	}
	if claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName == "" {
		return provider.ClaimUnknown, nil // somebody binds it by hand
	}
	var class storagev1.StorageClass
	if known, err := s.read(ctx, "StorageClass", types.NamespacedName{Name: *claim.Spec.StorageClassName}, &class); err != nil || !known {
		return provider.ClaimUnknown, err
	}
	if class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer {
		return provider.ClaimReachable, nil
	}
	return provider.ClaimImmediate, nil // the API server's default too
}

// volume says whether one of the nodes can reach a volume.
func (s *Sites) volume(ctx context.Context, name string, nodes []*corev1.Node) (provider.ClaimState, error) {
	var volume corev1.PersistentVolume
	if known, err := s.read(ctx, "PersistentVolume", types.NamespacedName{Name: name}, &volume); err != nil || !known {
		return provider.ClaimUnknown, err
	}
	if volume.Spec.NodeAffinity == nil || volume.Spec.NodeAffinity.Required == nil {
		return provider.ClaimReachable, nil
	}
	if len(nodes) == 0 {
		return provider.ClaimUnknown, nil
	}
	selector, err := nodeaffinity.NewNodeSelector(volume.Spec.NodeAffinity.Required)
	if err != nil {
		return provider.ClaimUnknown, nil //nolint:nilerr // the API server takes no such volume
	}
	if slices.ContainsFunc(nodes, selector.Match) {
		return provider.ClaimReachable, nil
	}
	return provider.ClaimElsewhere, nil
}

// read reads an object live. One that is not there, or may not be read, is not known: it is no reason to hold a pod up.
func (s *Sites) read(ctx context.Context, kind string, key types.NamespacedName, o client.Object) (known bool, err error) {
	switch err := s.Live.Get(ctx, key, o); {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read %s %s: %w", kind, key, err)
	}
	return true, nil
}
