package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"k8s.io/client-go/tools/clientcmd"
)

// Attach returns the running lab in dir. Its Stop ends that lab, wherever it was started.
func Attach(dir string) (*Lab, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("resolving the lab's folder: %w", err)
	}
	content, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no lab is running in %s: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state of the lab: %w", err)
	}
	l := &Lab{dir: dir}
	if err := json.Unmarshal(content, &l.state); err != nil {
		return nil, fmt.Errorf("decoding the state of the lab in %s: %w", dir, err)
	}
	l.opts = l.state.Options.withDefaults()
	if err := syscall.Kill(l.state.PID, 0); err != nil {
		return nil, fmt.Errorf("the lab in %s has died: process %d: %w", dir, l.state.PID, err)
	}
	l.builder = &Builder{Repo: l.state.Repo, Cache: l.state.Cache, Logf: l.opts.Logf}
	config, err := clientcmd.BuildConfigFromFlags("", l.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", l.Kubeconfig(), err)
	}
	config.QPS = -1
	return l, l.connect(config)
}

// stopAttached asks the process that runs the lab to stop it and waits until it has ended.
func (l *Lab) stopAttached() error {
	if l.state.PID == os.Getpid() || l.dir == "" {
		return nil
	}
	if err := syscall.Kill(l.state.PID, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping process %d: %w", l.state.PID, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	return waitFor(ctx, "the end of the lab", func(context.Context) error {
		if err := syscall.Kill(l.state.PID, 0); err == nil {
			return fmt.Errorf("process %d is still there", l.state.PID)
		}
		return nil
	})
}

// processNamed is the process of that name, or nil in a lab that was attached to.
func (l *Lab) processNamed(name string) *process {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.processes {
		if p.name == name {
			return p
		}
	}
	return nil
}
