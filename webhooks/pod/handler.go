// Package pod is the mutating webhook of pods. It gathers what the decision needs, calls the packages
// that decide, and turns the result into a patch of the pod as received.
package pod

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-logr/logr"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	kjson "sigs.k8s.io/json"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/delta"
	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/placement"
	"github.com/spillway-project/spillway/internal/resolve"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/state"
	"github.com/spillway-project/spillway/webhooks/review"
)

// Path is where the webhook is served.
const Path = "/mutate-pods"

// Mutator places pods while they are created.
type Mutator struct {
	Resolver *resolve.Resolver
	Ledger   *ledger.Ledger
	Differ   *delta.Differ
	Teller   Teller
	Clock    clock.PassiveClock
	Stem     func() string
	Log      logr.Logger
	// Cluster is this one (placement.Plan); empty if it is not known.
	Cluster string
	// Sites tells subsets of virtual nodes; nil takes all for own nodes.
	Sites *resolve.Sites
	// Placements serves pods that no WorkloadSpread selects; nil leaves them as they are.
	Placements *Placements
	// Injector adds sidecars once the pod has its place; nil adds none.
	Injector Injector
}

// Teller is told what became of pods. Implementations must not block.
type Teller interface {
	// Placed: a pod got a subset; passed says which others were not taken, and why.
	Placed(ws *appsv1alpha1.WorkloadSpread, subset string, passed []Passed)
	// NoRoom: a pod was admitted without a subset.
	NoRoom(ws *appsv1alpha1.WorkloadSpread, owner string, passed []Passed)
	// Invalid: pods are admitted without a subset because the spec cannot be computed with.
	Invalid(ws *appsv1alpha1.WorkloadSpread, err error)
	// NotHonoured: fields of a pod's constraints are lost on virtual nodes of a subset.
	NotHonoured(ws *appsv1alpha1.WorkloadSpread, subset string, fields []clusterselector.Field)
}

// Passed is a subset that was not taken.
type Passed struct {
	Subset string
	Reason v1alpha1.Reason
	// Message says more; empty where the reason says all. NotEligible: it is the pod that cannot run there.
	Message     string
	NotEligible bool
}

// Review implements review.Reviewer.
func (m *Mutator) Review(ctx context.Context, request *admissionv1.AdmissionRequest) (review.Verdict, error) {
	if request.Operation != admissionv1.Create || request.SubResource != "" || request.Resource.Resource != "pods" {
		return review.Verdict{Reason: v1alpha1.ReasonNotManaged}, nil
	}
	var received corev1.Pod
	if err := kjson.UnmarshalCaseSensitivePreserveInts(request.Object.Raw, &received); err != nil {
		return review.Verdict{}, &review.Fault{Code: http.StatusBadRequest, Reason: v1alpha1.ReasonBadReview, Err: fmt.Errorf("decode the pod: %w", err)}
	}
	if !state.IsActive(&received) {
		return review.Verdict{Reason: v1alpha1.ReasonPodInactive}, nil
	}
	if placement.FromElsewhere(&received, m.Cluster) {
		// It has its subset and its sidecars already, and a provider may not cope with more of them.
		return review.Verdict{Reason: v1alpha1.ReasonPlacedElsewhere}, nil
	}
	a := answer{withdraw: func() {}}
	placed, reason, err := m.placed(ctx, &received, request, &a)
	if verdict, no := refused(err); no {
		return verdict, nil
	}
	if err != nil {
		return review.Verdict{}, err
	}
	verdict, err := m.inject(ctx, &received, placed, reason, request)
	if err != nil || verdict.Refusal != nil {
		a.withdraw()
	}
	verdict.Warnings = append(a.warnings, verdict.Warnings...)
	return verdict, err
}

// answer collects what goes with the placed pod.
type answer struct {
	// warnings for the user.
	warnings []string
	// withdraw gives the pod's place back, if it has one.
	withdraw func()
}

