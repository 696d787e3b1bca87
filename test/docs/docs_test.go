package docs

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/api/clusterselector"
	configv1alpha1 "github.com/spillway-project/spillway/api/config/v1alpha1"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/lint"
	"github.com/spillway-project/spillway/internal/placement"
	"github.com/spillway-project/spillway/internal/provider"
)

// example is a block of YAML in a page.
type example struct {
	page string
	text string
}

// examples returns all blocks of YAML, in the order of the pages.
func examples(t *testing.T, root string) []example {
	t.Helper()
	var out []example
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rest := string(text)
		for {
			_, after, found := strings.Cut(rest, "```yaml\n")
			block, next, closed := strings.Cut(after, "```")
			if !found {
				return nil
			}
			if !closed {
				t.Errorf("%s: a block of YAML has no end", path)
			}
			out, rest = append(out, example{path, block}), next
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func all(t *testing.T) []example {
	t.Helper()
	out := append(examples(t, "../../README.md"), examples(t, "../../docs")...)
	if len(out) < 15 {
		t.Fatalf("only %d examples found", len(out))
	}
	return out
}

// objects returns the documents of an example, by kind; those without one, which are parts of objects, are left out.
func (e example) objects(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for doc := range strings.SplitSeq(e.text, "\n---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Errorf("%s: %v in\n%s", e.page, err, doc)
		}
		if kind.Kind != "" {
			out[kind.Kind] = doc
		}
	}
	return out
}

// TestExamplesAreClean: spreads and sets in the documentation are what lint, and so the webhook, has nothing against.
func TestExamplesAreClean(t *testing.T) {
	found := 0
	for _, e := range all(t) {
		e.objects(t)
		r := lint.YAML([]byte(e.text))
		found += r.Objects
		if !r.Clean() || r.Changed {
			t.Errorf("%s:\n%s%+v", e.page, e.text, r.Findings)
		}
	}
	if found < 12 {
		t.Errorf("only %d objects found", found)
	}
}

// TestProfilesInTheDocumentationAreValid decodes parts of the configuration strictly.
func TestProfilesInTheDocumentationAreValid(t *testing.T) {
	found := 0
	for _, e := range all(t) {
		if !strings.HasPrefix(e.text, "virtualNodes:") || filepath.Base(e.page) == "lab.md" { // those are the lab's options
			continue
		}
		found++
		var c configv1alpha1.ManagerConfiguration
		if err := yaml.UnmarshalStrict([]byte(e.text), &c); err != nil {
			t.Errorf("%s: %v", e.page, err)
		}
		if errs := provider.Validate(&c.VirtualNodes, nil); len(errs) > 0 {
			t.Errorf("%s: %v", e.page, errs.ToAggregate())
		}
	}
	if found == 0 {
		t.Error("no profile found")
	}
}

func parse[T any](t *testing.T, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return out
}

// TestEachProfileHasAPageWhoseExampleWorks: the node of the page is of the profile, and its spread keeps own pods off
// it and sends the others there, ready for the provider, with constraints that come back below.
func TestEachProfileHasAPageWhoseExampleWorks(t *testing.T) {
	catalog := provider.NewCatalog(nil)
	pages := map[string]map[string]string{}
	for _, e := range examples(t, "../../docs/virtual-nodes") {
		name := strings.TrimSuffix(filepath.Base(e.page), ".md")
		if pages[name] == nil {
			pages[name] = map[string]string{}
		}
		maps.Copy(pages[name], e.objects(t))
	}
	index, err := os.ReadFile("../../docs/virtual-nodes.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range catalog.Names() {
		if !bytes.Contains(index, []byte("(virtual-nodes/"+name+".md)")) {
			t.Errorf("docs/virtual-nodes.md has no link to %s", name)
		}
		t.Run(name, func(t *testing.T) {
			works(t, catalog, name, pages[name])
		})
		delete(pages, name)
	}
	for name := range pages {
		t.Errorf("%s is no profile", name)
	}
}

func works(t *testing.T, catalog *provider.Catalog, name string, page map[string]string) {
	node, ws := parse[corev1.Node](t, page["Node"]), parse[appsv1alpha1.WorkloadSpread](t, page["WorkloadSpread"])
	if p := catalog.OfNode(node); p == nil || p.Name != name {
		t.Fatalf("the node is one of %+v", p)
	}
	own := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "own", Labels: map[string]string{"node-role.kubernetes.io/WorkerNode": "true"}}}
	override, err := catalog.Override(ws)
	if err != nil {
		t.Fatal(err)
	}
	user := parse[corev1.Pod](t, `{spec: {topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}], containers: [{name: main, image: app}]}}`)
	for i := range ws.Spec.Subsets {
		s := &ws.Spec.Subsets[i]
		virtual := i == len(ws.Spec.Subsets)-1
		for _, nodes := range [][]*corev1.Node{{own, node}, {own}} { // there or not yet
			profile, named := override[s.Name]
			if !named {
				profile = catalog.Subset(s.RequiredNodeSelectorTerm, nodes, s.Patch.Raw).Profile
			}
			if (profile != nil) != virtual || virtual && profile.Name != name {
				t.Fatalf("subset %s is taken for %+v", s.Name, profile)
			}
			pod := user.DeepCopy()
			if err := placement.Place(pod, placement.Plan{Subset: s, Record: v1alpha1.Record{Name: ws.Name, Subset: s.Name}, Virtual: profile}); err != nil {
				t.Fatal(err)
			}
			if goes := schedulable(t, pod, node); goes != virtual {
				t.Errorf("a pod of subset %s goes to the virtual node: %v\n%+v", s.Name, goes, pod.Spec)
			}
			if virtual {
				ready(t, user, pod, profile)
			} else if !schedulable(t, pod, own) {
				t.Errorf("a pod of subset %s does not go to own nodes: %+v", s.Name, pod.Spec)
			}
		}
	}
}

func schedulable(t *testing.T, pod *corev1.Pod, node *corev1.Node) bool {
	t.Helper()
	match, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node)
	if err != nil {
		t.Fatal(err)
	}
	return match && !slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool {
		return !slices.ContainsFunc(pod.Spec.Tolerations, func(have corev1.Toleration) bool {
			return have.Key == taint.Key && (have.Operator == corev1.TolerationOpExists || have.Value == taint.Value) && (have.Effect == "" || have.Effect == taint.Effect)
		})
	})
}

// ready checks what the provider needs on the pod, and that the constraints come back.
func ready(t *testing.T, user, placed *corev1.Pod, profile *provider.Profile) {
	t.Helper()
	for key, value := range profile.Labels {
		if placed.Labels[key] != value {
			t.Errorf("label %s is %q", key, placed.Labels[key])
		}
	}
	for key := range profile.Annotations {
		if _, ok := placed.Annotations[key]; !ok {
			t.Errorf("annotation %s is missing", key)
		}
	}
	if key := profile.HandOver(); key != "" && placed.Annotations[key] == "" {
		t.Errorf("annotation %s is missing", key)
	}
	lower := placed.DeepCopy()
	if _, err := clusterselector.Restore(lower, profile.HandOver()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(clusterselector.Of(&user.Spec), clusterselector.Of(&lower.Spec)); diff != "" {
		t.Errorf("in the lower cluster (-want +got):\n%s", diff)
	}
}
