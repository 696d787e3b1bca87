package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// agent is the name of the sample's SidecarSet and of its container.
	agent = "log-agent"
	// overflowLabel is what the sample's subset gives to pods on the virtual node.
	overflowLabel = "vk"
	// firstImage is the agent's in the sample, nextImage the one that it is upgraded to.
	firstImage, nextImage = "busybox:1.37", "busybox:1.38"
)

// A crew is what the overflow pods run beside the workload.
type crew struct {
	images  map[string]int // pods by the image of the log agent
	pods    map[types.UID]bool
	without int // overflow pods without an agent
	intrude int // other pods with one
	unready int
}

// sidecars shows the log agent of overflow pods, and its rollout in place.
func (d *demo) sidecars(ctx context.Context) error {
	// 1. New pods that land on the virtual node get the agent: the subset's label selects the set.
	d.out.step("kubectl apply: a SidecarSet for pods with the label vk, which the subset \"virtual\" sets; then new pods")
	if _, err := d.cluster.lab.Kubectl(ctx, "apply", "-f", filepath.Join(d.cluster.repo, "config/samples/sidecarset.yaml")); err != nil {
		return err
	}
	if _, err := d.cluster.lab.Kubectl(ctx, "wait", "sidecarset/"+agent, "--for=jsonpath={.status.observedGeneration}=1", "--timeout=60s"); err != nil {
		return err
	}
	if _, err := d.cluster.lab.Kubectl(ctx, "rollout", "restart", "deployment/"+workload); err != nil {
		return err
	}
	if err := d.show(ctx, 12); err != nil {
		return err
	}
	before, err := d.crewIs(ctx, map[string]int{firstImage: 6})
	if err != nil {
		return err
	}
	// 2. Half of them get another image, one at a time; then the rest. Nothing is recreated.
	for _, step := range []struct {
		title, patch string
		want         map[string]int
	}{
		{
			"kubectl patch sidecarset: another image, partition 50%, maxUnavailable 1",
			fmt.Sprintf(`[{"op":"replace","path":"/spec/containers/0/image","value":%q},{"op":"replace","path":"/spec/updateStrategy/partition","value":"50%%"}]`, nextImage),
			map[string]int{firstImage: 3, nextImage: 3},
		}, {
			"kubectl patch sidecarset: partition 0",
			`[{"op":"replace","path":"/spec/updateStrategy/partition","value":0}]`,
			map[string]int{nextImage: 6},
		},
	} {
		d.out.step(step.title)
		if _, err := d.cluster.lab.Kubectl(ctx, "patch", "sidecarset", agent, "--type=json", "-p", step.patch); err != nil {
			return err
		}
		after, err := d.crewIs(ctx, step.want)
		if err != nil {
			return err
		}
		for uid := range after.pods {
			if !before.pods[uid] {
				return fmt.Errorf("pod %s is a new one: the upgrade was to happen in place", uid)
			}
		}
		d.out.progress("%-8s %s", "same", "all overflow pods have the UIDs that they had before")
	}
	return nil
}

// crewIs waits until the overflow pods run these images and are ready, and prints each step on the way.
func (d *demo) crewIs(ctx context.Context, want map[string]int) (*crew, error) {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	printed := ""
	for {
		seen, err := d.cluster.crew(ctx)
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		if err == nil {
			if seen.intrude > 0 {
				return nil, fmt.Errorf("%d pods on own nodes have a log agent", seen.intrude)
			}
			if seen.unready > 1 && len(want) == 2 {
				return nil, fmt.Errorf("%d pods are unavailable, 1 may be", seen.unready)
			}
			if line := seen.line(); line != printed {
				d.out.line("   %s", line)
				printed = line
			}
			if seen.is(want) {
				return seen, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), fmt.Errorf("last seen: %s", printed))
		case <-ticker.C:
		}
	}
}

func (c *cluster) crew(ctx context.Context) (*crew, error) {
	var pods corev1.PodList
	if err := c.client.List(ctx, &pods, client.InNamespace("default"), client.MatchingLabels{"app": workload}); err != nil {
		return nil, fmt.Errorf("looking at the sidecars: %w", err)
	}
	out := &crew{images: map[string]int{}, pods: map[types.UID]bool{}}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.DeletionTimestamp == nil {
			out.add(pod)
		}
	}
	return out, nil
}

// add counts a pod by what its log agent really runs.
func (c *crew) add(pod *corev1.Pod) {
	wanted := slices.IndexFunc(pod.Spec.Containers, func(k corev1.Container) bool { return k.Name == agent })
	if pod.Labels[overflowLabel] == "" {
		if wanted >= 0 {
			c.intrude++
		}
		return
	}
	if wanted < 0 {
		c.without++
		return
	}
	c.pods[pod.UID] = true
	ready := false
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == agent {
			c.images[s.Image]++
			ready = s.Ready && s.Image == pod.Spec.Containers[wanted].Image
		}
	}
	if !ready {
		c.unready++
	}
}

func (c *crew) is(want map[string]int) bool {
	if c.without > 0 || c.unready > 0 || len(c.images) != len(want) {
		return false
	}
	for image, n := range want {
		if c.images[image] != n {
			return false
		}
	}
	return true
}

// line is one line of the rollout: a letter for each pod, by its image.
func (c *crew) line() string {
	images := make([]string, 0, len(c.images))
	for image := range c.images {
		images = append(images, image)
	}
	slices.Sort(images)
	var parts []string
	for _, image := range images {
		sign := "○"
		if image != firstImage {
			sign = "●"
		}
		parts = append(parts, fmt.Sprintf("%s %s ×%d", strings.Repeat(sign, c.images[image]), image, c.images[image]))
	}
	if c.without > 0 {
		parts = append(parts, fmt.Sprintf("without ×%d", c.without))
	}
	if c.unready > 0 {
		parts = append(parts, fmt.Sprintf("restarting ×%d", c.unready))
	}
	return strings.Join(parts, "   ")
}
