package chart

import (
	"encoding/json"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	configv1alpha1 "github.com/spillway-project/spillway/api/config/v1alpha1"
	"github.com/spillway-project/spillway/internal/config"
)

// sorted returns a YAML document in one spelling.
func sorted(document string) string {
	var value map[string]any
	if err := yaml.Unmarshal([]byte(document), &value); err != nil {
		return err.Error()
	}
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// TestConfigurationIsTheDefault: what values.yaml says of the manager's defaults is what
// the manager does without a file.
func TestConfigurationIsTheDefault(t *testing.T) {
	want, err := config.Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	want.LeaderElection.Namespace, want.SidecarSet.Namespace = namespace, namespace
	want.SidecarSet.ExcludedNamespaces = []string{"kube-system", "cert-manager", namespace}
	if diff := gocmp.Diff(want, parse(t)); diff != "" {
		t.Errorf("configuration (-manager +chart):\n%s", diff)
	}
}

func TestConfigurationIsPassedOn(t *testing.T) {
	want, err := config.Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	want.LeaderElection.Namespace, want.SidecarSet.Namespace = "leases", namespace
	want.SidecarSet.ExcludedNamespaces = []string{"kube-system", "cert-manager", namespace}
	want.Client.Burst = 1000000
	want.Log.Level = "debug"
	want.Metrics.Port = -1
	want.ShutdownDelay.Duration = 1500 * time.Millisecond
	got := parse(t, `config.leaderElection.namespace="leases"`, `config.client.burst=1000000`,
		`config.log.level="debug"`, `config.shutdownDelay="1.5s"`, `metrics.enabled=false`)
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

// parse reads the configuration that the chart writes, as the manager reads it.
func parse(t *testing.T, values ...string) *configv1alpha1.ManagerConfiguration {
	t.Helper()
	document := get[*corev1.ConfigMap](t, render(t, values...), release).Data["config.yaml"]
	parsed, err := config.Parse([]byte(document))
	if err != nil {
		t.Fatalf("%v in\n%s", err, document)
	}
	return parsed
}
