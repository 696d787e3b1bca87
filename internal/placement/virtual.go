package placement

import (
	"fmt"
	"maps"
	"slices"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/clusterselector"
	"github.com/spillway-project/spillway/internal/provider"
)

// placeVirtual writes a plan for a subset of virtual nodes onto the pod. The order matters, and each step can be
// done twice:
//
//  1. The user's constraints move into the provider's annotation, because they mean nodes of the lower cluster.
//     Where the provider takes no hand-over they stay. Those that an API server would refuse are refused here, where
//     none has seen them yet.
//  2. The subset's patch. What it writes into the annotation is merged over what was moved.
//  3. The pin and the subset's tolerations, as in any subset.
//  4. The provider's tolerations, labels and annotations, and those that hold during an outage. A label or annotation
//     that the pod has is left alone.
//  5. The records: that of the subset, and that of everything done here, by which it can be undone.
//  6. The checks: the size of the annotations, and that the pin is there.
func placeVirtual(pod *corev1.Pod, plan Plan) error {
	profile, subset := plan.Virtual, plan.Subset
	done, err := handOver(pod, profile.HandOver())
	if err != nil {
		return fmt.Errorf("subset %q: %w", subset.Name, err)
	}
	stood := slices.DeleteFunc(slices.Clone(pod.Spec.Tolerations), func(t corev1.Toleration) bool { return !clusterselector.StandsOutage(t) })
	if err := patchVirtual(pod, plan, &done); err != nil {
		return err
	}
	if plan.Hold {
		giveWay(pod, subset.Tolerations)
	}
	before := pod.Spec.DeepCopy()
	pin(pod, subset)
	tolerate(pod, subset.Tolerations)
	tolerate(pod, profile.Tolerations)
	tolerate(pod, plan.Tolerations)
	if plan.Hold {
		hold(pod)
	}
	added := clusterselector.Difference(before, &pod.Spec)
	stand(pod, stood)
	pod.Labels, added.Labels = supplement(pod.Labels, profile.Labels)
	pod.Annotations, added.Annotations = supplement(pod.Annotations, profile.Annotations)
	done.Added = done.Added.Join(added)
	done.Cluster, done.Provider, done.Subset = plan.Cluster, profile.Name, plan.Record.Subset
	record(pod, plan)
	pod.Annotations[clusterselector.AnnotationRecord] = done.Encode()
	if err := clusterselector.CheckSize(pod.Annotations); err != nil {
		return fmt.Errorf("subset %q: %w", subset.Name, err)
	}
	return verify(pod, subset)
}

// avoiding returns the subset with some of its nodes left out of the required term. A field selector takes one name
// (Kubernetes API), so there is one for each.
func avoiding(subset *appsv1alpha1.WorkloadSpreadSubset, nodes []string) *appsv1alpha1.WorkloadSpreadSubset {
	if len(nodes) == 0 || subset.RequiredNodeSelectorTerm == nil {
		return subset
	}
	out := *subset
	out.RequiredNodeSelectorTerm = subset.RequiredNodeSelectorTerm.DeepCopy()
	for _, name := range nodes {
		out.RequiredNodeSelectorTerm.MatchFields = append(out.RequiredNodeSelectorTerm.MatchFields,
			corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpNotIn, Values: []string{name}})
	}
	return &out
}

// patchVirtual applies the subset's patch, and merges what it writes into the annotation over the constraints that
// were moved there.
func patchVirtual(pod *corev1.Pod, plan Plan, done *clusterselector.Record) error {
	annotation := done.Annotation
	moved := pod.Annotations[annotation]
	if err := patch(pod, plan.Subset); err != nil {
		return err
	}
	if annotation == "" {
		return nil
	}
	if err := clusterselector.Combine(pod, annotation, moved); err != nil {
		return fmt.Errorf("subset %q: patch: %w", plan.Subset.Name, err)
	}
	if done.Own == nil && pod.Annotations[annotation] == moved {
		return nil // nobody's text: only what was moved
	}
	if err := checkText(pod, annotation); err != nil {
		return fmt.Errorf("subset %q: %w", plan.Subset.Name, err)
	}
	return nil
}

// stand puts back tolerations that held during an outage of the node before the subset's patch, if the patch took
// them away and no other does now: the API server would add its own, and call the webhook again for it. It
// comes last, so that a second pass, which finds those of the subset among them, ends with the same list.
func stand(pod *corev1.Pod, stood []corev1.Toleration) {
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if !slices.ContainsFunc(pod.Spec.Tolerations, stands(key)) {
			tolerate(pod, slices.DeleteFunc(slices.Clone(stood), func(t corev1.Toleration) bool { return !stands(key)(t) }))
		}
	}
}

