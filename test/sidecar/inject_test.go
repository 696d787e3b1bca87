package sidecar

import (
	"encoding/json"
	"strings"
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

const agent = `
selector: {matchLabels: {app: web}}
containers: [{name: agent, image: "agent:1"}]
`

// known waits until the replicas know the sets: a pod that is created from then on is injected.
func (f *fixture) known(names ...string) {
	f.Helper()
	for _, name := range names {
		f.eventually("SidecarSet "+name+" is observed", func() (bool, string) {
			s := f.get(name)
			return s.Status.ObservedGeneration == s.Generation && s.Status.LatestRevision != "", s.Status.LatestRevision
		})
	}
}

func TestAPodWithoutAControllerIsInjected(t *testing.T) {
	f := newFixture(t)
	f.set("agent", agent)
	f.known("agent")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "alone", Labels: map[string]string{"app": "web"}}}
	pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "app:1"}}
	f.create(pod)
	if len(pod.Spec.Containers) != 2 || pod.Spec.Containers[0].Name != "agent" {
		t.Errorf("the pod has containers %v", pod.Spec.Containers)
	}
	set := f.get("agent")
	records, err := sidecar.ParseRecords(pod.Annotations, v1alpha1.AnnotationSidecarHash)
	if err != nil || records[set.Name].Hash != set.Annotations[v1alpha1.AnnotationSidecarHash] || records[set.Name].ControllerRevision != set.Status.LatestRevision {
		t.Errorf("the pod records %+v, the set has %v and revision %s", records, set.Annotations, set.Status.LatestRevision)
	}
	f.status("agent", 1, 1, 1)
}

func TestPodsAndNamespacesOptOut(t *testing.T) {
	f := newFixture(t)
	f.set("agent", agent)
	f.known("agent")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "out", Labels: map[string]string{"app": "web", v1alpha1.LabelInject: "disabled"}}}
	pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "app:1"}}
	f.create(pod)
	if len(pod.Spec.Containers) != 1 {
		t.Errorf("the pod has containers %v", pod.Spec.Containers)
	}
}

func TestANameThatIsTaken(t *testing.T) {
	f := newFixture(t)
	f.set("agent", agent)
	f.known("agent")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "clash", Namespace: f.ns, Labels: map[string]string{"app": "web"}}}
	pod.Spec.Containers = []corev1.Container{{Name: "agent", Image: "mine:1"}}
	err := kube.Create(f.ctx, pod)
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), f.named("agent")) || !strings.Contains(err.Error(), `"agent"`) {
		t.Errorf("got %v", err)
	}
}

// TestALabelOfASubsetSelectsASet: the subset's patch gives overflow pods the label.
func TestALabelOfASubsetSelectsASet(t *testing.T) {
	f := newFixture(t)
	f.set("logs", `
selector: {matchLabels: {vk: "true"}}
containers: [{name: logs, image: "logs:1"}]
`)
	f.known("logs")
	ws := &appsv1alpha1.WorkloadSpread{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	ws.Spec.TargetReference = &appsv1alpha1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}
	two := intstr.FromInt32(2)
	ws.Spec.Subsets = []appsv1alpha1.WorkloadSpreadSubset{
		{Name: "own", MaxReplicas: &two},
		{Name: "over", Patch: runtime.RawExtension{Raw: []byte(`{"metadata":{"labels":{"vk":"true"}}}`)}},
	}
	f.create(ws)
	f.create(deployment("web", 5))
	for _, p := range f.running("web", 5) {
		_, over := p.Labels["vk"]
		if spec, _ := imageOf(&p, "logs"); (spec != "") != over {
			t.Errorf("pod %s with labels %v has a log sidecar %q", p.Name, p.Labels, spec)
		}
	}
	f.status("logs", 3, 3, 3)
}

