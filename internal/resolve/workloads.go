package resolve

import (
	"context"
	"fmt"
	"time"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/state"
	"github.com/spillway-project/spillway/internal/workload"
)

// target is a workload as read live.
type target struct {
	kind   workload.Kind
	key    types.NamespacedName
	object client.Object
	// content is the object as JSON has it; made when it is asked for.
	content map[string]any
}

// readTarget reads the workload of a WorkloadSpread from the API server. It fails with ErrInvalid for a
// kind that cannot be a target or is not served, and with the API's NotFound for a workload that does
// not exist.
func (r *Resolver) readTarget(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (*target, error) {
	ref := ws.Spec.TargetReference
	gk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
	kind, ok := r.Known().Target(gk)
	if !ok {
		return nil, fmt.Errorf("%w: spec.targetRef of WorkloadSpread %s/%s: kind %s is not supported: use one of %s",
			ledger.ErrInvalid, ws.Namespace, ws.Name, gk, r.Known().Names())
	}
	t := &target{kind: kind, key: types.NamespacedName{Namespace: ws.Namespace, Name: ref.Name}}
	switch gk {
	case workload.Deployment, workload.ReplicaSet:
		t.object = watchedKind(gk) // typed: these are read once for each write of a burst
	default:
		gvk, err := r.Served(gk, ref.APIVersion)
		if err != nil {
			return nil, fmt.Errorf("%w: spec.targetRef of WorkloadSpread %s/%s: %w", ledger.ErrInvalid, ws.Namespace, ws.Name, err)
		}
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(gvk)
		t.object = u
	}
	if err := r.Live.Get(ctx, t.key, t.object); err != nil {
		return nil, fmt.Errorf("read %s %s: %w", gk.Kind, t.key, err)
	}
	return t, nil
}

// Served returns a version of the kind that the API server serves: that of apiVersion where it can be had. The
// error says what to do where there is none.
func (r *Resolver) Served(gk schema.GroupKind, apiVersion string) (schema.GroupVersionKind, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return schema.GroupVersionKind{}, fmt.Errorf("apiVersion %q: %w", apiVersion, err)
	}
	if m, err := r.Mapper.RESTMapping(gk, gv.Version); err == nil {
		return m.GroupVersionKind, nil
	}
	m, err := r.Mapper.RESTMapping(gk)
	if err != nil {
		return schema.GroupVersionKind{}, fmt.Errorf("kind %s is not served here: install its CRD, or mend apiVersion and kind: %w", gk, err)
	}
	return m.GroupVersionKind, nil
}

// fields returns the object as JSON has it.
func (t *target) fields() (map[string]any, error) {
	if t.content == nil {
		if u, ok := t.object.(*unstructured.Unstructured); ok {
			t.content = u.Object
			return t.content, nil
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(t.object)
		if err != nil {
			return nil, fmt.Errorf("read %s %s: %w", t.kind.Kind, t.key, err)
		}
		t.content = content
	}
	return t.content, nil
}

// Replicas implements ledger.Workloads: the count that percentages refer to, read live. With
// replicasPathList it is the sum of the values at those paths.
func (r *Resolver) Replicas(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (int32, error) {
	t, err := r.readTarget(ctx, ws)
	switch {
	case apierrors.IsNotFound(err):
		return 0, nil
	case err != nil:
		return 0, err
	case ws.Spec.TargetFilter != nil && len(ws.Spec.TargetFilter.ReplicasPathList) > 0:
		return t.sumPaths(ws.Spec.TargetFilter.ReplicasPathList)
	}
	return r.replicas(ctx, t)
}

// replicas returns the count that the kind itself has: at its path, else in the scale subresource.
func (r *Resolver) replicas(ctx context.Context, t *target) (int32, error) {
	switch o := t.object.(type) {
	case *appsv1.Deployment:
		return replicasOf(o.Spec.Replicas), nil
	case *appsv1.ReplicaSet:
		return replicasOf(o.Spec.Replicas), nil
	}
	content, err := t.fields()
	if err != nil {
		return 0, err
	}
	if t.kind.ReplicasPath == "" {
		scale, err := r.scale(ctx, t)
		if err != nil {
			return 0, err
		}
		return scale.Spec.Replicas, nil
	}
	n, found, err := lookUp(content, t.kind.ReplicasPath)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: the replica count of %s %s: path %q: %w", ledger.ErrInvalid, t.kind.Kind, t.key, t.kind.ReplicasPath, err)
	case !found:
		return 1, nil // the API's default, where it is not filled in
	}
	return n, nil
}

func (r *Resolver) scale(ctx context.Context, t *target) (*autoscalingv1.Scale, error) {
	var scale autoscalingv1.Scale
	err := r.Scales.SubResource("scale").Get(ctx, t.object, &scale)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return nil, fmt.Errorf("%w: the replica count of %s %s is not known: give replicasPath in the allow-list or spec.targetFilter.replicasPathList, or let the manager read its scale: %w",
			ledger.ErrInvalid, t.kind.Kind, t.key, err)
	case err != nil:
		return nil, fmt.Errorf("read the scale of %s %s: %w", t.kind.Kind, t.key, err)
	}
	return &scale, nil
}

