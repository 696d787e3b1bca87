// Command demo shows Spillway at work: it starts two real clusters on this machine, of which a
// virtual node of the first stands for the second, installs the chart in both, applies the samples of config/samples, scales the workload and prints where
// its pods are; then it gives the overflow pods a sidecar and upgrades that in place. It ends
// with status 0 only if every count was exact.
//
// With KEEP=1 the cluster goes on running afterwards.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

func main() {
	ctrllog.SetLogger(logr.Discard()) // what clients have to say is in the errors too
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	d := &demo{out: newPrinter(os.Stdout), keep: os.Getenv("KEEP") == "1"}
	if err := d.run(ctx); err != nil {
		d.out.failure(err)
		stop()
		os.Exit(1)
	}
}

// A demo is one run of the scenario.
type demo struct {
	out     *printer
	keep    bool
	cluster *cluster
}

func (d *demo) run(ctx context.Context) (err error) {
	began := time.Now()
	d.out.title("Spillway: half of a workload on the cluster's own nodes, the rest on a virtual node")

	// 1. Clusters, which are gone again at the end unless they are to be kept.
	d.out.step("Two clusters on this machine: a member of 4 nodes, and one of 3 own nodes and a virtual node that stands for the member")
	if d.cluster, err = startCluster(ctx, d.keep, d.out); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.cluster.saveLogs(d.out.progress))
		}
		if !d.keep || err != nil {
			err = errors.Join(err, d.cluster.stop())
		}
	}()

	// 2. Spillway as a user installs it.
	d.out.step("helm install spillway charts/spillway --wait: where pods are created, and with role=member where they overflow to")
	if err := d.cluster.install(ctx, d.cluster.lab, "config.virtualNodes.handOver=true", d.out.progress); err != nil {
		return err
	}
	if err := d.cluster.install(ctx, d.cluster.member, "role=member", d.out.progress); err != nil {
		return err
	}

	// 3. The samples, and then the same workload smaller and larger: a percentage keeps
	// its ratio both ways.
	d.out.step("kubectl apply: a WorkloadSpread (at most 50% on own nodes) and a Deployment of 10 pods")
	if err := d.cluster.applySamples(ctx); err != nil {
		return err
	}
	if err := d.show(ctx, 10); err != nil {
		return err
	}
	d.out.step("One of the overflow pods: above on the virtual node, and below where it runs")
	if err := d.sideBySide(ctx); err != nil {
		return err
	}
	for _, replicas := range []int32{4, 12} {
		d.out.step(fmt.Sprintf("kubectl scale deployment web --replicas=%d", replicas))
		if _, err := d.cluster.lab.Kubectl(ctx, "scale", "deployment", workload, fmt.Sprintf("--replicas=%d", replicas)); err != nil {
			return err
		}
		if err := d.show(ctx, replicas); err != nil {
			return err
		}
	}

	// 4. Sidecars for what overflows, and their upgrade in place.
	if err := d.sidecars(ctx); err != nil {
		return err
	}

	d.out.success(fmt.Sprintf("Every count was exact: on the nodes and in the status, four times; every overflow pod ran below; sidecars were upgraded in the pods that had them. %s in all.", time.Since(began).Round(time.Second)))
	if d.keep {
		return d.cluster.farewell(ctx, d.out)
	}
	d.out.hint("KEEP=1 make demo leaves the cluster running, to try things in.")
	return nil
}

// show waits until the workload has settled, prints its spread and says whether it is
// what the WorkloadSpread asks for.
func (d *demo) show(ctx context.Context, replicas int32) error {
	began := time.Now()
	seen, err := d.cluster.settle(ctx, replicas)
	if seen != nil {
		d.out.table(seen)
	}
	if err != nil {
		return err
	}
	d.out.progress("%-8s %-24s %s", "settled", fmt.Sprintf("%d pods", replicas), (time.Since(began) - calm).Round(10*time.Millisecond))
	return nil
}
