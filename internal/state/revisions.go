package state

import (
	"context"
	"errors"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// ErrNoRevision is the error of a pin to a revision that does not exist.
var ErrNoRevision = errors.New("no such revision")

// Revisions finds the recorded versions of SidecarSets.
type Revisions struct {
	// Cache holds the revisions of the namespace; Live is asked for those that it does not know.
	Cache, Live client.Reader
	// Namespace of the ControllerRevisions.
	Namespace string

	mu       sync.Mutex
	restored map[restoredKey]*sidecar.Set
}

type restoredKey struct {
	live            *sidecar.Set
	uid             types.UID
	resourceVersion string
}

// most restored sets that are kept; what is beyond starts anew.
const mostRestored = 1000

// Pinned returns the set as its pin says. The error wraps ErrNoRevision if there is no such revision of
// this set.
func (r *Revisions) Pinned(ctx context.Context, set *sidecar.Set) (sidecar.Choice, error) {
	pin, _ := sidecar.PinOf(&set.Object.Spec)
	revision, err := r.Find(ctx, set.Name(), pin)
	if err != nil {
		return sidecar.Choice{}, err
	}
	key := restoredKey{set, revision.UID, revision.ResourceVersion}
	r.mu.Lock()
	defer r.mu.Unlock()
	restored, ok := r.restored[key]
	if !ok {
		if restored, err = Restored(set, revision); err != nil {
			return sidecar.Choice{}, err
		}
		if r.restored == nil || len(r.restored) >= mostRestored {
			r.restored = make(map[restoredKey]*sidecar.Set)
		}
		r.restored[key] = restored
	}
	return sidecar.Choice{Set: restored, Revision: revision.Name}, nil
}

// Restored compiles the set as a revision has it. Its hashes are those that the revision carries.
func Restored(set *sidecar.Set, revision *appsv1.ControllerRevision) (*sidecar.Set, error) {
	object, err := sidecar.Restore(set.Object, revision.Data.Raw)
	if err != nil {
		return nil, fmt.Errorf("ControllerRevision %s/%s: %w", revision.Namespace, revision.Name, err)
	}
	if object.Annotations == nil {
		object.Annotations = make(map[string]string)
	}
	for _, key := range []string{v1alpha1.AnnotationSidecarHash, v1alpha1.AnnotationSidecarHashWithoutImage} {
		delete(object.Annotations, key)
		if hash, ok := revision.Annotations[key]; ok {
			object.Annotations[key] = hash
		}
	}
	return sidecar.Compile(object)
}

// Find returns the revision of a pin: by its name, else the newest of the custom version.
func (r *Revisions) Find(ctx context.Context, set string, pin sidecar.Pin) (*appsv1.ControllerRevision, error) {
	for _, reader := range []client.Reader{r.Cache, r.Live} {
		found, err := r.find(ctx, reader, set, pin)
		if found != nil || err != nil {
			return found, err
		}
	}
	return nil, fmt.Errorf("SidecarSet %s: %w with name %q, custom version %q in namespace %s", set, ErrNoRevision, pin.RevisionName, pin.CustomVersion, r.Namespace)
}

func (r *Revisions) find(ctx context.Context, reader client.Reader, set string, pin sidecar.Pin) (*appsv1.ControllerRevision, error) {
	if pin.RevisionName != "" {
		var one appsv1.ControllerRevision
		err := reader.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: pin.RevisionName}, &one)
		switch {
		case apierrors.IsNotFound(err):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("read ControllerRevision %s/%s: %w", r.Namespace, pin.RevisionName, err)
		case one.Labels[v1alpha1.LabelSidecarSetName] != set:
			return nil, nil // another set's: it has other containers
		}
		return &one, nil
	}
	var list appsv1.ControllerRevisionList
	err := reader.List(ctx, &list, client.InNamespace(r.Namespace), client.MatchingLabels{
		v1alpha1.LabelSidecarSetName: set, v1alpha1.LabelSidecarCustomVersion: pin.CustomVersion,
	})
	if err != nil {
		return nil, fmt.Errorf("list the ControllerRevisions of SidecarSet %s: %w", set, err)
	}
	var newest *appsv1.ControllerRevision
	for i := range list.Items {
		if one := &list.Items[i]; newest == nil || one.Revision > newest.Revision {
			newest = one
		}
	}
	return newest, nil
}
