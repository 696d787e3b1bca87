package main

import (
	"context"
	"fmt"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	controller "github.com/spillway-project/spillway/internal/controller/sidecarset"
	"github.com/spillway-project/spillway/internal/delta"
	"github.com/spillway-project/spillway/internal/metrics"
	"github.com/spillway-project/spillway/internal/sidecar"
	"github.com/spillway-project/spillway/internal/state"
	"github.com/spillway-project/spillway/webhooks/pod"
	"github.com/spillway-project/spillway/webhooks/sidecarset"
)

// sidecars are the parts that serve SidecarSets. They have caches of their own: their type of SidecarSet
// keeps fields that kruise-api does not know, and their pods are stripped to what upgrades need.
type sidecars struct {
	cluster.Cluster
	sets       *state.SidecarSets
	namespaces *state.Namespaces
	revisions  *state.Revisions
	metrics    *metrics.Sidecar
	synced     func() bool
}

// sidecarScheme has the kinds that are read and written for SidecarSets.
func sidecarScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(sidecar.AddToScheme(scheme))
	return scheme
}

func newSidecars(m *manager) (*sidecars, error) {
	namespace, err := sidecarNamespace(m.config.SidecarSet.Namespace)
	if err != nil {
		return nil, err
	}
	c, err := cluster.New(m.GetConfig(), func(o *cluster.Options) {
		o.Scheme, o.Logger, o.Cache = sidecarScheme(), m.log.WithName("sidecars"), sidecarCache(namespace, m.cluster)
	})
	if err != nil {
		return nil, fmt.Errorf("make the caches of SidecarSets: %w", err)
	}
	out := &sidecars{
		Cluster:    c,
		sets:       state.NewSidecarSets(),
		namespaces: &state.Namespaces{Cache: c.GetClient(), Live: c.GetAPIReader()},
		revisions:  &state.Revisions{Cache: c.GetClient(), Live: c.GetAPIReader(), Namespace: namespace},
		metrics:    metrics.NewSidecar(ctrlmetrics.Registry),
	}
	if err := controller.Index(context.Background(), c.GetFieldIndexer()); err != nil {
		return nil, err
	}
	if err := out.follow(m); err != nil {
		return nil, err
	}
	if err := m.Add(c); err != nil {
		return nil, fmt.Errorf("add the caches of SidecarSets: %w", err)
	}
	return out, nil
}

// sidecarNamespace is where revisions are: as configured, else the manager's own.
func sidecarNamespace(configured string) (string, error) {
	const own = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
	if configured != "" {
		return configured, nil
	}
	if env := os.Getenv("POD_NAMESPACE"); env != "" {
		return env, nil
	}
	raw, err := os.ReadFile(own)
	if err != nil {
		return "", fmt.Errorf("find the manager's namespace: set sidecarSet.namespace in the configuration, or POD_NAMESPACE: %w", err)
	}
	return string(raw), nil
}

func sidecarCache(namespace, cluster string) cache.Options {
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&appsv1.ControllerRevision{}: {Namespaces: map[string]cache.Config{namespace: {}}},
			&corev1.Pod{}: {Transform: func(o any) (any, error) {
				if p, ok := o.(*corev1.Pod); ok {
					return controller.Strip(controller.Disown(p, cluster)), nil
				}
				return o, nil
			}},
		},
	}
}

// follow keeps the compiled sets up to date, in every replica.
func (s *sidecars) follow(m *manager) error {
	ctx := context.Background()
	for _, kind := range []client.Object{&corev1.Namespace{}, &appsv1.ControllerRevision{}} {
		if _, err := s.GetCache().GetInformer(ctx, kind, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	informer, err := s.GetCache().GetInformer(ctx, &sidecar.SidecarSet{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch SidecarSets: %w", err)
	}
	put := func(o any) {
		if set, ok := o.(*sidecar.SidecarSet); ok {
			if err := s.sets.Put(set); err != nil {
				m.log.Error(err, "SidecarSet is ignored until it is mended", "sidecarSet", set.Name)
			}
		}
	}
	handled, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: put, UpdateFunc: func(_, o any) { put(o) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if set, ok := o.(*sidecar.SidecarSet); ok {
				s.sets.Remove(set.Name)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch SidecarSets: %w", err)
	}
	s.synced = handled.HasSynced
	return nil
}

// ready waits until sets, namespaces and revisions are known.
func (s *sidecars) ready(ctx context.Context) bool {
	return s.GetCache().WaitForCacheSync(ctx) && toolscache.WaitForCacheSync(ctx.Done(), s.synced)
}

func (s *sidecars) injector() pod.Injector {
	return &pod.Sidecars{
		Sets: s.sets, Namespaces: s.namespaces, Revisions: s.revisions, Clock: clock.RealClock{}, Nonce: stem,
		Teller: pod.NewSidecarEvents(s.GetEventRecorder("spillway"), s.metrics, clock.RealClock{}),
	}
}

func (s *sidecars) webhooks() (*sidecarset.Defaulter, *sidecarset.Validator) {
	return &sidecarset.Defaulter{Differ: new(delta.Differ)}, &sidecarset.Validator{
		Sets: s.sets, Revisions: s.revisions, Live: s.GetAPIReader(),
		Pods: &sidecarset.Pretend{Writer: s.GetClient(), Namespace: s.revisions.Namespace},
	}
}

// control adds the controller and the audit to the manager.
func (s *sidecars) control(m *manager) error {
	recorder := s.GetEventRecorder("sidecarset-controller") // OpenKruise's name
	reconciler := &controller.Reconciler{
		Client: s.GetClient(), Live: s.GetAPIReader(), Sets: s.sets, Namespaces: s.namespaces, Namespace: s.revisions.Namespace,
		Written: &controller.Written{Clock: clock.RealClock{}}, Attempts: &controller.Attempts{Clock: clock.RealClock{}},
		Metrics: s.metrics, Recorder: recorder, Clock: clock.RealClock{},
	}
	if err := reconciler.Setup(m, s.GetCache(), int(m.config.SidecarSet.Workers)); err != nil {
		return err
	}
	audit := &controller.Audit{
		Client: s.GetClient(), Sets: s.sets, Namespaces: s.namespaces, Metrics: s.metrics, Recorder: recorder,
		Excluded: m.config.SidecarSet.ExcludedNamespaces,
		Clock:    clock.RealClock{}, Every: m.config.SidecarSet.AuditInterval.Duration, Log: m.log.WithName("audit"),
	}
	if err := m.Add(audit); err != nil {
		return fmt.Errorf("add the audit of SidecarSets: %w", err)
	}
	return nil
}
