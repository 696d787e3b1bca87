package validation

import (
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/sidecar/expression"
)

// sidecars checks the containers with each other and with the volumes. What concerns one container of a
// pod by itself is left to the API server, which knows its own version's rules.
func sidecars(spec *sidecar.Spec, path *field.Path) field.ErrorList {
	if len(spec.Containers)+len(spec.InitContainers) == 0 {
		return field.ErrorList{field.Required(path.Child("containers"), "give at least one container or init container")}
	}
	var errs field.ErrorList
	volumes := sets.New[string]()
	for i := range spec.Volumes {
		volumes.Insert(spec.Volumes[i].Name)
	}
	taken := make(map[string]*field.Path) // names of containers in the pod
	check := func(list []sidecar.Container, isInit bool, path *field.Path) {
		for i := range list {
			errs = append(errs, names(&list[i], isInit, taken, path.Index(i))...)
			errs = append(errs, mounts(&list[i], volumes, path.Index(i))...)
			errs = append(errs, policies(&list[i], isInit, path.Index(i))...)
		}
	}
	check(spec.InitContainers, true, path.Child("initContainers"))
	check(spec.Containers, false, path.Child("containers"))
	return errs
}

// names checks the names that the sidecar has in a pod, two of them if it is hot.
func names(c *sidecar.Container, isInit bool, taken map[string]*field.Path, path *field.Path) field.ErrorList {
	inPod := []string{c.Name}
	if c.IsHot() && (!isInit || c.IsNative()) {
		first, second := sidecar.Hot(c.Name)
		inPod = []string{first, second}
	}
	var errs field.ErrorList
	for _, name := range inPod {
		if messages := utilvalidation.IsDNS1123Label(name); len(messages) > 0 {
			errs = append(errs, field.Invalid(path.Child("name"), c.Name, fmt.Sprintf("the container's name in the pod, %q: %s", name, strings.Join(messages, "; "))))
			continue
		}
		if other, ok := taken[name]; ok {
			errs = append(errs, field.Invalid(path.Child("name"), c.Name, fmt.Sprintf("in the pod it is %q, like that of %s: rename one of them", name, other)))
		}
		taken[name] = path
	}
	if c.Image == "" {
		errs = append(errs, field.Required(path.Child("image"), "name the image"))
	}
	return errs
}

func mounts(c *sidecar.Container, volumes sets.Set[string], path *field.Path) field.ErrorList {
	var errs field.ErrorList
	missing := func(name string, at *field.Path) {
		if !volumes.Has(name) {
			errs = append(errs, field.NotFound(at.Child("name"), name))
		}
	}
	for i := range c.VolumeMounts {
		missing(c.VolumeMounts[i].Name, path.Child("volumeMounts").Index(i))
	}
	for i := range c.VolumeDevices {
		missing(c.VolumeDevices[i].Name, path.Child("volumeDevices").Index(i))
	}
	return errs
}

func policies(c *sidecar.Container, isInit bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, oneOf(c.PodInjectPolicy, path.Child("podInjectPolicy"), appsv1alpha1.BeforeAppContainerType, appsv1alpha1.AfterAppContainerType)...)
	errs = append(errs, oneOf(c.ShareVolumePolicy.Type, path.Child("shareVolumePolicy", "type"), appsv1alpha1.ShareVolumePolicyEnabled, appsv1alpha1.ShareVolumePolicyDisabled)...)
	if p := c.ShareVolumeDevicePolicy; p != nil {
		errs = append(errs, oneOf(p.Type, path.Child("shareVolumeDevicePolicy", "type"), appsv1alpha1.ShareVolumePolicyEnabled, appsv1alpha1.ShareVolumePolicyDisabled)...)
	}
	errs = append(errs, upgradePolicy(c, path.Child("upgradeStrategy"))...)
	for i := range c.TransferEnv {
		errs = append(errs, transferEnv(&c.TransferEnv[i], path.Child("transferEnv").Index(i))...)
	}
	if c.ResourcesPolicy != nil {
		errs = append(errs, resourcesPolicy(c, isInit, path)...)
	}
	return errs
}

func oneOf[T ~string](value T, path *field.Path, valid ...T) field.ErrorList {
	if slices.Contains(valid, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, valid)}
}

