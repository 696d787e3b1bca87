package sidecar

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Registration says how the current spec is recorded among the revisions. At most one of Create and
// Change is set; Change is what an existing revision becomes.
type Registration struct {
	// Name of the revision of the current spec.
	Name   string
	Create *appsv1.ControllerRevision
	Change *appsv1.ControllerRevision
}

// Register looks for the current spec among the revisions of a set. An older equal one becomes the
// newest again: that is a rollback. collisions counts the names that were taken by other data.
func Register(s *Set, existing []*appsv1.ControllerRevision, namespace string, collisions int32) (Registration, error) {
	_, data, err := s.Revision()
	if err != nil {
		return Registration{}, err
	}
	var highest int64
	var equal *appsv1.ControllerRevision
	for _, r := range existing {
		highest = max(highest, r.Revision)
		if bytes.Equal(r.Data.Raw, data) && (equal == nil || r.Revision > equal.Revision) {
			equal = r
		}
	}
	if equal == nil {
		made := newRevision(s, data, namespace, collisions)
		made.Revision = highest + 1
		return Registration{Name: made.Name, Create: made}, nil
	}
	out := Registration{Name: equal.Name}
	change := equal.DeepCopy()
	if equal.Revision < highest {
		change.Revision = highest + 1
	}
	if version, ok := s.Object.Labels[v1alpha1.LabelSidecarCustomVersion]; ok && change.Labels[v1alpha1.LabelSidecarCustomVersion] != version {
		if change.Labels == nil {
			change.Labels = make(map[string]string)
		}
		change.Labels[v1alpha1.LabelSidecarCustomVersion] = version
	}
	if change.Revision != equal.Revision || !maps.Equal(change.Labels, equal.Labels) {
		out.Change = change
	}
	return out, nil
}

func newRevision(s *Set, data []byte, namespace string, collisions int32) *appsv1.ControllerRevision {
	labels := maps.Clone(s.Object.Labels) // the custom version is one of them
	if labels == nil {
		labels = make(map[string]string)
	}
	labels[v1alpha1.LabelSidecarSetName] = s.Name()
	labels[v1alpha1.LabelRevisionHash] = RevisionHash(data, collisions)
	annotations := maps.Clone(s.Object.Annotations)
	if annotations == nil {
		annotations = make(map[string]string)
	}
	annotations[v1alpha1.AnnotationSidecarHash] = s.Hash
	annotations[v1alpha1.AnnotationSidecarHashWithoutImage] = s.WithoutImage
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Name: RevisionName(s.Name(), data, collisions), Namespace: namespace, Labels: labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s.Object, GroupVersion.WithKind(Kind))},
		},
		Data: runtime.RawExtension{Raw: data},
	}
}

// Owned returns the revisions that may be the set's: its own, and those without a controller.
func Owned(s *Set, list []appsv1.ControllerRevision) []*appsv1.ControllerRevision {
	var out []*appsv1.ControllerRevision
	for i := range list {
		owner := metav1.GetControllerOfNoCopy(&list[i])
		if owner == nil || owner.UID == s.Object.UID {
			out = append(out, &list[i])
		}
	}
	return out
}

// Excess returns the revisions beyond the history limit, oldest first. What a pod records, what the set
// pins and the newest are kept.
func Excess(s *Set, existing []*appsv1.ControllerRevision, recorded map[string]bool) []*appsv1.ControllerRevision {
	limit := 10
	if n := s.Object.Spec.HistoryLimit; n != nil {
		limit = max(1, int(*n))
	}
	sorted := slices.SortedFunc(slices.Values(existing), func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Name, b.Name))
	})
	pinned := pinnedName(s, sorted)
	var out []*appsv1.ControllerRevision
	for i, r := range sorted {
		if len(sorted)-len(out) <= limit || i == len(sorted)-1 {
			break
		}
		if !recorded[r.Name] && r.Name != pinned {
			out = append(out, r)
		}
	}
	return out
}

// pinnedName is the name of the revision that the set pins, or empty.
func pinnedName(s *Set, sorted []*appsv1.ControllerRevision) string {
	pin, _ := PinOf(&s.Object.Spec)
	if pin.RevisionName != "" || pin.CustomVersion == "" {
		return pin.RevisionName
	}
	for _, r := range slices.Backward(sorted) {
		if r.Labels[v1alpha1.LabelSidecarCustomVersion] == pin.CustomVersion {
			return r.Name
		}
	}
	return ""
}
