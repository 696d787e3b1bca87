package sidecar

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/util/json"
)

// Kind of the objects.
const Kind = "SidecarSet"

// GroupVersion of the objects that this package decodes.
var GroupVersion = schema.GroupVersion{Group: "apps.kruise.io", Version: "v1alpha1"}

// AddToScheme registers SidecarSet for OpenKruise's group, in place of the type of kruise-api.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &SidecarSet{}, &SidecarSetList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// SidecarSet is the type of kruise-api with what came to it later, and with the fields of containers
// that this build does not know: they reach the pod.
type SidecarSet struct { //nolint:revive // the name of the kind
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   Spec                          `json:"spec,omitempty"`
	Status appsv1alpha1.SidecarSetStatus `json:"status,omitempty"`
}

// SidecarSetList is a list of SidecarSets.
type SidecarSetList struct { //nolint:revive // the name of the kind
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SidecarSet `json:"items"`
}

// Spec has the fields of kruise-api's SidecarSetSpec.
type Spec struct {
	Selector          *metav1.LabelSelector                     `json:"selector,omitempty"`
	Namespace         string                                    `json:"namespace,omitempty"`
	NamespaceSelector *metav1.LabelSelector                     `json:"namespaceSelector,omitempty"`
	InitContainers    []Container                               `json:"initContainers,omitempty" patchMergeKey:"name" patchStrategy:"merge"`
	Containers        []Container                               `json:"containers,omitempty" patchMergeKey:"name" patchStrategy:"merge"`
	Volumes           []corev1.Volume                           `json:"volumes,omitempty" patchMergeKey:"name" patchStrategy:"merge"`
	UpdateStrategy    appsv1alpha1.SidecarSetUpdateStrategy     `json:"updateStrategy,omitempty"`
	InjectionStrategy appsv1alpha1.SidecarSetInjectionStrategy  `json:"injectionStrategy,omitempty"`
	ImagePullSecrets  []corev1.LocalObjectReference             `json:"imagePullSecrets,omitempty" patchMergeKey:"name" patchStrategy:"merge"`
	HistoryLimit      *int32                                    `json:"revisionHistoryLimit,omitempty"`
	PatchPodMetadata  []appsv1alpha1.SidecarSetPatchPodMetadata `json:"patchPodMetadata,omitempty"`
}

// Container is a sidecar. The order of its fields is that of their JSON, which the hash is made of.
type Container struct {
	corev1.Container `json:",inline"`

	PodInjectPolicy         appsv1alpha1.PodInjectPolicyType             `json:"podInjectPolicy,omitempty"`
	UpgradeStrategy         appsv1alpha1.SidecarContainerUpgradeStrategy `json:"upgradeStrategy,omitempty"`
	ShareVolumePolicy       appsv1alpha1.ShareVolumePolicy               `json:"shareVolumePolicy,omitempty"`
	ShareVolumeDevicePolicy *appsv1alpha1.ShareVolumePolicy              `json:"shareVolumeDevicePolicy,omitempty"`
	TransferEnv             []appsv1alpha1.TransferEnvVar                `json:"transferEnv,omitempty"`
	ResourcesPolicy         *ResourcesPolicy                             `json:"resourcesPolicy,omitempty"`

	// Unknown holds what corev1.Container of this build has no field for, by JSON name; nested for
	// what is missing in a field that it has.
	Unknown map[string]any `json:"-"`
}

// ResourcesPolicy computes the resources of a sidecar from those of the pod's other containers.
type ResourcesPolicy struct {
	// TargetContainersMode says how the resources of several containers become one: sum or max.
	TargetContainersMode TargetContainersMode `json:"targetContainersMode,omitempty"`
	// TargetContainersNameRegex selects the containers, ".*" by default.
	TargetContainersNameRegex string `json:"targetContainersNameRegex,omitempty"`
	// ResourcesExpr holds the expressions.
	ResourcesExpr ResourcesExpr `json:"resourcesExpr,omitempty"`
}

// TargetContainersMode is sum or max.
type TargetContainersMode string

// The modes.
const (
	TargetSum TargetContainersMode = "sum"
	TargetMax TargetContainersMode = "max"
)

