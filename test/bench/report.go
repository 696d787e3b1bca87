package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what dist/bench.json holds.
type Report struct {
	Started string  `json:"started"`
	Machine string  `json:"machine"`
	Bursts  []Burst `json:"bursts"`
}

// of returns the bursts of one scenario and size.
func (r *Report) of(scenario string, size int) []Burst {
	var out []Burst
	for _, b := range r.Bursts {
		if b.Scenario == scenario && b.Pods == size {
			out = append(out, b)
		}
	}
	return out
}

// median of a figure over the rounds.
func median(bursts []Burst, figure func(Burst) float64) float64 {
	all := make([]float64, len(bursts))
	for i, b := range bursts {
		all[i] = figure(b)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// Goals of a burst, as ratios to the floor of the same run.
const (
	speedGoal = 0.85 // pods a second, at least
	tailGoal  = 2.0  // 99th percentile of admission, at most
)

func (r *Report) print(out io.Writer, sizes []int) {
	fmt.Fprintf(out, "\n%s\n", r.Machine)
	for _, size := range sizes {
		fmt.Fprintf(out, "\n%d pods by one Deployment, medians of %d rounds\n\n", size, len(r.of(none, size)))
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "\tpods/s\t\tadmission p50\tp95\tp99\tCPU\tpeak memory\trefused\texact")
		best := 0.0
		for _, s := range scenarios {
			best = max(best, median(r.of(s, size), speed))
		}
		for _, s := range scenarios {
			b := r.of(s, size)
			fmt.Fprintf(t, "%s\t%.1f\t%s\t%s\t%s\t%s\t%s\t%s\t%.0f\t%s\n", s, median(b, speed), bar(median(b, speed)/best),
				millis(median(b, func(b Burst) float64 { return b.Admission.P50 })),
				millis(median(b, func(b Burst) float64 { return b.Admission.P95 })),
				millis(median(b, tail)),
				or(seconds(median(b, func(b Burst) float64 { return b.CPUSeconds[b.Scenario] })), "-"),
				or(mebibytes(median(b, func(b Burst) float64 { return float64(b.PeakBytes) })), "-"),
				median(b, func(b Burst) float64 { return float64(b.Refused) }), exact(b))
		}
		_ = t.Flush()
		r.compare(out, size)
	}
}

func speed(b Burst) float64 { return b.PodsPerSecond }
func tail(b Burst) float64  { return b.Admission.P99 }

// compare prints the ratios within this run, what Spillway asked for, and what held the burst back.
func (r *Report) compare(out io.Writer, size int) {
	ours, floor, free := r.of(spread, size), r.of(floored, size), r.of(none, size)
	fast, slow := median(ours, speed)/median(floor, speed), median(ours, tail)/max(median(floor, tail), 1e-9)
	fmt.Fprintf(out, "\n  pods/s:        %3.0f %% of the floor's (goal: at least %.0f %%)%s, %.0f %% of those without a webhook\n",
		100*fast, 100*speedGoal, missed(fast < speedGoal), 100*median(ours, speed)/median(free, speed))
	fmt.Fprintf(out, "  admission p99: %3.1f × the floor's (goal: at most %.0f ×)%s\n", slow, tailGoal, missed(slow > tailGoal))
	last := ours[len(ours)-1]
	fmt.Fprintf(out, "  in Spillway:   admission p50 %s, p99 %s; writes of the status p50 %s, p99 %s, of %.0f requests each\n",
		millis(last.Inside.P50), millis(last.Inside.P99), millis(last.Commits.P50), millis(last.Commits.P99), last.CommitSize)
	fmt.Fprintf(out, "  requests:      ")
	for i, what := range slices.Sorted(maps.Keys(last.Requests)) {
		if i > 0 {
			fmt.Fprint(out, ", ")
		}
		fmt.Fprintf(out, "%s %d", what, last.Requests[what])
	}
	fmt.Fprintf(out, "; %d conflicts\n  bottleneck:    %s; the controller manager waited %.1f s for its own limit\n", last.Conflicts, last.Bottleneck, last.Throttled)
}

func missed(is bool) string {
	if is {
		return ", MISSED"
	}
	return ""
}

func exact(bursts []Burst) string {
	n := 0
	for _, b := range bursts {
		if b.Exact {
			n++
		}
	}
	return fmt.Sprintf("%d of %d", n, len(bursts))
}

func bar(share float64) string { return strings.Repeat("█", int(share*20+.5)) }

func millis(s float64) string {
	if s == 0 {
		return "-"
	}
	return time.Duration(s * float64(time.Second)).Round(100 * time.Microsecond).String()
}

func seconds(s float64) string {
	if s == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f s", s)
}

func mebibytes(n float64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f MiB", n/(1<<20))
}
