// Package workloadspread is the validating webhook of WorkloadSpreads.
package workloadspread

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kjson "sigs.k8s.io/json"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/lint"
	"github.com/spillway-project/spillway/internal/provider"
	"github.com/spillway-project/spillway/internal/resolve"
	"github.com/spillway-project/spillway/internal/validation"
	"github.com/spillway-project/spillway/webhooks/review"
)

// Path is where the webhook is served.
const Path = "/validate-workloadspreads"

// Validator refuses WorkloadSpreads that cannot work.
type Validator struct {
	// Reader reads the other WorkloadSpreads of the namespace and the nodes, from the cache.
	Reader client.Reader
	// Targets reads the workloads.
	Targets *resolve.Resolver
	// Profiles of virtual nodes; nil checks nothing of them.
	Profiles *provider.Catalog
}

// Review implements review.Reviewer.
func (v *Validator) Review(ctx context.Context, request *admissionv1.AdmissionRequest) (review.Verdict, error) {
	var ws, old appsv1alpha1.WorkloadSpread
	if request.SubResource != "" {
		return review.Verdict{}, nil
	}
	if err := decode(request.Object.Raw, &ws); err != nil {
		return refuse(&ws, request, nil, err), nil
	}
	var errs field.ErrorList
	switch request.Operation {
	case admissionv1.Create:
		errs = validation.WorkloadSpread(&ws, v.Targets.Known())
	case admissionv1.Update:
		if err := decode(request.OldObject.Raw, &old); err == nil {
			if ws.DeletionTimestamp != nil || (equality.Semantic.DeepEqual(ws.Spec, old.Spec) &&
				ws.Annotations[v1alpha1.AnnotationVirtualSubsets] == old.Annotations[v1alpha1.AnnotationVirtualSubsets]) {
				return review.Verdict{}, nil // what OpenKruise accepted stays writable in all but its spec
			}
			errs = validation.WorkloadSpreadUpdate(&ws, &old, v.Targets.Known())
			break
		}
		errs = validation.WorkloadSpread(&ws, v.Targets.Known())
	default:
		return review.Verdict{}, nil
	}
	rival, err := v.rival(ctx, &ws, request)
	if err != nil {
		return review.Verdict{}, review.Unavailable(v1alpha1.ReasonUnavailable, err)
	}
	errs = append(errs, rival...)
	var warnings []string
	if len(errs) == 0 {
		ws.Namespace = request.Namespace
		errs, warnings = v.compare(ctx, &ws)
	}
	if len(errs) > 0 {
		return refuse(&ws, request, errs, nil), nil
	}
	return review.Verdict{Warnings: append(warnings, lint.Warnings(request.Object.Raw)...)}, nil
}

// compare checks the object against the cluster as it is. What cannot be read is not compared: the
// target may come later, and the object is sound by itself.
func (v *Validator) compare(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (field.ErrorList, []string) {
	var warnings []string
	template, err := v.Targets.Template(ctx, ws)
	if err != nil {
		warnings = append(warnings, fmt.Sprintf("the patches were not compared with the target: %v", err))
	}
	errs := validation.WorkloadSpreadTemplate(ws, template)
	live := validation.Live{}
	if err == nil {
		live.Paths = v.Targets.CheckPaths(ctx, ws)
	}
	var nodes corev1.NodeList
	if err := v.Reader.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err == nil {
		live.Nodes = make([]*corev1.Node, 0, len(nodes.Items))
		for i := range nodes.Items {
			live.Nodes = append(live.Nodes, &nodes.Items[i])
		}
	}
	if v.Profiles != nil {
		faults, mixed := validation.WorkloadSpreadVirtual(ws, v.Profiles, live.Nodes)
		errs, warnings = append(errs, faults...), append(warnings, mixed...)
	}
	return errs, append(warnings, validation.WorkloadSpreadWarnings(ws, live)...)
}

// decode gives the type error of a wrong field its path.
func decode(raw []byte, ws *appsv1alpha1.WorkloadSpread) error {
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, ws); err != nil {
		return fmt.Errorf("read the WorkloadSpread: %w", err)
	}
	return nil
}

// rival looks for another WorkloadSpread on the same target whose pods may be the same.
func (v *Validator) rival(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, request *admissionv1.AdmissionRequest) (field.ErrorList, error) {
	if ws.Spec.TargetReference == nil {
		return nil, nil
	}
	var list appsv1alpha1.WorkloadSpreadList
	if err := v.Reader.List(ctx, &list, client.InNamespace(request.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the WorkloadSpreads of namespace %s: %w", request.Namespace, err)
	}
	var rivals []string
	for i := range list.Items {
		other := &list.Items[i]
		if other.Name != ws.Name && other.Spec.TargetReference != nil && validation.Overlap(ws, other) {
			rivals = append(rivals, other.Name)
		}
	}
	if len(rivals) == 0 {
		return nil, nil
	}
	slices.Sort(rivals)
	return field.ErrorList{field.Invalid(field.NewPath("spec", "targetRef", "name"), ws.Spec.TargetReference.Name, fmt.Sprintf(
		"WorkloadSpread %s spreads this workload already: change that one, or give both a targetFilter.selector with one label key and different values",
		strings.Join(rivals, ", ")))}, nil
}

func refuse(ws *appsv1alpha1.WorkloadSpread, request *admissionv1.AdmissionRequest, errs field.ErrorList, err error) review.Verdict {
	if err != nil {
		return review.Refuse(metav1.StatusReasonBadRequest, http.StatusBadRequest, err.Error())
	}
	name := ws.Name
	if name == "" {
		name = request.Name
	}
	status := apierrors.NewInvalid(schema.GroupKind{Group: appsv1alpha1.GroupVersion.Group, Kind: "WorkloadSpread"}, name, errs).Status()
	return review.Verdict{Refusal: &status, Reason: v1alpha1.ReasonInvalidSpec}
}
