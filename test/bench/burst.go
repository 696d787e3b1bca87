package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Burst is one measurement.
type Burst struct {
	Scenario string `json:"scenario"`
	Pods     int    `json:"pods"`
	Round    int    `json:"round"`
	// Seconds from the creation of the Deployment to that of its last pod.
	Seconds       float64 `json:"seconds"`
	PodsPerSecond float64 `json:"podsPerSecond"`
	// Admission is the time of webhook calls as the API server measures it, in seconds.
	Admission Quantiles `json:"admissionSeconds"`
	// Inside is the time of the same calls within Spillway, Commits that of its writes of a status, and
	// CommitSize the mean number of requests in one.
	Inside     Quantiles `json:"insideSeconds,omitzero"`
	Commits    Quantiles `json:"commitSeconds,omitzero"`
	CommitSize float64   `json:"commitSize,omitempty"`
	// CPUSeconds by process, over the burst; those of both manager replicas are "spillway" or "floor".
	CPUSeconds map[string]float64 `json:"cpuSeconds"`
	// PeakBytes is the largest resident memory of one manager replica.
	PeakBytes int64 `json:"peakBytes"`
	// Requests of Spillway by verb and resource, and those of them that met a newer object.
	Requests  map[string]int `json:"requests,omitempty"`
	Conflicts int            `json:"conflicts"`
	// Refused creations of pods.
	Refused int `json:"refused"`
	// Split of the pods over subsets, and whether it is the specified one.
	Split map[string]int `json:"split,omitempty"`
	Exact bool           `json:"exact"`
	// Throttled is for how long the controller manager waited for its own request limit.
	Throttled float64 `json:"controllerManagerThrottledSeconds"`
	// Busy is the share of the machine's time that was used, and by whom most.
	Busy       float64 `json:"busy"`
	Bottleneck string  `json:"bottleneck"`
}

func (b *Burst) mark() string {
	if b.Exact {
		return ""
	}
	return fmt.Sprintf("  NOT EXACT: %v", b.Split)
}

// burstLimit bounds one measurement.
const burstLimit = 10 * time.Minute

// burst creates a Deployment of so many pods, measures until the last one exists, and cleans up.
func (c *cluster) burst(ctx context.Context, scenario string, pods int) (Burst, error) {
	ctx, cancel := context.WithTimeout(ctx, burstLimit)
	defer cancel()
	b := Burst{Scenario: scenario, Pods: pods}
	ns, err := c.namespace(ctx, scenario)
	if err != nil {
		return b, fmt.Errorf("make a namespace: %w", err)
	}
	if scenario == spread {
		if err := c.client.Create(ctx, halves(ns.Name)); err != nil {
			return b, fmt.Errorf("create the WorkloadSpread: %w", err)
		}
	}
	before, err := c.probe(ctx)
	if err != nil {
		return b, err
	}
	began := time.Now()
	if err := c.client.Create(ctx, workload(ns.Name, int32(pods))); err != nil { //nolint:gosec // thousands
		return b, fmt.Errorf("create the Deployment: %w", err)
	}
	if b.Split, err = c.created(ctx, ns.Name, pods); err != nil {
		return b, fmt.Errorf("wait for the pods: %w", err)
	}
	b.Seconds = time.Since(began).Seconds()
	after, err := c.probe(ctx)
	if err != nil {
		return b, err
	}
	b.PodsPerSecond = float64(pods) / b.Seconds
	b.Exact = scenario != spread || (b.Split["own"] == (pods+1)/2 && b.Split["virtual"] == pods/2)
	b.compare(before, after)
	if scenario == spread {
		if err := b.readAudit(c, before.mark); err != nil {
			return b, err
		}
	}
	return b, c.clean(ctx, ns, pods)
}

// created counts pods by subset until so many were created. The API server may end a watch that cannot
// follow: then it is begun anew with a list.
func (c *cluster) created(ctx context.Context, namespace string, pods int) (map[string]int, error) {
	subsets := make(map[types.UID]string, pods)
	for len(subsets) < pods {
		var list corev1.PodList
		if err := c.client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		for i := range list.Items {
			note(subsets, &list.Items[i])
		}
		w, err := c.client.Watch(ctx, &corev1.PodList{}, client.InNamespace(namespace),
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
		if err != nil {
			return nil, err
		}
		follow(w, subsets, pods)
		w.Stop()
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("%d of %d pods were created: %w", len(subsets), pods, err)
		}
	}
	split := make(map[string]int)
	for _, s := range subsets {
		split[s]++
	}
	return split, nil
}

// follow notes pods until there are so many, or the watch ends.
func follow(w watch.Interface, subsets map[types.UID]string, pods int) {
	for len(subsets) < pods {
		e, ok := <-w.ResultChan()
		if !ok {
			return
		}
		if p, ok := e.Object.(*corev1.Pod); ok && e.Type == watch.Added {
			note(subsets, p)
		}
	}
}

func note(subsets map[types.UID]string, p *corev1.Pod) {
	record, _ := v1alpha1.ParseRecord(p.Annotations)
	subsets[p.UID] = record.Subset
}

// readAudit fills in what Spillway asked of the API server.
func (b *Burst) readAudit(c *cluster, mark int64) error {
	all, err := c.audit.Since(mark)
	if err != nil {
		return err
	}
	b.Requests = make(map[string]int)
	for r, n := range all {
		b.Requests[r.What] += n
		if r.Code == 409 {
			b.Conflicts += n
		}
	}
	return nil
}

// clean deletes the workload, so that the next measurement begins as this one did.
func (c *cluster) clean(ctx context.Context, ns *corev1.Namespace, pods int) error {
	if err := c.client.Delete(ctx, workload(ns.Name, int32(pods)), client.PropagationPolicy("Background")); err != nil { //nolint:gosec // thousands
		return fmt.Errorf("delete the Deployment: %w", err)
	}
	err := poll(ctx, burstLimit, func() (bool, error) {
		var list corev1.PodList
		err := c.client.List(ctx, &list, client.InNamespace(ns.Name), client.Limit(1))
		return err == nil && len(list.Items) == 0, err
	})
	if err != nil {
		return fmt.Errorf("wait until the pods are gone: %w", err)
	}
	return client.IgnoreNotFound(c.client.Delete(ctx, ns))
}
