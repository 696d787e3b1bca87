// Command bench measures what Spillway costs a real cluster: bursts of pods by one Deployment without
// any webhook, behind a webhook that decides nothing (the floor), and spread by a WorkloadSpread of two
// percent subsets. Everything is compared within one run, because machines differ; three rounds, medians.
//
//	BENCH_SIZES=1000,5000 BENCH_ROUNDS=3 go run ./test/bench
//
// The figures go to dist/bench.json as well.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

func main() {
	ctrllog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// Scenarios, in the order in which each round runs them.
const (
	none    = "none"     // no webhook is called
	floored = "floor"    // a webhook that answers without looking
	spread  = "spillway" // a WorkloadSpread of two percent subsets
)

var scenarios = []string{none, floored, spread}

func run(ctx context.Context) (err error) {
	sizes, rounds, err := settings()
	if err != nil {
		return err
	}
	c, err := start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()

	report := Report{Machine: machine(), Started: time.Now().UTC().Format(time.RFC3339)}
	for _, size := range sizes {
		for round := range rounds {
			for _, s := range scenarios {
				b, err := c.burst(ctx, s, size)
				if err != nil {
					return fmt.Errorf("%s with %d pods: %w", s, size, err)
				}
				b.Round = round + 1
				fmt.Printf("  %-9s %5d pods, round %d: %6.1f pods/s, admission p99 %s%s\n", s, size, b.Round, b.PodsPerSecond, millis(b.Admission.P99), b.mark())
				report.Bursts = append(report.Bursts, b)
			}
		}
	}
	report.print(os.Stdout, sizes)
	return report.save("dist/bench.json")
}

// settings come from the environment.
func settings() (sizes []int, rounds int, err error) {
	for text := range strings.SplitSeq(or(os.Getenv("BENCH_SIZES"), "1000,5000"), ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 10 {
			return nil, 0, fmt.Errorf("BENCH_SIZES: %q: give numbers of pods from 10 on, such as 1000,5000", text)
		}
		sizes = append(sizes, n)
	}
	rounds, err = strconv.Atoi(or(os.Getenv("BENCH_ROUNDS"), "3"))
	if err != nil || rounds < 1 {
		return nil, 0, fmt.Errorf("BENCH_ROUNDS: give a number from 1 on")
	}
	return sizes, rounds, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (r *Report) save(path string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	fmt.Printf("\nAll figures: %s\n", path)
	return os.WriteFile(path, append(raw, '\n'), 0o600)
}
