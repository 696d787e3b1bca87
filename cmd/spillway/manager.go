package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	configv1alpha1 "github.com/spillway-project/spillway/api/config/v1alpha1"
	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/config"
	"github.com/spillway-project/spillway/internal/controller/workloadspread"
	"github.com/spillway-project/spillway/internal/delta"
	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/metrics"
	"github.com/spillway-project/spillway/internal/provider"
	"github.com/spillway-project/spillway/internal/resolve"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/state"
	"github.com/spillway-project/spillway/webhooks"
	"github.com/spillway-project/spillway/webhooks/pod"
	"github.com/spillway-project/spillway/webhooks/restore"
	"github.com/spillway-project/spillway/webhooks/review"
	webhookspread "github.com/spillway-project/spillway/webhooks/workloadspread"
)

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=system,resources=leases,verbs=get;create;update
// +kubebuilder:rbac:groups="",namespace=system,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups="",namespace=system,resources=configmaps,verbs=get;list;watch

// manager is the composition root: every part is made and connected here.
type manager struct {
	ctrl.Manager
	config  *configv1alpha1.ManagerConfiguration
	log     logr.Logger
	changed *dirty[types.NamespacedName] // WorkloadSpreads whose pods changed
	strays  *dirty[state.Stray]
	pods    *state.Pods
	listed  func() bool // the allow-list has been read
	cached  atomic.Bool // the caches have synced
	ending  atomic.Bool // told to stop; still serving
	gate    review.Gate
	metrics *metrics.Metrics
	cluster string // this one: the UID of its namespace kube-system; only known where pods are placed

	sidecars *sidecars
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(appsv1alpha1.AddToScheme(scheme))
	return scheme
}

func newManager(rest *rest.Config, c *configv1alpha1.ManagerConfiguration, bind string, log logr.Logger) (*manager, error) {
	mgr, err := ctrl.NewManager(rest, options(c, bind, log))
	if err != nil {
		return nil, fmt.Errorf("make the manager: %w", err)
	}
	m := &manager{
		Manager: mgr, config: c, log: log, listed: func() bool { return true },
		changed: newDirty[types.NamespacedName](false), strays: newDirty[state.Stray](true),
		metrics: metrics.New(ctrlmetrics.Registry),
	}
	if c.Role.Places() {
		if err := m.place(rest); err != nil {
			return nil, err
		}
	}
	if c.Role.Restores() {
		webhooks.SetupMember(mgr.GetWebhookServer(), c.Webhook, &restore.Restorer{Cluster: m.cluster, Differ: new(delta.Differ)},
			&m.gate, m.metrics, log.WithName("webhook"))
	}
	return m, m.addProbes()
}

