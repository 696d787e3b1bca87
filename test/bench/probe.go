package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/rest"
)

// reading is what is read before and after a burst.
type reading struct {
	at        time.Time
	cpu       map[string]float64 // seconds, by process
	peak      map[string]int64   // bytes, by release
	admission []bucket
	inside    []bucket           // the same, as Spillway sees it
	commits   []bucket           // writes of a status
	requests  float64            // in those writes
	creates   map[string]float64 // of pods, by HTTP code
	throttled float64
	mark      int64
}

// bucket is one of a cumulative histogram.
type bucket struct{ le, count float64 }

// Quantiles of a histogram, in seconds.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	N   float64 `json:"calls"`
}

func (c *cluster) probe(ctx context.Context) (reading, error) {
	r := reading{at: time.Now(), cpu: map[string]float64{}, peak: map[string]int64{}, creates: map[string]float64{}, mark: c.audit.Mark()}
	for _, p := range c.lab.Processes() {
		r.cpu[p.Name] += cpuSeconds(p.PID)
	}
	pods, err := c.lab.Pods(ctx)
	if err != nil {
		return r, fmt.Errorf("find the managers: %w", err)
	}
	for _, p := range pods {
		name := map[string]string{system: spread, floorSpace: floored}[p.Namespace]
		for _, container := range p.Containers {
			r.cpu[name] += cpuSeconds(container.PID)
			r.peak[name] = max(r.peak[name], takePeak(container.PID))
		}
		if name == spread {
			if err := c.inside(ctx, p.Address, &r); err != nil {
				return r, fmt.Errorf("read the metrics of %s: %w", p.Name, err)
			}
		}
	}
	server, err := c.metrics(ctx, c.lab.Config().Host+"/metrics")
	if err != nil {
		return r, fmt.Errorf("read the API server's metrics: %w", err)
	}
	for _, m := range server["apiserver_admission_webhook_admission_duration_seconds"].GetMetric() {
		if label(m, "name") == "pods.spillway-project.io" {
			r.admission = add(r.admission, m.GetHistogram())
		}
	}
	for _, m := range server["apiserver_request_total"].GetMetric() {
		if label(m, "resource") == "pods" && label(m, "verb") == "POST" && label(m, "subresource") == "" {
			r.creates[label(m, "code")] += m.GetCounter().GetValue()
		}
	}
	r.throttled = c.throttled(ctx)
	return r, nil
}

// metrics reads the metrics of a component of the control plane.
func (c *cluster) metrics(ctx context.Context, url string) (map[string]*dto.MetricFamily, error) {
	client, err := rest.HTTPClientFor(c.lab.Config())
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, answer.Status)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return parser.TextToMetricFamilies(answer.Body)
}

// inside reads what a manager says of itself.
func (c *cluster) inside(ctx context.Context, address string, r *reading) error {
	own, err := c.metrics(ctx, "http://"+address+":8443/metrics")
	if err != nil {
		return err
	}
	for _, m := range own["spillway_admission_duration_seconds"].GetMetric() {
		if label(m, "webhook") == "pods" {
			r.inside = add(r.inside, m.GetHistogram())
		}
	}
	for _, m := range own["spillway_ledger_commit_duration_seconds"].GetMetric() {
		r.commits = add(r.commits, m.GetHistogram())
	}
	for _, m := range own["spillway_ledger_commit_size"].GetMetric() {
		r.requests += m.GetHistogram().GetSampleSum()
	}
	return nil
}

// throttled is for how long the controller manager's client has waited for its own limit, 0 where that
// cannot be read.
func (c *cluster) throttled(ctx context.Context) float64 {
	families, err := c.metrics(ctx, c.lab.Metrics()["kube-controller-manager"])
	if err != nil {
		return 0
	}
	var sum float64
	for _, m := range families["rest_client_rate_limiter_duration_seconds"].GetMetric() {
		sum += m.GetHistogram().GetSampleSum()
	}
	return sum
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// add sums histograms with the same buckets.
func add(to []bucket, h *dto.Histogram) []bucket {
	for i, b := range h.GetBucket() {
		if i == len(to) {
			to = append(to, bucket{le: b.GetUpperBound()})
		}
		to[i].count += float64(b.GetCumulativeCount())
	}
	return to
}

// quantiles interpolates within the buckets of what came between two readings.
func quantiles(before, after []bucket) Quantiles {
	diff := make([]bucket, len(after))
	for i, b := range after {
		diff[i] = b
		if i < len(before) {
			diff[i].count -= before[i].count
		}
	}
	if len(diff) == 0 || diff[len(diff)-1].count == 0 {
		return Quantiles{}
	}
	n := diff[len(diff)-1].count
	at := func(q float64) float64 {
		want, low, below := q*n, 0.0, 0.0
		for _, b := range diff {
			if b.count >= want {
				if math.IsInf(b.le, 1) {
					return low
				}
				return low + (b.le-low)*(want-below)/max(b.count-below, 1)
			}
			low, below = b.le, b.count
		}
		return low
	}
	return Quantiles{P50: at(.5), P95: at(.95), P99: at(.99), N: n}
}

// compare fills in what came between two readings.
func (b *Burst) compare(before, after reading) {
	b.Admission = quantiles(before.admission, after.admission)
	b.Inside, b.Commits = quantiles(before.inside, after.inside), quantiles(before.commits, after.commits)
	if b.Commits.N > 0 {
		b.CommitSize = (after.requests - before.requests) / b.Commits.N
	}
	b.CPUSeconds = make(map[string]float64)
	wall := after.at.Sub(before.at).Seconds() * float64(runtime.NumCPU())
	most := ""
	for name, seconds := range after.cpu {
		used := seconds - before.cpu[name]
		b.Busy += used / wall
		b.CPUSeconds[name] = used
		if most == "" || used > b.CPUSeconds[most] {
			most = name
		}
	}
	b.PeakBytes = after.peak[b.Scenario]
	for code, n := range after.creates {
		if !strings.HasPrefix(code, "2") {
			b.Refused += int(n - before.creates[code])
		}
	}
	b.Throttled = after.throttled - before.throttled
	switch {
	case b.Throttled > b.Seconds/2:
		b.Bottleneck = "the controller manager's request limit: this run measures nothing else"
	case b.Busy > 0.85:
		b.Bottleneck = fmt.Sprintf("the machine's %d cores (%.0f %% busy), most of it %s (%.0f %%)", runtime.NumCPU(), 100*b.Busy, most, 100*b.CPUSeconds[most]/wall)
	default:
		b.Bottleneck = fmt.Sprintf("waiting: the cores are %.0f %% busy, most of it %s (%.0f %%)", 100*b.Busy, most, 100*b.CPUSeconds[most]/wall)
	}
}

// ticksPerSecond is the unit of times in /proc (USER_HZ, 100 on every Linux architecture that Go runs on).
const ticksPerSecond = 100

// cpuSeconds is what a process has used, 0 for one that is gone.
func cpuSeconds(pid int) float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw), ") ") // the name may hold spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	kernel, _ := strconv.ParseFloat(fields[12], 64)
	return (user + kernel) / ticksPerSecond
}

// takePeak returns the largest resident memory of a process since the last call.
func takePeak(pid int) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // where it may not be reset, the peak is that of all runs
	for line := range strings.SplitSeq(string(raw), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

func machine() string {
	model := ""
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.SplitSeq(string(raw), "\n") {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				model = strings.TrimLeft(name, "\t :")
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s, %s", runtime.NumCPU(), or(model, runtime.GOARCH), runtime.Version())
}
