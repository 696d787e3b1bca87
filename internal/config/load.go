// Package config reads the manager's configuration file.
package config

import (
	"fmt"
	"os"
	"time"

	content "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/api/config/v1alpha1"
	"github.com/spillway-project/spillway/internal/provider"
)

// Load reads the file, fills in defaults and checks the result. An empty path gives the defaults.
// The error names the file, the field, the value and the remedy.
func Load(path string) (*v1alpha1.ManagerConfiguration, error) {
	var raw []byte
	if path != "" {
		var err error
		if raw, err = os.ReadFile(path); err != nil { //nolint:gosec // the operator's own choice
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
	}
	c, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("configuration file %q: %w", path, err)
	}
	return c, nil
}

// Parse decodes a configuration strictly, fills in defaults and checks the result.
func Parse(raw []byte) (*v1alpha1.ManagerConfiguration, error) {
	var c v1alpha1.ManagerConfiguration
	if len(raw) > 0 {
		if err := yaml.UnmarshalStrict(raw, &c); err != nil {
			return nil, fmt.Errorf("decode: %w", err)
		}
		if c.APIVersion != v1alpha1.APIVersion || c.Kind != v1alpha1.Kind {
			return nil, fmt.Errorf("it holds apiVersion %q, kind %q: write apiVersion: %s and kind: %s",
				c.APIVersion, c.Kind, v1alpha1.APIVersion, v1alpha1.Kind)
		}
	}
	c.Default()
	return &c, check(&c).ToAggregate()
}

func check(c *v1alpha1.ManagerConfiguration) field.ErrorList {
	var errs field.ErrorList
	port := func(path *field.Path, p int32, off bool) {
		if (p < 1 || p > 65535) && (!off || p != -1) {
			errs = append(errs, field.Invalid(path, p, "give a port between 1 and 65535"))
		}
	}
	port(field.NewPath("webhook", "port"), c.Webhook.Port, false)
	port(field.NewPath("metrics", "port"), c.Metrics.Port, true)
	port(field.NewPath("health", "port"), c.Health.Port, false)
	positive := func(path *field.Path, n int64) {
		if n <= 0 {
			errs = append(errs, field.Invalid(path, n, "must be above 0"))
		}
	}
	positive(field.NewPath("webhook", "maxBodyBytes"), c.Webhook.MaxBodyBytes)
	positive(field.NewPath("client", "burst"), int64(c.Client.Burst))
	positive(field.NewPath("workloadSpread", "workers"), int64(c.WorkloadSpread.Workers))
	positive(field.NewPath("sidecarSet", "workers"), int64(c.SidecarSet.Workers))
	if d := c.SidecarSet.AuditInterval.Duration; d < time.Second {
		errs = append(errs, field.Invalid(field.NewPath("sidecarSet", "auditInterval"), d.String(), "must be 1s or more: every pod is looked at"))
	}
	if t := c.Webhook.TimeoutSeconds; t < 1 || t > 30 {
		errs = append(errs, field.Invalid(field.NewPath("webhook", "timeoutSeconds"), t, "the API allows 1 to 30"))
	}
	if d := c.Ledger.ClaimExpiry.Duration; d < 10*time.Second {
		errs = append(errs, field.Invalid(field.NewPath("ledger", "claimExpiry"), d.String(), "must exceed the API server's --request-timeout; below 10s it never does"))
	}
	for path, d := range map[string]time.Duration{
		"demandWait": c.Ledger.DemandWait.Duration, "commitSpacing": c.Ledger.CommitSpacing.Duration,
	} {
		if d < 0 || d > 5*time.Second {
			errs = append(errs, field.Invalid(field.NewPath("ledger", path), d.String(), "must be between 0s and 5s: a pod waits for it"))
		}
	}
	if hold, most := c.WorkloadSpread.Hold.Duration, c.WorkloadSpread.MaxHold.Duration; hold < time.Second || most < hold {
		errs = append(errs, field.Invalid(field.NewPath("workloadSpread", "hold"), hold.String(),
			fmt.Sprintf("must be at least 1s, and at most maxHold, which is %s", most)))
	}
	for _, m := range content.IsDNS1123Subdomain(c.WorkloadSpread.AllowList) {
		errs = append(errs, field.Invalid(field.NewPath("workloadSpread", "allowList"), c.WorkloadSpread.AllowList, "must be the name of a ConfigMap: "+m))
	}
	errs = append(errs, provider.Validate(&c.VirtualNodes, field.NewPath("virtualNodes"))...)
	le := c.LeaderElection
	if le.LeaseDuration.Duration <= le.RenewDeadline.Duration || le.RenewDeadline.Duration <= le.RetryPeriod.Duration {
		errs = append(errs, field.Invalid(field.NewPath("leaderElection", "leaseDuration"), le.LeaseDuration.Duration.String(),
			"leaseDuration must exceed renewDeadline, and renewDeadline retryPeriod"))
	}
	switch c.Role {
	case v1alpha1.RoleUpper, v1alpha1.RoleMember, v1alpha1.RoleBoth:
	default:
		errs = append(errs, field.NotSupported(field.NewPath("role"), c.Role, []v1alpha1.Role{v1alpha1.RoleUpper, v1alpha1.RoleMember, v1alpha1.RoleBoth}))
	}
	switch c.Log.Level {
	case "debug", "info", "error":
	default:
		errs = append(errs, field.NotSupported(field.NewPath("log", "level"), c.Log.Level, []string{"debug", "info", "error"}))
	}
	switch c.Log.Format {
	case "json", "text":
	default:
		errs = append(errs, field.NotSupported(field.NewPath("log", "format"), c.Log.Format, []string{"json", "text"}))
	}
	return errs
}
