package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Default fills in every field that is not set.
func (c *ManagerConfiguration) Default() {
	c.APIVersion, c.Kind = APIVersion, Kind
	set(&c.Role, RoleUpper)
	set(&c.Webhook.Port, 9443)
	set(&c.Webhook.CertDir, "/tmp/k8s-webhook-server/serving-certs")
	set(&c.Webhook.MaxBodyBytes, 7<<20)
	set(&c.Webhook.TimeoutSeconds, 10)
	set(&c.Metrics.Port, 8443)
	point(&c.Metrics.Secure, true)
	set(&c.Health.Port, 8081)
	point(&c.LeaderElection.Enabled, true)
	set(&c.LeaderElection.Name, "spillway-leader")
	duration(&c.LeaderElection.LeaseDuration, 15*time.Second)
	duration(&c.LeaderElection.RenewDeadline, 10*time.Second)
	duration(&c.LeaderElection.RetryPeriod, 2*time.Second)
	set(&c.Client.QPS, 200)
	set(&c.Client.Burst, 400)
	duration(&c.Ledger.ClaimExpiry, 70*time.Second)
	duration(&c.Ledger.DemandWait, time.Second)
	duration(&c.Ledger.CommitSpacing, 20*time.Millisecond)
	set(&c.WorkloadSpread.Workers, 4)
	duration(&c.WorkloadSpread.Hold, 5*time.Minute)
	duration(&c.WorkloadSpread.MaxHold, time.Hour)
	set(&c.WorkloadSpread.AllowList, "kruise-configuration")
	set(&c.SidecarSet.Workers, 4)
	if c.SidecarSet.ExcludedNamespaces == nil {
		c.SidecarSet.ExcludedNamespaces = []string{"kube-system"}
	}
	duration(&c.SidecarSet.AuditInterval, 10*time.Second)
	none(&c.VirtualNodes.Profiles)
	none(&c.VirtualNodes.FixedIPAnnotations)
	none(&c.VirtualNodes.RestoredBelow)
	point(&c.VirtualNodes.HandOver, true)
	set(&c.VirtualNodes.Outage, "Replace")
	set(&c.Log.Level, "info")
	set(&c.Log.Format, "json")
	duration(&c.ShutdownDelay, 3*time.Second)
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func point[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// none makes an empty list the same as one that is left out.
func none[T any](list *[]T) {
	if len(*list) == 0 {
		*list = nil
	}
}

func duration(field **metav1.Duration, value time.Duration) {
	point(field, metav1.Duration{Duration: value})
}
