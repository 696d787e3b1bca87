// Package metrics counts what happens. Its recorders implement the ports of the packages that
// report; labels use the reasons of api/v1alpha1.
package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Metrics holds all instruments. It is safe for concurrent use.
type Metrics struct {
	reviews   *prometheus.HistogramVec
	claims    *prometheus.CounterVec
	commits   *prometheus.HistogramVec
	sizes     prometheus.Histogram
	conflicts *prometheus.CounterVec
	ended     *prometheus.CounterVec
	subset    *prometheus.GaugeVec
	closed    *prometheus.GaugeVec
	closedFor *prometheus.CounterVec
	moved     *prometheus.CounterVec
	repairs   *prometheus.CounterVec
	allowList prometheus.Gauge
}

// New makes the instruments and registers them.
func New(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		reviews: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "spillway_admission_duration_seconds",
			Help:    "Time to answer admission requests, by webhook, HTTP code and reason.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"webhook", "code", "reason"}),
		claims: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_claims_total",
			Help: "Pods that asked for a place, by WorkloadSpread, chosen subset (empty for none) and reason.",
		}, []string{"namespace", "workloadspread", "subset", "reason"}),
		commits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "spillway_ledger_commit_duration_seconds",
			Help:    "Time of writes of WorkloadSpread status, by result.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"result"}),
		sizes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "spillway_ledger_commit_size",
			Help:    "Requests that went out in one write of WorkloadSpread status.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_ledger_conflicts_total",
			Help: "Writes of WorkloadSpread status that met a newer object and were applied again.",
		}, []string{"namespace", "workloadspread"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_claims_ended_total",
			Help: "Claims that ended without a pod, by reason.",
		}, []string{"namespace", "workloadspread", "reason"}),
		subset: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "spillway_subset_replicas",
			Help: "Pods of a subset over all versions: kind active, claimed, limit or missing (-1: no limit).",
		}, []string{"namespace", "workloadspread", "subset", "kind"}),
		closed: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "spillway_subset_unschedulable_since_seconds",
			Help: "When a subset was closed because its pods could not be scheduled, in seconds since 1970; absent while it is open.",
		}, []string{"namespace", "workloadspread", "subset"}),
		closedFor: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_subset_unschedulable_seconds_total",
			Help: "Time for which a subset was closed because its pods could not be scheduled; counted when the time ends.",
		}, []string{"namespace", "workloadspread", "subset"}),
		moved: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_pods_rescheduled_total",
			Help: "Pods deleted because they could not be scheduled in their subset, to be made anew in another.",
		}, []string{"namespace", "workloadspread", "subset"}),
		repairs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_pods_repaired_total",
			Help: "Pods whose labels or annotations a virtual kubelet took off, by result: repaired (written back), or given-up (overwritten too often).",
		}, []string{"namespace", "workloadspread", "result"}),
		allowList: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "spillway_allow_list_problems",
			Help: "Entries of the allow-list of custom workloads that cannot be used.",
		}),
	}
	registry.MustRegister(m.reviews, m.claims, m.commits, m.sizes, m.conflicts, m.ended, m.subset, m.closed, m.closedFor, m.moved, m.repairs, m.allowList)
	return m
}

// Reviewed implements review.Recorder.
func (m *Metrics) Reviewed(webhook string, code int, reason v1alpha1.Reason, took time.Duration) {
	m.reviews.WithLabelValues(webhook, strconv.Itoa(code), string(reason)).Observe(took.Seconds())
}

// Claimed counts a pod that asked for a place.
func (m *Metrics) Claimed(spread types.NamespacedName, subset string, reason v1alpha1.Reason) {
	m.claims.WithLabelValues(spread.Namespace, spread.Name, subset, string(reason)).Inc()
}

// Committed implements ledger.Recorder.
func (m *Metrics) Committed(spread types.NamespacedName, size int, seconds float64, err error) {
	result := "written"
	switch {
	case apierrors.IsConflict(err):
		result = "conflict"
		m.conflicts.WithLabelValues(spread.Namespace, spread.Name).Inc()
	case err != nil:
		result = "failed"
	}
	m.commits.WithLabelValues(result).Observe(seconds)
	m.sizes.Observe(float64(size))
}

// ClaimsEnded implements ledger.Recorder: claims that ended without a pod.
func (m *Metrics) ClaimsEnded(spread types.NamespacedName, reason v1alpha1.Reason, n int) {
	if n == 0 {
		return // no series for what never happens
	}
	m.ended.WithLabelValues(spread.Namespace, spread.Name, string(reason)).Add(float64(n))
}

// Subset is what a subset holds.
type Subset struct {
	Name                            string
	Active, Claimed, Limit, Missing int32
	// ClosedSince is when the subset was closed; zero while it is open.
	ClosedSince time.Time
}

// Observed sets what the subsets of a WorkloadSpread hold.
func (m *Metrics) Observed(spread types.NamespacedName, subsets []Subset) {
	match := prometheus.Labels{"namespace": spread.Namespace, "workloadspread": spread.Name}
	m.subset.DeletePartialMatch(match)
	m.closed.DeletePartialMatch(match)
	for _, s := range subsets {
		if !s.ClosedSince.IsZero() {
			m.closed.WithLabelValues(spread.Namespace, spread.Name, s.Name).Set(float64(s.ClosedSince.Unix()))
		}
		for kind, n := range map[string]int32{"active": s.Active, "claimed": s.Claimed, "limit": s.Limit, "missing": s.Missing} {
			m.subset.WithLabelValues(spread.Namespace, spread.Name, s.Name, kind).Set(float64(n))
		}
	}
}

// WasClosed adds to the time for which a subset was closed.
func (m *Metrics) WasClosed(spread types.NamespacedName, subset string, lasted time.Duration) {
	m.closedFor.WithLabelValues(spread.Namespace, spread.Name, subset).Add(max(lasted.Seconds(), 0))
}

// Rescheduled counts pods that were deleted to be made anew in another subset.
func (m *Metrics) Rescheduled(spread types.NamespacedName, subset string, n int) {
	m.moved.WithLabelValues(spread.Namespace, spread.Name, subset).Add(float64(n))
}

// Repaired counts pods whose metadata was written back, and those for which that was given up.
func (m *Metrics) Repaired(spread types.NamespacedName, repaired, given int) {
	for result, n := range map[string]int{"repaired": repaired, "given-up": given} {
		if n > 0 {
			m.repairs.WithLabelValues(spread.Namespace, spread.Name, result).Add(float64(n))
		}
	}
}

// AllowList sets the number of entries of the allow-list that cannot be used.
func (m *Metrics) AllowList(problems int) { m.allowList.Set(float64(problems)) }

// Forget drops the series of a WorkloadSpread that is gone.
func (m *Metrics) Forget(spread types.NamespacedName) {
	match := prometheus.Labels{"namespace": spread.Namespace, "workloadspread": spread.Name}
	m.subset.DeletePartialMatch(match)
	m.claims.DeletePartialMatch(match)
	m.conflicts.DeletePartialMatch(match)
	m.ended.DeletePartialMatch(match)
	m.closed.DeletePartialMatch(match)
	m.closedFor.DeletePartialMatch(match)
	m.moved.DeletePartialMatch(match)
	m.repairs.DeletePartialMatch(match)
}
