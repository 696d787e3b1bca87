package workloadspread

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/metrics"
	"github.com/spillway-project/spillway/internal/spread"
)

// report sets the metrics of the subsets.
func (p *pass) report() {
	claimed := make(map[string]int32)
	for _, subsets := range p.ws.Status.VersionedSubsetStatuses {
		for i := range subsets {
			claimed[subsets[i].Name] += int32(len(subsets[i].CreatingPods)) //nolint:gosec // pods of one workload
		}
	}
	out := make([]metrics.Subset, len(p.ws.Status.SubsetStatuses))
	for i := range out {
		s := &p.ws.Status.SubsetStatuses[i]
		out[i] = metrics.Subset{Name: s.Name, Active: s.Replicas, Claimed: claimed[s.Name], Missing: s.MissingReplicas, Limit: spread.Unlimited}
		if s.MissingReplicas != spread.Unlimited {
			out[i].Limit = s.Replicas + claimed[s.Name] + s.MissingReplicas
		}
		for _, c := range s.Conditions {
			if c.Type == v1alpha1.ConditionSchedulable && c.Status == corev1.ConditionFalse {
				out[i].ClosedSince = c.LastTransitionTime.Time
			}
		}
	}
	p.Metrics.Observed(p.key, out)
}

// turned tells people that subsets closed or opened.
func (p *pass) turned(turns []spread.Turn) {
	for _, t := range turns {
		name := p.terms.Name(t.Subset)
		switch t.Reason {
		case v1alpha1.ReasonSubsetUnschedulable:
			p.warn(p.ws, t.Reason, "Pod %s cannot start in subset %q: %s. New pods pass the subset over; in %s one pod will be let in to see",
				t.Pod, name, t.Message, t.Hold)
		case v1alpha1.ReasonNodePassedOver:
			p.warn(p.ws, t.Reason, "Pod %s cannot start on virtual node %s of subset %q: %s. New pods go to the subset's other nodes for %s",
				t.Pod, t.Node, name, t.Message, t.Hold)
		case v1alpha1.ReasonNodeRecovered:
			p.tell(p.ws, t.Reason, "A pod has started on virtual node %s of subset %q: it is not passed over any more", t.Node, name)
		case v1alpha1.ReasonRecoverSchedulable:
			p.Metrics.WasClosed(p.key, name, t.Lasted)
			p.tell(p.ws, t.Reason, "Subset %q was closed for %s: now one pod is let in to see whether it can start", name, t.Lasted)
		case v1alpha1.ReasonSubsetRecovered:
			p.tell(p.ws, t.Reason, "Pod %s has its place in subset %q: the subset is open again", t.Pod, name)
		}
	}
}
