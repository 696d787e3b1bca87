package resolve

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/provider"
	"github.com/spillway-project/spillway/internal/spread"
)

// Sites finds out what the nodes of subsets are, and which pods cannot run there. What it found holds for a second:
// in a burst, nodes are compared once and not for each pod. It is safe for concurrent use; a nil one takes all nodes
// for own ones.
type Sites struct {
	// Reader lists nodes, from the cache. Live reads claims of volumes from the API server, of the few pods that have any.
	Reader, Live client.Reader
	// Catalog of profiles.
	Catalog *provider.Catalog
	// FixedIPAnnotations give a pod a fixed address (provider.Surroundings).
	FixedIPAnnotations []string
	// Outage is the mode of WorkloadSpreads that name none (v1alpha1.AnnotationOutage).
	Outage string
	// Clock tells how old an answer is.
	Clock clock.PassiveClock

	mu    sync.Mutex
	known map[siteKey]*siteAnswer
}

// Site is what the nodes of one subset are.
type Site struct {
	provider.Nature
	// Hold: pods stay on their node while it is not ready, however long that takes.
	Hold bool
	// Down: no node of the subset is ready, and its pods are to be replaced elsewhere.
	Down bool
	// resources of other domains than Kubernetes' own that the nodes offer; nil without a node.
	resources map[corev1.ResourceName]bool
}

// siteKey is a spec as it is. Annotations have no generation.
type siteKey struct {
	spread           types.UID
	generation       int64
	override, outage string
}

// siteAnswer is looked for by one at a time: those who ask meanwhile get the same.
type siteAnswer struct {
	mu    sync.Mutex
	sites []Site
	at    time.Time // zero for none yet
}

const (
	// siteLife is how long an answer is used again.
	siteLife = time.Second
	// sitesKept bounds the memory.
	sitesKept = 1000
)

// Of describes the nodes of all subsets, in their order. A nil Sites returns nil.
//
// The annotation on the WorkloadSpread goes before what the nodes tell. One that cannot be read names no subset; it was
// refused when it was written.
func (s *Sites) Of(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) ([]Site, error) {
	if s == nil {
		return nil, nil
	}
	have := s.answer(siteKey{ws.UID, ws.Generation, ws.Annotations[v1alpha1.AnnotationVirtualSubsets], ws.Annotations[v1alpha1.AnnotationOutage]})
	have.mu.Lock()
	defer have.mu.Unlock()
	now := s.Clock.Now()
	if !have.at.IsZero() && now.Sub(have.at) < siteLife && !have.at.After(now) {
		return have.sites, nil
	}
	sites, err := s.look(ctx, ws)
	if err != nil {
		return nil, fmt.Errorf("find out what the subsets of WorkloadSpread %s/%s are: %w", ws.Namespace, ws.Name, err)
	}
	have.sites, have.at = sites, now
	return sites, nil
}

func (s *Sites) answer(key siteKey) *siteAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || (s.known[key] == nil && len(s.known) >= sitesKept) {
		s.known = make(map[siteKey]*siteAnswer)
	}
	if s.known[key] == nil {
		s.known[key] = &siteAnswer{}
	}
	return s.known[key]
}

func (s *Sites) look(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) ([]Site, error) {
	nodes, err := Nodes(ctx, s.Reader)
	if err != nil {
		return nil, err
	}
	override, _ := s.Catalog.Override(ws)
	hold := outageOf(ws, s.Outage) == v1alpha1.OutageHold
	sites := make([]Site, len(ws.Spec.Subsets))
	for i := range sites {
		subset := &ws.Spec.Subsets[i]
		if p, named := override[subset.Name]; named {
			sites[i].Nature = s.Catalog.Named(p, subset.RequiredNodeSelectorTerm, nodes)
		} else {
			sites[i].Nature = s.Catalog.Subset(subset.RequiredNodeSelectorTerm, nodes, subset.Patch.Raw)
		}
		sites[i].finish(hold)
	}
	return sites, nil
}

// Nodes lists all nodes. They are shared with the reader's cache and must not be written to.
func Nodes(ctx context.Context, reader client.Reader) ([]*corev1.Node, error) {
	var list corev1.NodeList
	if err := reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	nodes := make([]*corev1.Node, len(list.Items))
	for i := range list.Items {
		nodes[i] = &list.Items[i]
	}
	return nodes, nil
}

