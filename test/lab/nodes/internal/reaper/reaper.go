// Package reaper cleans up after a lab whose own process died.
package reaper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// Options say what is left to do when the lab's process is gone.
type Options struct {
	// Dir is the lab's folder; it is removed unless Keep is set.
	Dir  string
	Keep bool
	// SaveLogs, if set, gets the logs first.
	SaveLogs string
}

// Run waits for the end of input, a pipe that the lab's process holds open, and then cleans up. The
// lab's other processes need no help: they get a signal when it dies. An orderly stop of the lab kills the reaper.
func Run(input io.Reader, opts Options) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP) // meant for the lab's process
	if _, err := io.Copy(io.Discard, input); err != nil {
		return fmt.Errorf("waiting for the end of the lab: %w", err)
	}
	if opts.SaveLogs != "" {
		if err := errors.Join(os.RemoveAll(opts.SaveLogs), os.CopyFS(opts.SaveLogs, os.DirFS(filepath.Join(opts.Dir, "logs")))); err != nil {
			fmt.Fprintln(os.Stderr, "saving the logs:", err)
		}
	}
	if opts.Keep {
		return nil
	}
	// Dying processes may still write.
	const tries, pause = 50, 100 * time.Millisecond
	var err error
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for range tries {
		if err = os.RemoveAll(opts.Dir); err == nil {
			return nil
		}
		<-ticker.C
	}
	return fmt.Errorf("removing %s: %w", opts.Dir, err)
}
