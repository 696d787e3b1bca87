package resolve

import (
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/internal/workload"
)

// parent returns the controller of the referenced object, nil when there is none or the chain ends: at
// a kind that is not known, not served or not readable, and at an object that is gone.
func (r *Resolver) parent(ctx context.Context, namespace string, ref *metav1.OwnerReference) (*metav1.OwnerReference, error) {
	gk := groupKind(ref)
	if _, known := r.Known().Lookup(gk); !known {
		return nil, nil //nolint:nilnil // the end of the chain
	}
	if watched := watchedKind(gk); watched != nil {
		found, err := r.owner(ctx, namespace, ref, watched)
		if err != nil || !found {
			return nil, err
		}
		return metav1.GetControllerOfNoCopy(watched), nil
	}
	return r.Links.parent(ctx, r.Live, namespace, ref)
}

// watchedKind returns an empty object of a kind that informers watch in every replica, nil for others.
func watchedKind(gk schema.GroupKind) client.Object {
	switch gk {
	case workload.Deployment:
		return &appsv1.Deployment{}
	case workload.ReplicaSet:
		return &appsv1.ReplicaSet{}
	case workload.StatefulSet:
		return &appsv1.StatefulSet{}
	case workload.Job:
		return &batchv1.Job{}
	}
	return nil
}

// owner reads a watched owner into o, live when the cache does not have it yet: the first pod of a new
// ReplicaSet is often here before the watch event. It reports whether there is such an object: one
// that does not exist has no pods to place. The object may be shared with the cache.
func (r *Resolver) owner(ctx context.Context, namespace string, ref *metav1.OwnerReference, o client.Object) (bool, error) {
	key := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	err := r.Cache.Get(ctx, key, o, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) || (err == nil && o.GetUID() != ref.UID) {
		err = r.Live.Get(ctx, key, o)
	}
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read %s %s: %w", ref.Kind, key, err)
	}
	return o.GetUID() == ref.UID, nil
}

// Links remembers, for a short time, the controllers of objects that no informer watches. Who controls
// an object hardly ever changes; asking the API server for every pod of a burst would cost a request
// each.
type Links struct {
	Clock clock.PassiveClock

	mu    sync.Mutex
	known map[types.UID]link
}

type link struct {
	parent *metav1.OwnerReference
	until  time.Time
}

// linkLife is how long an answer is used again.
const linkLife = 30 * time.Second

// NewLinks returns an empty memory.
func NewLinks(c clock.PassiveClock) *Links { return &Links{Clock: c, known: make(map[types.UID]link)} }

func (l *Links) parent(ctx context.Context, live client.Reader, namespace string, ref *metav1.OwnerReference) (*metav1.OwnerReference, error) {
	now := l.Clock.Now()
	l.mu.Lock()
	have, ok := l.known[ref.UID]
	l.mu.Unlock()
	if ok && now.Before(have.until) {
		return have.parent, nil
	}
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind))
	key := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	var parent *metav1.OwnerReference
	switch err := live.Get(ctx, key, o); {
	case endsChain(err):
	case err != nil:
		return nil, fmt.Errorf("read %s %s: %w", ref.Kind, key, err)
	case o.UID == ref.UID:
		parent = metav1.GetControllerOf(o)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for uid, known := range l.known {
		if !now.Before(known.until) {
			delete(l.known, uid)
		}
	}
	l.known[ref.UID] = link{parent, now.Add(linkLife)}
	return parent, nil
}

// endsChain: whoever cannot be read has no say. The controller tells people of a target that it cannot
// read; pods are not held up for it.
func endsChain(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || meta.IsNoMatchError(err)
}
