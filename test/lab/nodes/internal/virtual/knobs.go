package virtual

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NodeSpec is what a virtual node is told to be; the lab's options explain it.
type NodeSpec struct {
	Name     string              `json:"name"`
	Profile  string              `json:"profile"`
	Capacity corev1.ResourceList `json:"capacity,omitempty"`
	Labels   map[string]string   `json:"labels,omitempty"`
	Taints   []corev1.Taint      `json:"taints,omitempty"`
	Knobs    Knobs               `json:"knobs,omitzero"`
	Member   string              `json:"member,omitempty"`
}

// Knobs are the faults of a virtual node; the lab's type of the same name explains them.
type Knobs struct {
	RefuseNext           int               `json:"refuseNext,omitempty"`
	RefuseEvery          int               `json:"refuseEvery,omitempty"`
	Unschedulable        string            `json:"unschedulable,omitempty"`
	OverwriteLabels      map[string]string `json:"overwriteLabels,omitzero"`
	OverwriteAnnotations map[string]string `json:"overwriteAnnotations,omitzero"`
	Stale                bool              `json:"stale,omitempty"`
	AddContainer         string            `json:"addContainer,omitempty"`
	Silent               bool              `json:"silent,omitempty"`
	NotReady             bool              `json:"notReady,omitempty"`
	StartDelay           metav1.Duration   `json:"startDelay,omitzero"`
	StopDelay            metav1.Duration   `json:"stopDelay,omitzero"`
}

// overwrites tells whether statuses go up with the whole pod.
func (k Knobs) overwrites() bool {
	return k.Stale || k.OverwriteLabels != nil || k.OverwriteAnnotations != nil
}

// NodeStatus is what a virtual node does at the moment.
type NodeStatus struct {
	NodeSpec
	Pods    int `json:"pods"`
	Running int `json:"running"`
	Refused int `json:"refused"`
}
