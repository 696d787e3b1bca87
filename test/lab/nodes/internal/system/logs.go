package system

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"
)

const followPeriod = 200 * time.Millisecond

// logFile is the file with the output of one run, counted from 0.
func (c *container) logFile(run int32) string {
	object := c.pod.spec()
	return filepath.Join(c.pod.node.config.Logs, object.Namespace+"_"+object.Name+"_"+string(object.UID)[:8], fmt.Sprintf("%s.%d.log", c.name, run))
}

// currentLog is the file of the run under way or of the last one.
func (c *container) currentLog() string {
	c.mu.Lock()
	run := max(0, c.runs-1)
	c.mu.Unlock()
	return c.logFile(run)
}

// logs opens the output of the container as `kubectl logs` wants it.
func (c *container) logs(ctx context.Context, opts api.ContainerLogOpts) (io.ReadCloser, error) {
	c.mu.Lock()
	run := c.runs - 1
	c.mu.Unlock()
	if opts.Previous {
		run--
	}
	if run < 0 {
		return nil, fmt.Errorf("container %s of pod %s has no such run", c.name, c.pod.name())
	}
	file, err := os.Open(c.logFile(run))
	if err != nil {
		return nil, fmt.Errorf("opening the log of container %s: %w", c.name, err)
	}
	if opts.Tail > 0 {
		if err := skipToTail(file, opts.Tail); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	var reader io.Reader = file
	if opts.Follow {
		f := &follower{ctx: ctx, file: file, over: true}
		if process, _ := c.current(); process != nil {
			f.ended, f.over = process.Done(), false
		}
		reader = f
	}
	if opts.LimitBytes > 0 {
		reader = io.LimitReader(reader, int64(opts.LimitBytes))
	}
	return struct {
		io.Reader
		io.Closer
	}{reader, file}, nil
}

// skipToTail leaves the last lines of file to be read.
func skipToTail(file *os.File, lines int) error {
	content, err := io.ReadAll(bufio.NewReader(file))
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	start := len(bytes.TrimSuffix(content, []byte("\n")))
	for ; lines > 0 && start >= 0; lines-- {
		start = bytes.LastIndexByte(content[:start], '\n')
	}
	_, err = file.Seek(int64(start+1), io.SeekStart)
	return err
}

// follower reads a file that grows, until the process that writes it has ended.
type follower struct {
	ctx   context.Context
	file  *os.File
	ended <-chan struct{} // closed when the process has ended
	over  bool            // it has, and what it wrote last is being read
}

func (f *follower) Read(b []byte) (int, error) {
	for {
		select {
		case <-f.ended:
			f.over = true
		default:
		}
		n, err := f.file.Read(b)
		if n > 0 || f.over || !errors.Is(err, io.EOF) {
			return n, err
		}
		select {
		case <-f.ctx.Done():
			return 0, io.EOF
		case <-f.ended:
		case <-time.After(followPeriod):
		}
	}
}
