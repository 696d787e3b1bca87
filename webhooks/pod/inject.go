package pod

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/clock"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/state"
	"github.com/spillway-project/spillway/webhooks/review"
)

// Injector adds sidecars to pods.
type Injector interface {
	// Choose returns the sets that the pod, as placed, gets. Most pods get none, at no cost.
	Choose(ctx context.Context, namespace string, pod *corev1.Pod, dry bool) (Choices, error)
	// Injected is told what became of the pod.
	Injected(report sidecar.Report, choices Choices)
}

// Choices are the sets that a pod gets.
type Choices struct {
	Sets []sidecar.Choice
	// Nonce was drawn for the pod and is stored on it, unless it is empty.
	Nonce string
	// Now is the time of the injection.
	Now time.Time
}

// inject adds sidecars to the pod as placed, and answers with all that changed since it was received.
func (m *Mutator) inject(ctx context.Context, received, placed *corev1.Pod, reason v1alpha1.Reason, request *admissionv1.AdmissionRequest) (review.Verdict, error) {
	out := review.Verdict{Reason: reason}
	dry := request.DryRun != nil && *request.DryRun
	var choices Choices
	var err error
	if m.Injector != nil {
		if choices, err = m.Injector.Choose(ctx, request.Namespace, placed, dry); err != nil {
			return review.Verdict{}, err
		}
	}
	var report sidecar.Report
	if len(choices.Sets) > 0 {
		if placed == received {
			placed = received.DeepCopy()
		}
		if choices.Nonce != "" {
			sidecar.Draw(placed, func() string { return choices.Nonce })
		}
		report, err = sidecar.Inject(placed, choices.Sets, choices.Now)
		var refusal *sidecar.Refusal
		switch {
		case errors.As(err, &refusal):
			verdict := review.Refuse(metav1.StatusReasonInvalid, http.StatusUnprocessableEntity, refusal.Message)
			verdict.Reason = refusal.Reason
			return verdict, nil
		case err != nil:
			return review.Verdict{}, fmt.Errorf("inject sidecars: %w", err)
		}
		out.Warnings = report.Warnings
		if len(report.Injected) > 0 && (reason == v1alpha1.ReasonNotManaged || reason == v1alpha1.ReasonPodBound) {
			out.Reason = v1alpha1.ReasonInjected
		}
	}
	if placed == received {
		return out, nil
	}
	if out.Patch, err = m.Differ.Between(request.Object.Raw, received, placed); err != nil {
		return review.Verdict{}, fmt.Errorf("make the patch: %w", err)
	}
	if err := sidecar.Enrich(out.Patch, report.Unknown); err != nil {
		return review.Verdict{}, fmt.Errorf("make the patch: %w", err)
	}
	if m.Injector != nil && !dry {
		m.Injector.Injected(report, choices)
	}
	return out, nil
}

// Sidecars is the Injector of SidecarSets.
type Sidecars struct {
	Sets       *state.SidecarSets
	Namespaces *state.Namespaces
	Revisions  *state.Revisions
	Teller     SidecarTeller
	Clock      clock.PassiveClock
	// Nonce draws a random text.
	Nonce func() string
}

// SidecarTeller is told what became of injections. Implementations must not block.
type SidecarTeller interface {
	// SidecarsInjected: a set put sidecars into a pod.
	SidecarsInjected(set *sidecar.Set)
	// RevisionMissing: the current spec was injected, because the pinned revision does not exist.
	RevisionMissing(set *sidecar.Set, err error)
	// MetadataSkipped: a patch did not fit the value of a pod.
	MetadataSkipped(set *sidecar.Set, skipped sidecar.Skipped)
}

// Choose implements Injector.
func (s *Sidecars) Choose(ctx context.Context, namespace string, pod *corev1.Pod, dry bool) (Choices, error) {
	candidates := s.Sets.Selecting(namespace, labels.Set(pod.Labels))
	if len(candidates) == 0 || pod.Labels[v1alpha1.LabelInject] == v1alpha1.AdmissionDisabled {
		return Choices{}, nil
	}
	in, err := s.Namespaces.Labels(ctx, namespace)
	if err != nil {
		return Choices{}, review.Unavailable(v1alpha1.ReasonUnavailable, err)
	}
	if in[v1alpha1.LabelInject] == v1alpha1.AdmissionDisabled {
		return Choices{}, nil
	}
	out := Choices{Now: s.Clock.Now()}
	var matching []*sidecar.Set
	for _, set := range candidates {
		if set.Injects() && set.InNamespace(namespace, in) {
			matching = append(matching, set)
		}
	}
	for _, set := range sidecar.Unshadowed(matching) {
		choice, err := s.version(ctx, set, pod, &out, dry)
		if err != nil {
			return Choices{}, err
		}
		out.Sets = append(out.Sets, choice)
	}
	return out, nil
}

// version returns the set as the pod gets it: pinned, or as it is.
func (s *Sidecars) version(ctx context.Context, set *sidecar.Set, pod *corev1.Pod, choices *Choices, dry bool) (sidecar.Choice, error) {
	draw := func() string {
		if stored := pod.Annotations[v1alpha1.AnnotationDraw]; stored != "" {
			return stored
		}
		if choices.Nonce == "" {
			choices.Nonce = s.Nonce()
		}
		return choices.Nonce
	}
	if set.Pinned(pod, draw) {
		pinned, err := s.Revisions.Pinned(ctx, set)
		switch {
		case err == nil:
			return pinned, nil
		case !errors.Is(err, state.ErrNoRevision):
			return sidecar.Choice{}, review.Unavailable(v1alpha1.ReasonUnavailable, err)
		case !dry:
			s.Teller.RevisionMissing(set, err)
		}
	}
	name, _, err := set.Revision()
	if err != nil {
		return sidecar.Choice{}, fmt.Errorf("name the revision: %w", err)
	}
	return sidecar.Choice{Set: set, Revision: name}, nil
}

// Injected implements Injector.
func (s *Sidecars) Injected(report sidecar.Report, choices Choices) {
	for _, c := range choices.Sets {
		for _, name := range report.Injected {
			if name == c.Name() {
				s.Teller.SidecarsInjected(c.Set)
			}
		}
		for _, skipped := range report.Skipped {
			if skipped.Set == c.Name() {
				s.Teller.MetadataSkipped(c.Set, skipped)
			}
		}
	}
}
