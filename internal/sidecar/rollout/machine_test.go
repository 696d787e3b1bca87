package rollout

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// world is a model of an API server with kubelets: pods come and go, containers take their time, images
// may be broken, writes may be refused.
type world struct {
	spec     string // of the set, with %s for the image
	set      *sidecar.Set
	revision string
	strategy func(*sidecar.Spec)
	image    string
	pods     []*corev1.Pod
	broken   map[string]bool // images that do not run
	now      time.Time
	made     int
	version  int
	writes   map[types.UID]int
	refuse   func(*corev1.Pod) bool
}

func newWorld(t testing.TB, spec, image string) *world {
	w := &world{spec: spec, image: image, broken: map[string]bool{}, now: time.Unix(1_700_000_000, 0), writes: map[types.UID]int{}, strategy: func(*sidecar.Spec) {}}
	w.compile(t)
	return w
}

// fataler is a test, or a run of a property.
type fataler interface{ Fatal(args ...any) }

func (w *world) compile(t fataler) {
	o := new(sidecar.SidecarSet)
	if err := yaml.Unmarshal(fmt.Appendf(nil, w.spec, w.image), o); err != nil {
		t.Fatal(err)
	}
	w.version++
	o.Name, o.UID, o.ResourceVersion = "set", "set", strconv.Itoa(w.version)
	w.strategy(&o.Spec)
	set, err := sidecar.Compile(o)
	if err != nil {
		t.Fatal(err)
	}
	name, _, err := set.Revision()
	if err != nil {
		t.Fatal(err)
	}
	w.set, w.revision = set, name
}

// add creates an injected pod.
func (w *world) add(t fataler, labels map[string]string) *corev1.Pod {
	w.made++
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: fmt.Sprintf("p%03d", w.made), UID: types.UID(fmt.Sprintf("u%03d", w.made)), Labels: map[string]string{"app": "web"},
		CreationTimestamp: metav1.NewTime(w.now),
	}}
	maps.Copy(pod.Labels, labels)
	pod.Spec.NodeName = "node"
	pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "app:1"}}
	if _, err := sidecar.Inject(pod, []sidecar.Choice{{Set: w.set, Revision: w.revision}}, w.now); err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase = corev1.PodPending
	w.pods = append(w.pods, pod)
	return pod
}

// sync is a kubelet at work on one pod: containers run the images of their specs.
func (w *world) sync(pod *corev1.Pod) {
	ready := true
	status := func(list []corev1.Container, old []corev1.ContainerStatus, native bool) []corev1.ContainerStatus {
		var out []corev1.ContainerStatus
		for _, c := range list {
			s := corev1.ContainerStatus{Name: c.Name}
			if i := slices.IndexFunc(old, func(o corev1.ContainerStatus) bool { return o.Name == c.Name }); i >= 0 {
				s = old[i]
			}
			if s.Image != c.Image {
				if s.Image != "" {
					s.RestartCount++
				}
				s.Image, s.ImageID, s.ContainerID = c.Image, "id@"+c.Image, fmt.Sprintf("%s/%s/%d", pod.UID, c.Name, s.RestartCount)
				s.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(w.now)}
			}
			s.Ready = !w.broken[c.Image]
			ready = ready && (s.Ready || native)
			out = append(out, s)
		}
		return out
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = status(pod.Spec.Containers, pod.Status.ContainerStatuses, false)
	pod.Status.InitContainerStatuses = status(pod.Spec.InitContainers, pod.Status.InitContainerStatuses, true)
	is := corev1.ConditionFalse
	if ready {
		is = corev1.ConditionTrue
	}
	if len(pod.Status.Conditions) == 0 || pod.Status.Conditions[0].Status != is {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: is, LastTransitionTime: metav1.NewTime(w.now)}}
	}
}

func (w *world) managed() []*corev1.Pod {
	var out []*corev1.Pod
	for _, pod := range w.pods {
		if Manages(w.set, pod) {
			out = append(out, pod)
		}
	}
	return out
}

// round plans, and writes what was planned. It returns the plan.
func (w *world) round(t fataler) Plan {
	plan := Make(Input{Set: w.set, Revision: w.revision, Pods: w.managed(), Now: w.now})
	for _, change := range plan.Changes {
		if w.refuse != nil && w.refuse(change.Pod) {
			continue
		}
		if err := w.write(change); err != nil {
			t.Fatal(err)
		}
	}
	return plan
}

