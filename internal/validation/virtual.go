package validation

import (
	"fmt"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/provider"
)

// WorkloadSpreadVirtual checks what a WorkloadSpread says of virtual nodes: its annotation, and the constraints that
// patches write for a provider. The warnings are for subsets that mix real nodes and virtual ones. nodes may be nil.
func WorkloadSpreadVirtual(ws *appsv1alpha1.WorkloadSpread, profiles *provider.Catalog, nodes []*corev1.Node) (field.ErrorList, []string) {
	annotation := field.NewPath("metadata", "annotations")
	var errs field.ErrorList
	if mode, set := ws.Annotations[v1alpha1.AnnotationOutage]; set && mode != v1alpha1.OutageHold && mode != v1alpha1.OutageReplace {
		errs = append(errs, field.NotSupported(annotation.Key(v1alpha1.AnnotationOutage), mode, []string{v1alpha1.OutageHold, v1alpha1.OutageReplace}))
	}
	override, err := profiles.Override(ws)
	if err != nil {
		return append(errs, field.Invalid(annotation.Key(v1alpha1.AnnotationVirtualSubsets),
			ws.Annotations[v1alpha1.AnnotationVirtualSubsets], err.Error())), nil
	}
	var warnings []string
	for i := range ws.Spec.Subsets {
		s := &ws.Spec.Subsets[i]
		path := field.NewPath("spec", "subsets").Index(i)
		for key, text := range profiles.Written(s.Patch.Raw) {
			at := path.Child("patch", "metadata", "annotations").Key(key)
			selection, _, err := clusterselector.Parse(text)
			if err != nil {
				errs = append(errs, field.Invalid(at, text, err.Error()))
				continue
			}
			errs = append(errs, selection.Validate(at)...)
		}
		if _, named := override[s.Name]; named {
			continue
		}
		if nature := profiles.Subset(s.RequiredNodeSelectorTerm, nodes, s.Patch.Raw); nature.Mixed() {
			warnings = append(warnings, fmt.Sprintf("%s: subset %q selects real nodes and virtual ones of %s: its pods are made ready for real nodes, and on virtual ones their constraints are lost. Use a subset for each",
				path.Child("requiredNodeSelectorTerm"), s.Name, nature.Also[0].Name))
		}
	}
	return errs, warnings
}
