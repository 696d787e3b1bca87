// Command labnode is the node side of a lab: the kubelet of its virtual nodes, the kubelet of its
// system node, and the reaper that cleans up after a lab whose process died. It is started by the lab.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spillway-project/spillway/test/lab/nodes/internal/reaper"
	"github.com/spillway-project/spillway/test/lab/nodes/internal/sandbox"
	"github.com/spillway-project/spillway/test/lab/nodes/internal/system"
	"github.com/spillway-project/spillway/test/lab/nodes/internal/virtual"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: labnode virtual|system|reap|version [flags]")
		os.Exit(2)
	}
	command, args := os.Args[1], os.Args[2:]
	switch command {
	case sandbox.ShimCommand:
		os.Exit(sandbox.RunShim())
	case sandbox.EnterCommand:
		os.Exit(sandbox.RunEnter(args))
	case "version":
		return // what a probe of the isolation runs
	}
	if err := run(command, args); err != nil {
		fmt.Fprintln(os.Stderr, "labnode "+command+":", err)
		os.Exit(1)
	}
}

func run(command string, args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	switch command {
	case "system":
		file := flags.String("config", "", "configuration file")
		if err := flags.Parse(args); err != nil {
			return err
		}
		config, err := system.LoadConfig(*file)
		if err != nil {
			return err
		}
		return system.Run(ctx, config, log)
	case "virtual":
		kubeconfig := flags.String("kubeconfig", "", "kubeconfig of the cluster")
		socket := flags.String("socket", "", "Unix socket of the control API")
		if err := flags.Parse(args); err != nil {
			return err
		}
		return virtual.Run(ctx, *kubeconfig, *socket, log)
	case "reap":
		var opts reaper.Options
		flags.StringVar(&opts.Dir, "dir", "", "the lab's folder")
		flags.BoolVar(&opts.Keep, "keep", false, "leave the folder in place")
		flags.StringVar(&opts.SaveLogs, "save-logs", "", "folder that gets the logs")
		if err := flags.Parse(args); err != nil {
			return err
		}
		return reaper.Run(os.Stdin, opts)
	default:
		return fmt.Errorf("unknown command")
	}
}
