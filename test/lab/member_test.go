package lab_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/test/lab"
	"github.com/spillway-project/spillway/test/lab/labtest"
)

// TestMemberCluster: virtual nodes that stand for a second lab.
func TestMemberCluster(t *testing.T) {
	t.Parallel()
	member, err := lab.Start(t.Context(), lab.Options{
		OwnNodes:     []lab.NodeGroup{{Name: "below", Count: 2, Labels: map[string]string{"disk": "ssd"}}},
		VirtualNodes: []lab.VirtualNode{}, WithoutSystemNode: true, WithoutCertManager: true, Logf: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := member.Stop(); err != nil {
			t.Error(err)
		}
	})
	two := &twoLabs{member: member}
	for _, profile := range []lab.Profile{lab.ProfileTensileKube, lab.ProfileKosmos, lab.ProfileLiqo, lab.ProfileGeneric} {
		t.Run(string(profile), func(t *testing.T) { t.Parallel(); two.manners(t, profile) })
	}
	t.Run("knobs", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T){
			"refuse": two.refuse, "overwrite": two.overwrite, "stale": two.stale, "add a container": two.addContainer,
			"silent": two.silent, "restart": two.restart, "those that play what is real": two.impossible,
		} {
			t.Run(name, func(t *testing.T) { t.Parallel(); test(t) })
		}
	})
	t.Run("unschedulable below", func(t *testing.T) { t.Parallel(); two.unschedulable(t) })
	t.Run("forced above", func(t *testing.T) { t.Parallel(); two.forced(t) })
	t.Run("lost below", func(t *testing.T) { t.Parallel(); two.lost(t) })
}

// twoLabs are the package's lab and its member.
type twoLabs struct{ member *lab.Lab }

// node adds a virtual node for one test.
func (l *twoLabs) node(t *testing.T, profile lab.Profile, knobs lab.Knobs) string {
	t.Helper()
	name := "member-" + strings.ToLower(strings.NewReplacer("TestMemberCluster/", "", "/", "-", "_", "-").Replace(t.Name()))
	err := cluster.AddVirtualNode(t.Context(), lab.VirtualNode{Name: name, Profile: profile, Knobs: knobs, Member: l.member.Kubeconfig()})
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// pod creates a pod on the node and returns it.
func (l *twoLabs) pod(t *testing.T, node string, changes ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	pod := makePod(labtest.Namespace(t, cluster), "pod", append([]func(*corev1.Pod){func(pod *corev1.Pod) {
		pod.Spec.NodeName, pod.Spec.NodeSelector = node, nil
		pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} // some nodes eject pods
	}}, changes...)...)
	create(t, pod)
	return pod
}

// below waits until the lower pod satisfies check.
func (l *twoLabs) below(t *testing.T, upper *corev1.Pod, what string, check func(*corev1.Pod) error) *corev1.Pod {
	t.Helper()
	lower := &corev1.Pod{}
	labtest.Eventually(t, "pod "+upper.Name+" below: "+what, func(ctx context.Context) error {
		if err := l.member.Client().Get(ctx, types.NamespacedName{Namespace: upper.Namespace, Name: upper.Name}, lower); err != nil {
			return err
		}
		return check(lower)
	})
	return lower
}

