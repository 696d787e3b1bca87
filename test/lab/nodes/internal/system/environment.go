package system

import (
	"errors"
	"fmt"
	"net"
	"sort"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
)

// environment is what a container's process gets: its arguments and variables, all references resolved.
type environment struct {
	args []string
	env  []string
}

// resolve builds the environment of a container as the kubelet does: variables of Services, then
// envFrom, then env in its order, each of which may refer to those before it.
func (p *pod) resolve(c *corev1.Container, image Image) (environment, error) {
	spec := p.spec()
	vars := newVariables()
	vars.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/")
	vars.set("HOME", "/")
	vars.set("HOSTNAME", spec.Name)
	if err := p.serviceVariables(vars); err != nil {
		return environment{}, err
	}
	for _, from := range c.EnvFrom {
		if err := p.envFrom(vars, from); err != nil {
			return environment{}, err
		}
	}
	for _, variable := range c.Env {
		value := expand(variable.Value, vars.get)
		if variable.ValueFrom != nil {
			var err error
			var set bool
			if value, set, err = p.valueFrom(c, variable.ValueFrom); err != nil {
				return environment{}, fmt.Errorf("variable %s: %w", variable.Name, err)
			}
			if !set {
				continue
			}
		}
		vars.set(variable.Name, value)
	}
	// The API server's Service leads nowhere from here: the process is told the real address.
	apiHost, apiPort, err := net.SplitHostPort(strings.TrimPrefix(p.node.config.APIServer, "https://"))
	if err != nil {
		return environment{}, fmt.Errorf("parsing the API server's address: %w", err)
	}
	vars.set("KUBERNETES_SERVICE_HOST", apiHost)
	vars.set("KUBERNETES_SERVICE_PORT", apiPort)
	vars.set("KUBERNETES_SERVICE_PORT_HTTPS", apiPort)

	args := c.Command
	if len(args) == 0 {
		args = []string{image.Path}
	}
	result := environment{env: vars.list()}
	for _, arg := range append(append([]string{}, args...), c.Args...) {
		result.args = append(result.args, expand(arg, vars.get))
	}
	return result, nil
}

// serviceVariables adds NAME_SERVICE_HOST and the like for the Services of the pod's namespace.
func (p *pod) serviceVariables(vars *variables) error {
	spec := p.spec()
	if spec.Spec.EnableServiceLinks != nil && !*spec.Spec.EnableServiceLinks {
		return nil
	}
	services, err := p.node.listers.Services.Services(spec.Namespace).List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing Services of namespace %s: %w", spec.Namespace, err)
	}
	sort.Slice(services, func(i, j int) bool { return services[i].Name < services[j].Name })
	for _, service := range services {
		if service.Spec.ClusterIP == "" || service.Spec.ClusterIP == corev1.ClusterIPNone || len(service.Spec.Ports) == 0 {
			continue
		}
		prefix := strings.ToUpper(strings.ReplaceAll(service.Name, "-", "_"))
		vars.set(prefix+"_SERVICE_HOST", service.Spec.ClusterIP)
		vars.set(prefix+"_SERVICE_PORT", strconv.Itoa(int(service.Spec.Ports[0].Port)))
		for _, port := range service.Spec.Ports {
			if port.Name != "" {
				name := strings.ToUpper(strings.ReplaceAll(port.Name, "-", "_"))
				vars.set(prefix+"_SERVICE_PORT_"+name, strconv.Itoa(int(port.Port)))
			}
		}
	}
	return nil
}

func (p *pod) envFrom(vars *variables, from corev1.EnvFromSource) error {
	namespace := p.spec().Namespace
	values := map[string]string{}
	switch {
	case from.ConfigMapRef != nil:
		found, err := p.node.listers.ConfigMaps.ConfigMaps(namespace).Get(from.ConfigMapRef.Name)
		if err := missing(err, from.ConfigMapRef.Optional); err != nil {
			return err
		}
		if found != nil {
			values = found.Data
		}
	case from.SecretRef != nil:
		found, err := p.node.listers.Secrets.Secrets(namespace).Get(from.SecretRef.Name)
		if err := missing(err, from.SecretRef.Optional); err != nil {
			return err
		}
		if found != nil {
			for key, value := range found.Data {
				values[key] = string(value)
			}
		}
	}
	for key, value := range values {
		vars.set(from.Prefix+key, value)
	}
	return nil
}

// missing turns the error of an optional object that does not exist into none.
func missing(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	return err
}

