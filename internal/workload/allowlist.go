package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// AllowListKey is the key of the ConfigMap that holds the allow-list (OpenKruise).
const AllowListKey = "WorkloadSpread_Watch_Custom_Workload_WhiteList"

// listed is an entry of the allow-list. Keys match case-insensitively, as OpenKruise's reader does.
type listed struct {
	Group        string   `json:"Group"`
	Version      string   `json:"Version"`
	Kind         string   `json:"Kind"`
	SubResources []listed `json:"subResources"`
	ReplicasPath string   `json:"replicasPath"`
}

// ParseAllowList reads the allow-list of custom workloads: a JSON object with the list workloads, each
// entry with Group, Kind, and optionally Version (which does not matter), subResources (owners between
// the workload and its pods) and replicasPath. Text that YAML can read, such as a trailing comma, is
// read. An entry that cannot be used is left out; the errors say which and why. Empty text is an empty
// list.
func ParseAllowList(text string) (*Kinds, []error) {
	kinds := &Kinds{custom: make(map[schema.GroupKind]Kind)}
	if strings.TrimSpace(text) == "" {
		return kinds, nil
	}
	// What looks like JSON is not read as YAML, unless it begins like a document of it.
	raw, err := yaml.ToJSON([]byte("---\n" + text))
	if err != nil {
		return kinds, []error{fmt.Errorf("%s is no JSON: %w; no custom workload is known until it is mended", AllowListKey, err)}
	}
	var list struct {
		Workloads []json.RawMessage `json:"workloads"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return kinds, []error{fmt.Errorf(`%s must be an object {"workloads": […]}: %w; no custom workload is known until it is mended`, AllowListKey, err)}
	}
	var problems []error
	for i, entry := range list.Workloads {
		if err := kinds.add(entry); err != nil {
			problems = append(problems, fmt.Errorf("%s: workloads[%d] is left out: %w", AllowListKey, i, err))
		}
	}
	return kinds, problems
}

func (k *Kinds) add(raw json.RawMessage) error {
	var e listed
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("it must be an object with Group and Kind: %w", err)
	}
	if err := e.check(); err != nil {
		return err
	}
	for i, s := range e.SubResources {
		if err := s.check(); err != nil {
			return fmt.Errorf("subResources[%d]: %w", i, err)
		}
	}
	k.put(Kind{GroupKind: e.groupKind(), ReplicasPath: e.ReplicasPath, Ordinals: e.Kind == StatefulSet.Kind, TemplatePath: templatePath})
	for _, s := range e.SubResources {
		k.put(Kind{GroupKind: s.groupKind(), ReplicasPath: s.ReplicasPath, Part: true})
	}
	return nil
}

// put enters a kind. What is a target by one entry stays one when another names it as a part.
func (k *Kinds) put(kind Kind) {
	if have, ok := k.custom[kind.GroupKind]; ok && !have.Part && kind.Part {
		return
	}
	k.custom[kind.GroupKind] = kind
}

func (e listed) groupKind() schema.GroupKind { return schema.GroupKind{Group: e.Group, Kind: e.Kind} }

func (e listed) check() error {
	switch {
	case e.Kind == "":
		return errors.New(`its Kind is missing: name the kind, for example "Kind": "Rollout"`)
	case strings.Contains(e.Group, "/"):
		return fmt.Errorf("its Group %q holds a slash: give the group alone, for example argoproj.io", e.Group)
	}
	for step := range strings.SplitSeq(e.ReplicasPath, ".") {
		if step == "" && e.ReplicasPath != "" {
			return fmt.Errorf("replicasPath %q has an empty step: write it like spec.replicas", e.ReplicasPath)
		}
	}
	return nil
}
