package delta

import (
	"encoding/json"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"pgregory.net/rapid"

	"github.com/google/go-cmp/cmp"
)

// apply runs the patch as the API server does and returns the resulting document.
func apply(t interface {
	Helper()
	Fatalf(string, ...any)
}, received []byte, change func(*corev1.Pod)) (corev1.Pod, []byte) {
	t.Helper()
	var before corev1.Pod
	if err := json.Unmarshal(received, &before); err != nil {
		t.Fatalf("decode: %v", err)
	}
	after := before.DeepCopy()
	change(after)
	ops, err := new(Differ).Between(received, &before, after)
	if err != nil {
		t.Fatalf("between: %v", err)
	}
	raw, err := json.Marshal(ops)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	out := received
	if len(ops) > 0 {
		patch, err := jsonpatch.DecodePatch(raw)
		if err != nil {
			t.Fatalf("decode patch %s: %v", raw, err)
		}
		if out, err = patch.Apply(received); err != nil {
			t.Fatalf("apply %s: %v", raw, err)
		}
	}
	var got corev1.Pod
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("decode result: %v", err)
	}
	if !equality.Semantic.DeepEqual(*after, got) {
		t.Fatalf("the patch does not lead to what was decided:\n%s\npatch: %s", cmp.Diff(*after, got), raw)
	}
	return got, out
}

const threeContainers = `{
  "metadata": {"name": "p", "futureMeta": 1},
  "spec": {
    "futureSpec": {"a": 1},
    "containers": [
      {"name": "a", "image": "a:1", "future": "of a", "resources": {"futureResources": true}, "volumeMounts": [{"name": "v", "mountPath": "/v", "future": "of v"}]},
      {"name": "b", "image": "b:1", "future": "of b"},
      {"name": "c", "image": "c:1", "future": "of c"}
    ],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
      {"matchExpressions": [{"key": "k", "operator": "Exists"}], "future": "of term"}]}}}
  }
}`

func TestUnknownFieldsStayWithTheirElements(t *testing.T) {
	_, out := apply(t, []byte(threeContainers), func(p *corev1.Pod) {
		sidecar := corev1.Container{Name: "sidecar", Image: "s:1"}
		p.Spec.Containers = append([]corev1.Container{sidecar}, p.Spec.Containers...)
		p.Spec.Containers[1].VolumeMounts = append([]corev1.VolumeMount{{Name: "shared", MountPath: "/shared"}}, p.Spec.Containers[1].VolumeMounts...)
		p.Spec.Containers[1].Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1")}
		p.Spec.Containers[2].Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("2")}
		p.Spec.Containers[3].Image = "c:2"
		term := &p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0]
		term.MatchExpressions = append(term.MatchExpressions, corev1.NodeSelectorRequirement{Key: "own", Operator: corev1.NodeSelectorOpExists})
		p.Annotations = map[string]string{"a/b~c": "x"}
	})
	var got struct {
		Metadata struct{ FutureMeta int }
		Spec     struct {
			FutureSpec map[string]int
			Containers []struct {
				Name, Future string
				Resources    struct{ FutureResources bool }
				VolumeMounts []struct{ Name, Future string }
			}
			Affinity struct {
				NodeAffinity struct {
					RequiredDuringSchedulingIgnoredDuringExecution struct {
						NodeSelectorTerms []struct{ Future string }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"sidecar": "", "a": "of a", "b": "of b", "c": "of c"}
	for i, c := range got.Spec.Containers {
		if want[c.Name] != c.Future {
			t.Errorf("container %d %q carries the unknown field %q, want %q", i, c.Name, c.Future, want[c.Name])
		}
	}
	first := got.Spec.Containers[1]
	if len(first.VolumeMounts) != 2 || first.VolumeMounts[1].Future != "of v" || !first.Resources.FutureResources {
		t.Errorf("fields inside container a were lost: %+v", first)
	}
	if got.Metadata.FutureMeta != 1 || got.Spec.FutureSpec["a"] != 1 {
		t.Errorf("fields of the pod were lost: %s", out)
	}
	terms := got.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	if len(terms) != 1 || terms[0].Future != "of term" {
		t.Errorf("the unknown field of the node selector term was lost: %s", out)
	}
}

func TestZeroValuesBehindPointersAreSet(t *testing.T) {
	got, _ := apply(t, []byte(`{"spec":{"terminationGracePeriodSeconds":30,"automountServiceAccountToken":true}}`), func(p *corev1.Pod) {
		var zero int64
		var off bool
		p.Spec.TerminationGracePeriodSeconds, p.Spec.AutomountServiceAccountToken = &zero, &off
	})
	if got.Spec.TerminationGracePeriodSeconds == nil || *got.Spec.TerminationGracePeriodSeconds != 0 {
		t.Error("0 was not set")
	}
}

func TestAnyChangeOfAPodIsReached(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b", "c", "d", "e/f", "g~h"})
	container := rapid.Custom(func(t *rapid.T) corev1.Container {
		c := corev1.Container{Name: names.Draw(t, "name"), Image: rapid.SampledFrom([]string{"x:1", "x:2"}).Draw(t, "image")}
		for _, n := range rapid.SliceOfNDistinct(names, 0, 4, rapid.ID).Draw(t, "env") {
			c.Env = append(c.Env, corev1.EnvVar{Name: n, Value: rapid.SampledFrom([]string{"", "1"}).Draw(t, "value")})
		}
		for _, port := range rapid.SliceOfN(rapid.Int32Range(1, 3), 0, 3).Draw(t, "ports") {
			c.Ports = append(c.Ports, corev1.ContainerPort{ContainerPort: port})
		}
		c.Args = rapid.SliceOfN(names, 0, 3).Draw(t, "args")
		return c
	})
	pod := rapid.Custom(func(t *rapid.T) corev1.Pod {
		var p corev1.Pod
		p.Spec.Containers = rapid.SliceOfNDistinct(container, 0, 5, func(c corev1.Container) string { return c.Name }).Draw(t, "containers")
		p.Labels = rapid.MapOfN(names, names, 0, 3).Draw(t, "labels")
		p.Spec.HostNetwork = rapid.Bool().Draw(t, "hostNetwork")
		for _, n := range rapid.SliceOfN(names, 0, 4).Draw(t, "tolerations") {
			p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: n})
		}
		if rapid.Bool().Draw(t, "affinity") {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{}}
		}
		return p
	})
	rapid.Check(t, func(t *rapid.T) {
		before, after := pod.Draw(t, "before"), pod.Draw(t, "after")
		received, err := json.Marshal(before)
		if err != nil {
			t.Fatal(err)
		}
		apply(t, received, func(p *corev1.Pod) { *p = *after.DeepCopy() })
	})
}

func BenchmarkBetween(b *testing.B) {
	var before corev1.Pod
	if err := json.Unmarshal([]byte(threeContainers), &before); err != nil {
		b.Fatal(err)
	}
	after := before.DeepCopy()
	after.Annotations = map[string]string{"a": "b"}
	var d Differ
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Between([]byte(threeContainers), &before, after); err != nil {
			b.Fatal(err)
		}
	}
}
