package spread

import (
	"fmt"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
)

// Terms is what a WorkloadSpread asks for, parsed once.
type Terms struct {
	names  []string
	limits []Limit
	index  map[string]int

	// Percent: some limit is a percentage, so the workload's replicas have to be known, and every
	// subset's pods are ranked so that a scale-in keeps the ratio.
	Percent bool
	// Critical is how long a pod may be in trouble before its subset is closed and the pod moved; 0
	// for a spread that does not reschedule.
	Critical time.Duration
	// Free: exactly one subset, without a limit. There is nothing to count (OpenKruise's shortcut).
	Free bool
}

// ParseTerms reads the subsets of a spec. The error names the field, the value and the remedy; a
// spec that passed validation does not give one.
func ParseTerms(spec *appsv1alpha1.WorkloadSpreadSpec) (Terms, error) {
	t := Terms{index: make(map[string]int, len(spec.Subsets))}
	for i := range spec.Subsets {
		s := &spec.Subsets[i]
		l, err := ParseLimit(s.MaxReplicas)
		if err != nil {
			return Terms{}, fmt.Errorf("spec.subsets[%d].maxReplicas of subset %q: %w", i, s.Name, err)
		}
		if _, dup := t.index[s.Name]; dup {
			return Terms{}, fmt.Errorf("spec.subsets[%d].name: %q names two subsets", i, s.Name)
		}
		t.index[s.Name] = i
		t.names = append(t.names, s.Name)
		t.limits = append(t.limits, l)
		t.Percent = t.Percent || l.IsPercent()
	}
	t.Critical = critical(&spec.ScheduleStrategy)
	t.Free = len(t.limits) == 1 && t.limits[0].IsUnlimited()
	return t, nil
}

// Len is the number of subsets.
func (t Terms) Len() int { return len(t.names) }

// Name returns the name of the i-th subset.
func (t Terms) Name(i int) string { return t.names[i] }

// Index returns the position of the subset of that name, or -1.
func (t Terms) Index(name string) int {
	if i, ok := t.index[name]; ok {
		return i
	}
	return -1
}

// Limit returns the limit of the i-th subset.
func (t Terms) Limit(i int) Limit { return t.limits[i] }

// critical reads the strategy: rescheduling is on when the type is Adaptive and the seconds are given
// and above 0 (OpenKruise).
func critical(s *appsv1alpha1.WorkloadSpreadScheduleStrategy) time.Duration {
	if s.Type != appsv1alpha1.AdaptiveWorkloadSpreadScheduleStrategyType || s.Adaptive == nil || s.Adaptive.RescheduleCriticalSeconds == nil {
		return 0
	}
	return max(time.Duration(*s.Adaptive.RescheduleCriticalSeconds)*time.Second, 0)
}

// Adaptive reports whether subsets are closed when their pods cannot be scheduled. With one subset
// there is nowhere else to go.
func (t Terms) Adaptive() bool { return t.Critical > 0 && len(t.names) > 1 }

// Numbered returns an error when the terms are not for pods that go to subsets by their number: those
// need limits that do not change with the workload's size (OpenKruise).
func (t Terms) Numbered() error {
	for i, l := range t.limits {
		if l.IsPercent() {
			return fmt.Errorf("spec.subsets[%d].maxReplicas of subset %q: the pods of a StatefulSet go to subsets by their number: give a number of pods instead of a percentage", i, t.names[i])
		}
	}
	return nil
}
