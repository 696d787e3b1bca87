// Command manifests writes the manifests that are derived from Go code and from
// one another, so that nothing is written down twice:
//
//   - config/crd/bases: the CustomResourceDefinitions of the OpenKruise kinds that
//     Spillway serves, generated from the Go types of kruise-api with the
//     adjustments of overlay.go;
//   - charts/spillway/templates/crds: the same definitions as chart templates;
//   - charts/spillway/templates/_rules.tpl: the permissions of config/rbac/role.yaml
//     (which controller-gen makes from the markers beside the code that needs them).
//
// It is run by "make generate", and "make verify" fails when its output differs
// from what is checked in.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "root of the repository")
	flag.Parse()
	if err := run(*root); err != nil {
		fmt.Fprintln(os.Stderr, "manifests:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	// 1. Definitions: generate, adjust, write for kustomize and for the chart.
	crds, err := generate(root)
	if err != nil {
		return err
	}
	for _, crd := range crds {
		if err := adjust(crd); err != nil {
			return fmt.Errorf("adjusting %s: %w", crd.Name, err)
		}
		manifest, err := marshal(crd)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%s_%s.yaml", crd.Spec.Group, crd.Spec.Names.Plural)
		if err := write(filepath.Join(root, "config/crd/bases", name), manifest); err != nil {
			return err
		}
		template, err := crdTemplate(crd)
		if err != nil {
			return err
		}
		if err := write(filepath.Join(root, "charts/spillway/templates/crds", name), template); err != nil {
			return err
		}
	}

	// 2. Permissions: what controller-gen found, as named templates of the chart.
	role, err := os.ReadFile(filepath.Join(root, "config/rbac/role.yaml"))
	if err != nil {
		return err
	}
	rules, err := rulesTemplate(role)
	if err != nil {
		return fmt.Errorf("config/rbac/role.yaml: %w", err)
	}
	return write(filepath.Join(root, "charts/spillway/templates/_rules.tpl"), rules)
}

func write(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}
