// Command imagetar packs a static binary as a container image, without a container
// engine and without a registry. The result is an archive that "docker load",
// "podman load", "ctr images import" and "kind load image-archive" read.
//
// The image holds the binary and nothing else: no shell, no package, no file that
// could need an update. The same binary and flags give the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// user is the numeric user and group that the Deployment demands too: without
// /etc/passwd, Kubernetes can verify runAsNonRoot only for a number.
const user = "65532:65532"

type options struct {
	binary, output, tag, arch, version, revision string
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "", "static binary to pack; it becomes the entrypoint")
	flag.StringVar(&o.output, "output", "", "archive to write")
	flag.StringVar(&o.tag, "tag", "", "name and tag of the image")
	flag.StringVar(&o.arch, "arch", "", "architecture of the binary, as Go calls it")
	flag.StringVar(&o.version, "version", "", "version, for the image's labels")
	flag.StringVar(&o.revision, "revision", "", "commit, for the image's labels")
	flag.Parse()
	if err := run(o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "imagetar:", err)
		os.Exit(1)
	}
}

func run(o options, out io.Writer) error {
	tag, err := name.NewTag(o.tag)
	if err != nil {
		return err
	}
	image, err := build(o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.output), 0o755); err != nil {
		return err
	}
	if err := tarball.WriteToFile(o.output, tag, image); err != nil {
		return fmt.Errorf("writing %s: %w", o.output, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n  image   %s\n  digest  %s\n", o.output, o.tag, digest)
	return err
}

func build(o options) (v1.Image, error) {
	if err := checkStatic(o.binary); err != nil {
		return nil, err
	}
	content, err := layer(o.binary)
	if err != nil {
		return nil, err
	}
	packed, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
	if err != nil {
		return nil, err
	}
	image, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:   packed,
		History: v1.History{CreatedBy: "imagetar", Comment: filepath.Base(o.binary)},
	})
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", o.arch
	file.Config = v1.Config{
		Entrypoint: []string{"/" + filepath.Base(o.binary)},
		User:       user,
		WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title":    filepath.Base(o.binary),
			"org.opencontainers.image.source":   "https://github.com/spillway-project/spillway",
			"org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.version":  o.version,
			"org.opencontainers.image.revision": o.revision,
		},
	}
	return mutate.ConfigFile(image, file)
}

// layer returns an archive with the binary in its root, owned by root and dated at the
// epoch, so that it depends on the binary alone.
func layer(binary string) ([]byte, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	header := &tar.Header{
		Typeflag: tar.TypeReg,
		Name:     filepath.Base(binary),
		Mode:     0o755,
		Size:     int64(len(content)),
		ModTime:  time.Unix(0, 0),
	}
	if err := writer.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := writer.Write(content); err != nil {
		return nil, err
	}
	return archive.Bytes(), writer.Close()
}

// checkStatic refuses a binary that asks for a dynamic loader, which an image without
// any other file does not have.
func checkStatic(binary string) error {
	file, err := elf.Open(binary)
	if err != nil {
		return fmt.Errorf("%s is no Linux binary: %w", binary, err)
	}
	defer file.Close()
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return errors.New("the binary is not static: build it with CGO_ENABLED=0")
		}
	}
	return nil
}
