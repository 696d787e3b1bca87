package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// CacheEnv names the environment variable with the folder for the lab's binaries.
const CacheEnv = "SPILLWAY_LAB_CACHE"

const (
	modulePath        = "github.com/spillway-project/spillway"
	controlPlaneDir   = "test/lab/controlplane"
	nodesDir          = "test/lab/nodes"
	versionsKept      = 3 // of each binary, so that two branches do not build in turns
	progressEach      = 15 * time.Second
	kubernetesModule  = "k8s.io/kubernetes"
	certManagerModule = "github.com/cert-manager/cert-manager"
)

// target is one of the lab's own binaries: it changes only with its module, so it is kept under
// the hash of what it is made of and not even `go build` is asked when that is there.
type target struct {
	name    string
	module  string   // folder of its module, relative to the repository
	pkg     string   // package to build
	sources []string // folders of that module that it is made of, besides go.mod and go.sum
	links   []string // further names, for programs that look at argv[0]
	hint    string   // what to expect of a first build
	version string   // module whose version the binary must report as its own, if any
	crds    string   // module whose deploy/crds are kept beside the binary, if any
}

var targets = []target{
	{
		name: "controlplane", module: controlPlaneDir, pkg: ".", sources: []string{"."}, hint: "first time: about 5 min",
		links:   []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"},
		version: kubernetesModule,
	},
	{name: "labnode", module: nodesDir, pkg: "./cmd/labnode", sources: []string{"cmd/labnode", "internal"}, hint: "first time: about 1 min"},
	{name: "kwok", module: nodesDir, pkg: "sigs.k8s.io/kwok/cmd/kwok", hint: "first time: about 1 min"},
	{name: "cert-manager", module: nodesDir, pkg: "./cmd/cert-manager", sources: []string{"cmd/cert-manager"}, hint: "first time: about 2 min", crds: certManagerModule},
	{name: "helm", module: nodesDir, pkg: "helm.sh/helm/v4/cmd/helm", hint: "first time: about 2 min"},
}

// Builder builds the lab's binaries and keeps them. Several may work on one cache at a time.
type Builder struct {
	// Repo is the root folder of the repository.
	Repo string
	// Cache holds the binaries.
	Cache string
	// Logf reports progress, one short line a call.
	Logf func(format string, args ...any)
}

// NewBuilder returns a builder for the repository that the working directory is in. Its cache is
// $SPILLWAY_LAB_CACHE, by default bin/lab in the repository.
func NewBuilder(logf func(format string, args ...any)) (*Builder, error) {
	repo, err := findRepo()
	if err != nil {
		return nil, err
	}
	cache := os.Getenv(CacheEnv)
	if cache == "" {
		cache = filepath.Join(repo, "bin", "lab")
	}
	if cache, err = filepath.Abs(cache); err != nil {
		return nil, fmt.Errorf("resolving the cache folder: %w", err)
	}
	if logf == nil {
		logf = func(string, ...any) {}
	}
	return &Builder{Repo: repo, Cache: cache, Logf: logf}, nil
}

// findRepo walks up from the working directory to the folder with the product's go.mod.
func findRepo() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the repository: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(content), "module "+modulePath+"\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("finding the repository: no go.mod of %s above the working directory", modulePath)
		}
	}
}

