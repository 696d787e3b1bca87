package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spillway-project/spillway/test/lab"
)

// up starts this program again in the background and shows what it says until the lab is ready.
func up(ctx context.Context, dir string, args []string) error {
	if _, err := options(args); err != nil { // now rather than in the background
		return ignoreHelp(err)
	}
	if l, err := lab.Attach(dir); err == nil {
		return fmt.Errorf("a lab is running in %s already: `lab down` stops it", l.Dir())
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clearing %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("creating %s: %w", dir, err)
	}
	output, err := os.Create(filepath.Join(dir, "up.log"))
	if err != nil {
		return fmt.Errorf("creating the log: %w", err)
	}
	defer output.Close()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	// A session of its own: it outlives this terminal.
	cmd := &exec.Cmd{Path: self, Args: append([]string{"lab", "--dir", dir, "serve"}, args...), Stdout: output, Stderr: output}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the lab: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // what went wrong is in its output
	}()
	if err := follow(ctx, output.Name(), dir, ended); err != nil {
		// Interrupted or failed: nothing may be left in the background.
		return errors.Join(err, interrupt(cmd, ended))
	}
	return nil
}

// errEnded says that the lab's process is gone; what it printed was shown.
var errEnded = errors.New("the lab did not start")

// follow copies what the background process says until the lab is ready or the process has ended.
func follow(ctx context.Context, file, dir string, ended <-chan struct{}) error {
	log, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	defer log.Close()
	reader := bufio.NewReader(log)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		ready := false
		if _, err := os.Stat(filepath.Join(dir, "lab.json")); err == nil {
			ready = true
		}
		over := false
		select {
		case <-ended:
			over = true
		default:
		}
		if _, err := io.Copy(os.Stdout, reader); err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
		switch {
		case over:
			return errEnded
		case ready:
			fmt.Printf("\nexport KUBECONFIG=%s\n", filepath.Join(dir, "kubeconfig"))
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// interrupt stops a background process that is not wanted any more.
func interrupt(cmd *exec.Cmd, ended <-chan struct{}) error {
	if err := cmd.Process.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	select {
	case <-ended:
	case <-time.After(15 * time.Second):
		return cmd.Process.Kill()
	}
	return nil
}
