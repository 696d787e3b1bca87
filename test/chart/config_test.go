package chart

import (
	"encoding/json"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
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

func configuration(t *testing.T, values ...string) string {
	t.Helper()
	return get[*corev1.ConfigMap](t, render(t, values...), release).Data["config.yaml"]
}

func TestConfigurationIsPassedOn(t *testing.T) {
	var got struct {
		APIVersion, Kind string
		LeaderElection   struct{ Namespace string }
		Client           struct{ QPS, Burst int }
		Log              struct{ Level string }
	}
	document := configuration(t, `config.client.burst=1000000`, `config.log.level="debug"`)
	if err := yaml.Unmarshal([]byte(document), &got); err != nil {
		t.Fatal(err)
	}
	want := got
	want.APIVersion, want.Kind = "config.spillway-project.io/v1alpha1", "ManagerConfiguration"
	want.LeaderElection.Namespace = namespace
	want.Client.Burst, want.Log.Level = 1000000, "debug"
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s\n%s", diff, document)
	}
}
