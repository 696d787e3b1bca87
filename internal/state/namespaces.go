package state

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Namespaces reads namespaces.
type Namespaces struct {
	// Cache may not know a namespace that was made a moment ago; Live does.
	Cache, Live client.Reader
}

// Labels returns the labels of a namespace.
func (n *Namespaces) Labels(ctx context.Context, name string) (labels.Set, error) {
	ns, err := n.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return ns.Labels, nil
}

// Get returns a namespace, which must not be written to. One that the cache does not know is read from the API
// server: a pod must not go without what its namespace asks for because the cache lags.
func (n *Namespaces) Get(ctx context.Context, name string) (*corev1.Namespace, error) {
	var ns corev1.Namespace
	err := n.Cache.Get(ctx, client.ObjectKey{Name: name}, &ns, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		err = n.Live.Get(ctx, client.ObjectKey{Name: name}, &ns)
	}
	if err != nil {
		return nil, fmt.Errorf("read namespace %s: %w", name, err)
	}
	return &ns, nil
}
