package sidecar

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// TestWhatIsRefused: 422 with the field, also for what only the API server can judge.
func TestWhatIsRefused(t *testing.T) {
	f := newFixture(t)
	for name, tc := range map[string]struct{ spec, field string }{
		"our rules":             {strings.Replace(agent, "agent:1\"", "agent:1\", podInjectPolicy: Between", 1), "spec.containers[0].podInjectPolicy"},
		"a port":                {strings.Replace(agent, "agent:1\"", "agent:1\", ports: [{containerPort: 70000}]", 1), "spec.containers[0].ports[0].containerPort"},
		"a probe":               {strings.Replace(agent, "agent:1\"", "agent:1\", livenessProbe: {httpGet: {port: 80}, tcpSocket: {port: 80}}", 1), "spec.containers[0].livenessProbe"},
		"a volume":              {agent + "\nvolumes: [{name: v, emptyDir: {}, secret: {secretName: s}}]", "spec.volumes[0]"},
		"limits below requests": {strings.Replace(agent, "agent:1\"", "agent:1\", resources: {limits: {cpu: 1}, requests: {cpu: 2}}", 1), "spec.containers[0].resources.requests"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.trySet("bad", tc.spec)
			var status apierrors.APIStatus
			if !apierrors.IsInvalid(err) || !errors.As(err, &status) {
				t.Fatalf("got %v", err)
			}
			fields := ""
			for _, c := range status.Status().Details.Causes {
				fields += c.Field + " "
			}
			if !strings.Contains(fields, tc.field) {
				t.Errorf("causes are about %s, want %s: %v", fields, tc.field, err)
			}
		})
	}
	// A startup probe gets defaults like the others.
	f.set("good", strings.Replace(agent, "agent:1\"", "agent:1\", startupProbe: {httpGet: {port: 80}}", 1))
}

// TestConflictsAreDecidedBySatisfiability.
func TestConflictsAreDecidedBySatisfiability(t *testing.T) {
	f := newFixture(t)
	f.set("one", agent)
	if _, err := f.trySet("two", strings.Replace(agent, "{app: web}", "{tier: x}", 1)); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), f.named("one")) {
		t.Errorf("a pod can have both labels: %v", err)
	}
	f.set("three", strings.Replace(agent, "{app: web}", "{app: other}", 1))
	f.set("four", strings.Replace(agent, "selector: {matchLabels: {app: web}}", "selector: {matchExpressions: [{key: app, operator: NotIn, values: [web, other]}]}", 1))
}

// TestNamespacesThatChange: the status follows a label of a namespace.
func TestNamespacesThatChange(t *testing.T) {
	f := newFixture(t)
	label := func(value string) {
		t.Helper()
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.ns}}
		if err := kube.Patch(f.ctx, ns, client.RawPatch(types.MergePatchType, []byte(fmt.Sprintf(`{"metadata":{"labels":{"inject-here":%q}}}`, value)))); err != nil {
			t.Fatal(err)
		}
	}
	label(f.ns)
	f.set("agent", agent+fmt.Sprintf("\nnamespaceSelector: {matchLabels: {inject-here: %s}}", f.ns))
	f.known("agent")
	f.create(deployment("web", 2))
	f.running("web", 2)
	f.status("agent", 2, 2, 2)
	label("no")
	f.status("agent", 0, 0, 0)
	label(f.ns)
	f.status("agent", 2, 2, 2)
}

// TestDrawnSetsMakePodsThatAreValid: whatever the sets are made of, the API server takes the pod.
func TestDrawnSetsMakePodsThatAreValid(t *testing.T) {
	f := newFixture(t)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same cases each time
	options := []string{
		"podInjectPolicy: AfterAppContainer", "shareVolumePolicy: {type: enabled}", "transferEnv: [{sourceContainerName: main, envNames: [A, B]}]",
		`upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: "e:1"}`, "volumeMounts: [{name: VOL, mountPath: /v}]",
		"resourcesPolicy: {targetContainersMode: max, targetContainersNameRegex: main, resourcesExpr: {limits: {memory: memory*50%}, requests: {cpu: 10m}}}",
		"env: [{name: A, value: own}]", "ports: [{containerPort: 80}]",
	}
	for round := range 40 {
		var choices []sidecar.Choice
		for i := range 1 + random.IntN(4) {
			list := func(kind string, more ...string) string {
				var items []string
				for j := range random.IntN(3) {
					o := append(more, options...)
					items = append(items, fmt.Sprintf("{name: %s-%d-%d, image: \"i:1\", %s}", kind, i, j, strings.ReplaceAll(o[random.IntN(len(o))], "VOL", fmt.Sprint("v", i))))
				}
				return "[" + strings.Join(items, ", ") + "]"
			}
			s := new(sidecar.SidecarSet)
			text := fmt.Sprintf("metadata: {name: s%d}\nspec: {selector: {matchLabels: {app: web}}, volumes: [{name: v%d}], containers: %s, initContainers: %s}", i, i, list("c"), list("i", "restartPolicy: Always"))
			if err := yaml.Unmarshal([]byte(text), s); err != nil {
				t.Fatal(err)
			}
			compiled, err := sidecar.Compile(s)
			if err != nil {
				t.Fatal(err)
			}
			choices = append(choices, sidecar.Choice{Set: compiled})
		}
		pod := &corev1.Pod{}
		// The webhook stays away: this is about the merge alone.
		text := fmt.Sprintf(`
metadata: {generateName: drawn-, namespace: %s, labels: {app: web, %s: disabled}}
spec:
  volumes: [{name: data, emptyDir: {}}]
  containers: [{name: main, image: app, env: [{name: B, value: b}], resources: {limits: {memory: 1Gi}}, volumeMounts: [{name: data, mountPath: /data, subPathExpr: $(B)}]}]`, f.ns, v1alpha1.LabelAdmission)
		if err := yaml.Unmarshal([]byte(text), pod); err != nil {
			t.Fatal(err)
		}
		if _, err := sidecar.Inject(pod, choices, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := kube.Create(f.ctx, pod, client.DryRunAll); err != nil {
			text, _ := yaml.Marshal(pod)
			t.Fatalf("case %d: %v\n%s", round, err, text)
		}
	}
}
