package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Kubectl runs kubectl as the administrator and returns what it printed on standard output.
func (l *Lab) Kubectl(ctx context.Context, args ...string) (string, error) {
	cmd, err := l.KubectlCommand(ctx, args...)
	if err != nil {
		return "", err
	}
	return output(cmd)
}

// KubectlCommand prepares kubectl for a caller that wants to connect its input and output.
func (l *Lab) KubectlCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	bin, err := l.builder.folder(ctx, "controlplane")
	if err != nil {
		return nil, err
	}
	return l.cli(ctx, filepath.Join(bin, "kubectl"), args), nil
}

// Helm runs helm, built on first use, and returns what it printed on standard output.
func (l *Lab) Helm(ctx context.Context, args ...string) (string, error) {
	cmd, err := l.HelmCommand(ctx, args...)
	if err != nil {
		return "", err
	}
	return output(cmd)
}

// HelmCommand prepares helm for a caller that wants to connect its input and output. Its own files are in the lab's folder.
func (l *Lab) HelmCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	bin, err := l.builder.folder(ctx, "helm")
	if err != nil {
		return nil, err
	}
	cmd := l.cli(ctx, filepath.Join(bin, "helm"), args)
	for variable, folder := range map[string]string{"HELM_CACHE_HOME": "cache", "HELM_CONFIG_HOME": "config", "HELM_DATA_HOME": "data"} {
		cmd.Env = append(cmd.Env, variable+"="+filepath.Join(l.path("helm"), folder))
	}
	return cmd, nil
}

func (l *Lab) cli(ctx context.Context, binary string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+l.Kubeconfig())
	// Interrupted rather than killed, so that helm can write down what became of a release.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// output runs cmd and wraps a failure with what it said on standard error.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(cmd.Path), strings.Join(cmd.Args[1:], " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
