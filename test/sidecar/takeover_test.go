package sidecar

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/sidecar"
)

// What OpenKruise leaves behind: hashes, names and data as it computes them.
const (
	kruiseHash     = "2xd6x7272b8v26fc9fcc4zw47vwcvcv2fcd45d6xvb2w2cwdw9x4f74v495949z2"
	kruiseBare     = "4zv6464d6c4bb89d2298d2w2cww65d2d5f89bd72zcxw4dbcf85f44774f6c4794"
	kruiseRevision = `{"spec":{"$patch":"replace","containers":[{"command":["sleep","999d"],"image":"centos:6.7","imagePullPolicy":"IfNotPresent","name":"sidecar1","podInjectPolicy":"BeforeAppContainer","resources":{},"shareVolumePolicy":{"type":"disabled"},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","upgradeStrategy":{"upgradeType":"ColdUpgrade"}}],"imagePullSecrets":null,"initContainers":null,"patchPodMetadata":null,"volumes":null}}`
	kruiseSpec     = `
selector: {matchLabels: {app: web}}
namespace: %s
containers: [{name: sidecar1, image: "centos:6.7", command: [sleep, 999d], imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File, podInjectPolicy: BeforeAppContainer, upgradeStrategy: {upgradeType: ColdUpgrade}, shareVolumePolicy: {type: disabled}}]
updateStrategy: {type: RollingUpdate, maxUnavailable: 1, partition: 0}
revisionHistoryLimit: 10
`
)

// TestTakenOverFromOpenKruise: its set, pod and revision keep their figures, and nothing is written to
// them. Then an image change upgrades the pod, once.
func TestTakenOverFromOpenKruise(t *testing.T) {
	f := newFixture(t)
	f.away(true)
	t.Cleanup(func() { f.away(false) })
	set, err := f.trySet("ss", fmt.Sprintf(kruiseSpec, f.ns), func(s *sidecar.SidecarSet) {
		s.Annotations = map[string]string{v1alpha1.AnnotationSidecarHash: kruiseHash, v1alpha1.AnnotationSidecarHashWithoutImage: kruiseBare}
	})
	if err != nil {
		t.Fatal(err)
	}
	name := sidecar.RevisionName(set.Name, []byte(kruiseRevision), 0)
	revision := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: system, Name: name, Annotations: set.Annotations,
			Labels:          map[string]string{v1alpha1.LabelSidecarSetName: set.Name, v1alpha1.LabelRevisionHash: sidecar.RevisionHash([]byte(kruiseRevision), 0)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, sidecar.GroupVersion.WithKind(sidecar.Kind))},
		},
		Data: runtime.RawExtension{Raw: []byte(kruiseRevision)}, Revision: 1,
	}
	if err := kube.Create(f.ctx, revision); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "web"}, Annotations: map[string]string{
		v1alpha1.AnnotationSidecarHash:             fmt.Sprintf(`{"%s":{"updateTimestamp":"2025-01-02T03:04:05Z","hash":"%s","sidecarSetName":"%s","sidecarList":["sidecar1"],"controllerRevision":"%s"}}`, set.Name, kruiseHash, set.Name, name),
		v1alpha1.AnnotationSidecarHashWithoutImage: fmt.Sprintf(`{"%s":{"updateTimestamp":"2025-01-02T03:04:05Z","hash":"%s","sidecarSetName":"%s","sidecarList":["sidecar1"]}}`, set.Name, kruiseBare, set.Name),
		v1alpha1.AnnotationSidecarList:             set.Name,
	}}}
	pod.Spec.Containers = []corev1.Container{
		{Name: "sidecar1", Image: "centos:6.7", Command: []string{"sleep", "999d"}, Env: []corev1.EnvVar{{Name: v1alpha1.EnvInjected, Value: "true"}}},
		{Name: "main", Image: "app:1"},
	}
	pod.Spec.NodeSelector = map[string]string{ownLabel: "true"}
	f.create(pod)
	before := f.running("web", 1)[0]
	status := fmt.Sprintf(`{"status":{"observedGeneration":%d,"matchedPods":1,"updatedPods":1,"readyPods":1,"updatedReadyPods":1,"latestRevision":%q}}`, set.Generation, name)
	if err := kube.Status().Patch(f.ctx, set, client.RawPatch(types.MergePatchType, []byte(status))); err != nil {
		t.Fatal(err)
	}

	f.away(false)
	f.set("later", "selector: {matchLabels: {app: other}}\ncontainers: [{name: c, image: \"c:1\"}]")
	f.known("later") // the controller is at work, and has seen all sets
	after := f.pods("web")[0]
	if after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the pod was written: %v", after.ManagedFields)
	}
	if now := f.get("ss"); now.ResourceVersion != set.ResourceVersion {
		t.Errorf("the set was written: %+v", now)
	}
	if list := f.revisions("ss"); len(list) != 1 || list[0].ResourceVersion != revision.ResourceVersion {
		t.Errorf("the revisions are %+v", list)
	}
	f.image("ss", "centos:7")
	f.status("ss", 1, 1, 1)
	if spec, status := imageOf(&f.pods("web")[0], "sidecar1"); spec != "centos:7" || status != "centos:7" {
		t.Errorf("the sidecar is %s and runs %s", spec, status)
	}
}

// away takes the manager's replicas away, or brings them back. While they are away pods and sets are
// written without them.
func (f *fixture) away(is bool) {
	f.Helper()
	var args []string
	if is {
		args = []string{"--set", "replicaCount=0,webhook.failurePolicy=Ignore,webhook.validationFailurePolicy=Ignore"}
	}
	f.upgrade(context.WithoutCancel(f.ctx), args...)
	if is {
		f.eventually("the replicas are gone", func() (bool, string) {
			var list corev1.PodList
			if err := kube.List(f.ctx, &list, client.InNamespace(system), client.MatchingLabels{"app.kubernetes.io/name": "spillway"}); err != nil {
				f.Fatal(err)
			}
			return len(list.Items) == 0, fmt.Sprint(len(list.Items))
		})
	}
}
