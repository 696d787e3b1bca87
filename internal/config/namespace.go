package config

import (
	"os"
	"strings"

	"github.com/spillway-project/spillway/api/config/v1alpha1"
)

const (
	// NamespaceEnv names the environment variable with the manager's own namespace.
	NamespaceEnv = "POD_NAMESPACE"
	// namespaceFile is where every pod finds its namespace (Kubernetes service account tokens).
	namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
	// fallback is the namespace that the manifests install into.
	fallback = "spillway-system"
)

// Namespace returns the manager's own namespace: as the environment says, else that of the service
// account, else that of the lease, else the one that the manifests use.
func Namespace(c *v1alpha1.ManagerConfiguration) string {
	if ns := os.Getenv(NamespaceEnv); ns != "" {
		return ns
	}
	if raw, err := os.ReadFile(namespaceFile); err == nil {
		if ns := strings.TrimSpace(string(raw)); ns != "" {
			return ns
		}
	}
	if c.LeaderElection.Namespace != "" {
		return c.LeaderElection.Namespace
	}
	return fallback
}
