package pod

import (
	"context"
	"fmt"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/placement"
	"github.com/spillway-project/spillway/internal/provider"
	"github.com/spillway-project/spillway/internal/resolve"
	"github.com/spillway-project/spillway/internal/state"
	"github.com/spillway-project/spillway/webhooks/review"
)

// Placements gives pods that no WorkloadSpread selects the placement that they or their namespace ask for. Both are
// read from the cache. The survey of the virtual nodes holds for a second, as in resolve.Sites.
type Placements struct {
	// Reader lists nodes, from the cache.
	Reader client.Reader
	// Namespaces have the defaults of their pods.
	Namespaces *state.Namespaces
	// Catalog of profiles. Those of one that is Plain move no constraints.
	Catalog *provider.Catalog
	// FixedIPAnnotations give a pod a fixed address (provider.Surroundings).
	FixedIPAnnotations []string
	// Clock tells how old a survey is.
	Clock clock.PassiveClock

	mu     sync.Mutex
	survey *provider.Survey
	at     time.Time
}

// lifetime of a survey.
const lifetime = time.Second

// unmanaged answers for a pod that no WorkloadSpread selects: as received, unless a placement is asked for or the
// manifest that it was made of brought one along.
func (m *Mutator) unmanaged(ctx context.Context, received *corev1.Pod, request *admissionv1.AdmissionRequest, a *answer) (*corev1.Pod, v1alpha1.Reason, error) {
	directive, err := m.Placements.directive(ctx, received, request.Namespace)
	if err != nil {
		return nil, "", err
	}
	directive.Cluster = m.Cluster
	asked := directive.Placement != v1alpha1.PlacementNone
	if !asked && !placement.Recorded(received) {
		return received, v1alpha1.ReasonNotManaged, nil
	}
	decided := received.DeepCopy()
	placement.Strip(decided)
	if !asked {
		placement.Withdraw(decided)
		return decided, v1alpha1.ReasonNotManaged, nil
	}
	survey, err := m.Placements.look(ctx)
	if err != nil {
		return nil, "", review.Unavailable(v1alpha1.ReasonUnavailable, err)
	}
	told, err := placement.Fulfil(decided, directive, survey, provider.Surroundings{FixedIPAnnotations: m.Placements.FixedIPAnnotations})
	if err != nil {
		return nil, "", fault(err)
	}
	a.warnings = told
	return decided, v1alpha1.ReasonPlaced, nil
}

// directive returns what is asked for the pod.
func (p *Placements) directive(ctx context.Context, pod *corev1.Pod, namespace string) (placement.Directive, error) {
	if p == nil || !placement.Touchable(pod) {
		return placement.Directive{}, nil
	}
	ns, err := p.Namespaces.Get(ctx, namespace)
	if err != nil {
		return placement.Directive{}, review.Unavailable(v1alpha1.ReasonUnavailable, err)
	}
	return placement.DirectiveOf(pod, ns, p.Catalog)
}

// look returns a survey that is not older than its lifetime.
func (p *Placements) look(ctx context.Context) (*provider.Survey, error) {
	now := p.Clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.survey != nil && now.Sub(p.at) < lifetime && !p.at.After(now) {
		return p.survey, nil
	}
	nodes, err := resolve.Nodes(ctx, p.Reader)
	if err != nil {
		return nil, fmt.Errorf("find the virtual nodes: %w", err)
	}
	p.survey, p.at = p.Catalog.Survey(nodes), now
	return p.survey, nil
}
