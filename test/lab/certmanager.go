package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// certManagerNamespace holds the Secrets of ClusterIssuers, and the event that tells when the controllers work.
const certManagerNamespace = "cert-manager"

var crds = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// startCertManager applies cert-manager's CRDs and starts its controllers beside the cluster.
func (l *Lab) startCertManager(ctx context.Context) error {
	done := l.step("cert-manager")
	bin := l.state.Bin["cert-manager"]
	if err := l.ApplyCRDs(ctx, filepath.Join(bin, "crds")); err != nil {
		return err
	}
	namespace := &unstructured.Unstructured{}
	namespace.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"})
	namespace.SetName(certManagerNamespace)
	if err := l.client.Create(ctx, namespace); err != nil {
		return fmt.Errorf("creating namespace %s: %w", certManagerNamespace, err)
	}
	p, err := l.run(command{name: "cert-manager", path: filepath.Join(bin, "cert-manager"), args: []string{
		"--kubeconfig=" + l.Kubeconfig(), "--cluster-resource-namespace=" + certManagerNamespace,
	}})
	if err != nil {
		return err
	}
	if err := l.waitCertManager(ctx, p); err != nil {
		return err
	}
	done()
	return nil
}

// waitCertManager creates an issuer and waits until the controllers have answered.
func (l *Lab) waitCertManager(ctx context.Context, p *process) error {
	issuer := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"selfSigned": map[string]any{}}}}
	issuer.SetGroupVersionKind(schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Issuer"})
	issuer.SetNamespace(certManagerNamespace)
	issuer.SetName("ready")
	issuers := schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: "issuers"}
	dyn, err := dynamic.NewForConfig(l.config)
	if err != nil {
		return fmt.Errorf("creating a client for cert-manager: %w", err)
	}
	probes := dyn.Resource(issuers).Namespace(certManagerNamespace)
	if _, err := probes.Create(ctx, issuer, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the issuer that tells whether cert-manager works: %w", err)
	}
	err = waitFor(ctx, "cert-manager", func(ctx context.Context) error {
		found, err := probes.Get(ctx, issuer.GetName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		conditions, _, err := unstructured.NestedSlice(found.Object, "status", "conditions")
		if err != nil || len(conditions) == 0 {
			return errors.Join(errors.New("no condition on the issuer yet"), err)
		}
		return nil
	}, p)
	if err != nil {
		return err
	}
	if err := probes.Delete(ctx, issuer.GetName(), metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("deleting the issuer that told that cert-manager works: %w", err)
	}
	return nil
}

// ApplyCRDs applies every YAML file of dir by server-side apply and waits until the API serves the new kinds.
func (l *Lab) ApplyCRDs(ctx context.Context, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return fmt.Errorf("listing CRDs in %s: %w", dir, err)
	}
	dyn, err := dynamic.NewForConfig(l.config)
	if err != nil {
		return fmt.Errorf("creating a client for CRDs: %w", err)
	}
	var names []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading a CRD: %w", err)
		}
		var crd unstructured.Unstructured
		if err := yaml.Unmarshal(content, &crd.Object); err != nil {
			return fmt.Errorf("parsing CRD %s: %w", file, err)
		}
		if crd.GetKind() != "CustomResourceDefinition" { // a kustomization, for instance
			continue
		}
		if _, err := dyn.Resource(crds).Apply(ctx, crd.GetName(), &crd, metav1.ApplyOptions{FieldManager: "lab", Force: true}); err != nil {
			return fmt.Errorf("applying CRD %s: %w", crd.GetName(), err)
		}
		names = append(names, crd.GetName())
	}
	return waitFor(ctx, "new kinds", func(ctx context.Context) error { return l.served(ctx, dyn, names) })
}

// served fails unless every named CRD is established and its kind can be listed.
func (l *Lab) served(ctx context.Context, dyn dynamic.Interface, names []string) error {
	for _, name := range names {
		crd, err := dyn.Resource(crds).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
		if err != nil || len(versions) == 0 {
			return fmt.Errorf("CRD %s has no version: %w", name, err)
		}
		group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
		version, _, _ := unstructured.NestedString(versions[len(versions)-1].(map[string]any), "name")
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: version, Kind: kind + "List"})
		if err := l.client.List(ctx, list, client.Limit(1)); err != nil {
			if apimeta.IsNoMatchError(err) {
				return fmt.Errorf("kind %s is not served yet", kind)
			}
			return err
		}
	}
	return nil
}
