package spread

import (
	"reflect"
	"testing"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestSameStatusLooksAtEveryField changes each field of a status, lists and maps included, one at a time.
func TestSameStatusLooksAtEveryField(t *testing.T) {
	full := func() *appsv1alpha1.WorkloadSpreadStatus {
		at := metav1.NewTime(time.Unix(1000, 0))
		subset := appsv1alpha1.WorkloadSpreadSubsetStatus{
			Conditions:   []appsv1alpha1.WorkloadSpreadSubsetCondition{{LastTransitionTime: at}},
			CreatingPods: map[string]metav1.Time{"a": at}, DeletingPods: map[string]metav1.Time{"a": at},
		}
		return &appsv1alpha1.WorkloadSpreadStatus{
			SubsetStatuses:          []appsv1alpha1.WorkloadSpreadSubsetStatus{subset},
			VersionedSubsetStatuses: map[string][]appsv1alpha1.WorkloadSpreadSubsetStatus{"v": {subset}},
		}
	}
	if !sameStatus(full(), full()) {
		t.Fatal("a status differs from itself")
	}
	parts := map[string]func(*appsv1alpha1.WorkloadSpreadStatus) any{
		"status":    func(s *appsv1alpha1.WorkloadSpreadStatus) any { return s },
		"subset":    func(s *appsv1alpha1.WorkloadSpreadStatus) any { return &s.SubsetStatuses[0] },
		"version":   func(s *appsv1alpha1.WorkloadSpreadStatus) any { return &s.VersionedSubsetStatuses["v"][0] },
		"condition": func(s *appsv1alpha1.WorkloadSpreadStatus) any { return &s.SubsetStatuses[0].Conditions[0] },
	}
	for name, part := range parts {
		kind := reflect.TypeOf(part(full())).Elem()
		for i := range kind.NumField() {
			changed := full()
			change(reflect.ValueOf(part(changed)).Elem().Field(i))
			if sameStatus(full(), changed) || sameStatus(changed, full()) {
				t.Errorf("%s.%s is not compared", name, kind.Field(i).Name)
			}
		}
	}
}

// change makes a value another one.
func change(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Int32, reflect.Int64:
		v.SetInt(v.Int() + 1)
	default: // lists, maps and times
		v.SetZero()
	}
}