// valueFrom resolves a reference; set is false for an optional one that leads nowhere.
func (p *pod) valueFrom(c *corev1.Container, from *corev1.EnvVarSource) (value string, set bool, err error) {
	namespace := p.spec().Namespace
	switch {
	case from.FieldRef != nil:
		value, err := p.field(from.FieldRef.FieldPath)
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		value, err := resourceField(c, from.ResourceFieldRef)
		return value, err == nil, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		found, err := p.node.listers.ConfigMaps.ConfigMaps(namespace).Get(ref.Name)
		if err != nil {
			return "", false, missing(err, ref.Optional)
		}
		value, ok := found.Data[ref.Key]
		return value, ok, missingKey(ok, ref.Optional, "config map", ref.Name, ref.Key)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		found, err := p.node.listers.Secrets.Secrets(namespace).Get(ref.Name)
		if err != nil {
			return "", false, missing(err, ref.Optional)
		}
		value, ok := found.Data[ref.Key]
		return string(value), ok, missingKey(ok, ref.Optional, "secret", ref.Name, ref.Key)
	default:
		return "", false, errors.New("this kind of reference is not supported")
	}
}

func missingKey(found bool, optional *bool, kind, name, key string) error {
	if found || optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("%s %q has no key %q", kind, name, key)
}

// field resolves a downward API field. Addresses are the pod's own, which its processes can bind
// to, not the published ones.
func (p *pod) field(path string) (string, error) {
	spec := p.spec()
	if name, key, ok := strings.Cut(path, "['"); ok {
		key = strings.TrimSuffix(key, "']")
		switch name {
		case "metadata.labels":
			return spec.Labels[key], nil
		case "metadata.annotations":
			return spec.Annotations[key], nil
		}
	}
	switch path {
	case "metadata.name":
		return spec.Name, nil
	case "metadata.namespace":
		return spec.Namespace, nil
	case "metadata.uid":
		return string(spec.UID), nil
	case "metadata.labels":
		return formatMap(spec.Labels), nil
	case "metadata.annotations":
		return formatMap(spec.Annotations), nil
	case "spec.nodeName":
		return spec.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return spec.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return p.address, nil
	case "status.hostIP", "status.hostIPs":
		return p.node.config.NodeAddress, nil
	}
	return "", fmt.Errorf("field %q is not supported", path)
}

// formatMap is the format of labels and annotations in downward API files.
func formatMap(m map[string]string) string {
	var lines []string
	for key, value := range m {
		lines = append(lines, key+"="+strconv.Quote(value))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// resourceField resolves a container's request or limit. The node has no limits to fall back on, so
// a missing one is that of a large machine.
func resourceField(c *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	kind, name, _ := strings.Cut(ref.Resource, ".")
	list := c.Resources.Limits
	if kind == "requests" {
		list = c.Resources.Requests
	}
	quantity, ok := list[corev1.ResourceName(name)]
	if !ok {
		if kind == "requests" {
			quantity = resource.MustParse("0")
		} else if quantity, ok = Capacity()[corev1.ResourceName(name)]; !ok {
			return "", fmt.Errorf("resource %q is not supported", ref.Resource)
		}
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == string(corev1.ResourceCPU) {
		return strconv.FormatInt(ceil(quantity.MilliValue(), divisor.MilliValue()), 10), nil
	}
	return strconv.FormatInt(ceil(quantity.Value(), divisor.Value()), 10), nil
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }

// variables keep the order in which they were first set.
type variables struct {
	names  []string
	values map[string]string
}

func newVariables() *variables { return &variables{values: map[string]string{}} }

func (v *variables) set(name, value string) {
	if _, ok := v.values[name]; !ok {
		v.names = append(v.names, name)
	}
	v.values[name] = value
}

func (v *variables) get(name string) (string, bool) {
	value, ok := v.values[name]
	return value, ok
}

func (v *variables) list() []string {
	list := make([]string, len(v.names))
	for i, name := range v.names {
		list[i] = name + "=" + v.values[name]
	}
	return list
}

// expand replaces $(NAME) by the variable's value; $$ is a dollar sign and an unknown name stays as it is.
func expand(text string, value func(string) (string, bool)) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		switch text[i+1] {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(text[i:], ')')
			if end < 0 {
				out.WriteByte('$')
				continue
			}
			if found, ok := value(text[i+2 : i+end]); ok {
				out.WriteString(found)
			} else {
				out.WriteString(text[i : i+end+1])
			}
			i += end
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}
