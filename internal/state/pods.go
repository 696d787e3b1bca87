// Package state is what a replica knows of the cluster, fed by watches: a purpose-built view of
// pods that keeps only what the arithmetic needs, and that can say of which moment it is.
//
// Input: the API server's list and watch of pods. Output: per WorkloadSpread, the pods recorded on
// it with the resource version up to which that is everything. An ordinary informer cannot give the
// second: its handlers run behind its store, and after a relist events arrive in any order. Beside that it
// remembers what pods on virtual nodes carried (memory.go) and which pods went lately (departures.go).
package state

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-project/spillway/internal/spread"
)

// Pods is the view of pods. The zero value is not usable; see NewPods. Its methods are safe for
// concurrent use.
type Pods struct {
	mu       sync.RWMutex
	revision uint64
	spreads  map[types.NamespacedName]*roster
	// where finds a pod's roster again when its record changes or it goes.
	where map[types.UID]types.NamespacedName
	// memory of pods on virtual nodes.
	memory map[types.UID]*remembered
	// strays are the pods that could be adopted, by namespace.
	strays map[string]map[types.UID]Stray
	// departed are the pods that went lately.
	departed departures

	synced atomic.Bool
	listen Listener
}

// Listener is told what changes, without locks held. Its functions must not block; either may be nil.
type Listener struct {
	// Changed: the pods of a WorkloadSpread did.
	Changed func(types.NamespacedName)
	// Strayed: there is a pod that could be adopted.
	Strayed func(Stray)
}

// roster holds the pods recorded on one WorkloadSpread.
type roster struct {
	pods map[types.UID]*spread.Pod
	// gone are the last pods that went, without their names: a name comes again, a token does not.
	// A pod may come and go between two commits; its claim would never be seen to have become a pod.
	gone    []*spread.Pod
	changed chan struct{} // closed at the next change
	// lost is what pods lack of their metadata.
	lost map[types.UID]lost
}

// goneKept is the number of pods that are remembered when they are gone: more than come and go
// between two commits.
const goneKept = 64

// bury remembers that there was a pod.
func (r *roster) bury(pod *spread.Pod) {
	if pod.Token == "" {
		return
	}
	was := *pod
	was.Name, was.Active = "", false
	if len(r.gone) == goneKept {
		r.gone = append(r.gone[:0:0], r.gone[1:]...)
	}
	r.gone = append(r.gone, &was)
}

// NewPods returns an empty view.
func NewPods(listen Listener) *Pods {
	if listen.Changed == nil {
		listen.Changed = func(types.NamespacedName) {}
	}
	if listen.Strayed == nil {
		listen.Strayed = func(Stray) {}
	}
	return &Pods{
		spreads: make(map[types.NamespacedName]*roster),
		where:   make(map[types.UID]types.NamespacedName),
		memory:  make(map[types.UID]*remembered),
		strays:  make(map[string]map[types.UID]Stray),
		listen:  listen,
	}
}

// Run lists and watches the pods of all namespaces until the context ends.
func (p *Pods) Run(ctx context.Context, client kubernetes.Interface) {
	all := client.CoreV1().Pods(metav1.NamespaceAll)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return all.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return all.Watch(ctx, o)
		},
	}
	cache.NewReflectorWithOptions(lw, &corev1.Pod{}, p, cache.ReflectorOptions{Name: "pods"}).RunWithContext(ctx)
}

// Synced reports whether the first list has been taken in.
func (p *Pods) Synced() bool { return p.synced.Load() }

// View returns the pods recorded on a WorkloadSpread, the last ones that went included, and the revision
// up to which they are complete.
func (p *Pods) View(key types.NamespacedName) spread.View {
	p.mu.RLock()
	defer p.mu.RUnlock()
	v := spread.View{Revision: p.revision}
	if r := p.spreads[key]; r != nil {
		v.Pods = make([]*spread.Pod, 0, len(r.pods)+len(r.gone))
		for _, pod := range r.pods {
			v.Pods = append(v.Pods, pod)
		}
		v.Pods = append(v.Pods, r.gone...)
	}
	return v
}

// Changed returns a channel that is closed when the pods of the WorkloadSpread next change.
func (p *Pods) Changed(key types.NamespacedName) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.roster(key).changed
}

// roster returns the roster of a WorkloadSpread, opening it when there is none. The lock is held.
func (p *Pods) roster(key types.NamespacedName) *roster {
	r := p.spreads[key]
	if r == nil {
		r = &roster{pods: make(map[types.UID]*spread.Pod), changed: make(chan struct{})}
		p.spreads[key] = r
	}
	return r
}

// Forget drops what is kept for a WorkloadSpread that is gone and has no pods.
func (p *Pods) Forget(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.spreads[key]; r != nil && len(r.pods) == 0 {
		close(r.changed)
		delete(p.spreads, key)
	}
}

// Revision parses a resource version. The versions of one API server are comparable as numbers.
func Revision(resourceVersion string) (uint64, error) {
	n, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("resource version %q is not a number: %w", resourceVersion, err)
	}
	return n, nil
}
