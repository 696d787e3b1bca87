package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// EnterCommand is the first argument that makes the binary run a command in a container.
const EnterCommand = "enter"

// Command prepares a command that runs beside p, in its file system. The caller starts it.
func (p *Process) Command(mode Mode, args, env []string) (*exec.Cmd, error) {
	switch mode {
	case ModeNone:
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = env
		return cmd, nil
	case ModeRoot:
		cmd := exec.Command("/proc/self/exe", append([]string{EnterCommand, strconv.Itoa(p.PID())}, args...)...)
		cmd.Env = env
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		return cmd, nil
	default:
		// Joining a user namespace takes a process with one thread, which Go's never are.
		return nil, errors.New("commands cannot be run in a container of a user namespace")
	}
}

// RunEnter joins the file system of a process and becomes a command there. It returns only when that fails.
func RunEnter(args []string) int {
	runtime.LockOSThread()
	err := enter(args)
	fmt.Fprintln(os.Stderr, err)
	const cannotExecute = 126
	return cannotExecute
}

func enter(args []string) error {
	if len(args) < 2 {
		return errors.New("want a process ID and a command")
	}
	fd, err := unix.Open("/proc/"+args[0]+"/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the mount namespace of process %s: %w", args[0], err)
	}
	// Threads share root and working directory; one that joins another file system may not.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("separating from the other threads: %w", err)
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("joining the mount namespace of process %s: %w", args[0], err)
	}
	program, err := lookPath(args[1], os.Environ())
	if err != nil {
		return err
	}
	return fmt.Errorf("starting %s: %w", program, syscall.Exec(program, args[1:], os.Environ()))
}
