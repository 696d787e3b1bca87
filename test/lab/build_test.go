package lab

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// repository makes a tiny repository with one target.
func repository(t *testing.T) (*Builder, target) {
	t.Helper()
	repo := t.TempDir()
	for name, content := range map[string]string{
		"m/go.mod": "module example.com/m\n\ngo 1.26\n", "m/go.sum": "",
		"m/main.go": "package main\n\nfunc main() {}\n", "m/main_test.go": "package main\n",
	} {
		file := filepath.Join(repo, name)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if err := errors.Join(err, os.WriteFile(file, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	b := &Builder{Repo: repo, Cache: filepath.Join(repo, "cache"), Logf: t.Logf}
	return b, target{name: "tiny", module: "m", pkg: ".", sources: []string{"."}, links: []string{"other-name"}}
}

func edit(t *testing.T, b *Builder, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.Repo, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func build(t *testing.T, b *Builder, what target) string {
	t.Helper()
	dir, err := b.build(t.Context(), what)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestBuildKeepsWhatDidNotChange(t *testing.T) {
	t.Parallel()
	b, tiny := repository(t)
	first := build(t, b, tiny)
	for _, name := range []string{"tiny", "other-name"} {
		if info, err := os.Stat(filepath.Join(first, name)); err != nil || info.Mode().Perm()&0o111 == 0 {
			t.Errorf("%s is not a program: %v", name, err)
		}
	}
	edit(t, b, "m/main_test.go", "package main\n\n// changed\n")
	if again := build(t, b, tiny); again != first {
		t.Errorf("a changed test made %s of %s", again, first)
	}
	edit(t, b, "m/main.go", "package main\n\nfunc main() { println() }\n")
	if changed := build(t, b, tiny); changed == first {
		t.Errorf("a changed source made %s again", changed)
	}
}

func TestBuildLeavesNothingWhenItFails(t *testing.T) {
	t.Parallel()
	b, tiny := repository(t)
	edit(t, b, "m/main.go", "package main\n\nfunc main() { nonsense }\n")
	if _, err := b.build(t.Context(), tiny); err == nil {
		t.Fatal("nonsense was built")
	}
	left, err := os.ReadDir(b.Cache)
	if err != nil || len(left) != 1 || left[0].Name() != ".tiny.lock" {
		t.Errorf("in the cache are %v, want the lock only (%v)", left, err)
	}
}

func TestBuildByManyAtOnce(t *testing.T) {
	t.Parallel()
	b, tiny := repository(t)
	var all sync.WaitGroup
	results := make([]string, 4)
	for i := range results {
		all.Go(func() {
			dir, err := b.build(t.Context(), tiny)
			if err != nil {
				t.Error(err)
			}
			results[i] = dir
		})
	}
	all.Wait()
	for _, dir := range results {
		if dir != results[0] || dir == "" {
			t.Errorf("one built %q, another %q", dir, results[0])
		}
	}
}

func TestPruneKeepsTheNewest(t *testing.T) {
	t.Parallel()
	b, tiny := repository(t)
	old := time.Now().Add(-time.Hour)
	for _, key := range []string{"000000000001", "000000000002", "000000000003", "000000000004"} {
		dir := filepath.Join(b.Cache, tiny.name+"-"+key)
		old = old.Add(time.Minute)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chtimes(dir, old, old)); err != nil {
			t.Fatal(err)
		}
	}
	newest := build(t, b, tiny)
	kept, err := filepath.Glob(filepath.Join(b.Cache, "tiny-*"))
	if err != nil || len(kept) != versionsKept {
		t.Fatalf("kept %v (%v), want %d", kept, err, versionsKept)
	}
	if _, err := os.Stat(newest); err != nil {
		t.Errorf("the newest was not kept: %v", err)
	}
}