// placed returns the pod with its place: the pod as received if nothing in it changes.
func (m *Mutator) placed(ctx context.Context, received *corev1.Pod, request *admissionv1.AdmissionRequest, a *answer) (*corev1.Pod, v1alpha1.Reason, error) {
	if received.Spec.NodeName != "" {
		return received, v1alpha1.ReasonPodBound, nil
	}
	match, err := m.Resolver.Pod(ctx, request.Namespace, received)
	if err != nil {
		return nil, "", review.Unavailable(v1alpha1.ReasonUnavailable, err)
	}
	if match == nil {
		return m.unmanaged(ctx, received, request, a)
	}
	decided := received.DeepCopy()
	reason, err := m.decide(ctx, decided, match, request, a)
	if err != nil {
		return nil, "", fault(err)
	}
	return decided, reason, nil
}

// decide changes the pod to what it should be. Without a place it only loses what a copied manifest brought along.
func (m *Mutator) decide(ctx context.Context, pod *corev1.Pod, match *resolve.Match, request *admissionv1.AdmissionRequest, a *answer) (v1alpha1.Reason, error) {
	bars, err := m.look(ctx, pod, match, request.Namespace)
	if err != nil {
		return "", review.Unavailable(v1alpha1.ReasonUnavailable, err)
	}
	grant, err := m.grant(ctx, pod, match, bars, request)
	switch {
	case errors.Is(err, ledger.ErrGone):
		placement.Release(pod)
		return v1alpha1.ReasonSpreadGone, nil
	case errors.Is(err, ledger.ErrInvalid):
		// Objects that were stored before Spillway was here may be broken. That is for their author to
		// mend, not a reason to block the workload.
		placement.Release(pod)
		m.Teller.Invalid(match.Spread, err)
		return v1alpha1.ReasonInvalidSpec, nil
	case err != nil:
		return "", err
	}
	dry := request.DryRun != nil && *request.DryRun
	passed := named(grant, bars)
	a.warnings = notEligible(passed)
	if grant.Outcome != spread.Placed {
		placement.Release(pod)
		if !dry {
			m.Teller.NoRoom(match.Spread, match.Owner.Name, passed)
		}
		return v1alpha1.ReasonNoSubsetAvailable, nil
	}
	told, err := m.place(ctx, pod, match, &grant, dry)
	if err != nil {
		m.Ledger.Withdraw(grant, match.Version)
		return "", fmt.Errorf("place a pod of %s/%s by WorkloadSpread %s: %w", request.Namespace, match.Owner.Name, grant.Spread.Name, err)
	}
	a.warnings = append(a.warnings, told...)
	if !dry {
		a.withdraw = func() { m.Ledger.Withdraw(grant, match.Version) }
	}
	if !dry && !grant.Repeated {
		m.Teller.Placed(match.Spread, grant.Terms.Name(grant.Subset), passed)
	}
	if len(grant.Passed) > 0 {
		return v1alpha1.ReasonOverflow, nil
	}
	return v1alpha1.ReasonSubsetAssigned, nil
}

// grant finds the pod's place: at once where there is nothing to count, else in the ledger.
func (m *Mutator) grant(ctx context.Context, pod *corev1.Pod, match *resolve.Match, bars map[string]resolve.Bar, request *admissionv1.AdmissionRequest) (ledger.Grant, error) {
	terms, err := spread.ParseTerms(&match.Spread.Spec)
	if err != nil {
		return ledger.Grant{}, fmt.Errorf("WorkloadSpread %s/%s: %w: %w", match.Spread.Namespace, match.Spread.Name, ledger.ErrInvalid, err)
	}
	position, err := m.position(ctx, pod, match, terms)
	if err != nil {
		return ledger.Grant{}, err
	}
	at := ledger.Grant{Terms: terms, Spread: match.Spread, Grant: spread.Grant{Outcome: spread.Placed}}
	incoming := incomingRecord(pod, match.Spread.Name)
	barred := resolve.Reasons(bars)
	switch i := terms.Index(incoming.Subset); {
	case terms.Free && barred[terms.Name(0)] != "" && incoming.Subset != terms.Name(0): // a second pass keeps its place
		at.Outcome, at.Passed = spread.NoRoom, []spread.Passed{{Subset: 0, Reason: barred[terms.Name(0)]}}
		return at, nil
	case terms.Free:
		return at, nil
	case i >= 0 && terms.Limit(i).IsUnlimited() && spread.Token(incoming.UID).IsPass(m.Clock.Now()):
		at.Subset, at.Token, at.Repeated = i, spread.Token(incoming.UID), true
		return at, nil
	}
	r := ledger.Request{
		Spread: match.Spread, Version: match.Version, PodName: pod.Name,
		Incoming: spread.Token(incoming.UID), Owner: match.Owner,
		Ranked: terms.Percent && match.Kind.DeletionCost, Revision: match.Revision, Position: position, Barred: barred,
	}
	if request.DryRun != nil && *request.DryRun {
		return m.Ledger.Preview(ctx, r)
	}
	return m.Ledger.Claim(ctx, r)
}

