// Command valuesschema completes the JSON schema that helm-tool makes from the
// comments in a chart's values.yaml: it adds what comments cannot say (the values
// that an enumeration allows, ranges, formats) and indents the result. It reads
// standard input and writes standard output.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
)

// constraints are added to the schema of a value, by the value's path.
var constraints = map[string]map[string]any{
	"replicaCount":                        atLeast(0),
	"image.pullPolicy":                    oneOf("Always", "IfNotPresent", "Never"),
	"image.digest":                        matching(`^(sha256:[0-9a-f]{64})?$`),
	"terminationGracePeriodSeconds":       atLeast(0),
	"podDisruptionBudget.maxUnavailable":  {"type": []string{"integer", "string"}},
	"role":                                oneOf("upper", "member", "both"),
	"webhook.failurePolicy":               oneOf("Fail", "Ignore"),
	"webhook.validationFailurePolicy":     oneOf("Fail", "Ignore"),
	"certManager.duration":                duration,
	"certManager.renewBefore":             duration,
	"service.type":                        oneOf("ClusterIP", "NodePort", "LoadBalancer"),
	"service.port":                        port,
	"service.ipFamilyPolicy":              oneOf("", "SingleStack", "PreferDualStack", "RequireDualStack"),
	"metrics.serviceMonitor.interval":     duration,
	"config.webhook.port":                 port,
	"config.webhook.timeoutSeconds":       between(1, 30),
	"config.metrics.port":                 port,
	"config.health.port":                  port,
	"config.leaderElection.leaseDuration": duration,
	"config.leaderElection.renewDeadline": duration,
	"config.leaderElection.retryPeriod":   duration,
	"config.client.qps":                   {"minimum": 1},
	"config.client.burst":                 atLeast(1),
	"config.ledger.claimExpiry":           duration,
	"config.ledger.demandWait":            duration,
	"config.ledger.commitSpacing":         duration,
	"config.shutdownDelay":                duration,
	"config.webhook.maxBodyBytes":         atLeast(1),
	"config.workloadSpread.workers":       atLeast(1),
	"config.log.level":                    oneOf("debug", "info", "error"),
	"config.log.format":                   oneOf("json", "text"),
}

var (
	port     = between(1, 65535)
	duration = matching(`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "valuesschema:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	var schema struct {
		Schema string                    `json:"$schema"`
		Ref    string                    `json:"$ref"`
		Defs   map[string]map[string]any `json:"$defs"`
	}
	if err := json.NewDecoder(in).Decode(&schema); err != nil {
		return err
	}
	for path, constraint := range constraints {
		definition, ok := schema.Defs[definitionName(path)]
		if !ok {
			return fmt.Errorf("values.yaml has no %s", path)
		}
		maps.Copy(definition, constraint)
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(schema)
}

func definitionName(path string) string {
	return "helm-values." + path
}

func oneOf(values ...string) map[string]any {
	return map[string]any{"enum": values}
}

func atLeast(minimum int) map[string]any {
	return map[string]any{"type": "integer", "minimum": minimum}
}

func between(minimum, maximum int) map[string]any {
	return map[string]any{"type": "integer", "minimum": minimum, "maximum": maximum}
}

func matching(pattern string) map[string]any {
	return map[string]any{"pattern": pattern}
}
