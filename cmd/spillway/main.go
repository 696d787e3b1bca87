// Command spillway is the manager: admission webhooks in every replica, controllers in the leader.
package main

import (
	"flag"
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"
	clientconfig "sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/spillway-project/spillway/internal/config"
	"github.com/spillway-project/spillway/internal/version"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "spillway:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("spillway", flag.ContinueOnError)
	clientconfig.RegisterFlags(flags)
	path := flags.String("config", "", "configuration file (ManagerConfiguration); without it every value has its default")
	bind := flags.String("bind-address", "", "IP address on which webhook, metrics and probes listen; empty for all interfaces")
	showVersion := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		if err == flag.ErrHelp { //nolint:errorlint // returned as it is
			return nil
		}
		return err
	}
	if *showVersion {
		fmt.Println("spillway", version.String()) //nolint:forbidigo // this is what was asked for
		return nil
	}
	c, err := config.Load(*path)
	if err != nil {
		return err
	}
	log, err := newLogger(c.Log)
	if err != nil {
		return err
	}
	ctrl.SetLogger(log)
	rest, err := clientconfig.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	rest.QPS, rest.Burst = c.Client.QPS, int(c.Client.Burst)
	rest.UserAgent = "spillway/" + version.Version()
	m, err := newManager(rest, c, *bind, log)
	if err != nil {
		return err
	}
	log.Info("Starting", "version", version.String())
	return m.start(ctrl.SetupSignalHandler())
}
