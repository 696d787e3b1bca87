package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/state"
)

// cloneSets plays the controller of OpenKruise's CloneSet, update type ReCreate: with maxSurge it creates
// pods of the new revision first, and removes old ones when the new ones are ready.
type cloneSets struct {
	f   *fixture
	set *unstructured.Unstructured
}

// run works until the returned function is called.
func (c *cloneSets) run() func() {
	ctx, cancel := context.WithCancel(c.f.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := c.step(ctx); err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsServiceUnavailable(err) {
				c.f.Errorf("play the CloneSet's controller: %v", err)
				return
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

func (c *cloneSets) step(ctx context.Context) error {
	if err := cluster.client.Get(ctx, client.ObjectKeyFromObject(c.set), c.set); err != nil {
		return err
	}
	spec := c.set.Object["spec"].(map[string]any)                                                                      //nolint:forcetypeassert // the test made it
	replicas, surge := int(spec["replicas"].(int64)), int(spec["updateStrategy"].(map[string]any)["maxSurge"].(int64)) //nolint:forcetypeassert // as above
	revision := c.set.GetName() + "-" + spec["image"].(string)                                                         //nolint:forcetypeassert // as above
	var list corev1.PodList
	if err := cluster.client.List(ctx, &list, client.InNamespace(c.f.ns), client.MatchingLabels{"app": c.set.GetName()}); err != nil {
		return err
	}
	var old, fresh []corev1.Pod
	ready := 0
	for _, p := range list.Items {
		if !state.IsActive(&p) {
			continue
		}
		if p.Status.Phase == corev1.PodRunning {
			ready++
		}
		if p.Labels["controller-revision-hash"] == revision {
			fresh = append(fresh, p)
		} else {
			old = append(old, p)
		}
	}
	want := replicas
	if len(old) > 0 {
		want += surge
	}
	for range max(min(want-len(old)-len(fresh), replicas-len(fresh)), 0) {
		if err := cluster.client.Create(ctx, c.pod(revision, spec["image"].(string))); err != nil { //nolint:forcetypeassert // as above
			return err
		}
		fresh = append(fresh, corev1.Pod{})
	}
	slices.SortFunc(old, func(a, b corev1.Pod) int { return costOf(&a) - costOf(&b) })
	for i := range min(max(ready-replicas, 0), len(old)) {
		if err := cluster.client.Delete(ctx, &old[i]); err != nil {
			return err
		}
	}
	c.set.Object["status"] = map[string]any{
		"observedGeneration": c.set.GetGeneration(), "updateRevision": revision,
		"replicas": int64(len(old) + len(fresh)), "updatedReplicas": int64(len(fresh)),
	}
	return cluster.client.Status().Update(ctx, c.set)
}

func costOf(p *corev1.Pod) int {
	n, _ := strconv.Atoi(p.Annotations[v1alpha1.PodDeletionCost])
	return n
}

func (c *cloneSets) pod(revision, image string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: c.f.ns, GenerateName: c.set.GetName() + "-", OwnerReferences: controlledBy(c.set),
		Labels: map[string]string{"app": c.set.GetName(), "controller-revision-hash": revision},
	}}
	p.Spec.Containers = []corev1.Container{{Name: "main", Image: "app:" + image}}
	return p
}

// TestACloneSetThatReCreatesWithSurge: its kind appears after the manager has started. New pods take the
// places that old ones are about to leave, so that the split is the same after each update.
func TestACloneSetThatReCreatesWithSurge(t *testing.T) {
	f := newFixture(t)
	f.create(on("apps.kruise.io/v1alpha1", "CloneSet", workloadSpread("web", "web", subset{"own", "3"}, subset{"virtual", ""})))
	f.eventually("people are told that the kind is missing", func() (bool, string) {
		n := f.count(string(v1alpha1.ReasonTargetUnreadable))
		return n > 0, fmt.Sprint(n)
	})
	f.define("apps.kruise.io", "v1alpha1", "CloneSet", "clonesets")
	set := f.custom("apps.kruise.io/v1alpha1", "CloneSet", "web", map[string]any{
		"replicas": int64(6), "image": "1", "updateStrategy": map[string]any{"type": "ReCreate", "maxSurge": int64(2)},
	})
	stop := (&cloneSets{f: f, set: set.DeepCopy()}).run()
	defer stop()
	f.awaitSplit("web", map[string]int{"own": 3, "virtual": 3})
	safe := f.watchSafety("web", 6) // three, and three that take the places of those that leave
	for _, image := range []string{"2", "3", "4"} {
		f.patch(set, fmt.Sprintf(`{"spec":{"image":%q}}`, image))
		f.eventually("the update to "+image+" is complete, the split as before", func() (bool, string) {
			got, updated := f.split("web"), 0
			for _, p := range f.pods("web") {
				if strings.HasSuffix(p.Labels["controller-revision-hash"], "-"+image) {
					updated++
				}
			}
			return updated == 6 && got["own"] == 3 && got["virtual"] == 3 && got[""] == 0, fmt.Sprintf("%v, %d updated", got, updated)
		})
	}
	safe()
	f.awaitStatus("web", "own=3+0 virtual=3+0 ")
	f.patch(set, `{"spec":{"replicas":8}}`)
	f.awaitSplit("web", map[string]int{"own": 3, "virtual": 5})
}
