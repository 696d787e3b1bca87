package placement

import (
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// Patch applies a subset's patch: a Kubernetes strategic merge patch against the schema of a pod
// (kruise-api subset.patch). Fields that a pod does not have are ignored, as OpenKruise ignores
// them. An empty patch changes nothing.
func Patch(pod *corev1.Pod, patch []byte) error {
	if len(patch) == 0 || string(patch) == "null" {
		return nil
	}
	before, err := json.Marshal(pod)
	if err != nil {
		return fmt.Errorf("encode the pod: %w", err)
	}
	after, err := strategicpatch.StrategicMergePatch(before, patch, corev1.Pod{})
	if err != nil {
		return fmt.Errorf("it is not a strategic merge patch of a pod: %w", err)
	}
	var merged corev1.Pod
	if err := json.Unmarshal(after, &merged); err != nil {
		return fmt.Errorf("with it the pod is no pod any more: %w", explain(err))
	}
	*pod = merged
	return nil
}

// explain turns a decoder's type error into the field and the remedy.
func explain(err error) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err
	}
	remedy := ""
	if wrong.Type.Kind().String() == "string" {
		remedy = ": put the value in quotes"
	}
	return fmt.Errorf("field %s holds a %s where a %s belongs%s", wrong.Field, wrong.Value, wrong.Type, remedy)
}
