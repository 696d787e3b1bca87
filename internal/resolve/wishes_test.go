package resolve

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
)

func set(generation, observed int64, replicas int32) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{}
	rs.UID, rs.Generation, rs.Status.ObservedGeneration, rs.Spec.Replicas = "rs", generation, observed, &replicas
	return rs
}

func TestTheMostThatAControllerMayBeCreatingFor(t *testing.T) {
	for name, tc := range map[string]struct {
		seen    []*appsv1.ReplicaSet
		live    *appsv1.ReplicaSet
		want    int32
		certain bool
	}{
		"it has acted on the latest":             {nil, set(3, 3, 7), 7, true},
		"it acts on a larger number":             {[]*appsv1.ReplicaSet{set(1, 1, 25)}, set(2, 1, 50), 50, true},
		"it may still act on a larger one":       {[]*appsv1.ReplicaSet{set(1, 1, 25)}, set(2, 1, 5), 25, true},
		"one in between was the largest":         {[]*appsv1.ReplicaSet{set(1, 1, 25), set(2, 1, 90)}, set(3, 1, 50), 90, true},
		"one was not seen":                       {[]*appsv1.ReplicaSet{set(1, 1, 25)}, set(3, 1, 50), 50, false},
		"what it has left behind does not count": {[]*appsv1.ReplicaSet{set(1, 1, 99), set(2, 1, 25), set(2, 2, 25)}, set(3, 2, 50), 50, true},
		"a new one":                              {nil, set(1, 0, 10), 10, true},
		"nothing was seen":                       {nil, set(2, 1, 10), 10, false},
	} {
		t.Run(name, func(t *testing.T) {
			var w Wishes
			for _, rs := range tc.seen {
				w.Note(rs)
			}
			if got, certain := w.Most(tc.live); got != tc.want || certain != tc.certain {
				t.Errorf("got %d, %t; want %d, %t", got, certain, tc.want, tc.certain)
			}
		})
	}
	var w Wishes
	w.Note(set(1, 1, 5))
	w.Forget("rs")
	if _, certain := w.Most(set(2, 1, 5)); certain {
		t.Error("what is gone is known")
	}
}
