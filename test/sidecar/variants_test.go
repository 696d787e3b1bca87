package sidecar

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// TestMetadataOfPods: an administrator allows keys; pods get them at creation and with an upgrade.
func TestMetadataOfPods(t *testing.T) {
	f := newFixture(t)
	spec := func(score string) string {
		return agent + fmt.Sprintf("\npatchPodMetadata: [{annotations: {oom-score: '{\"agent\":%s}'}, patchPolicy: MergePatchJson}]", score)
	}
	if _, err := f.trySet("agent", spec("1")); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "whitelist") {
		t.Fatalf("nobody allowed it: %v", err)
	}
	allowed := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: v1alpha1.SidecarConfigMap}}
	allowed.Data = map[string]string{v1alpha1.SidecarWhitelistKey: `{"rules":[{"allowedAnnotationKeyExprs":["^oom-score$"]}]}`}
	if err := kube.Create(f.ctx, allowed); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kube.Delete(context.WithoutCancel(f.ctx), allowed); err != nil {
			t.Error(err)
		}
	})
	f.set("agent", spec("1"))
	f.known("agent")
	f.create(deployment("web", 2, func(p *corev1.PodTemplateSpec) { p.Annotations["oom-score"] = `{"main":5}` }))
	f.running("web", 2)
	all := func(want string) {
		t.Helper()
		f.eventually("the annotation is "+want, func() (bool, string) {
			for _, p := range f.pods("web") {
				if got := p.Annotations["oom-score"]; got != want {
					return false, got
				}
			}
			return true, ""
		})
	}
	all(`{"agent":1,"main":5}`)
	f.patchSet("agent", `[{"op":"replace","path":"/spec/patchPodMetadata/0/annotations/oom-score","value":"{\"agent\":2}"},{"op":"replace","path":"/spec/containers/0/image","value":"agent:2"}]`)
	f.status("agent", 2, 2, 2)
	all(`{"agent":2,"main":5}`)
}

// TestACanary takes the place of its base where it matches.
func TestACanary(t *testing.T) {
	f := newFixture(t)
	f.set("base", agent)
	f.known("base")
	_, err := f.trySet("canary", strings.Replace(strings.Replace(agent, "app: web", `app: web, track: canary`, 1), "agent:1", "agent:2", 1)+"\nupdateStrategy: {type: NotUpdate}",
		func(s *sidecar.SidecarSet) {
			s.Annotations = map[string]string{v1alpha1.AnnotationSidecarCanary: "true", v1alpha1.AnnotationSidecarBase: f.named("base")}
		})
	if err != nil {
		t.Fatal(err)
	}
	f.known("canary")
	for track, want := range map[string]string{"canary": "agent:2", "stable": "agent:1"} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: track, Labels: map[string]string{"app": "web", "track": track}}}
		pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "app:1"}}
		f.create(pod)
		if spec, _ := imageOf(pod, "agent"); spec != want || len(pod.Spec.Containers) != 2 {
			t.Errorf("a %s pod has %s", track, spec)
		}
	}
}

// TestAShareOfAStatefulSet: a partial pin holds an exact share of pods with an ordinal.
func TestAShareOfAStatefulSet(t *testing.T) {
	f := newFixture(t)
	f.set("agent", agent+"\nupdateStrategy: {type: NotUpdate}")
	f.known("agent")
	first := f.get("agent").Status.LatestRevision
	f.patchSet("agent", fmt.Sprintf(`[{"op":"replace","path":"/spec/containers/0/image","value":"agent:2"},
		{"op":"add","path":"/spec/injectionStrategy/revision","value":{"revisionName":%q,"policy":"Partial"}},
		{"op":"replace","path":"/spec/updateStrategy/partition","value":"30%%"}]`, first))
	f.known("agent")
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	d := deployment("web", 10)
	s.Spec.Replicas, s.Spec.Selector, s.Spec.Template, s.Spec.PodManagementPolicy = d.Spec.Replicas, d.Spec.Selector, d.Spec.Template, appsv1.ParallelPodManagement
	f.create(s)
	f.running("web", 10)
	images := map[string]int{}
	for _, p := range f.pods("web") {
		spec, _ := imageOf(&p, "agent")
		images[spec]++
	}
	if images["agent:1"] != 3 || images["agent:2"] != 7 {
		t.Errorf("got %v", images)
	}
}

// TestANativeHotUpgrade: pairs of init containers that stay take turns as well.
func TestANativeHotUpgrade(t *testing.T) {
	f := newFixture(t)
	f.set("mesh", `
selector: {matchLabels: {app: web}}
initContainers: [{name: mesh, image: "mesh:1", restartPolicy: Always, upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: "empty:1"}}]
`)
	f.known("mesh")
	f.create(deployment("web", 2))
	f.running("web", 2)
	f.patchSet("mesh", `[{"op":"replace","path":"/spec/initContainers/0/image","value":"mesh:2"}]`)
	f.status("mesh", 2, 2, 2)
	for _, p := range f.pods("web") {
		_, a := imageOf(&p, "mesh-1")
		_, b := imageOf(&p, "mesh-2")
		if a != "empty:1" || b != "mesh:2" {
			t.Errorf("pod %s runs %s and %s", p.Name, a, b)
		}
	}
}

// TestPriority: the pod with the higher weight comes first.
func TestPriority(t *testing.T) {
	f := newFixture(t)
	f.set("agent", `
selector: {matchLabels: {team: a}}
containers: [{name: agent, image: "agent:1"}]
updateStrategy: {maxUnavailable: 1, partition: 3, priorityStrategy: {weightPriority: [{weight: 50, matchSelector: {matchLabels: {app: canary}}}]}}
`)
	f.known("agent")
	team := func(p *corev1.PodTemplateSpec) { p.Labels["team"] = "a" }
	f.create(deployment("canary", 1, team)) // the oldest, so last but for its weight
	f.running("canary", 1)
	f.create(deployment("web", 3, team))
	f.running("web", 3)
	f.status("agent", 4, 4, 4)
	f.image("agent", "agent:2")
	f.status("agent", 4, 1, 4)
	if n := f.onImage("canary", "agent", "agent:2"); n != 1 {
		t.Error("another pod came first")
	}
}