// place adds all that places pods: caches, webhooks and controllers.
func (m *manager) place(rest *rest.Config) error {
	var err error
	if m.cluster, err = identity(m.GetAPIReader()); err != nil {
		return err
	}
	m.pods = state.NewPods(state.Listener{Changed: m.changed.add, Strayed: func(s state.Stray) {
		m.strays.add(s.OfOwner()) // one stands for all
	}})
	if m.sidecars, err = newSidecars(m); err != nil {
		return err
	}
	clientset, err := kubernetes.NewForConfigAndClient(rest, m.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("make the client for pods: %w", err)
	}
	for _, step := range []func() error{
		func() error {
			return m.Add(everywhere(func(ctx context.Context) error { m.pods.Run(ctx, clientset); return nil }))
		},
		func() error { return m.Add(everywhere(m.awaitCaches)) },
		func() error { return m.Add(m.changed) },
		func() error { return m.Add(m.strays) },
		m.connect,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// identity tells this cluster from others: the UID of a namespace that every cluster has and keeps.
func identity(live client.Reader) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var namespace corev1.Namespace
	if err := live.Get(ctx, types.NamespacedName{Name: metav1.NamespaceSystem}, &namespace); err != nil {
		return "", fmt.Errorf("find out which cluster this is: read namespace %s: %w", metav1.NamespaceSystem, err)
	}
	return string(namespace.UID), nil
}

// options translates the configuration.
func options(c *configv1alpha1.ManagerConfiguration, bind string, log logr.Logger) ctrl.Options {
	address := func(port int32) string { return net.JoinHostPort(bind, strconv.Itoa(int(port))) }
	metricsOptions := server.Options{BindAddress: "0"}
	if c.Metrics.Port > 0 {
		metricsOptions = server.Options{BindAddress: address(c.Metrics.Port), SecureServing: *c.Metrics.Secure, TLSOpts: []func(*tls.Config){hardened}}
		if *c.Metrics.Secure {
			metricsOptions.CertDir = c.Webhook.CertDir // one certificate names both Services
			metricsOptions.FilterProvider = filters.WithAuthenticationAndAuthorization
		}
	}
	return ctrl.Options{
		Scheme:                        newScheme(),
		Logger:                        log,
		Cache:                         cacheOptions(config.Namespace(c), c.WorkloadSpread.AllowList),
		Metrics:                       metricsOptions,
		HealthProbeBindAddress:        address(c.Health.Port),
		LeaderElection:                *c.LeaderElection.Enabled && c.Role.Places(), // a member has nothing to lead
		LeaderElectionID:              c.LeaderElection.Name,
		LeaderElectionNamespace:       c.LeaderElection.Namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &c.LeaderElection.LeaseDuration.Duration,
		RenewDeadline:                 &c.LeaderElection.RenewDeadline.Duration,
		RetryPeriod:                   &c.LeaderElection.RetryPeriod.Duration,
		WebhookServer: webhook.NewServer(webhook.Options{
			Host: bind, Port: int(c.Webhook.Port), CertDir: c.Webhook.CertDir, TLSOpts: []func(*tls.Config){hardened},
		}),
	}
}

// hardened turns HTTP/2 off (rapid reset, stream floods) and asks for TLS 1.2 or later.
func hardened(c *tls.Config) {
	c.NextProtos = []string{"http/1.1"}
	c.MinVersion = tls.VersionTLS12
}

// connect makes ledger, webhooks and controller.
func (m *manager) connect() error {
	instruments := m.metrics
	recorder := m.GetEventRecorder("spillway")
	allowed := &resolve.AllowList{Recorder: recorder, Count: instruments.AllowList, Changed: m.wakeAll}
	if err := m.watchAllowList(allowed); err != nil {
		return err
	}
	resolver := &resolve.Resolver{
		Cache: m.GetClient(), Live: m.GetAPIReader(), Mapper: m.GetRESTMapper(), Scales: m.GetClient(),
		Kinds: allowed.Kinds, Links: resolve.NewLinks(clock.RealClock{}), Wishes: &resolve.Wishes{},
		Away: m.away(&state.Namespaces{Cache: m.GetClient(), Live: m.GetAPIReader()}),
	}
	if err := m.followWishes(resolver.Wishes); err != nil {
		return err
	}
	profiles := provider.NewCatalog(m.config.VirtualNodes.Profiles).RestoredBelow(m.config.VirtualNodes.RestoredBelow)
	sites := m.sites(profiles)
	pods := &resolve.Pods{Pods: m.pods, Resolver: resolver, Stem: stem, Sites: sites}
	book := ledger.New(ledger.Options{
		Spreads:    &resolve.Spreads{Reader: m.GetClient(), Direct: m.GetAPIReader(), Writer: m.GetClient().Status()},
		Pods:       pods,
		Workloads:  resolver,
		Recorder:   instruments,
		Clock:      clock.RealClock{},
		Stem:       stem,
		DemandWait: m.config.Ledger.DemandWait.Duration,
		Spacing:    m.config.Ledger.CommitSpacing.Duration,
	})
	if err := m.forgetDeleted(book); err != nil {
		return err
	}
	defaulter, validator := m.sidecars.webhooks()
	webhooks.Setup(m.GetWebhookServer(), m.config.Webhook,
		&pod.Mutator{
			Resolver: resolver, Ledger: book, Differ: new(delta.Differ),
			Teller: &pod.Events{Recorder: recorder, Metrics: instruments, Clock: clock.RealClock{}},
			Clock:  clock.RealClock{}, Stem: stem, Log: m.log.WithName("pods"), Cluster: m.cluster,
			Sites:      sites,
			Placements: m.placements(profiles),
			Injector:   m.sidecars.injector(),
		},
		&webhookspread.Validator{Reader: m.GetClient(), Targets: resolver, Profiles: profiles}, defaulter, validator,
		m.synced, &m.gate, instruments, m.log.WithName("webhook"))

	reconciler := &workloadspread.Reconciler{
		Reader: m.GetClient(), Writer: m.GetClient(), Ledger: book, Pods: pods, Metrics: instruments, Recorder: recorder,
		Claims: &ledger.Expiry{Clock: clock.RealClock{}, Life: m.config.Ledger.ClaimExpiry.Duration},
		Holds:  spread.Holds{First: m.config.WorkloadSpread.Hold.Duration, Most: m.config.WorkloadSpread.MaxHold.Duration},
		Kinds:  &workloadspread.KindWatcher{Targets: resolver}, Sites: sites, Clock: clock.RealClock{},
	}
	if err := reconciler.Setup(m, int(m.config.WorkloadSpread.Workers), workloadspread.Sources{Changed: m.changed.out, Strays: m.strays.out}); err != nil {
		return err
	}
	return m.sidecars.control(m)
}

// away tells the namespaces whose pods the webhook does not see: by name, or by their own label.
func (m *manager) away(namespaces *state.Namespaces) func(context.Context, string) (bool, error) {
	return func(ctx context.Context, name string) (bool, error) {
		if slices.Contains(m.config.SidecarSet.ExcludedNamespaces, name) {
			return true, nil
		}
		labels, err := namespaces.Labels(ctx, name)
		return labels[v1alpha1.LabelAdmission] == v1alpha1.AdmissionDisabled, err
	}
}

// sites is nil unless pods are to be made ready for the providers of virtual nodes.
func (m *manager) sites(profiles *provider.Catalog) *resolve.Sites {
	if !*m.config.VirtualNodes.HandOver {
		return nil
	}
	return &resolve.Sites{
		Reader: m.GetClient(), Live: m.GetAPIReader(), Catalog: profiles, Clock: clock.RealClock{},
		FixedIPAnnotations: m.config.VirtualNodes.FixedIPAnnotations, Outage: m.config.VirtualNodes.Outage,
	}
}

// placements serves pods without a WorkloadSpread. Where nobody restores constraints, none are moved.
func (m *manager) placements(profiles *provider.Catalog) *pod.Placements {
	if !*m.config.VirtualNodes.HandOver {
		profiles = profiles.Plain()
	}
	return &pod.Placements{
		Reader: m.GetClient(), Namespaces: m.sidecars.namespaces, Catalog: profiles,
		FixedIPAnnotations: m.config.VirtualNodes.FixedIPAnnotations, Clock: clock.RealClock{},
	}
}

// wakeAll has every WorkloadSpread looked at: other kinds are known than before.
func (m *manager) wakeAll() {
	if !m.cached.Load() {
		return // all of them will be, soon
	}
	var list appsv1alpha1.WorkloadSpreadList
	if err := m.GetClient().List(context.Background(), &list, client.UnsafeDisableDeepCopy); err != nil {
		m.log.Error(err, "List WorkloadSpreads after a change of the allow-list")
		return
	}
	for i := range list.Items {
		m.changed.add(client.ObjectKeyFromObject(&list.Items[i]))
	}
}

// stem draws the random part of a token.
func stem() string {
	const alphabet = "0123456789abcdefghijklmnopqrstuvwxyz"
	raw := make([]byte, spread.TokenStem)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	for i, b := range raw {
		raw[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(raw)
}

// start runs until the context ends, and then until the requests under way are answered.
func (m *manager) start(told context.Context) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(told))
	defer cancel()
	go func() {
		select {
		case <-told.Done():
			m.finish(ctx)
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("run the manager: %w", err)
	}
	return nil
}

// finish goes on serving for the shutdown delay, because the API server learns of the endpoint's end a
// moment after we do, and then until nothing is under way. Only after that may the manager stop: it
// takes caches away first, and the contexts of requests with them.
func (m *manager) finish(ctx context.Context) {
	m.ending.Store(true)
	m.gate.Close()
	m.log.Info("Stopping", "after", m.config.ShutdownDelay.Duration.String())
	select {
	case <-time.After(m.config.ShutdownDelay.Duration):
	case <-ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(m.config.Webhook.TimeoutSeconds)*time.Second)
	defer cancel()
	if err := m.gate.Idle(ctx); err != nil {
		m.log.Error(err, "Requests are still under way")
	}
}

// addProbes: alive is who answers; ready is who has synced caches, a certificate and a webhook that
// answers, and was not told to stop.
func (m *manager) addProbes() error {
	started := m.GetWebhookServer().StartedChecker()
	if err := m.AddHealthzCheck("ping", func(*http.Request) error { return nil }); err != nil {
		return fmt.Errorf("add the liveness check: %w", err)
	}
	checks := map[string]func(*http.Request) error{
		"caches": func(*http.Request) error {
			if !m.synced() {
				return fmt.Errorf("caches have not synced yet")
			}
			return nil
		},
		"webhook": started,
		"running": func(*http.Request) error {
			if m.ending.Load() {
				return fmt.Errorf("told to stop")
			}
			return nil
		},
	}
	for name, check := range checks {
		if err := m.AddReadyzCheck(name, check); err != nil {
			return fmt.Errorf("add the readiness check %s: %w", name, err)
		}
	}
	return nil
}