func (l *twoLabs) eventuallyGoneBelow(t *testing.T, upper *corev1.Pod) {
	t.Helper()
	labtest.Eventually(t, "end of the lower pod", func(ctx context.Context) error {
		err := l.member.Client().Get(ctx, types.NamespacedName{Namespace: upper.Namespace, Name: upper.Name}, &corev1.Pod{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
}

// constraints are on the upper pod and, under both annotations, handed over.
const (
	constraintsAbove = `
nodeSelector: {upper: "yes"}
schedulerName: upper
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: upper, operator: Exists}]}]}
    preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: upper, operator: Exists}]}}]
  podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: upper}}]}
tolerations: [{key: virtual-node.liqo.io/not-allowed, operator: Exists}, {key: upper, operator: Exists}]
topologySpreadConstraints: [{maxSkew: 1, topologyKey: upper, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {a: b}}}]
`
	handedOver = `{"nodeSelector":{"disk":"ssd"},"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"disk","operator":"Exists"}]}]}}},` +
		`"tolerations":[{"key":"lower","operator":"Exists"}]}`
)

// manners: the lower pod is what that kind of provider makes, its status comes up, and its end follows the upper one's.
func (l *twoLabs) manners(t *testing.T, profile lab.Profile) {
	node := l.node(t, profile, lab.Knobs{})
	upper := l.pod(t, node, annotated("clusterSelector", handedOver), annotated("kosmos.io/cluster-selector", handedOver), func(pod *corev1.Pod) {
		pod.Labels["virtual-pod"] = "true"
		if err := yaml.Unmarshal([]byte(constraintsAbove), &pod.Spec); err != nil {
			t.Fatal(err)
		}
	})
	lower := l.below(t, upper, "created", func(*corev1.Pod) error { return nil })
	want := map[lab.Profile]string{
		// Preferred and pod affinity of the upper pod leak down.
		lab.ProfileTensileKube: `disk; disk; upper; upper; lower; upper; upper; virtual-pod`,
		lab.ProfileKosmos:      `disk; disk; upper; upper; lower; ; default-scheduler; kosmos-io/pod virtual-pod`,
		lab.ProfileLiqo:        `; ; ; ; upper; upper; default-scheduler; virtual-pod`,
		lab.ProfileGeneric:     `; ; ; ; ; ; default-scheduler; ` + lab.LabelGenericPod + ` virtual-pod`,
	}[profile]
	if diff := cmp.Diff(want, summary(lower)); diff != "" {
		t.Errorf("the lower pod (-want +got):\n%s", diff)
	}
	if len(lower.OwnerReferences) > 0 || lower.UID == upper.UID {
		t.Errorf("it belongs to the upper cluster: %+v", lower.ObjectMeta)
	}
	if profile == lab.ProfileTensileKube {
		return // its scheduler, which does not exist, went down as well: it stays pending
	}
	upper = eventuallyReady(t, upper)
	if lower = l.below(t, upper, "ready", isReady); upper.Status.PodIP != lower.Status.PodIP {
		t.Errorf("address above %s, below %s", upper.Status.PodIP, lower.Status.PodIP)
	}
	setImage(t, upper, "containers", 0, "main:2")
	l.below(t, upper, "new image", func(pod *corev1.Pod) error {
		if got := pod.Spec.Containers[0].Image; got != "main:2" {
			return fmt.Errorf("image %s", got)
		}
		return nil
	})
	deletePod(t, upper)
	eventuallyGone(t, upper)
	l.eventuallyGoneBelow(t, upper)
}

// summary names the keys of a pod's constraints, its scheduler and the labels that providers set.
func summary(pod *corev1.Pod) string {
	var selector, required, preferred, anti, tolerations, spread, labels []string
	for key := range pod.Spec.NodeSelector {
		selector = append(selector, key)
	}
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		if r := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			required = append(required, r.NodeSelectorTerms[0].MatchExpressions[0].Key)
		}
		for _, p := range a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			preferred = append(preferred, p.Preference.MatchExpressions[0].Key)
		}
	}
	if a := pod.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		for _, p := range a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			anti = append(anti, p.PodAffinityTerm.TopologyKey)
		}
	}
	for _, t := range pod.Spec.Tolerations {
		if !strings.HasPrefix(t.Key, "node.kubernetes.io/") {
			tolerations = append(tolerations, t.Key)
		}
	}
	for _, s := range pod.Spec.TopologySpreadConstraints {
		spread = append(spread, s.TopologyKey)
	}
	for _, key := range []string{"kosmos-io/pod", lab.LabelGenericPod, "virtual-pod"} {
		if pod.Labels[key] == "true" {
			labels = append(labels, key)
		}
	}
	var parts []string
	for _, list := range [][]string{selector, required, preferred, anti, tolerations, spread, {pod.Spec.SchedulerName}, labels} {
		parts = append(parts, strings.Join(list, " "))
	}
	return strings.Join(parts, "; ")
}