// hold keeps the pod on its node while that is not ready or not reachable. What the pod's author wrote stays.
func hold(pod *corev1.Pod) {
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if !slices.ContainsFunc(pod.Spec.Tolerations, stands(key)) {
			tolerate(pod, []corev1.Toleration{{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}})
		}
	}
}

// giveWay takes the API server's defaults away, which end after some minutes: of several tolerations for a taint the
// shortest counts. They are nobody's wish, so that there is nothing to restore; except where the subset asks for them.
func giveWay(pod *corev1.Pod, wanted []corev1.Toleration) {
	pod.Spec.Tolerations = slices.DeleteFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
		return clusterselector.IsDefaultToleration(t) && !slices.ContainsFunc(wanted, clusterselector.IsDefaultToleration)
	})
}

// stands returns whether a toleration holds during the outage that the taint's key means.
func stands(key string) func(corev1.Toleration) bool {
	return func(t corev1.Toleration) bool {
		return clusterselector.StandsOutage(t) && (t.Key == "" || t.Key == key)
	}
}

// supplement adds the pairs whose keys are missing, and returns those.
func supplement(have, want map[string]string) (all, added map[string]string) {
	for key, value := range want {
		if _, ok := have[key]; ok {
			continue
		}
		if added == nil {
			added = make(map[string]string, len(want))
		}
		added[key] = value
	}
	if added == nil {
		return have, nil
	}
	all = maps.Clone(added)
	maps.Copy(all, have)
	return all, added
}

// settle undoes the placement of another subset, or of another cluster, which a pod has that was made from the
// manifest of a placed one.
// A pod that this very plan was written on before is left as it is.
func settle(pod *corev1.Pod, plan Plan) error {
	done, recorded, err := clusterselector.ParseRecord(pod.Annotations)
	switch {
	case err != nil:
		return fmt.Errorf("subset %q: %w", plan.Subset.Name, err)
	case !recorded, plan.Virtual != nil && done.Cluster == plan.Cluster && done.Provider == plan.Virtual.Name && done.Subset == plan.Record.Subset && done.Annotation == plan.Virtual.HandOver():
		return nil
	}
	if _, err := clusterselector.Undo(pod); err != nil {
		return fmt.Errorf("subset %q: undo the placement into subset %q: %w", plan.Subset.Name, done.Subset, err)
	}
	return nil
}

// Release is Strip for a pod that its WorkloadSpread gives no subset: a placement on virtual nodes that a copied
// manifest brought along is undone as well. One whose record cannot be read is left as it is.
func Release(pod *corev1.Pod) {
	if Strip(pod) {
		_, _ = clusterselector.Undo(pod)
	}
}

// NotHonoured names the fields of a pod's constraints that a plan for virtual nodes cannot bring to the lower pod
// (provider.Profile.NotHonoured). The pod may have been placed before.
func NotHonoured(pod *corev1.Pod, plan Plan) []clusterselector.Field {
	if plan.Virtual == nil {
		return nil
	}
	if _, placed := pod.Annotations[clusterselector.AnnotationRecord]; !placed {
		return plan.Virtual.NotHonoured(pod)
	}
	own := pod.DeepCopy()
	if _, err := clusterselector.Undo(own); err != nil {
		return nil // Place tells
	}
	return plan.Virtual.NotHonoured(own)
}

// FromElsewhere reports whether another cluster placed the pod and a virtual node's provider made it here: its place
// was chosen there, with all that belongs to it. A pod that a workload of this cluster made is none, whatever a
// copied manifest brought along. cluster is this one (Plan.Cluster); where it is not known no pod is from elsewhere.
func FromElsewhere(pod *corev1.Pod, cluster string) bool {
	if _, recorded := pod.Annotations[clusterselector.AnnotationRecord]; !recorded || cluster == "" || provider.MadeHere(pod) {
		return false
	}
	record, _, err := clusterselector.ParseRecord(pod.Annotations)
	return err == nil && record.Cluster != "" && record.Cluster != cluster
}

// Touchable reports whether placement may change a pod at all. A pod that has a node cannot be placed any more, the
// mirror of a static pod never can, and one of a DaemonSet belongs to its node.
func Touchable(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return pod.Spec.NodeName == "" && !mirror && !slices.ContainsFunc(pod.OwnerReferences, func(o metav1.OwnerReference) bool {
		return o.Controller != nil && *o.Controller && o.Kind == "DaemonSet"
	})
}
