package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestConstraintsAreAdded(t *testing.T) {
	definitions := map[string]any{}
	for path := range constraints {
		definitions[definitionName(path)] = map[string]any{"type": "number", "description": path}
	}
	in, err := json.Marshal(map[string]any{"$schema": "s", "$ref": "r", "$defs": definitions})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(bytes.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Defs map[string]map[string]any `json:"$defs"`
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"type": "integer", "description": "service.port", "minimum": 1.0, "maximum": 65535.0}
	if port := got.Defs["helm-values.service.port"]; fmt.Sprint(port) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", port, want)
	}
}

func TestAConstraintOfNothingIsAnError(t *testing.T) {
	err := run(strings.NewReader(`{"$defs": {}}`), &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "values.yaml has no ") {
		t.Errorf("got %v", err)
	}
}
