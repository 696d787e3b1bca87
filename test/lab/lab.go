package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/test/lab/egress"
)

// Lab is a running cluster.
type Lab struct {
	opts    Options
	builder *Builder
	dir     string
	state   state

	config *rest.Config
	client client.WithWatch
	kube   *kubernetes.Clientset

	// The rest is only set in the process that started the lab, not in one that attached to it.
	net     *network
	spawner *spawner
	cancel  context.CancelFunc // ends what the lab runs in this process
	inner   sync.WaitGroup
	pipe    *os.File // held open: the reaper acts when it closes
	reaper  *process

	mu        sync.Mutex
	processes []*process // in the order of their start
	stopOnce  sync.Once
	stopErr   error
}

// state is what a process that attaches to a lab has to know; it is a file in the lab's folder.
type state struct {
	PID     int               `json:"pid"` // of the process that runs the lab
	Repo    string            `json:"repo"`
	Cache   string            `json:"cache"`
	Network string            `json:"network"`
	Bin     map[string]string `json:"bin"` // folders of the binaries
	Options Options           `json:"options"`
	Metrics map[string]string `json:"metrics"`
	Started time.Time         `json:"started"`
	// Processes are filled in when the lab is ready.
	Processes []Process `json:"processes"`
}

// Process is one of the processes that a lab consists of.
type Process struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	Log  string `json:"log"`
}

const stateFile = "lab.json"

// stopPatience is how long stopping a lab may take: it has no work to save.
const stopPatience = 10 * time.Second

// Start builds what is not built yet, starts a lab and returns when all of it is ready. The lab then
// runs until Stop, or until this process ends in whatever way; ctx only limits the start.
func Start(ctx context.Context, opts Options) (*Lab, error) {
	opts = opts.withDefaults()
	builder, err := NewBuilder(opts.Logf)
	if err != nil {
		return nil, err
	}
	l := &Lab{opts: opts, builder: builder, state: state{
		PID: os.Getpid(), Repo: builder.Repo, Cache: builder.Cache, Bin: map[string]string{}, Metrics: map[string]string{}, Options: opts, Started: time.Now(),
	}}
	// Built first, so that a slow build is told apart from a slow start.
	if err := l.build(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := l.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the lab: %w", err), l.Stop())
	}
	if err := l.start(ctx); err != nil {
		err = fmt.Errorf("starting the lab: %w", err)
		if opts.SaveLogs != "" {
			err = errors.Join(err, l.CopyLogs(opts.SaveLogs))
		}
		return nil, errors.Join(err, l.Stop())
	}
	opts.Logf("%-8s %-24s %s", "ready", "the lab", time.Since(began).Round(10*time.Millisecond))
	return l, nil
}

func (l *Lab) build(ctx context.Context) error {
	names := []string{"controlplane", "labnode", "kwok"}
	if !l.opts.WithoutCertManager {
		names = append(names, "cert-manager")
	}
	for _, name := range names {
		folder, err := l.builder.folder(ctx, name)
		if err != nil {
			return err
		}
		l.state.Bin[name] = folder
	}
	return nil
}

// prepare makes the folder, takes a network and starts the reaper, which cleans up after this process should it die.
func (l *Lab) prepare() error {
	var err error
	if l.dir = l.opts.Dir; l.dir == "" {
		l.dir, err = os.MkdirTemp("", "spillway-lab-")
	} else {
		l.dir, err = filepath.Abs(l.dir)
	}
	if err != nil {
		return fmt.Errorf("choosing a folder: %w", err)
	}
	const socketLimit, longestName = 107, len("/virtual.sock")
	if len(l.dir)+longestName > socketLimit {
		return fmt.Errorf("the path of folder %s is too long for a Unix socket in it", l.dir)
	}
	for _, sub := range []string{"pki", "logs", "helm"} {
		if err := os.MkdirAll(l.path(sub), 0o700); err != nil {
			return fmt.Errorf("creating a folder: %w", err)
		}
	}
	if l.net, err = claimNetwork(); err != nil {
		return err
	}
	l.state.Network = l.net.prefix.String()
	l.spawner = newSpawner(l.logs())
	args := []string{"reap", "--dir=" + l.dir}
	if l.opts.KeepDir {
		args = append(args, "--keep")
	}
	if l.opts.SaveLogs != "" {
		args = append(args, "--save-logs="+l.opts.SaveLogs)
	}
	l.reaper, err = l.spawner.start(command{
		name: "reaper", path: filepath.Join(l.state.Bin["labnode"], "labnode"), args: args,
		onPipe: func(write *os.File) { l.pipe = write },
	})
	return err
}

// start brings up the parts in the order in which they need each other.
func (l *Lab) start(ctx context.Context) error {
	// Phase 1: the API.
	cp, err := l.startControlPlane(ctx)
	if err != nil {
		return err
	}
	if err := l.connect(cp.config); err != nil {
		return err
	}
	// Phase 2: the network, which webhooks and `kubectl logs` need from the first call on.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	if err := l.startEgress(ctx, inner); err != nil {
		return err
	}
	// Phase 3: everything else, which only needs the API. On a small machine the work overlaps
	// with the waiting for leases and informers.
	parts := []func(context.Context) error{l.startOwnNodes, l.startVirtualNodes}
	if !l.opts.WithoutSystemNode {
		parts = append(parts, l.startSystemNode)
	}
	if !l.opts.WithoutCertManager {
		parts = append(parts, l.startCertManager)
	}
	if err := concurrently(ctx, parts...); err != nil {
		return err
	}
	return l.writeState()
}