func (l *twoLabs) refuse(t *testing.T) {
	node := l.node(t, lab.ProfileKosmos, lab.Knobs{RefuseEvery: 1})
	upper := l.pod(t, node)
	eventually(t, upper, "refused", func(pod *corev1.Pod) error {
		if pod.Status.Reason != "ProviderFailed" {
			return fmt.Errorf("reason %q", pod.Status.Reason)
		}
		return nil
	})
	turn(t, node, lab.Knobs{})
	eventuallyReady(t, upper)
	eventually(t, upper, "without a reason", func(pod *corev1.Pod) error {
		if pod.Status.Reason != "" {
			return fmt.Errorf("reason %q", pod.Status.Reason)
		}
		return nil
	})
}

func (l *twoLabs) overwrite(t *testing.T) {
	node := l.node(t, lab.ProfileTensileKube, lab.Knobs{OverwriteLabels: map[string]string{"from": "below"}, OverwriteAnnotations: map[string]string{}})
	upper := l.pod(t, node, annotated("mine", "yes"))
	eventually(t, upper, "overwritten", func(pod *corev1.Pod) error {
		if !cmp.Equal(pod.Labels, map[string]string{"from": "below"}) || len(pod.Annotations) != 0 {
			return fmt.Errorf("labels %v, annotations %v", pod.Labels, pod.Annotations)
		}
		return isReady(pod)
	})
}

func (l *twoLabs) stale(t *testing.T) {
	node := l.node(t, lab.ProfileKosmos, lab.Knobs{Stale: true})
	upper := l.pod(t, node)
	eventuallyReady(t, upper)
	if _, err := cluster.Kubectl(t.Context(), "-n", upper.Namespace, "annotate", "pod", upper.Name, "late=yes"); err != nil {
		t.Fatal(err)
	}
	setImage(t, upper, "containers", 0, "main:2") // whose status comes up
	eventually(t, upper, "annotation undone", func(pod *corev1.Pod) error {
		if _, ok := pod.Annotations["late"]; ok {
			return fmt.Errorf("annotations %v", pod.Annotations)
		}
		return nil
	})
}

func (l *twoLabs) addContainer(t *testing.T) {
	node := l.node(t, lab.ProfileTensileKube, lab.Knobs{AddContainer: "mesh:1"})
	upper := eventuallyReady(t, l.pod(t, node))
	if n := len(l.below(t, upper, "ready", isReady).Spec.Containers); n != 2 {
		t.Errorf("%d containers below", n)
	}
	if len(upper.Status.ContainerStatuses) != 2 || len(upper.Spec.Containers) != 1 {
		t.Errorf("%d statuses of %d containers above", len(upper.Status.ContainerStatuses), len(upper.Spec.Containers))
	}
	setImage(t, upper, "containers", 0, "main:2") // does not confuse the two
	l.below(t, upper, "new image", func(pod *corev1.Pod) error {
		if a, b := pod.Spec.Containers[0].Image, pod.Spec.Containers[1].Image; a != "main:2" || b != "mesh:1" {
			return fmt.Errorf("images %s and %s", a, b)
		}
		return nil
	})
}

// silent: what runs below runs on, and what was asked for meanwhile happens afterwards.
func (l *twoLabs) silent(t *testing.T) {
	node := l.node(t, lab.ProfileKosmos, lab.Knobs{})
	runs := l.pod(t, node, func(pod *corev1.Pod) { pod.Spec.TerminationGracePeriodSeconds = new(int64(600)) })
	eventuallyReady(t, runs)
	turn(t, node, lab.Knobs{Silent: true})
	deletePod(t, runs)
	waits := makePod(runs.Namespace, "waits", func(pod *corev1.Pod) { pod.Spec.NodeName, pod.Spec.NodeSelector = node, nil })
	create(t, waits)
	eventuallyNode(t, node, corev1.ConditionUnknown)
	l.below(t, runs, "running on", func(pod *corev1.Pod) error {
		if pod.DeletionTimestamp != nil {
			t.Fatal("the deletion went down")
		}
		return isReady(pod)
	})
	turn(t, node, lab.Knobs{})
	eventuallyReady(t, waits)
	eventuallyGone(t, runs)
	l.eventuallyGoneBelow(t, runs)
}