func (w *world) write(change Change) error {
	ops, err := json.Marshal(change.Patch)
	if err != nil {
		return err
	}
	patch, err := jsonpatch.DecodePatch(ops)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(change.Pod)
	if err != nil {
		return err
	}
	out, err := patch.Apply(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", ops, err)
	}
	i := slices.Index(w.pods, change.Pod)
	if i < 0 {
		return errors.New("a pod that is gone")
	}
	stored := new(corev1.Pod)
	if err := json.Unmarshal(out, stored); err != nil {
		return err
	}
	w.pods[i] = stored
	w.writes[stored.UID]++
	return nil
}

const coldSet = `{metadata: {}, spec: {selector: {matchLabels: {app: web}}, containers: [{name: agent, image: "%s"}]}}`
const nativeSet = `{metadata: {}, spec: {selector: {matchLabels: {app: web}}, initContainers: [{name: agent, restartPolicy: Always, image: "%s"}]}}`
const hotSet = `{metadata: {}, spec: {selector: {matchLabels: {app: web}}, containers: [{name: mesh, image: "%s", upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: "empty:1"}}, {name: cold, image: "cold:1"}]}}`

// unavailable counts pods that are not ready for the set.
func (w *world) unavailable() int {
	n := 0
	for _, pod := range w.managed() {
		if v := look(w.set, w.revision, pod, w.now); !v.ready() {
			n++
		}
	}
	return n
}

// TestUpgradesEnd is a state machine: pods come, go, start slowly, stop matching, fail; the set is paused,
// gets broken images, and is rolled back. While nothing else fails, no more pods are unavailable than are
// allowed. When it has quietened down every pod that can be is on the latest version.
func TestUpgradesEnd(t *testing.T) {
	for name, spec := range map[string]string{"cold": coldSet, "native": nativeSet, "hot": hotSet} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) { machine(r, t, spec) })
		})
	}
}

func machine(r *rapid.T, t *testing.T, spec string) {
	w := newWorld(t, spec, "agent:1")
	w.broken["agent:bad"] = true
	most := rapid.IntRange(1, 4).Draw(r, "maxUnavailable")
	paused := false
	w.strategy = func(s *sidecar.Spec) {
		n := intstr.FromInt(most)
		s.UpdateStrategy.MaxUnavailable, s.UpdateStrategy.Paused = &n, paused
	}
	w.compile(r)
	for range rapid.IntRange(1, 12).Draw(r, "pods") {
		w.sync(w.add(r, nil))
	}
	pick := func() *corev1.Pod {
		if len(w.pods) == 0 {
			return w.add(r, nil)
		}
		return w.pods[rapid.IntRange(0, len(w.pods)-1).Draw(r, "pod")]
	}
	r.Repeat(map[string]func(*rapid.T){
		"": func(*rapid.T) {},
		"round": func(*rapid.T) {
			before := w.unavailable()
			w.round(r)
			if after := w.unavailable(); after > max(before, most) {
				r.Fatalf("%d pods were unavailable, %d are, %d may be", before, after, most)
			}
		},
		"round of which some writes are refused": func(rt *rapid.T) {
			w.refuse = func(*corev1.Pod) bool { return rapid.Bool().Draw(rt, "refused") }
			w.round(r)
			w.refuse = nil
		},
		"sync":   func(*rapid.T) { w.sync(pick()) },
		"create": func(*rapid.T) { w.add(r, nil) },
		"delete": func(*rapid.T) {
			p := pick()
			w.pods = slices.DeleteFunc(w.pods, func(o *corev1.Pod) bool { return o == p })
		},
		"relabel": func(*rapid.T) { pick().Labels["app"] = "other" },
		"restart": func(*rapid.T) {
			p := pick()
			for i := range p.Status.ContainerStatuses { // a crash: the old image starts again
				p.Status.ContainerStatuses[i].RestartCount++
				p.Status.ContainerStatuses[i].ContainerID += "'"
			}
		},
		"release": func(rt *rapid.T) {
			w.image = rapid.SampledFrom([]string{"agent:1", "agent:2", "agent:3", "agent:bad"}).Draw(rt, "image")
			w.compile(r)
		},
		"pause": func(*rapid.T) { paused = !paused; w.compile(r) },
		"time":  func(*rapid.T) { w.now = w.now.Add(time.Minute) },
	})
	// Quiet: a good image, kubelets work, nothing is paused.
	paused = false
	if w.image == "agent:bad" {
		w.image = "agent:4"
	}
	w.compile(r)
	w.quieten(r)
	w.atRest(r)
}

