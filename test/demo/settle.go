package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	kruisev1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// workload is the name of the samples' Deployment and of its WorkloadSpread.
	workload = "web"
	// settlePatience is how long a workload may take to have its pods where they belong.
	settlePatience = 90 * time.Second
	// calm is how long what was seen must stay so before it counts.
	calm = time.Second
)

// subsetLabels are the node labels of the samples' subsets.
var subsetLabels = map[string]string{"own": ownLabel, "virtual": virtualLabel}

// An observation is where the pods are, and where they ought to be.
type observation struct {
	subsets []subset
	astray  int      // pods on a node of no subset, or on none
	leaving int      // pods that are being deleted
	unready int      // pods that do not run yet
	below   int      // pods that run in the member cluster
	claims  int      // places held for pods that nobody has seen
	wrong   []string // what differs from what was asked for
}

// A subset is one line of the table.
type subset struct {
	name    string
	limit   string         // as the user wrote it, with what it comes to
	want    int            // pods that it ought to have
	onNodes map[string]int // pods by node
	status  int32          // replicas by the WorkloadSpread's status
	missing int32          // missingReplicas by the same; -1 where there is no limit
}

func (s subset) pods() int {
	sum := 0
	for _, n := range s.onNodes {
		sum += n
	}
	return sum
}

// settle waits until the workload's pods are exactly where they belong and the status says
// so, and stay there. It returns the last it saw, also with an error.
func (c *cluster) settle(ctx context.Context, replicas int32) (*observation, error) {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	var last *observation
	var since time.Time // when last became right
	for {
		seen, err := c.observe(ctx, replicas)
		switch {
		case err != nil && ctx.Err() == nil:
			return last, err
		case err == nil:
			last = seen
		}
		if last == nil || len(last.wrong) > 0 {
			since = time.Time{}
		} else if since.IsZero() {
			since = time.Now()
		} else if time.Since(since) >= calm {
			return last, nil
		}
		select {
		case <-ctx.Done():
			if last == nil {
				return nil, ctx.Err()
			}
			return last, fmt.Errorf("%w: %s", ctx.Err(), strings.Join(last.wrong, "; "))
		case <-ticker.C:
		}
	}
}

// observe looks at the pods themselves, and compares with them what the status says.
func (c *cluster) observe(ctx context.Context, replicas int32) (*observation, error) {
	var spread kruisev1alpha1.WorkloadSpread
	var deployment appsv1.Deployment
	var pods corev1.PodList
	var nodes corev1.NodeList
	var below corev1.PodList
	key := client.ObjectKey{Namespace: "default", Name: workload}
	if err := errors.Join(
		c.client.Get(ctx, key, &spread),
		c.client.Get(ctx, key, &deployment),
		c.client.List(ctx, &pods, client.InNamespace(key.Namespace), client.MatchingLabels{"app": workload}),
		c.client.List(ctx, &nodes),
		c.member.Client().List(ctx, &below, client.InNamespace(key.Namespace), client.MatchingLabels{"app": workload}),
	); err != nil {
		return nil, fmt.Errorf("looking at the workload: %w", err)
	}

	seen := &observation{}
	left := int(replicas)
	for _, s := range spread.Spec.Subsets {
		row := subset{name: s.Name, limit: "none", want: left, onNodes: map[string]int{}}
		if s.MaxReplicas != nil {
			limit, err := intstr.GetScaledValueFromIntOrPercent(s.MaxReplicas, int(replicas), true)
			if err != nil {
				return nil, fmt.Errorf("subset %s: %w", s.Name, err)
			}
			row.limit = fmt.Sprintf("%s = %d", s.MaxReplicas.String(), limit)
			row.want = min(limit, left)
		}
		left -= row.want
		for _, status := range spread.Status.SubsetStatuses {
			if status.Name == s.Name {
				row.status, row.missing = status.Replicas, status.MissingReplicas
			}
		}
		seen.subsets = append(seen.subsets, row)
	}
	seen.place(pods.Items, nodes.Items)
	for i := range below.Items {
		if p := &below.Items[i]; p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning {
			seen.below++
		}
	}
	for _, version := range spread.Status.VersionedSubsetStatuses {
		for _, status := range version {
			seen.claims += len(status.CreatingPods)
		}
	}
	seen.judge(&spread, &deployment, replicas)
	return seen, nil
}

// place counts pods by the nodes that they are on.
func (o *observation) place(pods []corev1.Pod, nodes []corev1.Node) {
	labels := map[string]map[string]string{}
	for _, node := range nodes {
		labels[node.Name] = node.Labels
	}
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			o.leaving++
			continue
		}
		if pod.Status.Phase != corev1.PodRunning {
			o.unready++
		}
		i := slices.IndexFunc(o.subsets, func(s subset) bool {
			return labels[pod.Spec.NodeName][subsetLabels[s.name]] == "true"
		})
		if i < 0 {
			o.astray++
			continue
		}
		o.subsets[i].onNodes[pod.Spec.NodeName]++
		if got := pod.Annotations["subset"]; got != o.subsets[i].name {
			o.wrong = append(o.wrong, fmt.Sprintf("pod %s on %s has the patch of subset %q", pod.Name, pod.Spec.NodeName, got))
		}
	}
}

// judge notes everything that differs from what was asked for.
func (o *observation) judge(spread *kruisev1alpha1.WorkloadSpread, deployment *appsv1.Deployment, replicas int32) {
	note := func(differs bool, format string, args ...any) {
		if differs {
			o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
		}
	}
	for _, s := range o.subsets {
		note(s.pods() != s.want, "subset %s has %d pods on its nodes, wanted %d", s.name, s.pods(), s.want)
		note(int(s.status) != s.want, "subset %s has %d replicas by its status, wanted %d", s.name, s.status, s.want)
		wantMissing := int32(0)
		if s.limit == "none" {
			wantMissing = -1
		}
		note(s.missing != wantMissing, "subset %s misses %d replicas by its status, wanted %d", s.name, s.missing, wantMissing)
	}
	if i := slices.IndexFunc(o.subsets, func(s subset) bool { return s.name == "virtual" }); i >= 0 {
		note(o.below != o.subsets[i].want, "%d pods run in the member cluster, wanted %d", o.below, o.subsets[i].want)
	}
	note(o.astray > 0, "%d pods on a node of no subset", o.astray)
	note(o.leaving > 0, "%d pods still being deleted", o.leaving)
	note(o.unready > 0, "%d pods not running", o.unready)
	note(o.claims > 0, "%d places still held for pods that are not there", o.claims)
	note(spread.Status.ObservedGeneration != spread.Generation, "the status is of an older WorkloadSpread")
	note(deployment.Status.ReadyReplicas != replicas, "the Deployment has %d ready pods, wanted %d", deployment.Status.ReadyReplicas, replicas)
}

// nodes lists nodes with their pods, such as "own-0 ×2, own-1".
func (s subset) nodes() string {
	var parts []string
	for _, node := range slices.Sorted(maps.Keys(s.onNodes)) {
		if n := s.onNodes[node]; n > 1 {
			node = fmt.Sprintf("%s ×%d", node, n)
		}
		parts = append(parts, node)
	}
	return strings.Join(parts, ", ")
}
