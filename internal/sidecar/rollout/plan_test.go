package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// rolling is a world of ready pods on agent:1 whose set has just got agent:2.
func rolling(t *testing.T, pods int, strategy string) *world {
	t.Helper()
	w := newWorld(t, coldSet, "agent:1")
	for range pods {
		w.sync(w.add(t, nil))
	}
	w.strategy = func(s *sidecar.Spec) {
		s.UpdateStrategy.MaxUnavailable = nil
		if err := yaml.Unmarshal([]byte(strategy), &s.UpdateStrategy); err != nil {
			t.Fatal(err)
		}
	}
	w.image = "agent:2"
	w.compile(t)
	return w
}

func upgraded(plan Plan) string {
	var out []string
	for _, c := range plan.Changes {
		out = append(out, c.Pod.Name)
	}
	return strings.Join(out, " ")
}

func TestWhoIsUpgraded(t *testing.T) {
	for name, tc := range map[string]struct {
		strategy string
		change   func(*world)
		want     string
		verdicts map[string]v1alpha1.Reason
	}{
		"one at a time":        {strategy: "{}", want: "p001"},
		"several":              {strategy: "{maxUnavailable: 2}", want: "p001 p002"},
		"a percentage":         {strategy: "{maxUnavailable: 50%}", want: "p001 p002 p003 p004 p005"},
		"none":                 {strategy: "{maxUnavailable: 0}", want: "", verdicts: map[string]v1alpha1.Reason{"p001": v1alpha1.ReasonMaxUnavailable}},
		"paused":               {strategy: "{paused: true, maxUnavailable: 9}", want: "", verdicts: map[string]v1alpha1.Reason{"p001": v1alpha1.ReasonPaused}},
		"not at all":           {strategy: "{type: NotUpdate, maxUnavailable: 9}", want: "", verdicts: map[string]v1alpha1.Reason{"p001": v1alpha1.ReasonNotUpdate}},
		"all but a number":     {strategy: "{maxUnavailable: 100%, partition: 8}", want: "p001 p002", verdicts: map[string]v1alpha1.Reason{"p003": v1alpha1.ReasonHeldByPartition}},
		"all but a percentage": {strategy: "{maxUnavailable: 100%, partition: 75%}", want: "p001 p002"},
		"almost all stay":      {strategy: "{maxUnavailable: 100%, partition: 99%}", want: "p001"},
		"all stay":             {strategy: "{maxUnavailable: 100%, partition: 100%}", want: ""},
		"more than there are":  {strategy: "{maxUnavailable: 100%, partition: 50}", want: ""},
		"only some":            {strategy: "{maxUnavailable: 9, selector: {matchLabels: {canary: y1}}}", change: func(w *world) { w.pods[4].Labels["canary"] = "y1" }, want: "p005", verdicts: map[string]v1alpha1.Reason{"p001": v1alpha1.ReasonNotSelected}},
		"by weight":            {strategy: "{priorityStrategy: {weightPriority: [{weight: 5, matchSelector: {matchLabels: {a: b}}}]}}", change: func(w *world) { w.pods[6].Labels["a"] = "b" }, want: "p007"},
		"by order, those without first": {strategy: "{maxUnavailable: 10, priorityStrategy: {orderPriority: [{orderedKey: x}, {orderedKey: z}]}}", change: func(w *world) {
			for i, p := range w.pods {
				p.Labels[[]string{"x", "z"}[i%2]] = fmt.Sprintf("v-%d", i)
			}
			delete(w.pods[3].Labels, "z")
		}, want: "p004 p009 p007 p005 p003 p001 p010 p008 p006 p002"},
		"scattered": {strategy: "{maxUnavailable: 10, scatterStrategy: [{key: zone, value: a}]}", change: func(w *world) {
			for _, i := range []int{0, 1, 2} {
				w.pods[i].Labels["zone"] = "a"
			}
		}, want: "p001 p004 p005 p006 p007 p002 p008 p009 p010 p003"},
		"unavailable pods cost nothing": {strategy: "{maxUnavailable: 0}", change: func(w *world) {
			w.pods[7].Status.Conditions[0].Status = corev1.ConditionFalse
		}, want: "p008"},
		"one that differs in more than images": {strategy: "{maxUnavailable: 100%, partition: 9}", change: func(w *world) {
			for _, p := range w.pods[:9] {
				p.Annotations[v1alpha1.AnnotationSidecarHashWithoutImage] = `{"set":{"hash":"other"}}`
			}
		}, want: "p010", verdicts: map[string]v1alpha1.Reason{"p001": v1alpha1.ReasonNotUpgradable}},
		"one that lost its container": {strategy: "{maxUnavailable: 100%, partition: 9}", change: func(w *world) {
			for _, p := range w.pods[:9] {
				p.Spec.Containers = p.Spec.Containers[1:]
			}
		}, want: "p010"},
		"one whose records cannot be read": {strategy: "{maxUnavailable: 1}", change: func(w *world) {
			w.pods[0].Annotations[v1alpha1.AnnotationSidecarHashWithoutImage] = "no JSON"
		}, want: "p002"},
	} {
		t.Run(name, func(t *testing.T) {
			w := rolling(t, 10, tc.strategy)
			if tc.change != nil {
				tc.change(w)
			}
			plan := Make(Input{Set: w.set, Revision: w.revision, Pods: w.managed(), Now: w.now})
			if got := upgraded(plan); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			for i, pod := range w.managed() {
				if want, ok := tc.verdicts[pod.Name]; ok && plan.Verdicts[i] != want {
					t.Errorf("%s: got %s, want %s", pod.Name, plan.Verdicts[i], want)
				}
			}
		})
	}
}

