package sidecarset

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/internal/sidecar"
)

// PodChecker says what is wrong with containers and volumes as parts of a pod.
type PodChecker interface {
	Check(ctx context.Context, spec *sidecar.Spec) (field.ErrorList, error)
}

// Pretend asks the API server: it creates, as a dry run, a PodTemplate with these parts. So the rules
// are those of the version that will admit the pods, whatever it is. Nothing is stored, and webhooks,
// quotas and security levels of pods do not see it.
type Pretend struct {
	Writer    client.Writer
	Namespace string
}

// Check implements PodChecker.
func (p *Pretend) Check(ctx context.Context, spec *sidecar.Spec) (field.ErrorList, error) {
	template := &corev1.PodTemplate{ObjectMeta: metav1.ObjectMeta{GenerateName: "sidecarset-", Namespace: p.Namespace}}
	pod := &template.Template.Spec
	pod.Volumes = spec.Volumes
	pod.InitContainers, pod.Containers = plain(spec.InitContainers), plain(spec.Containers)
	if len(pod.Containers) == 0 { // a pod needs one
		pod.Containers = []corev1.Container{{Name: "sidecarset-app", Image: "app"}}
	}
	err := p.Writer.Create(ctx, template, client.DryRunAll)
	if err == nil {
		return nil, nil
	}
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return nil, fmt.Errorf("ask the API server about containers and volumes: %w", err)
	}
	var errs field.ErrorList
	for _, cause := range status.Status().Details.Causes {
		kind := kindOf(cause)
		errs = append(errs, &field.Error{
			Type: kind, Field: strings.TrimPrefix(cause.Field, "template."), BadValue: field.OmitValueType{},
			Detail: strings.TrimPrefix(cause.Message, kind.String()+": "),
		})
	}
	return errs, nil
}

// kindOf returns the kind of a cause; of those that field knows, because others make it panic.
func kindOf(cause metav1.StatusCause) field.ErrorType {
	switch kind := field.ErrorType(cause.Type); kind {
	case field.ErrorTypeNotFound, field.ErrorTypeRequired, field.ErrorTypeDuplicate, field.ErrorTypeNotSupported,
		field.ErrorTypeForbidden, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
		return kind
	default:
		return field.ErrorTypeInvalid
	}
}

func plain(list []sidecar.Container) []corev1.Container {
	out := make([]corev1.Container, len(list))
	for i := range list {
		out[i] = *list[i].Container.DeepCopy()
		if list[i].ResourcesPolicy != nil {
			out[i].Resources = corev1.ResourceRequirements{}
		}
	}
	return out
}
