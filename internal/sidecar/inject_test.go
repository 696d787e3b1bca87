package sidecar

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

// drawSet makes a set whose names are its own, as validation demands of sets that share pods.
func drawSet(t *rapid.T, i int) string {
	out := fmt.Sprintf("{metadata: {name: s%d, annotations: {spillway-project.io/priority: %q}}, spec: {selector: {matchLabels: {app: web}}, volumes: [{name: v%d}], ",
		i, fmt.Sprint(rapid.IntRange(-1, 1).Draw(t, fmt.Sprint("priority", i))), i)
	list := func(label string, options ...string) string {
		var items []string
		for j := range rapid.IntRange(0, 2).Draw(t, fmt.Sprint(label, i)) {
			items = append(items, fmt.Sprintf("{name: %s-%d-%d, image: \"i:%d\", %s}", label, i, j, j, rapid.SampledFrom(options).Draw(t, fmt.Sprint(label, i, j))))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	out += "containers: " + list("c", "podInjectPolicy: AfterAppContainer", "podInjectPolicy: BeforeAppContainer",
		"shareVolumePolicy: {type: enabled}", "transferEnv: [{sourceContainerName: one, envName: A}]",
		`upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: "e:1"}`, fmt.Sprintf("volumeMounts: [{name: v%d, mountPath: /v}]", i))
	out += ", initContainers: " + list("i", "restartPolicy: Always", "podInjectPolicy: BeforeAppContainer", "tty: true")
	return out + "}}"
}

const drawnPod = `
metadata: {name: p, namespace: shop, labels: {app: web}}
spec:
  volumes: [{name: data, emptyDir: {}}]
  initContainers: [{name: own-init, image: x, future: 0}]
  containers:
  - {name: one, image: app, future: 1, env: [{name: A, value: b}], volumeMounts: [{name: data, mountPath: /data}]}
  - {name: two, image: app, future: 2}
`

// TestInjectionKeepsWhatIsTheUsers: the pod's own containers stay as they are, byte for byte, and in
// their order; a second pass changes nothing; and the order in which sets were found changes nothing.
func TestInjectionKeepsWhatIsTheUsers(t *testing.T) {
	raw, err := yaml.YAMLToJSON([]byte(drawnPod))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		var texts []string
		for i := range rapid.IntRange(1, 5).Draw(r, "sets") {
			texts = append(texts, drawSet(r, i))
		}
		var stored [][]byte
		for range 2 {
			x := NewIndex()
			for _, text := range texts {
				x.Put(compile(t, text))
			}
			first, err := admit(raw, x)
			if err != nil {
				r.Fatal(err)
			}
			second, err := admit(first.pod, x)
			if err != nil || len(second.patch) > 0 {
				r.Fatalf("the second pass: %+v, %v", second.patch, err)
			}
			stored = append(stored, first.pod)
			slices.Reverse(texts)
		}
		if string(stored[0]) != string(stored[1]) {
			r.Fatalf("the order of the sets matters:\n%s\n%s", stored[0], stored[1])
		}
		if before, after := apps(r, raw), apps(r, stored[0]); !slices.Equal(before, after) {
			r.Fatalf("the pod's own containers were %s and are %s", before, after)
		}
		wellFormed(r, stored[0])
	})
}

// apps returns the containers that nobody injected, as they are written.
func apps(t *rapid.T, pod []byte) []string {
	var p struct {
		Spec struct {
			InitContainers, Containers []json.RawMessage
		}
	}
	if err := json.Unmarshal(pod, &p); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, raw := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if !strings.Contains(string(raw), "IS_INJECTED") {
			var sorted any
			_ = json.Unmarshal(raw, &sorted)
			text, _ := json.Marshal(sorted)
			out = append(out, string(text))
		}
	}
	return out
}

// wellFormed checks what an API server would: unique names and paths, and mounts of volumes that exist.
func wellFormed(t *rapid.T, raw []byte) {
	var pod corev1.Pod
	if err := json.Unmarshal(raw, &pod); err != nil {
		t.Fatal(err)
	}
	volumes, seen := map[string]bool{}, map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		if volumes[v.Name] {
			t.Fatalf("volume %s is there twice", v.Name)
		}
		volumes[v.Name] = true
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if seen[c.Name] {
			t.Fatalf("container %s is there twice", c.Name)
		}
		seen[c.Name] = true
		paths := map[string]bool{}
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] || paths[m.MountPath] {
				t.Fatalf("container %s: mount %+v", c.Name, m)
			}
			paths[m.MountPath] = true
		}
	}
}

