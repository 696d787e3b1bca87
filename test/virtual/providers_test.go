package virtual

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/test/lab"
)

// TestProviders does everything with every kind of provider.
func TestProviders(t *testing.T) {
	for _, profile := range []lab.Profile{lab.ProfileTensileKube, lab.ProfileKosmos, lab.ProfileLiqo, lab.ProfileGeneric} {
		t.Run(string(profile), func(t *testing.T) {
			t.Parallel()
			for name, test := range map[string]func(*testing.T, lab.Profile){
				"route": route, "restore": restore, "metadata overwritten": overwritten, "container added below": containerAdded,
				"stuck below": stuck, "refused": refused, "outage Hold": outageHold, "outage Replace": outageReplace,
			} {
				t.Run(name, func(t *testing.T) { t.Parallel(); test(t, profile) })
			}
		})
	}
}

// annotations are where each provider looks for constraints; that of the generic one is configured.
var annotations = map[lab.Profile]string{
	lab.ProfileTensileKube: clusterselector.AnnotationTensileKube,
	lab.ProfileKosmos:      clusterselector.AnnotationKosmos,
	lab.ProfileGeneric:     constraints,
}

// route: the surplus runs in the member cluster, the counts are exact, and a scale-in takes it first.
func route(t *testing.T, profile lab.Profile) {
	f := newFixture(t, profile, lab.Knobs{})
	f.spread(2)
	f.deployment(4, "{}")
	above, below := f.split(2, 2)
	for i := range above {
		if below[i].Spec.NodeName == "" || strings.HasPrefix(below[i].Spec.NodeName, "virtual") {
			t.Errorf("lower pod %s is on node %q", below[i].Name, below[i].Spec.NodeName)
		}
		if r, ok := v1alpha1.ParseRecord(above[i].Annotations); !ok || r.Subset != "virtual" {
			t.Errorf("the upper pod lost its record: %v", above[i].Annotations)
		}
	}
	f.scale(7)
	f.split(2, 5)
	f.scale(2)
	f.split(2, 0)
}

// rich has constraints of all kinds, of which two are easily lost: an alternative that goes by a field, and the
// second of two equal tolerations.
const rich = `
nodeSelector: {disk: ssd}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
      - matchExpressions: [{key: zone, operator: In, values: [a]}]
        matchFields: [{key: metadata.name, operator: NotIn, values: [below-0]}]
      - matchExpressions: [{key: zone, operator: DoesNotExist}]
    preferredDuringSchedulingIgnoredDuringExecution:
    - {weight: 7, preference: {matchExpressions: [{key: disk, operator: Exists}]}}
  podAntiAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
    - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}
tolerations:
- {key: a, operator: Exists, effect: NoSchedule}
- {key: b, operator: Equal, value: c, effect: NoExecute, tolerationSeconds: 17}
- {key: twice, operator: Exists}
- {key: twice, operator: Exists}
- {key: d, operator: Exists, effect: PreferNoSchedule}
- {key: e, value: f, effect: NoSchedule}
- {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
topologySpreadConstraints:
- {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}, matchLabelKeys: [pod-template-hash]}
`

// carried is what reaches the member cluster by Liqo itself. It takes nothing by annotation: other constraints stay above.
const carried = `
tolerations: [{key: a, operator: Exists, effect: NoSchedule}, {key: twice, operator: Exists}, {key: twice, operator: Exists}]
topologySpreadConstraints:
- {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
`

