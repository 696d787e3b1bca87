// Command cert-manager runs cert-manager's controllers and its CA injector in one process, outside the cluster that they serve.
//
// Only what a chart needs for its own webhooks is linked in: Issuers and ClusterIssuers of kind
// selfSigned and ca, Certificates, CertificateRequests with automatic approval, and CA injection.
// cert-manager's own webhook is left out: its checks are those of the CRDs' schemas plus a few
// that the lab does without. The CRDs must be there before this process starts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	logf "github.com/cert-manager/cert-manager/pkg/logs"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	// A set of its own: controller-runtime puts flags into the global one.
	flags := flag.NewFlagSet("cert-manager", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig of the cluster to serve")
	namespace := flags.String("cluster-resource-namespace", "cert-manager", "namespace that holds the Secrets of ClusterIssuers")
	_ = flags.Parse(os.Args[1:]) // ends the process itself

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, *namespace); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "cert-manager:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends or one of the two halves fails.
func run(ctx context.Context, kubeconfig, namespace string) error {
	log := klog.Background()
	ctrl.SetLogger(log)
	ctx = logf.NewContext(ctx, log)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return runControllers(ctx, kubeconfig, namespace) })
	group.Go(func() error { return runInjector(ctx, kubeconfig) })
	return group.Wait()
}
