package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// command says how one of the lab's processes is started.
type command struct {
	name string // names the process in messages and its log file
	path string // binary; its base name is argv[0]
	args []string
	env  []string // added to a minimal environment
	// onPipe receives the write end of a pipe on which the process has its standard input:
	// it is closed by the kernel when this process ends, however it ends.
	onPipe func(*os.File)
}

// process is a running process of the lab.
type process struct {
	name    string
	log     string
	cmd     *exec.Cmd
	done    chan struct{} // closed when the process was waited for
	err     error         // how it ended; valid once done is closed
	started time.Time
}

// spawner starts processes that die with this one.
//
// Linux sends the parent-death signal when the *thread* that forked ends, and Go ends threads as it
// likes. So one goroutine, locked to its thread for as long as the lab lives, does all the forking.
type spawner struct {
	logs     string
	requests chan func()
	stop     chan struct{}
	once     sync.Once
}

func newSpawner(logs string) *spawner {
	s := &spawner{logs: logs, requests: make(chan func()), stop: make(chan struct{})}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		for {
			select {
			case request := <-s.requests:
				request()
			case <-s.stop:
				return
			}
		}
	}()
	return s
}

// close ends the forking thread, and with it whatever it started and is still alive.
func (s *spawner) close() { s.once.Do(func() { close(s.stop) }) }

// start runs c with its output in the log folder.
func (s *spawner) start(c command) (*process, error) {
	p := &process{name: c.name, log: filepath.Join(s.logs, c.name+".log"), done: make(chan struct{}), started: time.Now()}
	output, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", c.name, err)
	}
	defer output.Close()

	// The process has no context on purpose: it lives until the lab stops it, not until Start's context ends.
	p.cmd = &exec.Cmd{Path: c.path, Args: append([]string{c.path}, c.args...), Stdout: output, Stderr: output}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.logs, "TMPDIR=" + os.TempDir()}, c.env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if c.onPipe != nil {
		// The one that has to outlive this process learns of its end from the pipe instead.
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		read, write, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("creating the pipe of %s: %w", c.name, err)
		}
		defer read.Close()
		p.cmd.Stdin = read
		c.onPipe(write)
	}

	failed := make(chan error, 1)
	select {
	case s.requests <- func() { failed <- p.cmd.Start() }:
	case <-s.stop:
		return nil, fmt.Errorf("starting %s: the lab is stopped", c.name)
	}
	if err := <-failed; err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// kill ends the process and everything in its process group; done tells when.
func (p *process) kill() {
	// An error means that the group is gone, which is what was wanted.
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
}

// exited tells whether the process ended by itself, as an error that quotes its last words.
func (p *process) exited() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %w\n%s", p.name, errors.Join(p.err, errEnded), Tail(p.log, 15))
	default:
		return nil
	}
}

var errEnded = errors.New("process is not running")

// waitFor polls ready until it returns nil. It gives up when ctx ends or one of the processes does.
func waitFor(ctx context.Context, what string, ready func(context.Context) error, processes ...*process) error {
	const interval = 25 * time.Millisecond
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		last := ready(ctx)
		if last == nil {
			return nil
		}
		for _, p := range processes {
			if p == nil { // of a lab that was attached to
				continue
			}
			if err := p.exited(); err != nil {
				return fmt.Errorf("waiting for %s: %w", what, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last: %w)", what, context.Cause(ctx), last)
		case <-ticker.C:
		}
	}
}
