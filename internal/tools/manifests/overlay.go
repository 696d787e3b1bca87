package main

import (
	"fmt"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// A change adjusts one place of a schema.
type change struct {
	// path leads to the place: property names joined by dots, "[]" for the items
	// of a list and "{}" for the values of a map.
	path string
	// why is for the reader of this file.
	why   string
	apply func(*apiextensionsv1.JSONSchemaProps)
}

// overlay holds what the types of kruise-api do not say, by plural name.
//
// Every change must let an object that OpenKruise accepted keep taking status
// updates. The API server helps with that: since Kubernetes 1.30, the oldest version
// that the chart accepts, it does not hold a value against a rule that the value did
// not meet before. Checks that compare parts of an object with one another, or that
// can name a remedy, are left to the validating webhook.
var overlay = map[string][]change{
	"workloadspreads": {
		{
			path:  "status.subsetStatuses.[].creatingPods",
			why:   "one managed field instead of one for each pod in flight",
			apply: atomicMap,
		}, {
			path:  "status.subsetStatuses.[].deletingPods",
			why:   "as above",
			apply: atomicMap,
		}, {
			path:  "status.versionedSubsetStatuses.{}.[].creatingPods",
			why:   "as above",
			apply: atomicMap,
		}, {
			path:  "status.versionedSubsetStatuses.{}.[].deletingPods",
			why:   "as above",
			apply: atomicMap,
		}, {
			path: "spec.targetRef",
			why:  "a WorkloadSpread that moved to another workload would carry the counts of the first",
			apply: func(s *apiextensionsv1.JSONSchemaProps) {
				s.XValidations = apiextensionsv1.ValidationRules{{
					Rule:    "self.kind == oldSelf.kind && self.name == oldSelf.name",
					Message: "the target's kind and name cannot be changed: delete the WorkloadSpread and create another",
				}}
			},
		},
		{path: "spec.targetRef.apiVersion", why: "must be given", apply: notEmpty},
		{path: "spec.targetRef.kind", why: "must be given", apply: notEmpty},
		{path: "spec.targetRef.name", why: "must be given", apply: notEmpty},
		{path: "spec.subsets.[].name", why: "must be given", apply: notEmpty},
		{
			path: "spec.subsets",
			why:  "without one there is nothing to do",
			apply: func(s *apiextensionsv1.JSONSchemaProps) {
				one := int64(1)
				s.MinItems = &one
			},
		}, {
			path: "spec.subsets.[].preferredNodeSelectorTerms.[].weight",
			why:  "the scheduler's own range",
			apply: func(s *apiextensionsv1.JSONSchemaProps) {
				least, most := 1.0, 100.0
				s.Minimum, s.Maximum = &least, &most
			},
		},
		{path: "spec.targetFilter.replicasPathList.[]", why: "leads nowhere when it is empty", apply: notEmpty},
		{
			path: "spec.scheduleStrategy",
			why:  "parameters that would be ignored are a mistake",
			apply: func(s *apiextensionsv1.JSONSchemaProps) {
				s.XValidations = apiextensionsv1.ValidationRules{{
					Rule:    "!has(self.adaptive) || (has(self.type) && self.type == 'Adaptive')",
					Message: "adaptive may be given only with type Adaptive",
				}}
			},
		}, {
			path:  "spec.scheduleStrategy.adaptive.rescheduleCriticalSeconds",
			why:   "a length of time; there is no upper bound",
			apply: notNegative,
		}, {
			path:  "spec.subsets.[].maxReplicas",
			why:   "percentages are left to the webhook, which can say what was meant",
			apply: notNegative,
		},
	},
}

// columns are added before the last column, Age, by plural name. A column shows one
// value, so the first two subsets, own nodes and overflow as a rule, get one each.
var columns = map[string][]apiextensionsv1.CustomResourceColumnDefinition{
	"workloadspreads": {
		{
			Name:        "First",
			Type:        "integer",
			JSONPath:    ".status.subsetStatuses[0].replicas",
			Description: "Active pods in the first subset.",
		}, {
			Name:        "Second",
			Type:        "integer",
			JSONPath:    ".status.subsetStatuses[1].replicas",
			Description: "Active pods in the second subset.",
		},
	},
}

// strategyPath mends the column Adaptive of OpenKruise, which filters a string as if it
// were a list and therefore is empty whatever the strategy.
const strategyPath = ".spec.scheduleStrategy.type"

// adjust applies overlay and columns to a generated definition and shortens its
// descriptions.
func adjust(crd *apiextensionsv1.CustomResourceDefinition) error {
	for i := range crd.Spec.Versions {
		version := &crd.Spec.Versions[i]
		for _, c := range overlay[crd.Spec.Names.Plural] {
			if err := at(version.Schema.OpenAPIV3Schema, strings.Split(c.path, "."), c.apply); err != nil {
				return fmt.Errorf("%s: %w", c.path, err)
			}
		}
		last := len(version.AdditionalPrinterColumns) - 1
		added := columns[crd.Spec.Names.Plural]
		version.AdditionalPrinterColumns = append(version.AdditionalPrinterColumns[:last:last],
			append(added, version.AdditionalPrinterColumns[last])...)
		shorten(version.Schema.OpenAPIV3Schema)
		for j := range version.AdditionalPrinterColumns {
			column := &version.AdditionalPrinterColumns[j]
			column.Description = summary(column.Description)
			if strings.HasPrefix(column.JSONPath, strategyPath+"[") {
				column.JSONPath, column.Type = strategyPath, "string"
				column.Description = "Strategy, which is Fixed unless it is given."
			}
		}
	}
	return nil
}

// at calls apply on the schema that path leads to. Values in a schema's maps are not
// addressable, so each level is copied and put back.
func at(s *apiextensionsv1.JSONSchemaProps, path []string, apply func(*apiextensionsv1.JSONSchemaProps)) error {
	if len(path) == 0 {
		apply(s)
		return nil
	}
	switch step := path[0]; step {
	case "[]":
		if s.Items == nil || s.Items.Schema == nil {
			return fmt.Errorf("%q: not a list", step)
		}
		return at(s.Items.Schema, path[1:], apply)
	case "{}":
		if s.AdditionalProperties == nil || s.AdditionalProperties.Schema == nil {
			return fmt.Errorf("%q: not a map", step)
		}
		return at(s.AdditionalProperties.Schema, path[1:], apply)
	default:
		property, ok := s.Properties[step]
		if !ok {
			return fmt.Errorf("%q: no such property", step)
		}
		err := at(&property, path[1:], apply)
		s.Properties[step] = property
		return err
	}
}

func atomicMap(s *apiextensionsv1.JSONSchemaProps) {
	atomic := "atomic"
	s.XMapType = &atomic
}

func notEmpty(s *apiextensionsv1.JSONSchemaProps) {
	one := int64(1)
	s.MinLength = &one
}

// notNegative concerns numbers only: text in an int-or-string is not compared.
func notNegative(s *apiextensionsv1.JSONSchemaProps) {
	s.Minimum = new(float64)
}
