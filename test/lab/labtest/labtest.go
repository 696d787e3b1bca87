// Package labtest gives a test binary a lab: started once, shared by its tests, with its logs kept
// when one of them fails.
package labtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/spillway-project/spillway/test/lab"
)

// ArtifactsEnv names the environment variable with the folder that gets the logs of failed tests.
const ArtifactsEnv = "SPILLWAY_LAB_ARTIFACTS"

// startLimit is for a start with everything still to be built.
const startLimit = 20 * time.Minute

// Main starts a lab, stores it in cluster, runs the tests and stops the lab. It is the body of a TestMain:
//
//	var cluster *lab.Lab
//
//	func TestMain(m *testing.M) { os.Exit(labtest.Main(m, lab.Options{}, &cluster)) }
//
// When tests fail the logs are copied to a folder, which is printed with the ends of those that
// tell most. When the test binary dies (a panic, its timeout, a signal) they are copied there, too.
func Main(m *testing.M, opts lab.Options, cluster **lab.Lab) int {
	return run(m, []started{{prepare(opts, ""), cluster}}, nil)
}

// MainWithMember is Main with a second lab, the member cluster. The virtual nodes of opts stand for it: their
// providers create the pods there.
func MainWithMember(m *testing.M, opts, memberOpts lab.Options, cluster, member **lab.Lab) int {
	nodes := opts.VirtualNodes
	opts.VirtualNodes = []lab.VirtualNode{}
	memberOpts.VirtualNodes = []lab.VirtualNode{}
	opts, memberOpts = prepare(opts, ""), prepare(memberOpts, "member")
	return run(m, []started{{opts, cluster}, {memberOpts, member}}, func(ctx context.Context) error {
		for _, node := range nodes {
			node.Member = (*member).Kubeconfig()
			if err := (*cluster).AddVirtualNode(ctx, node); err != nil {
				return err
			}
		}
		return nil
	})
}

// started is a lab to be started, and where it is stored.
type started struct {
	opts lab.Options
	lab  **lab.Lab
}

// prepare fills in what the labs of tests have in common. name is that of a second lab of a test binary.
func prepare(opts lab.Options, name string) lab.Options {
	// The lab's client would complain that nobody set it.
	ctrllog.SetLogger(logr.Discard())
	if opts.Logf == nil {
		opts.Logf = func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	}
	if opts.SaveLogs == "" {
		opts.SaveLogs = filepath.Join(artifacts(), name)
	}
	return opts
}

// run starts labs at the same time, then whatever connects them, and the tests.
func run(m *testing.M, labs []started, connect func(context.Context) error) int {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	errs := make([]error, len(labs))
	var all sync.WaitGroup
	for i, s := range labs {
		all.Go(func() { *s.lab, errs[i] = lab.Start(ctx, s.opts) })
	}
	all.Wait()
	code, err := 1, errors.Join(errs...)
	if err == nil && connect != nil {
		err = connect(ctx)
	}
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	for i, s := range labs {
		if errs[i] != nil {
			continue // nothing is left of it
		}
		if code != 0 {
			report(os.Stderr, *s.lab, s.opts.SaveLogs)
		}
		if err := (*s.lab).Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the lab:", err)
			code = max(code, 1)
		}
	}
	return code
}

// artifacts is the folder for the logs of this test binary.
func artifacts() string {
	base := os.Getenv(ArtifactsEnv)
	if base == "" {
		base = filepath.Join(os.TempDir(), "spillway-lab-logs")
	}
	return filepath.Join(base, strings.TrimSuffix(filepath.Base(os.Args[0]), ".test"))
}

// report copies the logs and shows the ends of those that tell most about a failure.
func report(to io.Writer, l *lab.Lab, dir string) {
	const lines = 15
	for _, name := range []string{"egress", "system-kubelet", "virtual-kubelet"} {
		fmt.Fprintf(to, "--- end of %s.log\n%s\n", name, l.LogTail(name, lines))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if pods, err := l.Pods(ctx); err == nil {
		for _, pod := range pods {
			for _, container := range pod.Containers {
				fmt.Fprintf(to, "--- end of the log of %s/%s %s\n%s\n", pod.Namespace, pod.Name, container.Name, lab.Tail(container.Log, lines))
			}
		}
	}
	if err := l.CopyLogs(dir); err != nil {
		fmt.Fprintln(to, err)
		return
	}
	fmt.Fprintf(to, "--- all logs of the lab are in %s\n", dir)
}

// Patience is how long Eventually waits: far longer than anything takes on a machine at work.
const Patience = time.Minute

// Eventually waits until check returns nil, and fails the test with its last error when it does not.
func Eventually(t testing.TB, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil || last == nil {
			last = err // one that the end of patience caused tells nothing
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v: %v", what, ctx.Err(), last)
		case <-ticker.C:
		}
	}
}

// Namespace creates a namespace for a test, which is deleted after it.
func Namespace(t testing.TB, l *lab.Lab) string {
	t.Helper()
	namespaces := l.Clientset().CoreV1().Namespaces()
	made, err := namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("creating a namespace: %v", err)
	}
	t.Cleanup(func() {
		// The test's own context has ended. What is left goes away with the lab.
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		if err := namespaces.Delete(ctx, made.Name, metav1.DeleteOptions{}); err != nil {
			t.Logf("deleting namespace %s: %v", made.Name, err)
		}
	})
	// Pods need the default service account, which comes a moment later.
	Eventually(t, "the service account of namespace "+made.Name, func(ctx context.Context) error {
		_, err := l.Clientset().CoreV1().ServiceAccounts(made.Name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	return made.Name
}
