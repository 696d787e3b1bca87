package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// File descriptors that the shim inherits, besides the standard ones.
const (
	specFD  = 3 // the Spec as JSON
	errorFD = 4 // takes the reason when the container cannot be started; closed by a successful exec
)

// RunShim builds the root that it is told on descriptor 3 and becomes the container's process. It
// returns only when that fails, having reported why on descriptor 4.
func RunShim() int {
	// Namespaces and credentials belong to threads: everything happens on this one.
	runtime.LockOSThread()
	unix.CloseOnExec(specFD)
	unix.CloseOnExec(errorFD)
	err := becomeContainer()
	report := os.NewFile(errorFD, "error")
	_, _ = report.WriteString(err.Error()) // if the parent is gone nobody needs it
	const startError = 128
	return startError
}

func becomeContainer() error {
	var spec Spec
	if err := json.NewDecoder(os.NewFile(specFD, "spec")).Decode(&spec); err != nil {
		return fmt.Errorf("reading the container's specification: %w", err)
	}
	for _, step := range []struct {
		what string
		do   func(*Spec) error
	}{
		{"building the root", buildRoot},
		{"entering the root", enterRoot},
		{"setting the host name", func(s *Spec) error { return unix.Sethostname([]byte(s.Hostname)) }},
		{"entering the working directory", func(s *Spec) error { return os.Chdir(s.WorkingDir) }},
		{"giving up privileges", dropPrivileges},
	} {
		if err := step.do(&spec); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	program, err := lookPath(spec.Args[0], spec.Env)
	if err != nil {
		return err
	}
	return fmt.Errorf("starting %s: %w", program, syscall.Exec(program, spec.Args, spec.Env))
}

// buildRoot mounts an empty file system on spec.Root and fills it.
func buildRoot(spec *Spec) error {
	// What is mounted here must not show up on the machine.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", spec.Root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mounting the root: %w", err)
	}
	for _, dir := range []string{"/proc", "/dev", "/etc", "/tmp", "/var/run", spec.WorkingDir} {
		if err := os.MkdirAll(filepath.Join(spec.Root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(spec.Root, "tmp"), 0o777|fs.ModeSticky); err != nil {
		return err
	}
	for name, content := range spec.Files {
		file := filepath.Join(spec.Root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			return err
		}
	}
	if err := mountProc(spec); err != nil {
		return err
	}
	if err := fillDev(spec.Root); err != nil {
		return err
	}
	for _, mount := range spec.Mounts {
		if err := bind(spec.Root, mount); err != nil {
			return err
		}
	}
	return nil
}

// mountProc shows the container its own processes. A machine whose own /proc is partly covered
// refuses that to a user namespace; then it sees the machine's.
func mountProc(spec *Spec) error {
	target := filepath.Join(spec.Root, "proc")
	err := unix.Mount("proc", target, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if errors.Is(err, unix.EPERM) && spec.Mode == ModeUser {
		err = unix.Mount("/proc", target, "", unix.MS_BIND|unix.MS_REC, "")
	}
	if err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	return nil
}

func fillDev(root string) error {
	for _, name := range []string{"null", "zero", "full", "random", "urandom"} {
		if err := bind(root, Mount{Source: "/dev/" + name, Target: "/dev/" + name}); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(target, filepath.Join(root, "dev", name)); err != nil {
			return err
		}
	}
	return nil
}

// bind makes mount.Source appear below root.
func bind(root string, mount Mount) error {
	target := filepath.Join(root, mount.Target)
	info, err := os.Stat(mount.Source)
	if err != nil {
		return fmt.Errorf("mounting %s: %w", mount.Target, err)
	}
	if info.IsDir() {
		err = os.MkdirAll(target, 0o755)
	} else {
		err = errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), touch(target))
	}
	if err != nil {
		return fmt.Errorf("mounting %s: %w", mount.Target, err)
	}
	if err := unix.Mount(mount.Source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mounting %s on %s: %w", mount.Source, mount.Target, err)
	}
	if !mount.ReadOnly {
		return nil
	}
	return remountReadOnly(target)
}

func touch(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// remountReadOnly keeps the flags that the mount has: in a user namespace dropping one is refused.
func remountReadOnly(target string) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(target, &stat); err != nil {
		return fmt.Errorf("reading the flags of %s: %w", target, err)
	}
	const kept = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME
	flags := uintptr(stat.Flags) & kept
	if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|flags, ""); err != nil {
		return fmt.Errorf("making %s read-only: %w", target, err)
	}
	return nil
}

// enterRoot makes spec.Root the root and lets go of the machine's.
func enterRoot(spec *Spec) error {
	if err := os.Chdir(spec.Root); err != nil {
		return err
	}
	// The old root ends up on top of the new one, from where it is detached.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detaching the machine's root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if spec.ReadOnlyRoot {
		return remountReadOnly("/")
	}
	return nil
}

func dropPrivileges(spec *Spec) error {
	if spec.Mode == ModeRoot {
		if err := unix.Setgroups(spec.Groups); err != nil {
			return fmt.Errorf("setting supplementary groups: %w", err)
		}
		if err := unix.Setresgid(spec.Group, spec.Group, spec.Group); err != nil {
			return fmt.Errorf("setting the group: %w", err)
		}
		if err := unix.Setresuid(spec.User, spec.User, spec.User); err != nil {
			return fmt.Errorf("setting the user: %w", err)
		}
	}
	if spec.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("renouncing new privileges: %w", err)
		}
	}
	// A change of user makes the kernel forget this.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("asking to end with the kubelet: %w", err)
	}
	return nil
}

// lookPath finds a program in the container as execvp does.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, entry := range env {
		path, ok := strings.CutPrefix(entry, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(path) {
			program := filepath.Join(dir, name)
			if info, err := os.Stat(program); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
				return program, nil
			}
		}
	}
	return "", fmt.Errorf("starting %s: executable file not found in $PATH", name)
}
