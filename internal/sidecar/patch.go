package sidecar

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-project/spillway/internal/delta"
)

// Enrich gives the containers that a patch adds to a pod the fields that corev1.Container lacks.
func Enrich(ops []delta.Operation, unknown map[string]map[string]any) error {
	if len(unknown) == 0 {
		return nil
	}
	for i := range ops {
		if !strings.HasPrefix(ops[i].Path, "/spec/containers") && !strings.HasPrefix(ops[i].Path, "/spec/initContainers") {
			continue
		}
		var err error
		switch v := ops[i].Value.(type) {
		case corev1.Container:
			ops[i].Value, err = enriched(&v, unknown)
		case []corev1.Container:
			list := make([]any, len(v))
			for j := range v {
				if list[j], err = enriched(&v[j], unknown); err != nil {
					break
				}
			}
			ops[i].Value = list
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func enriched(c *corev1.Container, unknown map[string]map[string]any) (any, error) {
	more, ok := unknown[c.Name]
	if !ok {
		return *c, nil
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode container %q: %w", c.Name, err)
	}
	var object map[string]any
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, fmt.Errorf("decode container %q: %w", c.Name, err)
	}
	Overlay(object, more)
	return object, nil
}