// TestOneFailingPodStopsNoOther: it waits by itself.
func TestOneFailingPodStopsNoOther(t *testing.T) {
	w := rolling(t, 3, "{}")
	plan := Make(Input{Set: w.set, Revision: w.revision, Pods: w.managed(), Now: w.now, Waiting: map[types.UID]bool{"u001": true}})
	if got := upgraded(plan); got != "p002" || plan.Verdicts[0] != v1alpha1.ReasonBackOff {
		t.Errorf("got %q, %v", got, plan.Verdicts)
	}
}

func TestThePatchTestsWhatItReplaces(t *testing.T) {
	w := rolling(t, 1, "{}")
	plan := Make(Input{Set: w.set, Revision: w.revision, Pods: w.managed(), Now: w.now})
	var ops []string
	for _, op := range plan.Changes[0].Patch {
		ops = append(ops, op.Op+" "+op.Path)
	}
	want := []string{
		"test /metadata/uid", "test /spec/containers/0/name", "test /spec/containers/0/image", "replace /spec/containers/0/image",
		"test /metadata/annotations/kruise.io~1sidecarset-hash", "add /metadata/annotations/kruise.io~1sidecarset-hash",
		"add /metadata/annotations/kruise.io~1sidecarset-inplace-update-state", "add /metadata/annotations/spillway-project.io~1sidecarset-upgrade-state",
	}
	if strings.Join(ops, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(ops, "\n"))
	}
	w.round(t)
	const state = `{"set":{"revision":"%s","updateTimestamp":"2023-11-14T22:13:20Z","lastContainerStatuses":{"agent":{"imageID":"id@agent:1"}}}}`
	if got := w.pods[0].Annotations[v1alpha1.AnnotationSidecarInPlace]; got != fmt.Sprintf(state, w.set.Hash) {
		t.Errorf("got %s", got)
	}
}