func TestPins(t *testing.T) {
	pinned := func(update, policy string) *Set {
		return compile(t, fmt.Sprintf(`{metadata: {name: s}, spec: {updateStrategy: %s, injectionStrategy: {revision: {revisionName: r, policy: %s}}}}`, update, policy))
	}
	pod := &corev1.Pod{}
	pod.Labels = map[string]string{"a": "b"}
	for name, tc := range map[string]struct {
		set  *Set
		want bool
	}{
		"no pin":                       {compile(t, "{metadata: {name: s}}"), false},
		"always":                       {pinned("{}", "Always"), true},
		"no policy":                    {pinned("{}", ""), true},
		"partial, paused":              {pinned("{paused: true}", "Partial"), true},
		"partial":                      {pinned("{}", "Partial"), false},
		"partial, an integer":          {pinned("{partition: 5}", "Partial"), false},
		"partial, not selected":        {pinned("{selector: {matchLabels: {a: c}}}", "Partial"), true},
		"partial, selected":            {pinned("{selector: {matchLabels: {a: b}}}", "Partial"), false},
		"partial, 100%":                {pinned("{partition: 100%}", "Partial"), true},
		"partial, 0%":                  {pinned("{partition: 0%}", "Partial"), false},
		"partial, no percentage":       {pinned("{partition: abc}", "Partial"), false},
		"partial, selected and a part": {pinned("{selector: {matchLabels: {a: b}}, partition: 0%}", "Partial"), false},
	} {
		if got := tc.set.Pinned(pod, func() string { return "nonce" }); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// TestSharesHold: pods with an ordinal split exactly at any number, others within sampling error, and
// two sets are independent of each other.
func TestSharesHold(t *testing.T) {
	set := func(name string, percent int) *Set {
		return compile(t, fmt.Sprintf(`{metadata: {name: %s}, spec: {updateStrategy: {partition: %d%%}, injectionStrategy: {revision: {revisionName: r, policy: Partial}}}}`, name, percent))
	}
	for _, percent := range []int{1, 10, 33, 50, 90} {
		s, other := set("s", percent), set("other", percent)
		held, drawn, both := 0, 0, 0
		const n = 20000
		for i := range n {
			pod := &corev1.Pod{}
			pod.Labels = map[string]string{"apps.kubernetes.io/pod-index": fmt.Sprint(i)}
			if s.Pinned(pod, nil) {
				held++
			}
			if want := (i + 1) * percent / 100; held != want {
				t.Fatalf("%d%%: of %d pods %d are held, want %d", percent, i+1, held, want)
			}
			nonce := func() string { return fmt.Sprintf("%08x", i*7919) }
			a, b := s.Pinned(&corev1.Pod{}, nonce), other.Pinned(&corev1.Pod{}, nonce)
			if a {
				drawn++
			}
			if a && b {
				both++
			}
		}
		p := float64(percent) / 100
		if d := float64(drawn)/n - p; d < -0.02 || d > 0.02 {
			t.Errorf("%d%%: %d of %d were drawn", percent, drawn, n)
		}
		if d := float64(both)/n - p*p; d < -0.02 || d > 0.02 {
			t.Errorf("%d%%: %d of %d were drawn by both sets", percent, both, n)
		}
	}
	pod := &corev1.Pod{}
	calls := 0
	nonce := func() string { calls++; return "n1" }
	if first, second := Draw(pod, nonce), Draw(pod, nonce); first != "n1" || second != "n1" || calls != 1 {
		t.Error("the nonce is drawn once")
	}
}

// BenchmarkInject: the pure merge of some sets out of a thousand that are there.
func BenchmarkInject(b *testing.B) {
	for _, matching := range []int{1, 5, 20} {
		b.Run(fmt.Sprintf("%d of 1000", matching), func(b *testing.B) {
			x := NewIndex()
			for i := range 1000 {
				app := "other-" + fmt.Sprint(i)
				if i < matching {
					app = "web"
				}
				x.Put(compile(b, fmt.Sprintf(`
metadata: {name: s%d}
spec:
  selector: {matchLabels: {env: prod, app: %s}}
  volumes: [{name: v%d}]
  containers: [{name: c%d, image: "i:1", shareVolumePolicy: {type: enabled}, volumeMounts: [{name: v%d, mountPath: /v}]}]`, i, app, i, i, i)))
			}
			var pod corev1.Pod
			if err := yaml.Unmarshal([]byte(strings.Replace(drawnPod, "app: web", "app: web, env: prod", 1)), &pod); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				fresh := pod.DeepCopy()
				var choices []Choice
				for _, s := range x.Selecting("shop", labels.Set(fresh.Labels)) {
					name, _, _ := s.Revision()
					choices = append(choices, Choice{Set: s, Revision: name})
				}
				report, err := Inject(fresh, choices, noon)
				if err != nil || len(report.Injected) != matching {
					b.Fatal(report, err)
				}
			}
		})
	}
}
