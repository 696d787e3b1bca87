package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/spillway-project/spillway"

// A tier is a layer of the product. Imports point to lower tiers, or stay in one.
type tier int

const (
	contract tier = iota
	decisions
	state
	shells
	composition
	development
)

func (t tier) String() string {
	return [...]string{"contract", "decisions", "state", "shells", "composition", "development"}[t]
}

// tiers assigns folders to tiers. A package belongs to the longest folder it is in.
var tiers = map[string]tier{
	"api": contract,

	"internal/delta":      decisions,
	"internal/fit":        decisions,
	"internal/lint":       decisions,
	"internal/placement":  decisions,
	"internal/provider":   decisions,
	"internal/sidecar":    decisions,
	"internal/spread":     decisions,
	"internal/validation": decisions,
	"internal/workload":   decisions,

	"internal/certs":     state,
	"internal/condition": state,
	"internal/config":    state,
	"internal/ledger":    state,
	"internal/metrics":   state,
	"internal/resolve":   state,
	"internal/state":     state,
	"internal/version":   state,

	"internal/controller": shells,
	"webhooks":            shells,

	"cmd": composition,

	"internal/testing": development,
	"internal/tools":   development,
	"test":             development,
}

// mayImport lists, for the lower tiers, the modules that a package may import besides the
// standard library and this module. Higher tiers are free.
var mayImport = map[tier][]string{
	contract:  {"k8s.io/api", "k8s.io/apimachinery"},
	decisions: {"k8s.io/api", "k8s.io/apimachinery", "k8s.io/component-helpers", "github.com/openkruise/kruise-api", "go.yaml.in/yaml/v3"},
}

// contractModules is what k8s.io/api and k8s.io/apimachinery need themselves. Authors of
// virtual-kubelet providers import the contract, so it must bring nothing else.
var contractModules = []string{
	"github.com/davecgh/go-spew",
	"github.com/fxamacker/cbor/v2",
	"github.com/go-logr/logr",
	"github.com/json-iterator/go",
	"github.com/modern-go/concurrent",
	"github.com/modern-go/reflect2",
	"github.com/pmezard/go-difflib",
	"github.com/x448/float16",
	"go.yaml.in/yaml/v2",
	"go.yaml.in/yaml/v3",
	"golang.org/x/net",
	"golang.org/x/text",
	"gopkg.in/inf.v0",
	"k8s.io/api",
	"k8s.io/apimachinery",
	"k8s.io/klog/v2",
	"k8s.io/kube-openapi",
	"k8s.io/utils",
	"sigs.k8s.io/json",
	"sigs.k8s.io/randfill",
	"sigs.k8s.io/structured-merge-diff/v6",
	"sigs.k8s.io/yaml",
}

// impure are packages that a decision must not import itself: what they do belongs
// into a parameter (time, randomness) or to the caller (I/O, logging).
var impure = []string{"crypto/rand", "log", "log/slog", "math/rand", "math/rand/v2", "net/http", "os"}

// A pkg is one package as "go list" describes it.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
	Module     *struct{ Path string }
}

func TestEveryPackageBelongsToATier(t *testing.T) {
	for _, p := range own(load(t)) {
		if _, ok := tierOf(p.ImportPath); !ok {
			t.Errorf("%s is in no tier: name its folder in tiers", p.ImportPath)
		}
	}
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range own(load(t)) {
		from, _ := tierOf(p.ImportPath)
		for _, imported := range p.Imports {
			to, ok := tierOf(imported)
			if ok && to > from {
				t.Errorf("%s (%s) imports %s (%s)", p.ImportPath, from, imported, to)
			}
		}
	}
}

func TestShellsDoNotImportOneAnother(t *testing.T) {
	for _, p := range own(load(t)) {
		if from, _ := tierOf(p.ImportPath); from != shells {
			continue
		}
		for _, imported := range p.Imports {
			if folder(imported) != "" && folder(p.ImportPath) != "" && folder(imported) != folder(p.ImportPath) {
				t.Errorf("%s imports %s: webhooks and controllers share decisions, not code of their own", p.ImportPath, imported)
			}
		}
	}
}

func TestLowerTiersImportLittle(t *testing.T) {
	packages := load(t)
	for _, p := range own(packages) {
		from, _ := tierOf(p.ImportPath)
		allowed, limited := mayImport[from]
		for _, imported := range p.Imports {
			if m := packages[imported].Module; limited && m != nil && m.Path != module && !slices.Contains(allowed, m.Path) {
				t.Errorf("%s (%s) imports %s", p.ImportPath, from, imported)
			}
		}
	}
}

func TestContractBringsLittle(t *testing.T) {
	packages := load(t)
	for _, p := range own(packages) {
		if from, _ := tierOf(p.ImportPath); from != contract {
			continue
		}
		for _, dependency := range p.Deps {
			if m := packages[dependency].Module; m != nil && m.Path != module && !slices.Contains(contractModules, m.Path) {
				t.Errorf("%s depends on %s", p.ImportPath, dependency)
			}
		}
	}
}

func TestDecisionsArePure(t *testing.T) {
	for _, p := range own(load(t)) {
		if from, _ := tierOf(p.ImportPath); from != decisions {
			continue
		}
		for _, imported := range p.Imports {
			if slices.Contains(impure, imported) {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

// TestProductDoesNotContainKubernetesItself keeps test code and the servers of
// Kubernetes out of the binaries.
func TestProductDoesNotContainKubernetesItself(t *testing.T) {
	for _, p := range own(load(t)) {
		if from, _ := tierOf(p.ImportPath); from >= development {
			continue
		}
		for _, dependency := range p.Deps {
			if strings.HasPrefix(dependency, "k8s.io/kubernetes/") {
				t.Errorf("%s depends on %s", p.ImportPath, dependency)
			}
			if to, ok := tierOf(dependency); ok && to == development {
				t.Errorf("%s depends on %s", p.ImportPath, dependency)
			}
		}
	}
}

// TestLintersKnowTheTiers keeps the rules of depguard in step with tiers.
func TestLintersKnowTheTiers(t *testing.T) {
	rules, err := os.ReadFile("../../.golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	for dir, in := range tiers {
		if in < shells && !bytes.Contains(rules, []byte(`"**/`+dir+`/**"`)) {
			t.Errorf(".golangci.yml has no depguard rule for %s (%s)", dir, in)
		}
	}
}

// tierOf returns the tier of a package of this module.
func tierOf(importPath string) (tier, bool) {
	path, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return 0, false
	}
	for path != "" {
		if t, ok := tiers[path]; ok {
			return t, true
		}
		path = path[:max(strings.LastIndex(path, "/"), 0)]
	}
	return 0, false
}

// folder returns which of the shells a package is part of, if any.
func folder(importPath string) string {
	for _, shell := range []string{"webhooks", "internal/controller"} {
		if strings.HasPrefix(importPath+"/", module+"/"+shell+"/") {
			return shell
		}
	}
	return ""
}

// own returns the packages of this module, in a stable order.
func own(packages map[string]pkg) []pkg {
	var result []pkg
	for _, p := range packages {
		if p.Module != nil && p.Module.Path == module {
			result = append(result, p)
		}
	}
	slices.SortFunc(result, func(a, b pkg) int { return strings.Compare(a.ImportPath, b.ImportPath) })
	return result
}

// load returns all packages of this module and everything they depend on, without tests.
func load(t *testing.T) map[string]pkg {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-deps",
		"-json=ImportPath,Standard,Imports,Deps,Module", module+"/...")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	packages := map[string]pkg{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("reading the output of go list: %v", err)
		}
		packages[p.ImportPath] = p
	}
}
