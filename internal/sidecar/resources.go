package sidecar

import (
	"fmt"
	"math/big"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar/expression"
)

// resources computes what a resourcesPolicy asks for from the pod's containers.
func (in *injection) resources(c Choice, s *Container) (corev1.ResourceRequirements, error) {
	policy := s.ResourcesPolicy
	fail := func(format string, args ...any) (corev1.ResourceRequirements, error) {
		return corev1.ResourceRequirements{}, refuse(v1alpha1.ReasonResourcesUndefined, "pod %s: resourcesPolicy of container %q in SidecarSet %s: %s",
			podName(in.original), s.Name, c.Name(), fmt.Sprintf(format, args...))
	}
	names, err := regexp.Compile(policy.TargetContainersNameRegex)
	if err != nil {
		return fail("targetContainersNameRegex: %v", err)
	}
	targets := in.targets(names)
	if len(targets) == 0 {
		return fail("no container of the pod has a name that %q matches: change targetContainersNameRegex", policy.TargetContainersNameRegex)
	}
	var out corev1.ResourceRequirements
	if out.Limits, err = evaluateList(policy.ResourcesExpr.Limits, func(name corev1.ResourceName) *big.Rat {
		return aggregate(targets, policy.TargetContainersMode, name, limitOf, false)
	}); err != nil {
		return fail("limits: %v", err)
	}
	if out.Requests, err = evaluateList(policy.ResourcesExpr.Requests, func(name corev1.ResourceName) *big.Rat {
		return aggregate(targets, policy.TargetContainersMode, name, requestOf, true)
	}); err != nil {
		return fail("requests: %v", err)
	}
	return out, nil
}

// targets are the pod's containers that go on running, are named by the expression and injected by no
// set.
func (in *injection) targets(names *regexp.Regexp) []*corev1.Container {
	injected := make(map[string]bool)
	for _, c := range in.choices {
		for _, list := range [][]Container{c.Object.Spec.Containers, c.Object.Spec.InitContainers} {
			for i := range list {
				injected[list[i].Name] = true
			}
		}
	}
	var out []*corev1.Container
	collect := func(list []corev1.Container, counts func(*corev1.Container) bool) {
		for i := range list {
			if c := &list[i]; names.MatchString(c.Name) && !injected[c.Name] && !IsInjected(c) && counts(c) {
				out = append(out, c)
			}
		}
	}
	collect(in.original.Spec.InitContainers, func(c *corev1.Container) bool {
		return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	})
	collect(in.original.Spec.Containers, func(*corev1.Container) bool { return true })
	return out
}

func limitOf(c *corev1.Container) corev1.ResourceList   { return c.Resources.Limits }
func requestOf(c *corev1.Container) corev1.ResourceList { return c.Resources.Requests }

// aggregate makes one value of several containers', or nil if one of them has none and missing is not
// zero.
func aggregate(targets []*corev1.Container, mode TargetContainersMode, name corev1.ResourceName,
	of func(*corev1.Container) corev1.ResourceList, missingIsZero bool,
) *big.Rat {
	out := new(big.Rat)
	for _, t := range targets {
		q, ok := of(t)[name]
		if !ok {
			if !missingIsZero {
				return nil
			}
			continue
		}
		value := ratOf(q)
		switch {
		case mode == TargetSum:
			out.Add(out, value)
		case out.Cmp(value) < 0:
			out = value
		}
	}
	return out
}

func ratOf(q resource.Quantity) *big.Rat {
	d := q.AsDec()
	out := new(big.Rat).SetInt(d.UnscaledBig())
	scale := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(d.Scale(), -d.Scale()))), nil))
	if d.Scale() > 0 {
		return out.Quo(out, scale)
	}
	return out.Mul(out, scale)
}

// evaluateList evaluates the expressions of one kind. An expression over an undefined value gives
// nothing, a constant one always gives its result.
func evaluateList(e *ResourceExpr, value func(corev1.ResourceName) *big.Rat) (corev1.ResourceList, error) {
	if e == nil {
		return nil, nil
	}
	var out corev1.ResourceList
	for _, r := range []struct {
		name corev1.ResourceName
		text string
	}{{corev1.ResourceCPU, e.CPU}, {corev1.ResourceMemory, e.Memory}} {
		if r.text == "" {
			continue
		}
		parsed, err := expression.Parse(r.text, string(r.name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		v := value(r.name)
		if v == nil && !parsed.Constant() {
			continue
		}
		q, err := Evaluate(parsed, r.name, v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		if out == nil {
			out = make(corev1.ResourceList)
		}
		out[r.name] = q
	}
	return out, nil
}

// Evaluate computes a quantity: CPU in whole millicores, cut off; memory in whole bytes, rounded up.
func Evaluate(e *expression.Expression, name corev1.ResourceName, variable *big.Rat) (resource.Quantity, error) {
	if variable == nil {
		variable = new(big.Rat)
	}
	v, err := e.Evaluate(variable)
	if err != nil {
		return resource.Quantity{}, err
	}
	if name == corev1.ResourceCPU {
		v = new(big.Rat).Mul(v, big.NewRat(1000, 1))
	}
	whole, rest := new(big.Int).QuoRem(v.Num(), v.Denom(), new(big.Int))
	if name == corev1.ResourceMemory && rest.Sign() > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	if !whole.IsInt64() {
		return resource.Quantity{}, fmt.Errorf("%q: the result %s is too large", e, whole)
	}
	if name == corev1.ResourceCPU {
		return *resource.NewMilliQuantity(whole.Int64(), resource.DecimalSI), nil
	}
	return *resource.NewQuantity(whole.Int64(), resource.BinarySI), nil
}
