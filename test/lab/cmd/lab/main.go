// Command lab runs a Kubernetes cluster on this machine: a real control plane, simulated nodes,
// virtual nodes with faults at hand, and a node whose pods are processes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/test/lab"
)

const usage = `A Kubernetes cluster on this machine.

  lab build                      build everything; what is built already is kept
  lab run [-f options.yaml]      run a lab until Ctrl-C
  lab up [-f options.yaml]       start a lab in the background
  lab down                       stop it
  lab status                     show what it consists of
  lab image NAME PACKAGE|FILE    build a package of this repository, or take a file, as an image of the system node
  lab kill [-n NAMESPACE] POD [CONTAINER]
                                 kill -9 a container of the system node
  lab knob NODE                  show the faults of a virtual node
  lab knob NODE NAME=VALUE ...   set faults: refuseNext=2 startDelay=3s unschedulable='no room' stale=true ...
  lab knob NODE off              make it work again
  lab restart NODE               restart a virtual node's kubelet without memory of its pods
  lab kubectl ARGS...            kubectl as the cluster's administrator
  lab helm ARGS...               helm likewise

The lab of up, down and the rest is the one in --dir DIR (before the command), or $SPILLWAY_LAB_DIR.
`

func main() {
	ctrllog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		stop()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok { // of kubectl or helm, which have said why
			os.Exit(exit.ExitCode())
		}
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

// run does what the command line says.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	dir := flags.String("dir", defaultDir(), "folder of the lab")
	if err := flags.Parse(args); err != nil {
		return ignoreHelp(err)
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return nil
	}
	command, rest := flags.Arg(0), flags.Args()[1:]
	switch command {
	case "build":
		return build(ctx)
	case "run":
		return foreground(ctx, "", rest)
	case "serve": // what up starts in the background
		return foreground(ctx, *dir, rest)
	case "up":
		return up(ctx, *dir, rest)
	}
	attached, ok := attachedCommands[command]
	if !ok {
		flags.Usage()
		return fmt.Errorf("unknown command %q", command)
	}
	l, err := lab.Attach(*dir)
	if err != nil {
		return err
	}
	return attached(ctx, l, rest)
}

// attachedCommands are those that need a lab that runs.
var attachedCommands = map[string]func(context.Context, *lab.Lab, []string) error{
	"down": down, "status": status, "image": image, "kill": kill, "knob": knob, "restart": restart,
	"kubectl": func(ctx context.Context, l *lab.Lab, args []string) error { return pass(ctx, l.KubectlCommand, args) },
	"helm":    func(ctx context.Context, l *lab.Lab, args []string) error { return pass(ctx, l.HelmCommand, args) },
}

func ignoreHelp(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	return err
}

// defaultDir is one folder for each user: short, because Unix sockets are in it.
func defaultDir() string {
	if dir := os.Getenv("SPILLWAY_LAB_DIR"); dir != "" {
		return dir
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("spillway-lab-of-%d", os.Getuid()))
}

func logf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func build(ctx context.Context) error {
	builder, err := lab.NewBuilder(logf)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := builder.All(ctx); err != nil {
		return err
	}
	logf("%-8s %-24s %s, in %s", "ready", "all binaries", time.Since(began).Round(10*time.Millisecond), builder.Cache)
	return nil
}

// options reads the flags and the file of run and up.
func options(args []string) (lab.Options, error) {
	var opts lab.Options
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	file := flags.String("f", "", "YAML file with options")
	member := flags.Bool("member", false, "leave out the system node and cert-manager")
	if err := flags.Parse(args); err != nil {
		return opts, err
	}
	if *file != "" {
		content, err := os.ReadFile(*file)
		if err != nil {
			return opts, fmt.Errorf("reading the options: %w", err)
		}
		if err := yaml.UnmarshalStrict(content, &opts); err != nil {
			return opts, fmt.Errorf("decoding %s: %w", *file, err)
		}
	}
	if *member {
		opts.WithoutSystemNode, opts.WithoutCertManager = true, true
	}
	opts.Logf = logf
	return opts, nil
}

// foreground runs a lab until ctx ends.
func foreground(ctx context.Context, dir string, args []string) error {
	opts, err := options(args)
	if err != nil {
		return ignoreHelp(err)
	}
	if dir != "" {
		opts.Dir = dir
	}
	l, err := lab.Start(ctx, opts)
	if err != nil {
		return err
	}
	fmt.Printf("\nexport KUBECONFIG=%s\n", l.Kubeconfig())
	<-ctx.Done()
	fmt.Println("stopping")
	return l.Stop()
}
