package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const head = "apiVersion: config.spillway-project.io/v1alpha1\nkind: ManagerConfiguration\n"

func TestEveryValueHasADefault(t *testing.T) {
	c, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	if c.Webhook.Port != 9443 || !*c.Metrics.Secure || !*c.LeaderElection.Enabled || c.Ledger.ClaimExpiry.Duration != 70*time.Second {
		t.Errorf("got %+v", c)
	}
}

func TestTheFileWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(head+"leaderElection: {enabled: false}\nledger: {claimExpiry: 2m}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if *c.LeaderElection.Enabled || c.Ledger.ClaimExpiry.Duration != 2*time.Minute || c.Webhook.Port != 9443 {
		t.Errorf("got %+v", c)
	}
}

func TestWrongConfigurationsAreExplained(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"an unknown field":         {head + "webhok: {}\n", `unknown field "webhok"`},
		"a field twice":            {head + "log: {level: info, level: debug}\n", `"level" already set`},
		"another kind":             {"apiVersion: v1\nkind: ConfigMap\n", "write apiVersion: config.spillway-project.io/v1alpha1"},
		"a port out of range":      {head + "webhook: {port: 70000}\n", "webhook.port: Invalid value: 70000"},
		"an expiry too short":      {head + "ledger: {claimExpiry: 5s}\n", "--request-timeout"},
		"a wait for ever":          {head + "ledger: {demandWait: 1h}\n", "between 0s and 5s"},
		"a lease that never lasts": {head + "leaderElection: {leaseDuration: 5s}\n", "must exceed renewDeadline"},
		"a level of no kind":       {head + "log: {level: loud}\n", `supported values: "debug", "info", "error"`},
		"a role of no kind":        {head + "role: lower\n", `role: Unsupported value: "lower": supported values: "upper", "member", "both"`},
		"a timeout the API lacks":  {head + "webhook: {timeoutSeconds: 31}\n", "1 to 30"},
		"a profile of no name":     {head + "virtualNodes: {profiles: [{nodes: [{taint: {key: a}}]}]}\n", "virtualNodes.profiles[0].name: Invalid value"},
		"a profile of no such key": {head + "virtualNodes: {profiles: [{name: a, toleration: []}]}\n", `unknown field "toleration"`},
		"a duration without unit":  {head + "shutdownDelay: 3\n", "shutdownDelay of type string"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file is no error")
	}
}

func TestProfilesOfVirtualNodesAreRead(t *testing.T) {
	c, err := Parse([]byte(head + `
virtualNodes:
  fixedIPAnnotations: [cni.example.com/ip]
  profiles:
  - name: ours
    nodes:
    - selector: {matchLabels: {node-role.kubernetes.io/local-virtual-kubelet: "true"}}
    tolerations:
    - {key: virtual-kubelet.io/provider, operator: Exists, effect: NoSchedule}
    labels: {virtual-pod: "true"}
    handOver: {annotation: clusterSelector, fields: [nodeSelector, tolerations]}
    unsupported: [DaemonSet, HostPath]
    stuckReasons: [ProviderFailed]
`))
	if err != nil {
		t.Fatal(err)
	}
	p := c.VirtualNodes.Profiles[0]
	if p.HandOver.Annotation != "clusterSelector" || len(p.HandOver.Fields) != 2 || p.Nodes[0].Selector == nil || c.VirtualNodes.FixedIPAnnotations[0] != "cni.example.com/ip" {
		t.Errorf("got %+v", c.VirtualNodes)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(head))
	f.Add([]byte(head + "webhook: {port: -1}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if c, err := Parse(raw); err == nil && c.Webhook.Port == 0 {
			t.Errorf("accepted without a port: %q", raw)
		}
	})
}
