package validation

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// SidecarSetConflicts checks a set against the others: no pod may match two sets that bring the same
// container, different volumes of one name, or contradicting metadata. A canary and its base never
// meet in a pod.
func SidecarSetConflicts(s *sidecar.SidecarSet, others []*sidecar.SidecarSet) field.ErrorList {
	var errs field.ErrorList
	ours := podNames(&s.Spec)
	for _, other := range others {
		if other.Name == s.Name || isCanaryOf(s, other) || isCanaryOf(other, s) {
			continue
		}
		// Few sets have pods in common, so that is asked first.
		if !sidecar.Overlap(&s.Spec, &other.Spec) {
			continue
		}
		errs = append(errs, containerConflicts(other, ours)...)
		errs = append(errs, volumeConflicts(s, other)...)
		errs = append(errs, metadataConflicts(s, other)...)
	}
	return errs
}

func isCanaryOf(s, base *sidecar.SidecarSet) bool {
	return s.Annotations[v1alpha1.AnnotationSidecarCanary] == "true" && s.Annotations[v1alpha1.AnnotationSidecarBase] == base.Name
}

// podNames maps the names that a set's containers have in a pod to where they are written.
func podNames(spec *sidecar.Spec) map[string]*field.Path {
	out := make(map[string]*field.Path)
	add := func(list []sidecar.Container, isInit bool, path *field.Path) {
		for i := range list {
			if c := &list[i]; c.IsHot() && (!isInit || c.IsNative()) {
				first, second := sidecar.Hot(c.Name)
				out[first], out[second] = path.Index(i).Child("name"), path.Index(i).Child("name")
			} else {
				out[c.Name] = path.Index(i).Child("name")
			}
		}
	}
	add(spec.InitContainers, true, field.NewPath("spec", "initContainers"))
	add(spec.Containers, false, field.NewPath("spec", "containers"))
	return out
}

func containerConflicts(other *sidecar.SidecarSet, ours map[string]*field.Path) field.ErrorList {
	var errs field.ErrorList
	theirs := podNames(&other.Spec)
	for _, name := range sortedNames(ours) {
		if _, ok := theirs[name]; ok {
			errs = append(errs, field.Invalid(ours[name], name, fmt.Sprintf(
				"SidecarSet %s injects a container of this name into pods that both select: rename it, or make the selectors exclude each other", other.Name)))
		}
	}
	return errs
}

func volumeConflicts(s, other *sidecar.SidecarSet) field.ErrorList {
	var errs field.ErrorList
	for i := range s.Spec.Volumes {
		v := &s.Spec.Volumes[i]
		clash := slices.ContainsFunc(other.Spec.Volumes, func(o corev1.Volume) bool {
			return o.Name == v.Name && !equality.Semantic.DeepEqual(&o, v)
		})
		if clash {
			errs = append(errs, field.Invalid(field.NewPath("spec", "volumes").Index(i).Child("name"), v.Name, fmt.Sprintf(
				"SidecarSet %s has another volume of this name for pods that both select: rename it, or make them equal", other.Name)))
		}
	}
	return errs
}

// metadataConflicts: two sets may merge into one annotation, or both leave it to the pod, but not
// overwrite what the other writes.
func metadataConflicts(s, other *sidecar.SidecarSet) field.ErrorList {
	theirs := make(map[string]appsv1alpha1.SidecarSetPatchPolicyType)
	for _, p := range other.Spec.PatchPodMetadata {
		for key := range p.Annotations {
			theirs[key] = p.PatchPolicy
		}
	}
	var errs field.ErrorList
	for i, p := range s.Spec.PatchPodMetadata {
		for _, key := range sortedNames(p.Annotations) {
			policy, both := theirs[key]
			overwrite := appsv1alpha1.SidecarSetOverwritePatchPolicy
			if both && (policy == overwrite || p.PatchPolicy == overwrite) {
				errs = append(errs, field.Invalid(field.NewPath("spec", "patchPodMetadata").Index(i).Child("annotations").Key(key), key, fmt.Sprintf(
					"SidecarSet %s patches it too, and one of the two overwrites: use MergePatchJson in both", other.Name)))
			}
		}
	}
	return errs
}

func sortedNames[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Whitelist says which annotations sets may patch.
type Whitelist struct {
	Rules []WhitelistRule `json:"rules"`
}

// WhitelistRule allows keys to the sets that it selects.
type WhitelistRule struct {
	// Selector selects SidecarSets; nil selects all.
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// AllowedAnnotationKeyExprs are regular expressions, not anchored.
	AllowedAnnotationKeyExprs []string `json:"allowedAnnotationKeyExprs"`
}

// ParseWhitelist reads the text of the ConfigMap.
func ParseWhitelist(text string) (*Whitelist, error) {
	var out Whitelist
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("ConfigMap %s, key %s: %w", v1alpha1.SidecarConfigMap, v1alpha1.SidecarWhitelistKey, err)
	}
	for i, r := range out.Rules {
		for _, e := range r.AllowedAnnotationKeyExprs {
			if _, err := regexp.Compile(e); err != nil {
				return nil, fmt.Errorf("ConfigMap %s, key %s: rule %d: %w", v1alpha1.SidecarConfigMap, v1alpha1.SidecarWhitelistKey, i, err)
			}
		}
	}
	return &out, nil
}

// SidecarSetMetadata checks the annotations that a set patches against the whitelist, which may be nil.
func SidecarSetMetadata(s *sidecar.SidecarSet, list *Whitelist) field.ErrorList {
	var allowed []*regexp.Regexp
	if list != nil {
		for _, r := range list.Rules {
			selector, err := metav1.LabelSelectorAsSelector(r.Selector)
			if r.Selector != nil && (err != nil || !selector.Matches(labels.Set(s.Labels))) {
				continue
			}
			for _, e := range r.AllowedAnnotationKeyExprs {
				if compiled, err := regexp.Compile(e); err == nil {
					allowed = append(allowed, compiled)
				}
			}
		}
	}
	var errs field.ErrorList
	for i, p := range s.Spec.PatchPodMetadata {
		for _, key := range sortedNames(p.Annotations) {
			if slices.ContainsFunc(allowed, func(e *regexp.Regexp) bool { return e.MatchString(key) }) {
				continue
			}
			errs = append(errs, field.Forbidden(field.NewPath("spec", "patchPodMetadata").Index(i).Child("annotations").Key(key), fmt.Sprintf(
				"annotation %q is not in the whitelist: an administrator allows it in ConfigMap %s, key %s, with %s",
				key, v1alpha1.SidecarConfigMap, v1alpha1.SidecarWhitelistKey, whitelistExample(key))))
		}
	}
	return errs
}

func whitelistExample(key string) string {
	return fmt.Sprintf(`{"rules":[{"allowedAnnotationKeyExprs":["^%s$"]}]}`, strings.ReplaceAll(key, ".", `\\.`))
}
