package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is a container's process.
type Process struct {
	cmd     *exec.Cmd
	done    chan struct{}
	Started time.Time
}

// Exit is how a process ended.
type Exit struct {
	Code   int
	Signal syscall.Signal // 0 unless a signal ended it; then Code is 128 plus the signal
}

// Launcher starts containers that end with this process.
//
// The kernel kills a child when the *thread* that forked it ends, so one thread does all the forking
// and never ends.
type Launcher struct {
	requests chan func()
}

// NewLauncher returns a launcher, which lives as long as this process.
func NewLauncher() *Launcher {
	l := &Launcher{requests: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked
		for request := range l.requests {
			request()
		}
	}()
	return l
}

// Start starts a container. Its output goes to output; the process and all that it starts end when this process does.
func (l *Launcher) Start(spec Spec, output io.Writer) (*Process, error) {
	if spec.Mode == ModeNone {
		cmd := exec.Command(spec.Args[0], spec.Args[1:]...)
		cmd.Env, cmd.Dir = spec.Env, spec.WorkingDir
		return l.start(cmd, output)
	}
	encoded, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encoding the container's specification: %w", err)
	}
	specRead, specWrite, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("creating a pipe: %w", err)
	}
	defer specRead.Close()
	errRead, errWrite, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("creating a pipe: %w", err), specWrite.Close())
	}
	defer errRead.Close()

	cmd := exec.Command("/proc/self/exe", ShimCommand)
	cmd.ExtraFiles = []*os.File{specRead, errWrite}
	cmd.SysProcAttr = namespaces(spec.Mode)
	process, err := l.start(cmd, output)
	_ = errWrite.Close() // the shim has its own
	if err != nil {
		return nil, errors.Join(err, specWrite.Close())
	}
	// A specification is larger than a pipe's buffer only with a very large environment, so this is
	// a goroutine, and the shim's death ends it by a broken pipe.
	go func() {
		_, _ = specWrite.Write(encoded)
		_ = specWrite.Close()
	}()
	reason, err := io.ReadAll(errRead) // ends when the shim execs or exits
	if len(reason) > 0 || err != nil {
		process.Kill()
		<-process.done
		return nil, errors.Join(errors.New(string(reason)), err)
	}
	return process, nil
}

func namespaces(mode Mode) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC}
	if mode == ModeUser {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

func (l *Launcher) start(cmd *exec.Cmd, output io.Writer) (*Process, error) {
	cmd.Stdout, cmd.Stderr = output, output
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.WaitDelay = time.Second // do not wait for grandchildren that hold the output open
	failed := make(chan error, 1)
	l.requests <- func() { failed <- cmd.Start() }
	if err := <-failed; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{}), Started: time.Now()}
	go func() {
		_ = cmd.Wait() // Exit tells how it ended
		p.Kill()       // whatever it started and left behind
		close(p.done)
	}()
	return p, nil
}

// PID is the process's ID on this machine.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the process alone.
func (p *Process) Signal(signal syscall.Signal) error {
	select {
	case <-p.done:
		return os.ErrProcessDone
	default:
		return syscall.Kill(p.PID(), signal)
	}
}

// Kill ends the process and its process group at once.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // an error means that they are gone
}

// Exit is how the process ended; it must have.
func (p *Process) Exit() Exit {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		return Exit{Code: p.cmd.ProcessState.ExitCode()}
	}
	if status.Signaled() {
		const signalled = 128
		return Exit{Code: signalled + int(status.Signal()), Signal: status.Signal()}
	}
	return Exit{Code: status.ExitStatus()}
}

// Probe finds the strongest mode that works here by starting a container that does nothing.
func (l *Launcher) Probe(root string) Mode {
	for _, mode := range []Mode{ModeRoot, ModeUser} {
		if mode == ModeRoot && os.Getuid() != 0 {
			continue
		}
		self, err := os.Executable()
		if err != nil {
			break
		}
		var output bytes.Buffer
		process, err := l.Start(Spec{
			Mode: mode, Root: root, ReadOnlyRoot: true, Hostname: "probe", WorkingDir: "/",
			Mounts: []Mount{{Source: self, Target: "/probe", ReadOnly: true}}, Args: []string{"/probe", "version"},
		}, &output)
		if err != nil {
			continue
		}
		<-process.Done()
		if process.Exit().Code == 0 {
			return mode
		}
	}
	return ModeNone
}