// ResourcesExpr holds expressions for limits and requests.
type ResourcesExpr struct {
	Limits   *ResourceExpr `json:"limits,omitempty"`
	Requests *ResourceExpr `json:"requests,omitempty"`
}

// ResourceExpr holds the expressions of one kind.
type ResourceExpr struct {
	CPU    string `json:"cpu,omitempty"`
	Memory string `json:"memory,omitempty"`
}

// IsNative reports whether an init container goes on running beside the pod's containers.
func (c *Container) IsNative() bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// IsHot reports whether the sidecar becomes a pair of containers that take turns.
func (c *Container) IsHot() bool {
	return c.UpgradeStrategy.UpgradeType == appsv1alpha1.SidecarContainerHotUpgrade
}

// Hot returns the names of the pair.
func Hot(name string) (first, second string) { return name + "-1", name + "-2" }

// UnmarshalJSON decodes what is known and keeps what is not.
func (s *SidecarSet) UnmarshalJSON(raw []byte) error {
	type plain SidecarSet
	if err := kjson.Unmarshal(raw, (*plain)(s)); err != nil {
		return fmt.Errorf("decode a SidecarSet: %w", err)
	}
	var loose struct {
		Spec struct {
			Containers     []map[string]any `json:"containers"`
			InitContainers []map[string]any `json:"initContainers"`
		} `json:"spec"`
	}
	if err := kjson.Unmarshal(raw, &loose); err != nil {
		return fmt.Errorf("decode a SidecarSet: %w", err)
	}
	keepUnknown(s.Spec.Containers, loose.Spec.Containers)
	keepUnknown(s.Spec.InitContainers, loose.Spec.InitContainers)
	return nil
}

// MarshalJSON writes what is not known as well.
func (s SidecarSet) MarshalJSON() ([]byte, error) {
	type plain SidecarSet
	raw, err := json.Marshal(plain(s))
	if err != nil || !hasUnknown(s.Spec.Containers) && !hasUnknown(s.Spec.InitContainers) {
		return raw, err
	}
	var object map[string]any
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	if spec, ok := object["spec"].(map[string]any); ok {
		overlayUnknown(spec["containers"], s.Spec.Containers)
		overlayUnknown(spec["initContainers"], s.Spec.InitContainers)
	}
	return json.Marshal(object)
}

func hasUnknown(list []Container) bool {
	return slices.ContainsFunc(list, func(c Container) bool { return len(c.Unknown) > 0 })
}

func keepUnknown(list []Container, loose []map[string]any) {
	for i := range list {
		if i < len(loose) {
			list[i].Unknown = unknown(loose[i], reflect.TypeFor[Container]())
		}
	}
}

// unknown returns the members of an object that a type has no field for, nil if there are none.
func unknown(object map[string]any, t reflect.Type) map[string]any {
	var out map[string]any
	fields := jsonFields(t)
	for name, value := range object {
		kept := value
		if field, known := fields[name]; known {
			inner, isObject := value.(map[string]any)
			if !isObject || field.Kind() != reflect.Struct || writesItself(field) {
				continue
			}
			deeper := unknown(inner, field)
			if deeper == nil {
				continue
			}
			kept = deeper
		}
		if out == nil {
			out = make(map[string]any)
		}
		out[name] = kept
	}
	return out
}

func writesItself(t reflect.Type) bool {
	marshaler := reflect.TypeFor[json.Marshaler]()
	return t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler)
}

// jsonFields returns the types of a struct's fields by their names in JSON, behind pointers.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	out := make(map[string]reflect.Type, t.NumField())
	for _, field := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		inner := field.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		out[name] = inner
	}
	return out
}

func overlayUnknown(list any, of []Container) {
	items, _ := list.([]any)
	for i := range items {
		if item, ok := items[i].(map[string]any); ok && i < len(of) {
			Overlay(item, of[i].Unknown)
		}
	}
}

// Overlay puts unknown members back into an object.
func Overlay(object, unknown map[string]any) {
	for name, value := range unknown {
		inner, isObject := value.(map[string]any)
		if present, ok := object[name].(map[string]any); ok && isObject {
			Overlay(present, inner)
			continue
		}
		object[name] = value
	}
}
