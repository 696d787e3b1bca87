// Package v1alpha1 is the manager's configuration file: its types and defaults.
//
// The file is YAML, decoded strictly: an unknown or repeated field is an error. Every field may be
// left out. Durations are written as 10s, 1m30s.
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// APIVersion of the configuration file.
	APIVersion = "config.spillway-project.io/v1alpha1"
	// Kind of the configuration file.
	Kind = "ManagerConfiguration"
)

// Role is what the manager does in its cluster.
type Role string

const (
	// RoleUpper: the manager places pods, and sets their constraints aside where they go to virtual nodes.
	RoleUpper Role = "upper"
	// RoleMember: the cluster stands behind virtual nodes of others. The manager only gives the pods that come from
	// there their constraints back.
	RoleMember Role = "member"
	// RoleBoth is both.
	RoleBoth Role = "both"
)

// Places reports whether a manager of this role places pods.
func (r Role) Places() bool { return r != RoleMember }

// Restores reports whether a manager of this role restores the constraints of pods that come from other clusters.
func (r Role) Restores() bool { return r == RoleMember || r == RoleBoth }

// ManagerConfiguration configures the manager.
type ManagerConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// role is upper, where workloads are created and spread; member, where virtual nodes of other clusters create
	// their pods; or both. Default upper.
	Role Role `json:"role,omitempty"`
	// webhook configures the admission webhook server.
	Webhook Webhook `json:"webhook,omitempty"`
	// metrics configures the metrics endpoint.
	Metrics Metrics `json:"metrics,omitempty"`
	// health configures the endpoints /healthz and /readyz.
	Health Health `json:"health,omitempty"`
	// leaderElection chooses which replica runs the controllers. Webhooks run in every replica.
	LeaderElection LeaderElection `json:"leaderElection,omitempty"`
	// client limits the requests to the API server.
	Client Client `json:"client,omitempty"`
	// ledger configures how places in subsets are reserved.
	Ledger Ledger `json:"ledger,omitempty"`
	// workloadSpread configures the controller of WorkloadSpreads.
	WorkloadSpread WorkloadSpread `json:"workloadSpread,omitempty"`
	// sidecarSet configures what serves SidecarSets.
	SidecarSet SidecarSet `json:"sidecarSet,omitempty"`
	// virtualNodes configures how virtual nodes are recognised and served.
	VirtualNodes VirtualNodes `json:"virtualNodes,omitempty"`
	// log configures the log on standard error.
	Log Log `json:"log,omitempty"`
	// shutdownDelay is how long the manager goes on serving after it was told to stop, so that the
	// API server learns that the endpoint is gone before it is. Default 3s.
	ShutdownDelay *metav1.Duration `json:"shutdownDelay,omitempty"`
}

