package chart

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	root      = "../.."
	chartDir  = root + "/charts/spillway"
	release   = "spillway"
	namespace = "spillway-system"
)

// A set of objects is a rendered chart, by kind and name.
type objects map[string]client.Object

// get returns the object of type T with a name, and fails the test when there is none.
func get[T client.Object](t *testing.T, all objects, name string) T {
	t.Helper()
	for _, object := range all {
		if found, ok := object.(T); ok && object.GetName() == name {
			return found
		}
	}
	var missing T
	t.Fatalf("no %T %q in the chart", missing, name)
	return missing
}

// list returns all objects of type T.
func list[T client.Object](all objects) []T {
	var found []T
	for _, object := range all {
		if o, ok := object.(T); ok {
			found = append(found, o)
		}
	}
	return found
}

// render returns what the chart installs with the given "--set" values.
func render(t *testing.T, values ...string) objects {
	t.Helper()
	manifest, err := helm(t, append([]string{"template", release, chartDir, "--namespace", namespace}, set(values)...)...)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, manifest)
}

func set(values []string) []string {
	var args []string
	for _, value := range values {
		args = append(args, "--set-json", value)
	}
	return args
}

// decode reads a stream of manifests. An object must be of a kind that is known here,
// and have no field that its type lacks, no field twice, and no namesake.
func decode(t *testing.T, manifests string) objects {
	t.Helper()
	decoder := serializer.NewCodecFactory(scheme(t), serializer.EnableStrict).UniversalDeserializer()
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifests)))
	all := objects{}
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if onlyComments(document) {
			continue
		}
		decoded, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		object := decoded.(client.Object)
		key := fmt.Sprintf("%T %s", object, object.GetName())
		if _, ok := all[key]; ok {
			t.Fatalf("%s is there twice", key)
		}
		all[key] = object
	}
}

func onlyComments(document []byte) bool {
	for line := range bytes.Lines(document) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("---")) {
			return false
		}
	}
	return true
}

// scheme knows exactly the kinds that the chart may contain.
func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		admissionregistrationv1.AddToScheme,
		apiextensionsv1.AddToScheme,
		appsv1.AddToScheme,
		certmanagerv1.AddToScheme,
		corev1.AddToScheme,
		networkingv1.AddToScheme,
		policyv1.AddToScheme,
		rbacv1.AddToScheme,
		addServiceMonitor,
	} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// helm runs the helm that is pinned for the lab and returns its standard output.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	binary, err := buildHelm()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	command := exec.CommandContext(t.Context(), binary, args...)
	command.Env = append(os.Environ(), "KUBECONFIG=/dev/null",
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

// buildHelm has make build helm unless it is there, as "make test" does beforehand.
var buildHelm = sync.OnceValues(func() (string, error) {
	const path = "bin/tools/helm"
	command := exec.CommandContext(context.Background(), "make", "--silent", path)
	command.Dir = root
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building helm: %w: %s", err, out)
	}
	return filepath.Abs(filepath.Join(root, path))
})

// kustomize returns what "kustomize build" makes of a folder of the repository.
func kustomize(t *testing.T, dir string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "tool", "-modfile=internal/tools/go.mod", "kustomize", "build", dir)
	command.Dir = root
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("kustomize build %s: %v: %s", dir, err, stderr.String())
	}
	return string(out)
}

// meta is what a test needs of an object's labels and annotations.
func meta(object client.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:        object.GetName(),
		Namespace:   object.GetNamespace(),
		Labels:      object.GetLabels(),
		Annotations: object.GetAnnotations(),
	}
}