// restore: a pod is stored in the member cluster as it would be if nobody had placed it, and its constraints hold
// there; taken back above, it is what its author wrote.
func restore(t *testing.T, profile lab.Profile) {
	f := newFixture(t, profile, lab.Knobs{})
	f.spread(0)
	spec := rich
	if profile == lab.ProfileLiqo {
		spec = carried
	}
	d := f.deployment(2, spec)
	above, below := f.split(0, 2)
	template := d.Spec.Template.Spec
	lower, unplaced := f.unplaced(member, above[0].Labels, template), f.unplaced(upper, above[0].Labels, template)
	for i := range below {
		if diff := cmp.Diff(constraintsOf(lower), constraintsOf(&below[i])); diff != "" {
			t.Errorf("pod %s below (-not placed +restored):\n%s", below[i].Name, diff)
		}
		back := above[i].DeepCopy()
		if ok, err := clusterselector.Undo(back); !ok || err != nil {
			t.Fatalf("undo: %v, %v", ok, err)
		}
		again := *template.DeepCopy() // stored again, because storing completes some constraints
		again.NodeSelector, again.Affinity = back.Spec.NodeSelector, back.Spec.Affinity
		again.Tolerations, again.TopologySpreadConstraints = back.Spec.Tolerations, back.Spec.TopologySpreadConstraints
		if diff := cmp.Diff(constraintsOf(unplaced), constraintsOf(f.unplaced(upper, above[0].Labels, again))); diff != "" {
			t.Errorf("pod %s taken back above (-not placed +taken back):\n%s", above[i].Name, diff)
		}
		if key := annotations[profile]; key != "" && !strings.Contains(above[i].Annotations[key], `"disk":"ssd"`) {
			t.Errorf("annotation %s: %s", key, above[i].Annotations[key])
		}
		if profile != lab.ProfileLiqo && (above[i].Spec.NodeSelector != nil || below[i].Spec.NodeName == "below-0") {
			t.Errorf("above it has node selector %v, below it is on %s", above[i].Spec.NodeSelector, below[i].Spec.NodeName)
		}
	}
	if below[0].Spec.NodeName == below[1].Spec.NodeName {
		t.Errorf("both lower pods are on %s, which anti-affinity or spread forbids", below[0].Spec.NodeName)
	}
}

// constraintsOf are the scheduling fields of a pod. The node that it got is none.
func constraintsOf(pod *corev1.Pod) corev1.PodSpec {
	return corev1.PodSpec{
		NodeSelector: pod.Spec.NodeSelector, Affinity: pod.Spec.Affinity,
		Tolerations: pod.Spec.Tolerations, TopologySpreadConstraints: pod.Spec.TopologySpreadConstraints,
	}
}

// containerAdded: a container that an injector of the member cluster added shows in the status alone. It neither
// makes a pod another one, nor the counts wrong.
func containerAdded(t *testing.T, profile lab.Profile) {
	f := newFixture(t, profile, lab.Knobs{AddContainer: "mesh:1"})
	f.spread(1)
	f.deployment(2, "{}")
	before, below := f.split(1, 1)
	if len(below[0].Spec.Containers) != 2 {
		t.Fatalf("%d containers below", len(below[0].Spec.Containers))
	}
	f.scale(3) // whatever the first pod set off is worked off before the second one is counted
	after, _ := f.split(1, 2)
	i := slices.IndexFunc(after, func(p corev1.Pod) bool { return p.UID == before[0].UID })
	if i < 0 {
		t.Fatal("the pod was replaced")
	}
	if n, m := len(after[i].Spec.Containers), len(after[i].Status.ContainerStatuses); n != 1 || m != 2 {
		t.Errorf("%d containers with %d statuses above", n, m)
	}
}

// TestAMemberKeepsOutWhatItCannotRead: the provider is told what is wrong, and says so above.
func TestAMemberKeepsOutWhatItCannotRead(t *testing.T) {
	if err := installed(); err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]string{"virtual-pod": "annotation clusterSelector, line 1, column 18", "unmarked": ""} {
		pod := decode[corev1.Pod](t, `
metadata: {name: damaged, namespace: default, labels: {`+label+`: "true"}, annotations: {clusterSelector: '{"tolerations": [}'}}
spec: {containers: [{name: main, image: app}]}`)
		err := member.Client().Create(t.Context(), pod, client.DryRunAll)
		if (err == nil) != (want == "") || err != nil && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want)) {
			t.Errorf("label %s: got %v, want %q", label, err, want)
		}
	}
}