func upgradePolicy(c *sidecar.Container, path *field.Path) field.ErrorList {
	u := &c.UpgradeStrategy
	errs := oneOf(u.UpgradeType, path.Child("upgradeType"), appsv1alpha1.SidecarContainerColdUpgrade, appsv1alpha1.SidecarContainerHotUpgrade)
	if !c.IsHot() {
		return errs
	}
	switch at := path.Child("hotUpgradeEmptyImage"); u.HotUpgradeEmptyImage {
	case "":
		errs = append(errs, field.Required(at, "name an image that idles: the second container runs it between upgrades"))
	case c.Image:
		errs = append(errs, field.Invalid(at, u.HotUpgradeEmptyImage, "must differ from image: it tells the container that idles from the one that works"))
	}
	return errs
}

func transferEnv(t *appsv1alpha1.TransferEnvVar, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.EnvName == "" && len(t.EnvNames) == 0 {
		errs = append(errs, field.Required(path.Child("envNames"), "name the environment variables"))
	}
	if t.SourceContainerNameFrom == nil || t.SourceContainerNameFrom.FieldRef == nil {
		if t.SourceContainerName == "" {
			errs = append(errs, field.Required(path.Child("sourceContainerName"), "name the container that has the variables"))
		}
		return errs
	}
	ref, at := t.SourceContainerNameFrom.FieldRef, path.Child("sourceContainerNameFrom", "fieldRef")
	if ref.APIVersion != "v1" {
		errs = append(errs, field.NotSupported(at.Child("apiVersion"), ref.APIVersion, []string{"v1"}))
	}
	kind, key, ok := sidecar.SplitFieldPath(ref.FieldPath)
	switch {
	case ref.FieldPath == "metadata.name":
	case !ok:
		errs = append(errs, field.Invalid(at.Child("fieldPath"), ref.FieldPath, "write metadata.labels['KEY'], metadata.annotations['KEY'] or metadata.name"))
	default:
		if kind == "metadata.annotations" {
			key = strings.ToLower(key)
		}
		for _, message := range utilvalidation.IsQualifiedName(key) {
			errs = append(errs, field.Invalid(at.Child("fieldPath"), ref.FieldPath, message))
		}
	}
	return errs
}

func resourcesPolicy(c *sidecar.Container, isInit bool, path *field.Path) field.ErrorList {
	p, at := c.ResourcesPolicy, path.Child("resourcesPolicy")
	errs := oneOf(p.TargetContainersMode, at.Child("targetContainersMode"), sidecar.TargetSum, sidecar.TargetMax)
	if len(c.Resources.Limits)+len(c.Resources.Requests)+len(c.Resources.Claims) > 0 {
		errs = append(errs, field.Forbidden(at, "the policy replaces resources: give one of them"))
	}
	if isInit && !c.IsNative() {
		errs = append(errs, field.Forbidden(at, "only a native init container (restartPolicy: Always) runs beside the others: give resources instead"))
	}
	if _, err := regexp.Compile(p.TargetContainersNameRegex); err != nil || p.TargetContainersNameRegex == "" {
		errs = append(errs, field.Invalid(at.Child("targetContainersNameRegex"), p.TargetContainersNameRegex, fmt.Sprintf("must be a regular expression, such as .* for all: %v", err)))
	}
	expr := at.Child("resourcesExpr")
	if p.ResourcesExpr.Limits == nil && p.ResourcesExpr.Requests == nil {
		errs = append(errs, field.Required(expr, "give limits, requests or both"))
	}
	errs = append(errs, resourceExpr(p.ResourcesExpr.Limits, expr.Child("limits"))...)
	return append(errs, resourceExpr(p.ResourcesExpr.Requests, expr.Child("requests"))...)
}

func resourceExpr(e *sidecar.ResourceExpr, path *field.Path) field.ErrorList {
	if e == nil {
		return nil
	}
	var errs field.ErrorList
	if e.CPU == "" && e.Memory == "" {
		errs = append(errs, field.Required(path, "give cpu, memory or both"))
	}
	// Values as pods have them: many cores, gigabytes. What is negative for all of them is a mistake.
	errs = append(errs, computes(e.CPU, corev1.ResourceCPU, big.NewRat(64, 1), path.Child("cpu"))...)
	return append(errs, computes(e.Memory, corev1.ResourceMemory, big.NewRat(64<<30, 1), path.Child("memory"))...)
}

func computes(text string, name corev1.ResourceName, value *big.Rat, path *field.Path) field.ErrorList {
	if text == "" {
		return nil
	}
	parsed, err := expression.Parse(text, string(name))
	if err == nil {
		_, err = sidecar.Evaluate(parsed, name, value)
	}
	if err != nil {
		return field.ErrorList{field.Invalid(path, text, err.Error())}
	}
	return nil
}