// TestAHotUpgrade goes through the states of a pair, with the versions that the containers see.
func TestAHotUpgrade(t *testing.T) {
	w := newWorld(t, hotSet, "mesh:1")
	w.broken["mesh:bad"] = true
	w.sync(w.add(t, nil))
	state := func() string {
		p := w.pods[0]
		a := func(key string) string { return p.Annotations[key] }
		return fmt.Sprintf("%s %s works:%s %s/%s %s/%s", p.Spec.Containers[0].Image, p.Spec.Containers[1].Image,
			sidecar.ParseWorking(p.Annotations)["mesh"],
			a("version.sidecarset.kruise.io/mesh-1"), a("versionalt.sidecarset.kruise.io/mesh-1"),
			a("version.sidecarset.kruise.io/mesh-2"), a("versionalt.sidecarset.kruise.io/mesh-2"))
	}
	step := func(what, image, want string) {
		t.Helper()
		if image != "" {
			w.image = image
			w.compile(t)
		}
		w.round(t)
		if got := state(); got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	step("at rest", "", "mesh:1 empty:1 works:mesh-1 1/0 0/1")
	step("the other one gets the image", "mesh:2", "mesh:1 mesh:2 works:mesh-2 1/2 2/1")
	step("until it runs", "", "mesh:1 mesh:2 works:mesh-2 1/2 2/1")
	w.sync(w.pods[0])
	step("the former one is reset", "", "empty:1 mesh:2 works:mesh-2 0/2 2/0")
	w.sync(w.pods[0])
	step("at rest", "", "empty:1 mesh:2 works:mesh-2 0/2 2/0")
	step("a broken image", "mesh:bad", "mesh:bad mesh:2 works:mesh-1 3/2 2/3")
	w.sync(w.pods[0])
	step("waits", "", "mesh:bad mesh:2 works:mesh-1 3/2 2/3")
	step("back to the former image", "mesh:2", "empty:1 mesh:2 works:mesh-2 0/4 4/0")
	w.sync(w.pods[0])
	step("at rest", "", "empty:1 mesh:2 works:mesh-2 0/4 4/0")
	w.atRest(t)
}

// TestAHotUpgradeEndsWhilePaused: a pod is not left with two containers that work.
func TestAHotUpgradeEndsWhilePaused(t *testing.T) {
	w := newWorld(t, hotSet, "mesh:1")
	w.sync(w.add(t, nil))
	w.image = "mesh:2"
	w.compile(t)
	w.round(t)
	w.strategy = func(s *sidecar.Spec) { s.UpdateStrategy.Paused = true }
	w.compile(t)
	w.sync(w.pods[0])
	w.round(t)
	if got := w.pods[0].Spec.Containers[0].Image; got != "empty:1" {
		t.Errorf("the former container runs %s", got)
	}
}

// TestWhenAnImageIsApplied: names that differ do not stall a rollout.
func TestWhenAnImageIsApplied(t *testing.T) {
	const digest = "sha256:0123456789012345678901234567890123456789012345678901234567890123"
	const config = "sha256:abcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcd"
	now := time.Unix(1_700_000_000, 0)
	before := sidecar.ContainerState{Image: "agent:1", ContainerID: "c1", RestartCount: 1}
	for name, tc := range map[string]struct {
		spec    string
		before  *sidecar.ContainerState
		status  corev1.ContainerStatus
		started time.Duration // ago
		want    bool
		again   time.Duration
	}{
		"never upgraded":               {spec: "agent:2", status: corev1.ContainerStatus{Image: "whatever"}, want: true},
		"by its digest":                {spec: "agent@" + digest, before: &before, status: corev1.ContainerStatus{Image: config, ImageID: "docker.io/library/agent@" + digest}, want: true},
		"by its digest, a mirror":      {spec: "agent@" + digest, before: &before, status: corev1.ContainerStatus{Image: config, ImageID: "mirror.example.com/x/agent@" + digest}, want: true},
		"not yet":                      {spec: "agent:2", before: &before, status: corev1.ContainerStatus{Image: "agent:1", ContainerID: "c1", RestartCount: 1}},
		"the name":                     {spec: "agent:2", before: &before, status: corev1.ContainerStatus{Image: "docker.io/library/agent:2"}, want: true},
		"a mirror":                     {spec: "agent:2", before: &before, status: corev1.ContainerStatus{Image: "mirror.example.com/library/agent:2", ContainerID: "c2"}, want: true},
		"the digest of a config":       {spec: "agent:2", before: &before, status: corev1.ContainerStatus{Image: config, ContainerID: "c2"}, want: true},
		"a digest, reported by config": {spec: "agent@" + digest, before: &before, status: corev1.ContainerStatus{Image: config, ImageID: config, ContainerID: "c2"}, want: true},
		"a crash of the former image":  {spec: "agent:2", before: &before, status: corev1.ContainerStatus{Image: "agent:1", ContainerID: "c2", RestartCount: 2}, started: time.Second, again: 29 * time.Second},
		"retagged, the former name":    {spec: "agent:2", before: &before, status: corev1.ContainerStatus{Image: "agent:1", ContainerID: "c2", RestartCount: 2}, started: time.Minute, want: true},
		"no container ID, a restart":   {spec: "agent:2", before: &before, status: corev1.ContainerStatus{Image: "mirror/agent:2", RestartCount: 2}, want: true},
		"no status":                    {spec: "agent:2"},
	} {
		t.Run(name, func(t *testing.T) {
			p := part{container: &corev1.Container{Name: "agent", Image: tc.spec}}
			h := history{}
			if tc.before != nil {
				h.ours = sidecar.UpgradeState{"agent": *tc.before}
			}
			if name != "no status" {
				tc.status.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now.Add(-tc.started))}
				p.status = &tc.status
			}
			if got, again := p.applied(h, now); got != tc.want || again != tc.again {
				t.Errorf("got %v, again in %s", got, again)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	exists := func(name string) bool { return name != "gone" }
	with := func(status corev1.ConditionStatus, reason, message string) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
			Type: v1alpha1.ConditionSidecarSetUpgradable, Status: status, Reason: reason, Message: message,
		}}}}
	}
	for name, tc := range map[string]struct {
		pod     *corev1.Pod
		verdict v1alpha1.Reason
		write   bool
		want    string
	}{
		"none is needed":          {pod: &corev1.Pod{}, verdict: v1alpha1.ReasonUpdated},
		"not upgradable":          {pod: &corev1.Pod{}, verdict: v1alpha1.ReasonNotUpgradable, write: true, want: `False UpdateImmutableField {"set":false}`},
		"still not upgradable":    {pod: with("False", "UpdateImmutableField", `{"set":false}`), verdict: v1alpha1.ReasonNotUpgradable},
		"upgradable again":        {pod: with("False", "UpdateImmutableField", `{"set":false}`), verdict: v1alpha1.ReasonUpdated, write: true, want: `True AllSidecarsetUpgradable {"set":true}`},
		"another set cannot":      {pod: with("False", "UpdateImmutableField", `{"other":false,"set":false}`), verdict: v1alpha1.ReasonUpdated, write: true, want: `False UpdateImmutableField {"other":false,"set":true}`},
		"a set that is gone":      {pod: with("False", "UpdateImmutableField", `{"gone":false}`), verdict: v1alpha1.ReasonUpdated, write: true, want: `True AllSidecarsetUpgradable {}`},
		"what cannot be read":     {pod: with("False", "UpdateImmutableField", `no JSON`), verdict: v1alpha1.ReasonUpdated, write: true, want: `True AllSidecarsetUpgradable {}`},
		"the set itself was lost": {pod: with("True", "AllSidecarsetUpgradable", `{"gone":true,"other":true}`), verdict: "", write: true, want: `True AllSidecarsetUpgradable {"other":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			c, write := Condition(tc.pod, "set", tc.verdict, exists, now)
			if write != tc.write || write && fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message) != tc.want {
				t.Errorf("got %v, %+v", write, c)
			}
		})
	}
}

func TestPartitions(t *testing.T) {
	for _, tc := range []struct {
		value string
		of    int
		want  int
	}{{"0", 10, 0}, {"3", 10, 3}, {"30", 10, 10}, {"25%", 10, 3}, {"99%", 10, 9}, {"100%", 10, 10}, {"99%", 1, 1}, {"150%", 10, 10}} {
		v := intstr.Parse(tc.value)
		if got := partition(&v, tc.of); got != tc.want {
			t.Errorf("%s of %d: got %d, want %d", tc.value, tc.of, got, tc.want)
		}
	}
}

// TestResourcesInPlace: a pod that differs in resources too is upgraded where that is allowed, and only
// then.
func TestResourcesInPlace(t *testing.T) {
	w := rolling(t, 2, "{maxUnavailable: 2}")
	for _, p := range w.pods {
		p.Annotations[v1alpha1.AnnotationSidecarHashWithoutImage] = `{"set":{"hash":"other"}}`
	}
	former := w.pods[0]
	in := Input{Set: w.set, Revision: w.revision, Pods: w.managed(), Now: w.now}
	if plan := Make(in); len(plan.Changes) > 0 || plan.Counts.NotUpgradable != 2 {
		t.Errorf("got %+v", plan)
	}
	asked := ""
	in.Resizable = func(revision string) bool { asked = revision; return true }
	plan := Make(in)
	if len(plan.Changes) != 2 || plan.Counts.NotUpgradable != 0 || !strings.HasPrefix(asked, "set-") {
		t.Fatalf("got %+v, asked for %s", plan, asked)
	}
	if _, ok := plan.Changes[0].Resize["containers"]["agent"]; !ok {
		t.Errorf("got %+v", plan.Changes[0].Resize)
	}
	if err := w.write(plan.Changes[0]); err != nil {
		t.Fatal(err)
	}
	if v := look(w.set, w.revision, w.pods[0], w.now); !v.updated || !v.upgradable || w.pods[0] == former {
		t.Errorf("afterwards it is %+v", v)
	}
}