func TestEverythingThatIsInjected(t *testing.T) {
	f := newFixture(t)
	f.set("full", `
selector: {matchLabels: {app: web}}
initContainers:
- {name: prepare, image: "prepare:1"}
- {name: native, image: "native:1", restartPolicy: Always}
containers:
- name: agent
  image: agent:1
  podInjectPolicy: AfterAppContainer
  shareVolumePolicy: {type: enabled}
  transferEnv: [{sourceContainerName: main, envName: TEAM}]
  volumeMounts: [{name: own, mountPath: /own}]
- name: mesh
  image: mesh:1
  upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: "empty:1"}
  resourcesPolicy: {targetContainersMode: sum, targetContainersNameRegex: ".*", resourcesExpr: {limits: {cpu: "max(cpu*50%, 50m)"}, requests: {cpu: "50m"}}}
volumes: [{name: own}, {name: unused}]
imagePullSecrets: [{name: pull}]
`)
	f.known("full")
	f.create(deployment("web", 2, func(p *corev1.PodTemplateSpec) {
		raw := `{"volumes":[{"name":"data","emptyDir":{}}],"containers":[{"name":"main","image":"app:1","env":[{"name":"TEAM","value":"red"}],"resources":{"limits":{"cpu":"1"}},"volumeMounts":[{"name":"data","mountPath":"/data"}]}]}`
		selector := p.Spec.NodeSelector
		if err := json.Unmarshal([]byte(raw), &p.Spec); err != nil {
			t.Fatal(err)
		}
		p.Spec.NodeSelector = selector
	}))
	for _, p := range f.running("web", 2) {
		var names []string
		for _, c := range append(p.Spec.InitContainers, p.Spec.Containers...) {
			names = append(names, c.Name)
		}
		if got := strings.Join(names, " "); got != "native prepare mesh-1 mesh-2 main agent" {
			t.Errorf("containers: %s", got)
		}
		agent := p.Spec.Containers[3]
		if agent.Env[1].Value != "red" || agent.VolumeMounts[1].MountPath != "/data" {
			t.Errorf("agent: env %v, mounts %v", agent.Env, agent.VolumeMounts)
		}
		if got := p.Spec.Containers[0].Resources.Limits.Cpu().String(); got != "500m" {
			t.Errorf("mesh may use %s", got)
		}
	}
	f.status("full", 2, 2, 2)
}

// TestAJobIsWarned: ordinary sidecars would keep its pods running.
func TestAJobIsWarned(t *testing.T) {
	f := newFixture(t)
	f.set("native", `
selector: {matchLabels: {app: job}}
initContainers: [{name: native, image: "native:1", restartPolicy: Always}]
`)
	f.known("native")
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "job"}}
	job.Spec.Template = deployment("job", 1).Spec.Template
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	f.create(job)
	f.eventually("the job completes", func() (bool, string) {
		var got batchv1.Job
		if err := kube.Get(f.ctx, client.ObjectKeyFromObject(job), &got); err != nil {
			f.Fatal(err)
		}
		return got.Status.Succeeded == 1, got.Status.String()
	})
}

// TestAPinOfARevision: new pods get the version that is pinned, and the current one when it is gone.
func TestAPinOfARevision(t *testing.T) {
	f := newFixture(t)
	f.set("agent", agent)
	f.known("agent")
	first := f.get("agent").Status.LatestRevision
	f.image("agent", "agent:2")
	f.known("agent")
	f.patchSet("agent", `[{"op":"add","path":"/spec/injectionStrategy/revision","value":{"revisionName":"`+first+`"}},{"op":"add","path":"/spec/updateStrategy/paused","value":true}]`)
	f.known("agent")
	f.eventually("a new pod gets the pinned revision", func() (bool, string) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "pinned-", Labels: map[string]string{"app": "web"}}}
		pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "app:1"}}
		f.create(pod)
		spec, _ := imageOf(pod, "agent")
		records, _ := sidecar.ParseRecords(pod.Annotations, v1alpha1.AnnotationSidecarHash)
		return spec == "agent:1" && records[f.named("agent")].ControllerRevision == first, spec
	})
	err := f.tryPatchSet("agent", `[{"op":"replace","path":"/spec/injectionStrategy/revision","value":{"revisionName":"nothing"}}]`)
	if !apierrors.IsInvalid(err) {
		t.Errorf("a pin to nothing: %v", err)
	}
}