// position returns the place of a numbered pod in the order of its workload, nil for other pods.
func (m *Mutator) position(ctx context.Context, pod *corev1.Pod, match *resolve.Match, terms spread.Terms) (*int32, error) {
	if !match.Numbered || terms.Free {
		return nil, nil //nolint:nilnil // the pod has no number that matters
	}
	if err := terms.Numbered(); err != nil {
		return nil, fmt.Errorf("WorkloadSpread %s/%s: %w: %w", match.Spread.Namespace, match.Spread.Name, ledger.ErrInvalid, err)
	}
	numbering, err := m.Resolver.Numbering(ctx, match.Spread)
	if err != nil {
		return nil, fmt.Errorf("find the number of the pod: %w", err)
	}
	p := numbering.Position(pod.Name)
	return &p, nil
}

// incomingRecord returns the record that the pod carries, if it is of this WorkloadSpread.
func incomingRecord(pod *corev1.Pod, spreadName string) v1alpha1.Record {
	if r, ok := v1alpha1.ParseRecord(pod.Annotations); ok && r.Name == spreadName {
		return r
	}
	return v1alpha1.Record{}
}

// place writes the grant onto the pod, and returns what the user should know.
func (m *Mutator) place(ctx context.Context, pod *corev1.Pod, match *resolve.Match, grant *ledger.Grant, dry bool) ([]string, error) {
	token := grant.Token
	if token == "" && !grant.Terms.Free && !match.Numbered { // a number tells by itself
		token = spread.Pass(m.Clock.Now(), m.Stem())
	}
	if string(token) == pod.Name { // claimed by name: the annotation carries no uid then
		token = ""
	}
	plan := placement.Plan{
		Subset:  &grant.Spread.Spec.Subsets[grant.Subset],
		Cluster: m.Cluster,
		Record:  v1alpha1.Record{Name: grant.Spread.Name, Subset: grant.Terms.Name(grant.Subset), UID: string(token)},
	}
	if match.Kind.DeletionCost {
		cost := grant.Terms.Cost(grant.Subset, grant.Rank)
		plan.Cost = &cost
	}
	sites, err := m.Sites.Of(ctx, grant.Spread) // of the spec that the grant is of
	if err != nil {
		return nil, review.Unavailable(v1alpha1.ReasonUnavailable, err)
	}
	if sites == nil || !placement.Touchable(pod) {
		return nil, placement.Place(pod, plan)
	}
	ground(&plan, &sites[grant.Subset])
	plan.Avoid = sites[grant.Subset].Avoidable(grant.Avoid)
	fields, warnings := lost(pod, plan)
	if len(fields) > 0 && !dry && !grant.Repeated {
		m.Teller.NotHonoured(match.Spread, plan.Record.Subset, fields)
	}
	return warnings, placement.Place(pod, plan)
}

// fault says how an error of the ledger or of the placement is answered.
func fault(err error) error {
	if already := new(review.Fault); errors.As(err, &already) {
		return err
	}
	switch {
	case errors.Is(err, ledger.ErrUnproven):
		return review.Unavailable(v1alpha1.ReasonUnproven, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &review.Fault{Code: http.StatusGatewayTimeout, Reason: v1alpha1.ReasonDeadline, Err: err}
	case apierrors.ReasonForError(err) != "":
		return review.Unavailable(v1alpha1.ReasonUnavailable, err)
	default:
		return &review.Fault{Code: http.StatusInternalServerError, Reason: v1alpha1.ReasonInvalidSpec, Err: err}
	}
}
