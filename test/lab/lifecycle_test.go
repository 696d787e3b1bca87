package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/test/lab"
	"github.com/spillway-project/spillway/test/lab/labtest"
)

// startOnly starts a lab with a pod on its system node, prints its folder and the process IDs of everything, and waits.
func startOnly() {
	ctx, cancel := context.WithTimeout(context.Background(), labtest.Patience)
	defer cancel()
	l, err := lab.Start(ctx, lab.Options{
		OwnNodes: []lab.NodeGroup{}, VirtualNodes: []lab.VirtualNode{}, WithoutCertManager: true,
		Images: map[string]lab.Image{testImage: {Binary: os.Getenv(startOnlyEnv)}},
	})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	pod := makePod("default", "victim")
	systemPod(&pod.Spec, "serve")
	// The service account may come a moment after the namespace.
	for err = l.Client().Create(ctx, pod); err != nil && ctx.Err() == nil; {
		err = l.Client().Create(ctx, pod)
	}
	fmt.Println("dir", l.Dir())
	for _, p := range l.Processes() {
		fmt.Println("pid", p.PID)
	}
	for ctx.Err() == nil {
		pods, err := l.Pods(ctx)
		if err == nil && len(pods) == 1 && pods[0].Containers[0].PID != 0 {
			fmt.Println("pid", pods[0].Containers[0].PID)
			break
		}
	}
	fmt.Println("ready")
	select {} // until killed
}

// TestKilledLab kills a process that runs a lab: nothing of it may be left.
func TestKilledLab(t *testing.T) {
	t.Parallel()
	image, err := buildTestImage()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), startOnlyEnv+"="+image.Binary)
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	var dir string
	var pids []int
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		kind, value, _ := strings.Cut(lines.Text(), " ")
		switch kind {
		case "dir":
			dir = value
		case "pid":
			var pid int
			if _, err := fmt.Sscan(value, &pid); err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		default:
			t.Fatal(lines.Text())
		}
	}
	if dir == "" || len(pids) < 5 {
		t.Fatalf("folder %q, processes %v", dir, pids)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	labtest.Eventually(t, "end of everything", func(context.Context) error {
		for _, pid := range pids {
			if processExists(pid) {
				return fmt.Errorf("process %d is there", pid)
			}
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("folder %s is there: %w", dir, err)
		}
		return nil
	})
}

// processExists tells whether a process runs; one that only waits to be waited for does not.
func processExists(pid int) bool {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	after := string(content[strings.LastIndexByte(string(content), ')')+1:])
	return !strings.HasPrefix(strings.TrimSpace(after), "Z") && syscall.Kill(pid, 0) == nil
}

// TestTwoLabs runs a second lab beside the shared one, in the weakest isolation, and attaches to it.
func TestTwoLabs(t *testing.T) {
	t.Parallel()
	image, err := buildTestImage()
	if err != nil {
		t.Fatal(err)
	}
	second, err := lab.Start(t.Context(), lab.Options{
		OwnNodes: []lab.NodeGroup{{Name: "other", Count: 1}}, VirtualNodes: []lab.VirtualNode{}, WithoutCertManager: true,
		Isolation: lab.IsolationNone, Images: map[string]lab.Image{testImage: image}, Logf: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := second.Stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(second.Dir()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("folder %s is left after Stop: %v", second.Dir(), err)
		}
	})
	if second.Config().Host == cluster.Config().Host {
		t.Fatalf("both labs are at %s", second.Config().Host)
	}
	attached, err := lab.Attach(second.Dir())
	if err != nil {
		t.Fatal(err)
	}
	// Each knows its own nodes only.
	nodes, err := attached.Clientset().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: "type=kwok"})
	if err != nil || len(nodes.Items) != 1 || nodes.Items[0].Name != "other-0" {
		t.Fatalf("own nodes of the second lab: %v (%v)", nodes, err)
	}
	checkWithoutIsolation(t, attached)
}

// checkWithoutIsolation runs a pod whose paths are rewritten, with its token found through KUBECONFIG.
func checkWithoutIsolation(t *testing.T, l *lab.Lab) {
	t.Helper()
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "config"}, Data: map[string]string{"key": "value"}}
	if err := l.Client().Create(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	pod := makePod("default", "bare")
	systemPod(&pod.Spec, "cat", "/config/key", "/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "config", MountPath: "/config"}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "config"},
	}}}}
	labtest.Eventually(t, "creation of the pod", func(ctx context.Context) error { return l.Client().Create(ctx, pod) })
	labtest.Eventually(t, "output of the pod", func(ctx context.Context) error {
		out, err := l.Kubectl(ctx, "logs", "bare")
		if err != nil || out != "valuedefault" {
			return fmt.Errorf("output %q: %w", out, err)
		}
		return nil
	})
}

func TestStartFailsWithTheReason(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l, err := lab.Start(ctx, lab.Options{
		OwnNodes: []lab.NodeGroup{}, VirtualNodes: []lab.VirtualNode{}, WithoutCertManager: true, WithoutSystemNode: true,
		APIServerArgs: []string{"--no-such-flag"},
	})
	if err == nil {
		_ = l.Stop()
		t.Fatal("a lab with a wrong flag started")
	}
	if !strings.Contains(err.Error(), "unknown flag: --no-such-flag") {
		t.Errorf("error %q does not say why the API server ended", err)
	}
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if err := errors.Join(err, os.WriteFile(name, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}