// finish derives the rest from the nodes.
func (s *Site) finish(hold bool) {
	if s.Profile == nil || len(s.Nodes) == 0 || s.Profile.NodePerPod {
		s.Hold = hold && s.Profile != nil
		return
	}
	ready := false
	s.resources = make(map[corev1.ResourceName]bool)
	for _, n := range s.Nodes {
		ready = ready || isReady(n)
		for name := range n.Status.Allocatable {
			s.resources[name] = true
		}
	}
	s.Hold, s.Down = hold, !hold && !ready
}

// isReady reports whether a node says of itself that it is ready.
func isReady(node *corev1.Node) bool {
	for i := range node.Status.Conditions {
		if c := &node.Status.Conditions[i]; c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// outageOf returns what becomes of the pods of virtual nodes that are not ready: v1alpha1.OutageHold or OutageReplace.
// byDefault is for a WorkloadSpread that does not say; a value that is neither was refused when it was written.
func outageOf(ws *appsv1alpha1.WorkloadSpread, byDefault string) string {
	switch mode := ws.Annotations[v1alpha1.AnnotationOutage]; mode {
	case v1alpha1.OutageHold, v1alpha1.OutageReplace:
		return mode
	default:
		return byDefault
	}
}

// Avoidable returns those of some nodes that a pod can be kept off: those of the subset, as long as another of its nodes can
// take pods. What a pod is kept off stands in its spec for good, and another node has to be there now.
func (s *Site) Avoidable(nodes []string) []string {
	var out []string
	left := false
	for _, n := range s.Nodes {
		if slices.Contains(nodes, n.Name) {
			out = append(out, n.Name)
		} else {
			left = left || (isReady(n) && !n.Spec.Unschedulable)
		}
	}
	if !left {
		return nil
	}
	slices.Sort(out)
	return out
}

// Bar is why a subset cannot take a pod.
type Bar struct {
	Reason v1alpha1.Reason
	// Message says it to people: what is in the way, with the field.
	Message string
}

// Bars finds the subsets that cannot take the pod, by name: those of virtual nodes that it cannot run on, and, except
// for the last one, which takes what the others cannot, those whose nodes are down. sites are those of the WorkloadSpread.
func (s *Sites) Bars(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, sites []Site, namespace string, pod *corev1.Pod) (map[string]Bar, error) {
	bars, err := s.Obstacles(ctx, ws, sites, namespace, pod)
	if err != nil {
		return nil, err
	}
	for i := range sites {
		if !sites[i].Down || i == len(sites)-1 {
			continue
		}
		if bars == nil {
			bars = make(map[string]Bar)
		}
		bars[ws.Spec.Subsets[i].Name] = Bar{v1alpha1.ReasonNodesNotReady, "none of its virtual nodes is ready"}
	}
	return bars, nil
}

// Obstacles finds the subsets of virtual nodes that the pod cannot run on, by name.
func (s *Sites) Obstacles(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, sites []Site, namespace string, pod *corev1.Pod) (map[string]Bar, error) {
	var bars map[string]Bar
	for i := range sites {
		site := &sites[i]
		if site.Profile == nil {
			continue
		}
		claims, err := s.claims(ctx, namespace, pod, site.Nodes)
		if err != nil {
			return nil, err
		}
		found := site.Profile.Obstacles(pod, provider.Surroundings{Claims: claims, Resources: site.resources, FixedIPAnnotations: s.FixedIPAnnotations})
		if len(found) == 0 {
			continue
		}
		messages := make([]string, len(found))
		for j, o := range found {
			messages[j] = o.Field + ": " + o.Message
		}
		if bars == nil {
			bars = make(map[string]Bar)
		}
		bars[ws.Spec.Subsets[i].Name] = Bar{found[0].Reason, strings.Join(messages, "; ")}
	}
	return bars, nil
}

// Reasons reduces bars to what the ledger needs.
func Reasons(bars map[string]Bar) map[string]v1alpha1.Reason {
	if len(bars) == 0 {
		return nil
	}
	out := make(map[string]v1alpha1.Reason, len(bars))
	for name, b := range bars {
		out[name] = b.Reason
	}
	return out
}

// Virtual reports whether some subset is of virtual nodes.
func Virtual(sites []Site) bool {
	return slices.ContainsFunc(sites, func(s Site) bool { return s.Profile != nil })
}

// Ground is what the adaptation has to know of the subsets' nodes, in the order of the subsets.
func Ground(sites []Site) []spread.Ground {
	out := make([]spread.Ground, len(sites))
	for i := range sites {
		if sites[i].Profile == nil {
			continue
		}
		out[i].Down, out[i].Nodes = sites[i].Down, make(map[string][]string, len(sites[i].Nodes))
		for _, n := range sites[i].Nodes {
			out[i].Nodes[n.Name] = sites[i].Profile.StuckReasons
		}
	}
	return out
}
