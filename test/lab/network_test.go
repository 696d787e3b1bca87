package lab_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/test/lab/labtest"
)

// webhookManifest is a webhook as a chart installs it: served by two pods behind a Service, with a
// certificate of cert-manager, whose CA is injected into the registration.
const webhookManifest = `
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: own, namespace: NS}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: webhook, namespace: NS}
spec: {secretName: webhook-tls, dnsNames: [webhook.NS.svc], issuerRef: {name: own}}
---
apiVersion: v1
kind: Service
metadata: {name: webhook, namespace: NS}
spec: {selector: {app: webhook}, ports: [{name: https, port: 443, targetPort: https}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: webhook, namespace: NS}
spec:
  replicas: 2
  selector: {matchLabels: {app: webhook}}
  template:
    metadata: {labels: {app: webhook}}
    spec:
      nodeSelector: {lab.spillway-project.io/system: "true"}
      tolerations: [{key: lab.spillway-project.io/system, operator: Exists}]
      containers:
      - name: webhook
        image: testimage:1
        args: [serve, --port=8443, --certs=/certs]
        ports: [{name: https, containerPort: 8443}]
        env: [{name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
        readinessProbe: {httpGet: {path: /healthz, port: https, scheme: HTTPS}}
        volumeMounts: [{name: certs, mountPath: /certs, readOnly: true}]
      volumes: [{name: certs, secret: {secretName: webhook-tls}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: NS, annotations: {cert-manager.io/inject-ca-from: NS/webhook}}
webhooks:
- name: webhook.lab.test
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: 5
  clientConfig: {service: {name: webhook, namespace: NS, path: /admit}}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
`

func TestWebhookBehindAService(t *testing.T) {
	t.Parallel()
	if _, err := buildTestImage(); err != nil {
		t.Fatal(err)
	}
	namespace := labtest.Namespace(t, cluster)
	apply(t, strings.ReplaceAll(webhookManifest, "NS", namespace))
	t.Cleanup(func() {
		_, err := cluster.Kubectl(context.Background(), "delete", "mutatingwebhookconfiguration", namespace)
		if err != nil {
			t.Error(err)
		}
	})
	seen := map[string]bool{}
	labtest.Eventually(t, "answers of both replicas", func(ctx context.Context) error {
		name, err := admitted(ctx, namespace)
		if err == nil {
			seen[name] = true
			// The API server keeps to a connection: cut it, so that it has to choose again.
			err = cluster.KillContainer(ctx, namespace, name, "")
		}
		if len(seen) < 2 {
			return fmt.Errorf("answered by %v: %w", seen, err)
		}
		return nil
	})

	// Deleting pods must not leave the API server with connections to processes that are gone.
	if _, err := cluster.Kubectl(t.Context(), "-n", namespace, "rollout", "restart", "deployment/webhook"); err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.Kubectl(t.Context(), "-n", namespace, "rollout", "status", "deployment/webhook", "--timeout=60s"); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, "answer of a new replica", func(ctx context.Context) error {
		name, err := admitted(ctx, namespace)
		if err != nil || seen[name] {
			return fmt.Errorf("answered by %q: %w", name, err)
		}
		return nil
	})
}

// admitted creates a config map and returns which pod answered for it.
func admitted(ctx context.Context, namespace string) (string, error) {
	made, err := cluster.Clientset().CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	name := made.Labels["admitted-by"]
	if name == "" {
		return "", errors.New("no webhook was called")
	}
	return name, nil
}

// apply runs kubectl apply on a manifest.
func apply(t *testing.T, manifest string) {
	t.Helper()
	cmd, err := cluster.KubectlCommand(t.Context(), "apply", "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = strings.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("applying: %v: %s", err, out)
	}
}

const chainManifest = `
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: root, namespace: NS}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: ca, namespace: NS}
spec: {secretName: ca, isCA: true, commonName: ca, issuerRef: {name: root}}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: ca, namespace: NS}
spec: {ca: {secretName: ca}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: leaf, namespace: NS}
spec: {secretName: leaf, dnsNames: [leaf.example], issuerRef: {name: ca}}
`

func TestCertManagerIssuesAChain(t *testing.T) {
	t.Parallel()
	namespace := labtest.Namespace(t, cluster)
	apply(t, strings.ReplaceAll(chainManifest, "NS", namespace))
	labtest.Eventually(t, "the leaf's Secret", func(ctx context.Context) error {
		secret, err := cluster.Clientset().CoreV1().Secrets(namespace).Get(ctx, "leaf", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(secret.Data["tls.crt"]) == 0 || len(secret.Data["ca.crt"]) == 0 {
			return fmt.Errorf("keys are %v", keys(secret.Data))
		}
		return nil
	})
}

func keys(m map[string][]byte) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	return names
}

func TestHelmInstallsAndRollsBack(t *testing.T) {
	t.Parallel()
	namespace := labtest.Namespace(t, cluster)
	chart := t.TempDir()
	deployment := strings.ReplaceAll(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {nodeSelector: {type: kwok}, containers: [{name: main, image: "IMAGE"}]}
`, "IMAGE", "{{ .Values.image }}")
	writeFile(t, chart+"/Chart.yaml", "apiVersion: v2\nname: app\nversion: 0.1.0\nkubeVersion: '>=1.30.0-0'\n")
	writeFile(t, chart+"/values.yaml", "image: main:1\n")
	writeFile(t, chart+"/templates/deployment.yaml", deployment)
	if _, err := cluster.Helm(t.Context(), "install", "app", chart, "-n", namespace, "--wait", "--timeout=60s"); err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.Helm(t.Context(), "upgrade", "app", chart, "-n", namespace, "--set=image=main:broken", "--wait", "--rollback-on-failure", "--timeout=5s"); err == nil {
		t.Error("an upgrade to a broken image succeeded")
	}
	out, err := cluster.Helm(t.Context(), "get", "values", "app", "-n", namespace, "--all")
	if err != nil {
		t.Fatal(err)
	}
	var values struct{ Image string }
	if err := yaml.Unmarshal([]byte(strings.TrimPrefix(out, "COMPUTED VALUES:\n")), &values); err != nil || values.Image != "main:1" {
		t.Errorf("after the rollback the image is %q, want main:1 (%v)", values.Image, err)
	}
}