// Webhook configures the admission webhook server.
type Webhook struct {
	// port to listen on. Default 9443.
	Port int32 `json:"port,omitempty"`
	// certDir holds tls.crt and tls.key; they are reloaded when they change.
	// Default /tmp/k8s-webhook-server/serving-certs.
	CertDir string `json:"certDir,omitempty"`
	// maxBodyBytes bounds the size of a request. Default 7340032 (7 MiB): two objects of the largest
	// size that the API server stores, with room for the envelope.
	MaxBodyBytes int64 `json:"maxBodyBytes,omitempty"`
	// timeoutSeconds bounds a request for which the API server does not say how long it waits.
	// Default 10.
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`
}

// Metrics configures the metrics endpoint.
type Metrics struct {
	// port to listen on; -1 turns the endpoint off. Default 8443.
	Port int32 `json:"port,omitempty"`
	// secure serves HTTPS and asks the API server who may read (TokenReview,
	// SubjectAccessReview on the path /metrics). Default true.
	Secure *bool `json:"secure,omitempty"`
}

// Health configures the probe endpoints.
type Health struct {
	// port to listen on. Default 8081.
	Port int32 `json:"port,omitempty"`
}

// LeaderElection configures the lease.
type LeaderElection struct {
	// enabled may be false only for a single replica. Default true.
	Enabled *bool `json:"enabled,omitempty"`
	// namespace of the lease. Default: the manager's own.
	Namespace string `json:"namespace,omitempty"`
	// name of the lease. Default spillway-leader.
	Name string `json:"name,omitempty"`
	// leaseDuration after which another replica may take over. Default 15s.
	LeaseDuration *metav1.Duration `json:"leaseDuration,omitempty"`
	// renewDeadline after which a leader that cannot renew gives up. Default 10s.
	RenewDeadline *metav1.Duration `json:"renewDeadline,omitempty"`
	// retryPeriod between attempts. Default 2s.
	RetryPeriod *metav1.Duration `json:"retryPeriod,omitempty"`
}

// Client limits the requests to the API server.
type Client struct {
	// qps is the number of requests a second in the long run. Default 200.
	QPS float32 `json:"qps,omitempty"`
	// burst is the number of requests that may go out at once. Default 400.
	Burst int32 `json:"burst,omitempty"`
}

// Ledger configures how places in subsets are reserved.
type Ledger struct {
	// claimExpiry ends a claim for which no pod appeared. It must exceed the API server's
	// --request-timeout: a shorter time could give a place away while its pod is being stored.
	// Default 70s, for the API server's default of 60s.
	ClaimExpiry *metav1.Duration `json:"claimExpiry,omitempty"`
	// demandWait is how long a pod that its workload should not need waits for the view of pods to
	// catch up, before pods are read from the API server. Default 1s.
	DemandWait *metav1.Duration `json:"demandWait,omitempty"`
	// commitSpacing is the shortest time between two writes of one WorkloadSpread by one replica. A
	// lone pod never waits for it; in a burst it makes writes fewer and larger. Default 20ms.
	CommitSpacing *metav1.Duration `json:"commitSpacing,omitempty"`
}

// WorkloadSpread configures the controller of WorkloadSpreads.
type WorkloadSpread struct {
	// workers is the number of objects reconciled at once. Default 4.
	Workers int32 `json:"workers,omitempty"`
	// hold is how long a subset is left alone after a pod could not be scheduled there; then one pod is
	// let in to see. Default 5m.
	Hold *metav1.Duration `json:"hold,omitempty"`
	// maxHold bounds the hold, which is doubled each time that pod cannot be scheduled either.
	// Default 1h.
	MaxHold *metav1.Duration `json:"maxHold,omitempty"`
	// allowList names the ConfigMap, in the manager's namespace, with the custom workloads that may be
	// spread, under OpenKruise's key WorkloadSpread_Watch_Custom_Workload_WhiteList.
	// Default kruise-configuration.
	AllowList string `json:"allowList,omitempty"`
}

// SidecarSet configures what serves SidecarSets.
type SidecarSet struct {
	// workers is the number of SidecarSets reconciled at once. Default 4.
	Workers int32 `json:"workers,omitempty"`
	// namespace holds the ControllerRevisions of SidecarSets and the ConfigMap kruise-configuration.
	// Default: the manager's own. After a change-over from OpenKruise it is OpenKruise's,
	// kruise-system, so that revisions that were recorded before are found.
	Namespace string `json:"namespace,omitempty"`
	// excludedNamespaces are those whose pods the webhook does not see: nobody expects sidecars there.
	// Default kube-system.
	// +listType=atomic
	ExcludedNamespaces []string `json:"excludedNamespaces,omitempty"`
	// auditInterval is the time between two searches for pods that run without their sidecars.
	// Default 10s.
	AuditInterval *metav1.Duration `json:"auditInterval,omitempty"`
}

// Log configures the log.
type Log struct {
	// level is debug, info or error. Default info.
	Level string `json:"level,omitempty"`
	// format is json or text. Default json.
	Format string `json:"format,omitempty"`
}
