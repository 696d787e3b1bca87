// Package virtual is the kubelet of the lab's virtual nodes: nodes that stand for another cluster,
// marked as one kind of provider or another, with faults that can be set while they run.
//
// A node either stands for nothing: its provider keeps the books that a real one would keep about the pods
// of its cluster (provider). Or there is a member cluster: then its provider creates the pods there, as
// that kind of provider does, and sends up what becomes of them (memberProvider). What is real in both is
// the virtual-kubelet library between provider and API server.
package virtual

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/http"
	"net/netip"
	"sort"
	"sync"

	"github.com/virtual-kubelet/virtual-kubelet/node"
	"github.com/virtual-kubelet/virtual-kubelet/node/nodeutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-project/spillway/test/lab/nodes/internal/kubelet"
)

// workers per node: enough for a burst of a thousand pods on one of them.
const workers = 16

// Kubelet serves any number of virtual nodes.
type Kubelet struct {
	ctx       context.Context
	client    kubernetes.Interface
	log       *slog.Logger
	addresses *addresses

	mu      sync.Mutex
	nodes   map[string]*virtualNode
	members map[string]*member // by kubeconfig
}

// backend is what is behind a virtual node.
type backend interface {
	attach(listers nodeutil.ProviderConfig) (nodeutil.Provider, node.NodeProvider, error)
	turn(knobs Knobs) error
	current() Knobs
	status() NodeStatus
}

// virtualNode is one run of a node.
type virtualNode struct {
	spec     NodeSpec
	provider backend
	cancel   context.CancelFunc
	done     chan struct{}
}

// Run serves the control socket, and the nodes that it is told about, until ctx ends.
func Run(ctx context.Context, kubeconfig, socket string, log *slog.Logger) error {
	client, err := kubelet.Client(kubeconfig)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(kubelet.WithLogger(ctx, log))
	defer cancel()
	k := &Kubelet{ctx: ctx, client: client, log: log, addresses: newAddresses(), nodes: map[string]*virtualNode{}, members: map[string]*member{}}
	return kubelet.ServeControl(ctx, socket, k.handler())
}

func (k *Kubelet) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /nodes", kubelet.Handle(func(*http.Request) (any, error) { return k.statuses(), nil }))
	mux.HandleFunc("POST /nodes", kubelet.Handle(func(r *http.Request) (any, error) {
		var spec NodeSpec
		if err := kubelet.Decode(r, &spec); err != nil {
			return nil, err
		}
		return struct{}{}, k.add(spec)
	}))
	mux.HandleFunc("PUT /nodes/{name}/knobs", kubelet.Handle(func(r *http.Request) (any, error) {
		var knobs Knobs
		if err := kubelet.Decode(r, &knobs); err != nil {
			return nil, err
		}
		n, err := k.node(r.PathValue("name"))
		if err != nil {
			return nil, err
		}
		return struct{}{}, n.provider.turn(knobs)
	}))
	mux.HandleFunc("POST /nodes/{name}/restart", kubelet.Handle(func(r *http.Request) (any, error) {
		return struct{}{}, k.restart(r.PathValue("name"))
	}))
	return mux
}

func (k *Kubelet) statuses() []NodeStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := []NodeStatus{}
	for _, n := range k.nodes {
		all = append(all, n.provider.status())
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

func (k *Kubelet) node(name string) (*virtualNode, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, ok := k.nodes[name]
	if !ok {
		return nil, fmt.Errorf("there is no virtual node %q", name)
	}
	return n, nil
}

// add starts a node.
func (k *Kubelet) add(spec NodeSpec) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.nodes[spec.Name]; ok {
		return fmt.Errorf("there is a virtual node %q already", spec.Name)
	}
	n, err := k.start(spec)
	if err != nil {
		return fmt.Errorf("starting virtual node %s: %w", spec.Name, err)
	}
	k.nodes[spec.Name] = n
	return nil
}

// restart stops a node and starts it with the same knobs and no memory of its pods.
func (k *Kubelet) restart(name string) error {
	old, err := k.node(name)
	if err != nil {
		return err
	}
	old.cancel()
	<-old.done
	spec := old.spec
	spec.Knobs = old.provider.current()
	k.mu.Lock()
	defer k.mu.Unlock()
	n, err := k.start(spec)
	if err != nil {
		return fmt.Errorf("restarting virtual node %s: %w", name, err)
	}
	k.nodes[name] = n
	return nil
}

// behind makes what is behind a node, which lives until ctx ends. k.mu is held.
func (k *Kubelet) behind(ctx context.Context, spec NodeSpec) (backend, error) {
	p := &provider{
		spec: spec, knobs: spec.Knobs, client: k.client, log: k.log.With("node", spec.Name), addresses: k.addresses, ctx: ctx,
		pods: map[string]*pod{},
	}
	if spec.Member == "" {
		return p, nil
	}
	m, ok := k.members[spec.Member]
	if !ok {
		var err error
		if m, err = newMember(k.ctx, spec.Member); err != nil {
			return nil, err
		}
		k.members[spec.Member] = m
	}
	return newMemberProvider(p, m)
}

// start starts a node. k.mu is held.
func (k *Kubelet) start(spec NodeSpec) (*virtualNode, error) {
	ctx, cancel := context.WithCancel(k.ctx)
	p, err := k.behind(ctx, spec)
	if err != nil {
		cancel()
		return nil, err
	}
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: k.client.CoreV1().Events("")})
	recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: spec.Name + "/pod-controller"})
	virtual, err := newLibrary(k.client, spec.Name, p.attach, recorder)
	if err != nil {
		cancel()
		broadcaster.Shutdown()
		return nil, err
	}
	n := &virtualNode{spec: spec, provider: p, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(n.done)
		defer broadcaster.Shutdown()
		if err := virtual.run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			k.log.Error("virtual node ended", "node", spec.Name, "error", err)
		}
	}()
	return n, nil
}

// addresses of virtual nodes and their pods come from the half of the benchmark range (RFC 2544) that
// own nodes leave free. Nothing is ever sent there.
type addresses struct {
	mu   sync.Mutex
	next netip.Addr
}

var (
	podRange  = netip.MustParsePrefix("198.19.0.0/17")
	nodeRange = netip.MustParsePrefix("198.19.128.0/17")
)

func newAddresses() *addresses { return &addresses{next: podRange.Addr().Next()} }

// take returns the next pod address; after 32,000 pods they start anew.
func (a *addresses) take() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	address := a.next
	if a.next = address.Next(); !podRange.Contains(a.next) {
		a.next = podRange.Addr().Next()
	}
	return address.String()
}

// node is the address of a node: made of its name, so that it stays over restarts.
func (a *addresses) node(name string) string {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name)) // never fails
	sum := hash.Sum32()
	b := nodeRange.Addr().As4()
	b[2] |= byte(sum>>8) & 0x7f
	b[3] = byte(sum)
	return netip.AddrFrom4(b).String()
}