func (l *twoLabs) restart(t *testing.T) {
	node := l.node(t, lab.ProfileGeneric, lab.Knobs{})
	upper := eventuallyReady(t, l.pod(t, node))
	before := l.below(t, upper, "ready", isReady)
	if err := cluster.RestartVirtualNode(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	setImage(t, upper, "containers", 0, "main:2")
	after := l.below(t, upper, "new image", func(pod *corev1.Pod) error {
		if got := pod.Spec.Containers[0].Image; got != "main:2" {
			return fmt.Errorf("image %s", got)
		}
		return nil
	})
	if before.UID != after.UID {
		t.Error("the pod was created anew")
	}
	deletePod(t, upper)
	l.eventuallyGoneBelow(t, upper)
}

func (l *twoLabs) impossible(t *testing.T) {
	node := l.node(t, lab.ProfileKosmos, lab.Knobs{})
	for name, knobs := range map[string]lab.Knobs{
		"unschedulable": {Unschedulable: "no room"}, "startDelay": {StartDelay: metav1.Duration{Duration: time.Second}},
	} {
		if err := cluster.SetKnobs(t.Context(), node, knobs); err == nil {
			t.Errorf("%s can be set", name)
		}
	}
}

// unschedulable: the lower scheduler says so, and that comes up.
func (l *twoLabs) unschedulable(t *testing.T) {
	node := l.node(t, lab.ProfileTensileKube, lab.Knobs{})
	upper := l.pod(t, node, annotated("clusterSelector", `{"nodeSelector":{"disk":"floppy"}}`))
	found := eventually(t, upper, "unschedulable below", isUnschedulable)
	if found.Spec.NodeName != node || found.Status.Phase != corev1.PodPending {
		t.Errorf("node %q, phase %s", found.Spec.NodeName, found.Status.Phase)
	}
	// Somebody makes such a node.
	if err := l.member.AddOwnNodes(t.Context(), lab.NodeGroup{Name: "old", Count: 1, Labels: map[string]string{"disk": "floppy"}}); err != nil {
		t.Fatal(err)
	}
	eventuallyReady(t, upper)
}

// forced: a pod that goes above without a grace period goes below as well, and makes room for the next one of its name.
func (l *twoLabs) forced(t *testing.T) {
	upper := eventuallyReady(t, l.pod(t, l.node(t, lab.ProfileTensileKube, lab.Knobs{}), func(pod *corev1.Pod) { pod.Labels["virtual-pod"] = "true" }))
	if err := cluster.Client().Delete(t.Context(), upper, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	next := makePod(upper.Namespace, upper.Name, func(pod *corev1.Pod) {
		pod.Labels["virtual-pod"] = "true"
		pod.Spec.NodeName, pod.Spec.NodeSelector = upper.Spec.NodeName, nil
	})
	create(t, next)
	eventuallyReady(t, next)
	if err := cluster.Client().Delete(t.Context(), next, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	l.eventuallyGoneBelow(t, next)
}

// lost: a pod that is deleted below takes the upper one along, but Liqo's, which comes again.
func (l *twoLabs) lost(t *testing.T) {
	for _, profile := range []lab.Profile{lab.ProfileKosmos, lab.ProfileLiqo} {
		t.Run(string(profile), func(t *testing.T) {
			upper := eventuallyReady(t, l.pod(t, l.node(t, profile, lab.Knobs{})))
			lower := l.below(t, upper, "ready", isReady)
			if err := l.member.Client().Delete(t.Context(), lower); err != nil {
				t.Fatal(err)
			}
			if profile == lab.ProfileKosmos {
				eventuallyGone(t, upper)
				return
			}
			l.below(t, upper, "created again", func(pod *corev1.Pod) error {
				if pod.UID == lower.UID {
					return errors.New("it is the old one")
				}
				return isReady(pod)
			})
			if now := eventuallyReady(t, upper); now.UID != upper.UID {
				t.Error("the upper pod is another one")
			}
		})
	}
}