// quieten runs rounds until nothing is planned any more.
func (w *world) quieten(t fataler) {
	for range 200 {
		for _, pod := range w.pods {
			w.sync(pod)
		}
		w.now = w.now.Add(10 * time.Second)
		if plan := w.round(t); len(plan.Changes) == 0 && plan.Again == 0 {
			return
		}
	}
	t.Fatal("it does not end")
}

func (w *world) atRest(t fataler) {
	for _, pod := range w.managed() {
		v := look(w.set, w.revision, pod, w.now)
		if !v.updated || !v.ready() {
			t.Fatal(fmt.Sprintf("pod %s at rest: %+v\n%+v\n%+v", pod.Name, v, pod.Annotations, pod.Spec.Containers))
		}
	}
}

// TestAThousandPods: 10 % at a time, one write for each pod, while a tenth of them is deleted.
func TestAThousandPods(t *testing.T) {
	w := newWorld(t, coldSet, "agent:1")
	share := intstr.FromString("10%")
	w.strategy = func(s *sidecar.Spec) { s.UpdateStrategy.MaxUnavailable = &share }
	w.compile(t)
	for range 1000 {
		w.sync(w.add(t, nil))
	}
	w.image = "agent:2"
	w.compile(t)
	for i := 0; ; i++ {
		if i > 100 {
			t.Fatal("it does not end")
		}
		plan := w.round(t)
		if n := w.unavailable(); n > 100 {
			t.Fatalf("%d pods are unavailable", n)
		}
		if len(plan.Changes) == 0 {
			break
		}
		for _, pod := range w.pods {
			if number, _ := strconv.Atoi(pod.Name[1:]); number%3 != i%3 { // slow ones come later
				w.sync(pod)
			}
		}
		w.pods = slices.Delete(w.pods, i, i+5)
	}
	w.quieten(t)
	w.atRest(t)
	for _, pod := range w.pods {
		if n := w.writes[pod.UID]; n != 1 {
			t.Errorf("pod %s was written %d times", pod.Name, n)
		}
	}
}

// TestTakenOverWithoutAWrite: a pod and a set as OpenKruise leaves them.
func TestTakenOverWithoutAWrite(t *testing.T) {
	w := newWorld(t, coldSet, "agent:1")
	pod := w.add(t, nil)
	w.sync(pod)
	records, _ := sidecar.ParseRecords(pod.Annotations, v1alpha1.AnnotationSidecarHash)
	hash := records["set"].Hash
	for name, annotations := range map[string]map[string]string{
		"a record": {
			v1alpha1.AnnotationSidecarHash: fmt.Sprintf(`{"set":{"updateTimestamp":"2025-01-02T03:04:05Z","hash":"%s","sidecarSetName":"set","sidecarList":["agent"],"controllerRevision":"%s"}}`, hash, w.revision),
		},
		"the oldest form":                {v1alpha1.AnnotationSidecarHash: fmt.Sprintf(`{"set":"%s"}`, hash)},
		"after an upgrade of OpenKruise": {v1alpha1.AnnotationSidecarInPlace: `{"set":{"revision":"x","updateTimestamp":"2025-01-02T03:04:05Z","lastContainerStatuses":{"agent":{"imageID":"older"}}}}`},
		"retagged by OpenKruise":         {v1alpha1.AnnotationSidecarInPlace: `{"set":{"revision":"x","updateTimestamp":"2025-01-02T03:04:05Z","lastContainerStatuses":{"agent":{"imageID":"id@agent:1"}}}}`},
	} {
		taken := pod.DeepCopy()
		maps.Copy(taken.Annotations, annotations)
		plan := Make(Input{Set: w.set, Revision: w.revision, Pods: []*corev1.Pod{taken}, Now: w.now})
		if len(plan.Changes) > 0 || plan.Counts != (Counts{Matched: 1, Updated: 1, Ready: 1, UpdatedReady: 1}) {
			t.Errorf("%s: %+v", name, plan)
		}
		if _, write := Condition(taken, "set", plan.Verdicts[0], func(string) bool { return true }, w.now); write {
			t.Errorf("%s: a condition is written", name)
		}
	}
}
