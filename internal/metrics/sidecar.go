package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Sidecar holds the instruments of SidecarSets. It is safe for concurrent use.
type Sidecar struct {
	injections *prometheus.CounterVec
	upgrades   *prometheus.CounterVec
	pods       *prometheus.GaugeVec
}

// NewSidecar registers the instruments.
func NewSidecar(registry prometheus.Registerer) *Sidecar {
	m := &Sidecar{
		injections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_sidecar_injections_total",
			Help: "Pods admitted that a SidecarSet selects, by SidecarSet and reason.",
		}, []string{"sidecarset", "reason"}),
		upgrades: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_sidecar_pod_writes_total",
			Help: "Writes of running pods: kind upgrade, reset or evict, result written, refused or failed.",
		}, []string{"sidecarset", "kind", "result"}),
		pods: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "spillway_sidecarset_pods",
			Help: "Pods of a SidecarSet: kind matched, updated, ready, updated_ready, not_upgradable, drifted (the revision differs in what hashes do not see) or uninjected (selected, but without sidecars).",
		}, []string{"sidecarset", "kind"}),
	}
	registry.MustRegister(m.injections, m.upgrades, m.pods)
	return m
}

// Injected counts a pod at its admission.
func (m *Sidecar) Injected(set string, reason v1alpha1.Reason) {
	m.injections.WithLabelValues(set, string(reason)).Inc()
}

// Wrote counts a write of a running pod.
func (m *Sidecar) Wrote(set, kind, result string) {
	m.upgrades.WithLabelValues(set, kind, result).Inc()
}

// SidecarPods are the pods of a set by kind.
type SidecarPods struct {
	Matched, Updated, Ready, UpdatedReady, NotUpgradable, Drifted int32
}

// Observed reports the pods of a set.
func (m *Sidecar) Observed(set string, p SidecarPods) {
	for kind, n := range map[string]int32{
		"matched": p.Matched, "updated": p.Updated, "ready": p.Ready, "updated_ready": p.UpdatedReady,
		"not_upgradable": p.NotUpgradable, "drifted": p.Drifted,
	} {
		m.pods.WithLabelValues(set, kind).Set(float64(n))
	}
}

// Uninjected reports the pods that a set selects and that run without its sidecars.
func (m *Sidecar) Uninjected(set string, n int) {
	m.pods.WithLabelValues(set, "uninjected").Set(float64(n))
}

// Forget drops the series of a set that is gone.
func (m *Sidecar) Forget(set string) {
	match := prometheus.Labels{"sidecarset": set}
	m.injections.DeletePartialMatch(match)
	m.upgrades.DeletePartialMatch(match)
	m.pods.DeletePartialMatch(match)
}
