package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// compile builds a small program, with the given setting of cgo.
func compile(t *testing.T, cgo string) string {
	t.Helper()
	dir := t.TempDir()
	source := "package main\n\nfunc main() {}\n"
	if cgo == "1" {
		source = "package main\n\nimport \"C\"\n\nfunc main() {}\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "spillway")
	command := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "main.go")
	command.Dir = dir
	command.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "GOOS=linux")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}

func TestImageHoldsTheBinaryAlone(t *testing.T) {
	output := filepath.Join(t.TempDir(), "dist", "image.tar")
	o := options{binary: compile(t, "0"), output: output, tag: "spillway:v1", arch: "amd64", version: "v1", revision: "abc"}
	var first bytes.Buffer
	if err := run(o, &first); err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(output, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := file.Config; c.User != user || !slices.Equal(c.Entrypoint, []string{"/spillway"}) || file.OS != "linux" || file.Architecture != "amd64" {
		t.Errorf("config: %+v", file)
	}
	if got := files(t, image); !slices.Equal(got, []string{"spillway -rwxr-xr-x"}) {
		t.Errorf("files: %v", got)
	}

	var second bytes.Buffer
	if err := run(o, &second); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() {
		t.Errorf("not reproducible:\n%s%s", &first, &second)
	}
}

func TestADynamicBinaryIsRefused(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs a C compiler")
	}
	_, err := build(options{binary: compile(t, "1"), arch: "amd64"})
	if err == nil || !strings.Contains(err.Error(), "not static") {
		t.Errorf("got %v", err)
	}
}

func files(t *testing.T, image v1.Image) []string {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, layer := range layers {
		content, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for reader := tar.NewReader(content); ; {
			header, err := reader.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, header.Name+" "+header.FileInfo().Mode().String())
		}
	}
	return names
}