// Demand implements ledger.Workloads. ReplicaSets and Jobs have the rule that it rests on. A Job does
// not tell which spec its controller has acted on, so that one whose spec was ever changed proves
// nothing.
func (r *Resolver) Demand(ctx context.Context, owner ledger.Owner) (ledger.Demand, error) {
	key := types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}
	o := watchedKind(owner.Kind)
	if kind, ok := r.Known().Lookup(owner.Kind); !ok || !kind.Demand || o == nil {
		return ledger.Demand{}, nil
	}
	if err := r.Live.Get(ctx, key, o); err != nil {
		return ledger.Demand{}, fmt.Errorf("read %s %s: %w", owner.Kind.Kind, key, err)
	}
	if o.GetUID() != owner.UID {
		return ledger.Demand{}, apierrors.NewNotFound(schema.GroupResource{Group: owner.Kind.Group, Resource: owner.Kind.Kind}, owner.Name)
	}
	d := ledger.Demand{Replicas: demandOf(o), Generation: o.GetGeneration()}
	switch o := o.(type) {
	case *appsv1.ReplicaSet:
		d.Replicas, d.Settled = r.Wishes.Most(o)
		d.Written = statusWritten(o)
	case *batchv1.Job:
		d.Settled = o.Generation <= 1
		if !d.Settled {
			d.Replicas = 0
		}
	}
	return d, nil
}

// statusWritten returns the object's resource version when its last change was one of the status. Times of
// changes are kept to the second: two kinds of change within one prove nothing.
func statusWritten(o client.Object) uint64 {
	var status, other time.Time
	for _, m := range o.GetManagedFields() {
		switch {
		case m.Time == nil:
			return 0
		case m.Subresource == "status":
			status = latest(status, m.Time.Time)
		default:
			other = latest(other, m.Time.Time)
		}
	}
	if !status.After(other) {
		return 0
	}
	revision, err := state.Revision(o.GetResourceVersion())
	if err != nil {
		return 0
	}
	return revision
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// demandOf returns the number of pods that an owner wants at most at one time, 0 for unknown.
func demandOf(o client.Object) int32 {
	switch o := o.(type) {
	case *appsv1.ReplicaSet:
		return replicasOf(o.Spec.Replicas)
	case *batchv1.Job:
		if o.Generation > 1 {
			return 0
		}
		return replicasOf(o.Spec.Parallelism)
	}
	return 0
}

// cachedDemand returns what the owner wants as far as the cache knows, 0 for a kind or a workload of which
// it cannot be known. It wants one pod at least, since it is creating one: a cache that says less, or does
// not have the owner yet, is behind, and the ledger has to ask.
func (r *Resolver) cachedDemand(ctx context.Context, m *Match) int32 {
	o := watchedKind(m.Owner.Kind)
	if !m.Kind.Demand || o == nil {
		return 0
	}
	key := types.NamespacedName{Namespace: m.Owner.Namespace, Name: m.Owner.Name}
	switch err := r.Cache.Get(ctx, key, o, client.UnsafeDisableDeepCopy); {
	case err != nil && !apierrors.IsNotFound(err):
		return 0
	case err != nil || o.GetUID() != m.Owner.UID:
		return 1
	}
	if _, job := o.(*batchv1.Job); job {
		return demandOf(o)
	}
	return max(demandOf(o), 1)
}

// Selector returns the label selector of a WorkloadSpread's target, or nil when the target is gone
// or has none.
func (r *Resolver) Selector(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (*metav1.LabelSelector, error) {
	t, err := r.readTarget(ctx, ws)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // no target, no selector
	}
	if err != nil {
		return nil, err
	}
	return t.selector()
}

// Template returns the pod template of a WorkloadSpread's target, with the volumes that its controller
// makes of claims; nil when the target is not there, or has its template elsewhere.
func (r *Resolver) Template(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (*corev1.PodTemplateSpec, error) {
	t, err := r.readTarget(ctx, ws)
	if apierrors.IsNotFound(err) || (err == nil && t.kind.TemplatePath == "") {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	content, err := t.fields()
	if err != nil {
		return nil, err
	}
	v, err := walk(content, t.kind.TemplatePath)
	raw, ok := v.(map[string]any)
	if err != nil || !ok {
		return nil, nil //nolint:nilerr,nilnil // as above
	}
	var template corev1.PodTemplateSpec
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &template); err != nil {
		return nil, nil //nolint:nilerr,nilnil // a custom kind's own notion of a template
	}
	claims, _, _ := unstructured.NestedSlice(content, "spec", "volumeClaimTemplates") // absent in most kinds
	for _, c := range claims {
		if claim, ok := c.(map[string]any); ok {
			name, _, _ := unstructured.NestedString(claim, "metadata", "name")
			template.Spec.Volumes = append(template.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
			}})
		}
	}
	return &template, nil
}

