package main

import (
	"fmt"
	"runtime/debug"

	"golang.org/x/tools/go/packages"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-tools/pkg/crd"
	crdmarkers "sigs.k8s.io/controller-tools/pkg/crd/markers"
	"sigs.k8s.io/controller-tools/pkg/loader"
	"sigs.k8s.io/controller-tools/pkg/markers"
)

// typesPackage holds the Go types. It is loaded as the root module requires it, so
// that the definitions always match the types that the manager decodes into.
const typesPackage = "github.com/openkruise/kruise-api/apps/v1alpha1"

// kinds are the kinds of typesPackage that Spillway serves. controller-gen itself
// cannot be told to leave the others out.
var kinds = []schema.GroupKind{
	{Group: "apps.kruise.io", Kind: "SidecarSet"},
	{Group: "apps.kruise.io", Kind: "WorkloadSpread"},
}

// generate returns the definitions of kinds as controller-gen would write them.
func generate(root string) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	roots, err := loader.LoadRootsWithConfig(&packages.Config{Dir: root}, typesPackage)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", typesPackage, err)
	}

	registry := &markers.Registry{}
	if err := crdmarkers.Register(registry); err != nil {
		return nil, err
	}
	parser := &crd.Parser{
		Collector: &markers.Collector{Registry: registry},
		Checker:   &loader.TypeChecker{},
	}
	crd.AddKnownTypes(parser)
	for _, pkg := range roots {
		parser.NeedPackage(pkg)
	}

	var crds []*apiextensionsv1.CustomResourceDefinition
	for _, kind := range kinds {
		parser.NeedCRDFor(kind, nil)
		if loader.PrintErrors(roots, packages.TypeError) {
			return nil, fmt.Errorf("generating the schema of %s failed", kind)
		}
		generated, ok := parser.CustomResourceDefinitions[kind]
		if !ok {
			return nil, fmt.Errorf("%s has no type %s", typesPackage, kind)
		}
		crd.FixTopLevelMetadata(generated)
		generated.Annotations = map[string]string{"controller-gen.kubebuilder.io/version": controllerToolsVersion()}
		crds = append(crds, &generated)
	}
	return crds, nil
}

// controllerToolsVersion returns the version of controller-tools that this program is
// built with, as go.mod pins it.
func controllerToolsVersion() string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == "sigs.k8s.io/controller-tools" {
			return dependency.Version
		}
	}
	return "unknown"
}