// All builds every binary of the lab.
func (b *Builder) All(ctx context.Context) error {
	for _, t := range targets {
		if _, err := b.build(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// folder builds the named binary if need be and returns the folder that it and its links are in.
func (b *Builder) folder(ctx context.Context, name string) (string, error) {
	i := slices.IndexFunc(targets, func(t target) bool { return t.name == name })
	if i < 0 {
		return "", fmt.Errorf("the lab has no binary %q", name)
	}
	return b.build(ctx, targets[i])
}

func (b *Builder) build(ctx context.Context, t target) (string, error) {
	key, err := b.key(t)
	if err != nil {
		return "", err
	}
	final := filepath.Join(b.Cache, t.name+"-"+key)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	unlock, err := b.lock(ctx, t.name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(final); err == nil { // built by the one that held the lock
		return final, nil
	}

	// Built beside and renamed when complete: a folder with the right name is a finished one.
	scratch, err := os.MkdirTemp(b.Cache, ".building-")
	if err != nil {
		return "", fmt.Errorf("creating a folder for %s: %w", t.name, err)
	}
	defer os.RemoveAll(scratch)
	done := b.progress("build", t.name, t.hint)
	if err := b.compile(ctx, t, scratch); err != nil {
		return "", err
	}
	if err := os.Chmod(scratch, 0o755); err != nil {
		return "", fmt.Errorf("opening the folder of %s to others: %w", t.name, err)
	}
	if err := os.Rename(scratch, final); err != nil {
		return "", fmt.Errorf("keeping %s: %w", t.name, err)
	}
	done()
	return final, b.prune(t.name)
}

// compile builds t into dir, with its links and CRDs.
func (b *Builder) compile(ctx context.Context, t target, dir string) error {
	module := filepath.Join(b.Repo, t.module)
	flags := "-s -w"
	if t.version != "" {
		version, err := goOutput(ctx, module, "list", "-m", "-f", "{{.Version}}", t.version)
		if err != nil {
			return err
		}
		flags += " " + kubernetesVersionFlags(version)
	}
	binary := filepath.Join(dir, t.name)
	if _, err := goOutput(ctx, module, "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", binary, t.pkg); err != nil {
		return err
	}
	for _, link := range t.links {
		if err := os.Symlink(t.name, filepath.Join(dir, link)); err != nil {
			return fmt.Errorf("linking %s: %w", link, err)
		}
	}
	if t.crds == "" {
		return nil
	}
	source, err := goOutput(ctx, module, "list", "-m", "-f", "{{.Dir}}", t.crds)
	if err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(dir, "crds"), os.DirFS(filepath.Join(source, "deploy", "crds"))); err != nil {
		return fmt.Errorf("copying the CRDs of %s: %w", t.crds, err)
	}
	return nil
}

// kubernetesVersionFlags make a Kubernetes binary report version, as a release build does: charts
// and clients compare it.
func kubernetesVersionFlags(version string) string {
	const pkg = "k8s.io/component-base/version"
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	var flags []string
	for variable, value := range map[string]string{
		"gitVersion": version, "gitMajor": parts[0], "gitMinor": parts[min(1, len(parts)-1)], "gitTreeState": "clean",
	} {
		flags = append(flags, fmt.Sprintf("-X %s.%s=%s", pkg, variable, value))
	}
	slices.Sort(flags)
	return strings.Join(flags, " ")
}

// key is the hash of everything that decides what t's binary is.
func (b *Builder) key(t target) (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version(), runtime.GOOS, runtime.GOARCH, t.name, t.pkg, t.links, t.version, t.crds)
	module := filepath.Join(b.Repo, t.module)
	files := []string{"go.mod", "go.sum"}
	for _, source := range t.sources {
		err := filepath.WalkDir(filepath.Join(module, source), func(file string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.Type().IsRegular() && strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go") {
				name, err := filepath.Rel(module, file)
				files = append(files, name)
				return err
			}
			return nil
		})
		if err != nil {
			return "", fmt.Errorf("listing the sources of %s: %w", t.name, err)
		}
	}
	slices.Sort(files)
	for _, name := range slices.Compact(files) {
		fmt.Fprintln(hash, filepath.ToSlash(name))
		if err := addFile(hash, filepath.Join(module, name)); err != nil {
			return "", fmt.Errorf("hashing the sources of %s: %w", t.name, err)
		}
	}
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}

// prune forgets all but the newest versions of a binary. A running lab keeps what it has open.
func (b *Builder) prune(name string) error {
	found, err := filepath.Glob(filepath.Join(b.Cache, name+"-"+strings.Repeat("[0-9a-f]", 12)))
	if err != nil {
		return fmt.Errorf("listing versions of %s: %w", name, err)
	}
	age := func(dir string) time.Time {
		info, err := os.Stat(dir)
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	slices.SortFunc(found, func(x, y string) int { return age(y).Compare(age(x)) })
	for _, old := range found[min(versionsKept, len(found)):] {
		if err := os.RemoveAll(old); err != nil {
			return fmt.Errorf("forgetting %s: %w", old, err)
		}
	}
	return nil
}

// lock makes this the only builder of name on the cache until the returned function is called.
func (b *Builder) lock(ctx context.Context, name string) (func(), error) {
	if err := os.MkdirAll(b.Cache, 0o755); err != nil {
		return nil, fmt.Errorf("creating the cache: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(b.Cache, "."+name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of %s: %w", name, err)
	}
	told := false
	err = waitFor(ctx, "another build of "+name, func(context.Context) error {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) && !told {
			told = true
			b.Logf("%-8s %-24s %s", "wait", name, "another process is building it")
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil // closing releases the lock
}

// progress says that work on name goes on, until the returned function says how long it took.
func (b *Builder) progress(verb, name, hint string) func() {
	start := time.Now()
	b.Logf("%-8s %-24s %s", verb, name, hint)
	finished := make(chan struct{})
	go func() {
		ticker := time.NewTicker(progressEach)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				b.Logf("%-8s %-24s still at it after %s", verb, name, time.Since(start).Round(time.Second))
			case <-finished:
				return
			}
		}
	}()
	return func() {
		close(finished)
		b.Logf("%-8s %-24s %s", "built", name, time.Since(start).Round(100*time.Millisecond))
	}
}

// goOutput runs the go command in dir and returns what it printed, trimmed.
func goOutput(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	// Binaries of the lab run in empty roots: nothing may be linked dynamically.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "PWD="+dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s in %s: %w\n%s", strings.Join(args, " "), dir, err, lastLines(stderr.String(), 30))
	}
	return strings.TrimSpace(stdout.String()), nil
}

func addFile(to io.Writer, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(to, file)
	return err
}

// BuildOption changes how an image's binary is built.
type BuildOption func(*[]string)

// WithLDFlags passes flags to the linker, for instance to give a build a version of its own.
func WithLDFlags(flags string) BuildOption {
	return func(args *[]string) { *args = append(*args, "-ldflags", flags) }
}

// Image builds the main package pkg of the product's module and returns it as an image for the
// system node. The binary is kept under the hash of its content: building again after an edit
// gives another image and leaves the first one, and pods that run it, alone.
func (b *Builder) Image(ctx context.Context, pkg string, opts ...BuildOption) (Image, error) {
	name := path.Base(filepath.ToSlash(pkg))
	unlock, err := b.lock(ctx, "image-"+name)
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	start := time.Now()
	// The go command sees for itself whether this file is up to date, and then does not link again.
	latest := filepath.Join(b.Cache, "images", name+"-latest")
	args := []string{"build", "-buildvcs=false"}
	for _, opt := range opts {
		opt(&args)
	}
	if _, err := goOutput(ctx, b.Repo, append(args, "-o", latest, pkg)...); err != nil {
		return Image{}, err
	}
	hash := sha256.New()
	if err := addFile(hash, latest); err != nil {
		return Image{}, fmt.Errorf("hashing %s: %w", latest, err)
	}
	digest := hex.EncodeToString(hash.Sum(nil))
	binary := filepath.Join(b.Cache, "images", name+"-"+digest[:12], name)
	if _, err := os.Stat(binary); errors.Is(err, fs.ErrNotExist) {
		if err := keepCopy(latest, binary); err != nil {
			return Image{}, fmt.Errorf("keeping %s: %w", binary, err)
		}
	}
	b.Logf("%-8s %-24s %s", "image", name, time.Since(start).Round(100*time.Millisecond))
	return Image{Binary: binary, Digest: "sha256:" + digest}, nil
}

// keepCopy copies from to to, which appears complete or not at all.
func keepCopy(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(to), ".copy-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	if err := errors.Join(addFile(out, from), out.Chmod(0o755), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}