// connect makes the clients.
func (l *Lab) connect(config *rest.Config) error {
	var err error
	l.config = config
	if l.kube, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("creating a client: %w", err)
	}
	if l.client, err = client.NewWithWatch(config, client.Options{}); err != nil {
		return fmt.Errorf("creating a client: %w", err)
	}
	return nil
}

// startEgress serves the service network from this process until inner ends.
func (l *Lab) startEgress(ctx, inner context.Context) error {
	services, err := egress.NewServices(l.kube, egress.Mapping{Published: netip.MustParsePrefix(podRange), Local: l.net.prefix})
	if err != nil {
		return fmt.Errorf("preparing the egress proxy: %w", err)
	}
	listener, err := net.Listen("unix", l.path("egress.sock"))
	if err != nil {
		return fmt.Errorf("listening for the API server: %w", err)
	}
	log, err := os.Create(filepath.Join(l.logs(), "egress.log"))
	if err != nil {
		return fmt.Errorf("opening the log of the egress proxy: %w", err)
	}
	logf := func(format string, args ...any) {
		// One write a line: concurrent lines stay whole. A full disk must not stop the network.
		_, _ = fmt.Fprintf(log, time.Now().Format("15:04:05.000 ")+format+"\n", args...)
	}
	proxy := egress.New(services, logf)
	l.inner.Go(func() {
		defer log.Close()
		if err := proxy.Serve(inner, listener); err != nil {
			logf("%v", err)
		}
	})
	if err := services.Start(inner, proxy); err != nil {
		return fmt.Errorf("starting the egress proxy: %w", err)
	}
	return ctx.Err()
}

// run starts a process of the lab and remembers it for Stop.
func (l *Lab) run(c command) (*process, error) {
	p, err := l.spawner.start(c)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.processes = append(l.processes, p)
	return p, nil
}

// step reports a part of the start when the returned function is called.
func (l *Lab) step(name string) func() {
	began := time.Now()
	return func() { l.opts.Logf("%-8s %-24s %s", "up", name, time.Since(began).Round(10*time.Millisecond)) }
}

func (l *Lab) setMetrics(name, url string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.Metrics[name] = url
}

func (l *Lab) writeState() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.processes {
		l.state.Processes = append(l.state.Processes, Process{Name: p.name, PID: p.cmd.Process.Pid, Log: p.log})
	}
	content, err := json.MarshalIndent(l.state, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the lab's state: %w", err)
	}
	// Renamed into place: its presence says that the lab is ready.
	if err := os.WriteFile(l.path(stateFile+".new"), content, 0o600); err != nil {
		return fmt.Errorf("writing the lab's state: %w", err)
	}
	if err := os.Rename(l.path(stateFile+".new"), l.path(stateFile)); err != nil {
		return fmt.Errorf("writing the lab's state: %w", err)
	}
	return nil
}

// Stop ends every process of the lab and removes its folder unless Options.KeepDir says otherwise.
// It may be called more than once, and is not needed when this process is about to end.
func (l *Lab) Stop() error {
	l.stopOnce.Do(func() {
		if l.spawner == nil && l.net == nil {
			l.stopErr = l.stopAttached()
			return
		}
		l.stopErr = l.stop()
	})
	return l.stopErr
}

func (l *Lab) stop() error {
	if l.cancel != nil {
		l.cancel()
	}
	l.inner.Wait()
	l.mu.Lock()
	processes := slices.Clone(l.processes)
	l.mu.Unlock()
	// Nothing of a lab is worth an orderly shutdown. Kubelets first: their containers die with them.
	if l.reaper != nil {
		processes = append(processes, l.reaper)
	}
	for _, p := range slices.Backward(processes) {
		p.kill()
	}
	for _, p := range processes {
		<-p.done
	}
	if l.pipe != nil {
		_ = l.pipe.Close() // after the reaper's end: nobody listens
	}
	if l.spawner != nil {
		l.spawner.close()
	}
	if l.net != nil {
		l.net.release()
	}
	if l.opts.KeepDir || l.dir == "" {
		return nil
	}
	return removeDir(l.dir)
}

// removeDir removes dir even while a dying process still writes to it.
func removeDir(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	return waitFor(ctx, "removal of "+dir, func(context.Context) error { return os.RemoveAll(dir) })
}

// concurrently runs every part and returns the first error, having told the others to give up.
func concurrently(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, part := range parts {
		all.Go(func() {
			if err := part(ctx); err != nil {
				cancel(err) // only the first one counts
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

func (l *Lab) path(name string) string { return filepath.Join(l.dir, name) }
func (l *Lab) logs() string            { return l.path("logs") }

// Dir is the folder with everything that the lab wrote.
func (l *Lab) Dir() string { return l.dir }

// Kubeconfig is the path of a kubeconfig for the cluster's administrator.
func (l *Lab) Kubeconfig() string { return l.path("kubeconfig") }

// Config is a copy of the administrator's client configuration, without a limit on calls a second.
func (l *Lab) Config() *rest.Config { return rest.CopyConfig(l.config) }

// Client reads and writes the cluster directly, with the types of client-go's scheme.
func (l *Lab) Client() client.WithWatch { return l.client }

// Clientset is the typed client of the cluster.
func (l *Lab) Clientset() *kubernetes.Clientset { return l.kube }

// Processes are the processes of the lab besides the one that started it, which also holds the
// egress proxy. Their IDs let a benchmark read CPU seconds and memory.
func (l *Lab) Processes() []Process { return slices.Clone(l.state.Processes) }

// Started is when the start of the lab began.
func (l *Lab) Started() time.Time { return l.state.Started }

// Metrics are the URLs of the metrics of kube-controller-manager and kube-scheduler, which accept
// the administrator's certificate. The API server's are at /metrics of Config().Host.
func (l *Lab) Metrics() map[string]string { return l.state.Metrics }
