package system

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
)

// images say which binary an image name stands for.
type images struct {
	mu      sync.Mutex
	byName  map[string]Image
	changed chan struct{} // closed and replaced at every change
}

func newImages(initial map[string]Image) (*images, error) {
	i := &images{byName: map[string]Image{}, changed: make(chan struct{})}
	return i, i.set(initial)
}

// set adds or replaces images.
func (i *images) set(more map[string]Image) error {
	complete := map[string]Image{}
	for name, image := range more {
		info, err := os.Stat(image.Binary)
		if err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
		if info.IsDir() || info.Mode().Perm()&0o111 == 0 {
			return fmt.Errorf("image %s: %s is not a program", name, image.Binary)
		}
		if image.Path == "" {
			image.Path = "/" + filepath.Base(image.Binary)
		}
		if image.Digest == "" {
			identity := fmt.Sprint(image.Binary, info.Size(), info.ModTime().UnixNano())
			image.Digest = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(identity)))
		}
		complete[name] = image
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	maps.Copy(i.byName, complete)
	close(i.changed)
	i.changed = make(chan struct{})
	return nil
}

// get returns an image, and a channel that is closed when there may be another answer.
func (i *images) get(name string) (Image, bool, <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	image, ok := i.byName[name]
	return image, ok, i.changed
}

func (i *images) all() map[string]Image {
	i.mu.Lock()
	defer i.mu.Unlock()
	return maps.Clone(i.byName)
}