// CheckPaths says whether replicasPathList resolves on the target as it is; nil when there is nothing to
// check.
func (r *Resolver) CheckPaths(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) error {
	if ws.Spec.TargetFilter == nil || len(ws.Spec.TargetFilter.ReplicasPathList) == 0 {
		return nil
	}
	t, err := r.readTarget(ctx, ws)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	_, err = t.sumPaths(ws.Spec.TargetFilter.ReplicasPathList)
	return err
}

func (t *target) selector() (*metav1.LabelSelector, error) {
	switch o := t.object.(type) {
	case *appsv1.Deployment:
		return o.Spec.Selector, nil
	case *appsv1.ReplicaSet:
		return o.Spec.Selector, nil
	}
	content, err := t.fields()
	if err != nil {
		return nil, err
	}
	return selectorAt(content), nil
}

// selectorAt reads spec.selector where it is a label selector; a custom kind may use the name for
// something else, and then nothing is narrowed.
func selectorAt(content map[string]any) *metav1.LabelSelector {
	raw, ok, err := unstructured.NestedMap(content, "spec", "selector")
	if !ok || err != nil || (raw["matchLabels"] == nil && raw["matchExpressions"] == nil) {
		return nil
	}
	var s metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &s); err != nil {
		return nil
	}
	if _, err := metav1.LabelSelectorAsSelector(&s); err != nil {
		return nil
	}
	return &s
}

// ownerSelector returns the selector of a pod's controller, nil where it has none or is gone.
func (r *Resolver) ownerSelector(ctx context.Context, owner ledger.Owner) (*metav1.LabelSelector, error) {
	o := watchedKind(owner.Kind)
	if o == nil {
		return nil, nil //nolint:nilnil // every pod of the namespace
	}
	key := types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}
	switch err := r.Live.Get(ctx, key, o); {
	case apierrors.IsNotFound(err) || (err == nil && o.GetUID() != owner.UID):
		return nil, nil //nolint:nilnil // as above
	case err != nil:
		return nil, fmt.Errorf("read %s %s: %w", owner.Kind.Kind, key, err)
	}
	switch o := o.(type) {
	case *appsv1.ReplicaSet:
		return o.Spec.Selector, nil
	case *batchv1.Job:
		return o.Spec.Selector, nil
	}
	return nil, nil //nolint:nilnil // as above
}

// everything is what a nil selector selects here.
func everything(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, fmt.Errorf("read a workload's selector: %w", err)
	}
	return out, nil
}
