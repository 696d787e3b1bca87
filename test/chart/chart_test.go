package chart

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// variants are combinations of values that must all give valid objects.
var variants = map[string][]string{
	"defaults": nil,
	"an issuer of the cluster": {
		`certManager.issuerRef={"name":"corporate","kind":"ClusterIssuer"}`,
	},
	"a certificate without cert-manager": {
		`certManager.enabled=false`, `tls={"secretName":"mine","caBundle":"Q0E="}`,
	},
	"everything off": {
		`crds.enabled=false`, `rbac.create=false`, `serviceAccount.create=false`, `metrics.enabled=false`,
		`podDisruptionBudget.enabled=false`, `rbac.aggregateToDefaultRoles=false`, `priorityClassName=""`,
		`resources={}`, `nodeSelector={"kubernetes.io/os":null}`, `webhook.excludedNamespaces=[]`, `replicaCount=1`,
		`config.leaderElection.enabled=false`,
	},
	"a member":                           {`role="member"`, `config.leaderElection.enabled=false`},
	"upper cluster and member at a time": {`role="both"`, `member.podLabels={"example.com/virtual":"true"}`},
	"everything on": {
		`networkPolicy={"enabled":true,"metricsFrom":[{"namespaceSelector":{"matchLabels":{"a":"b"}}}]}`,
		`metrics.serviceMonitor={"enabled":true,"labels":{"a":"b"},"metricRelabelings":[{"action":"labeldrop","regex":"x"}]}`,
		`commonLabels={"team":"platform"}`, `podLabels={"a":"b"}`, `podAnnotations={"a":"b"}`,
		`deploymentAnnotations={"a":"b"}`, `extraArgs=["--version"]`, `extraEnv=[{"name":"A","value":"b"}]`,
		`imagePullSecrets=[{"name":"pull"}]`, `bindToPodIP=true`, `tolerations=[{"operator":"Exists"}]`,
		`affinity={"nodeAffinity":{}}`, `serviceAccount.annotations={"a":"b"}`,
		`topologySpreadConstraints=[{"topologyKey":"zone","maxSkew":1,"whenUnsatisfiable":"DoNotSchedule"}]`,
		`service={"annotations":{"a":"b"},"ipFamilyPolicy":"PreferDualStack"}`,
		`webhook={"annotations":{"a":"b"},"namespaceSelector":[{"key":"a","operator":"Exists"}],` +
			`"objectSelector":[{"key":"a","operator":"Exists"}],"matchConditions":[{"name":"c","expression":"true"}]}`,
		`rbac.extraRules=[{"apiGroups":["argoproj.io"],"resources":["rollouts"],"verbs":["get","list","watch"]}]`,
		`image={"registry":"registry.example/","tag":"v1"}`, `podDisruptionBudget.maxUnavailable="50%"`,
	},
}

func TestEveryVariantIsValidAndWhole(t *testing.T) {
	for name, values := range variants {
		t.Run(name, func(t *testing.T) {
			all := render(t, values...)
			for key, object := range all {
				if object.GetNamespace() != "" && object.GetNamespace() != namespace {
					t.Errorf("%s is in namespace %s", key, object.GetNamespace())
				}
				if object.GetLabels()["app.kubernetes.io/instance"] != release {
					t.Errorf("%s lacks the labels of the release", key)
				}
			}
			if len(list[*appsv1.Deployment](all)) != 1 {
				t.Error("a chart without its Deployment")
			}
			checkSelectors(t, all)
		})
	}
}

// checkSelectors: whatever selects pods selects the manager's, and ports exist by name.
func checkSelectors(t *testing.T, all objects) {
	t.Helper()
	deployment := get[*appsv1.Deployment](t, all, release)
	pod := labels.Set(deployment.Spec.Template.Labels)
	var ports []string
	for _, port := range deployment.Spec.Template.Spec.Containers[0].Ports {
		ports = append(ports, port.Name)
	}

	selectors := map[string]*metav1.LabelSelector{"Deployment": deployment.Spec.Selector}
	for _, o := range list[*policyv1.PodDisruptionBudget](all) {
		selectors["PodDisruptionBudget"] = o.Spec.Selector
	}
	for _, o := range list[*networkingv1.NetworkPolicy](all) {
		selectors["NetworkPolicy"] = &o.Spec.PodSelector
	}
	for _, o := range list[*corev1.Service](all) {
		selectors["Service "+o.Name] = &metav1.LabelSelector{MatchLabels: o.Spec.Selector}
		for _, port := range o.Spec.Ports {
			if !slices.Contains(ports, port.TargetPort.StrVal) {
				t.Errorf("Service %s: the pod has no port %q", o.Name, port.TargetPort.StrVal)
			}
		}
	}
	for what, s := range selectors {
		selector, err := metav1.LabelSelectorAsSelector(s)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if selector.Empty() || !selector.Matches(pod) {
			t.Errorf("%s selects %s, but the pod has %v", what, selector, pod)
		}
	}
	for _, monitor := range list[*serviceMonitor](all) {
		selector, err := metav1.LabelSelectorAsSelector(&monitor.Spec.Selector)
		if err != nil {
			t.Fatal(err)
		}
		for _, service := range list[*corev1.Service](all) {
			want := service.Name == release+"-metrics"
			if got := selector.Matches(labels.Set(service.Labels)); got != want {
				t.Errorf("ServiceMonitor selects Service %s: %v, want %v", service.Name, got, want)
			}
		}
	}
}

func TestWrongValuesAreRefusedWithAReason(t *testing.T) {
	for name, tc := range map[string]struct {
		values []string
		want   string
	}{
		"two sources of the certificate": {
			[]string{`tls.secretName="mine"`}, "either from cert-manager or from a Secret of yours",
		},
		"no source of the certificate": {
			[]string{`certManager.enabled=false`}, "both tls.secretName",
		},
		"a certificate without its CA": {
			[]string{`certManager.enabled=false`, `tls.secretName="mine"`}, "and tls.caBundle",
		},
		"an issuer without a name": {
			[]string{`certManager.issuerRef={"kind":"ClusterIssuer"}`}, "certManager.issuerRef.name must be set",
		},
		"a role that does not exist": {
			[]string{`role="lower"`}, "role",
		},
		"a label that is none": {
			[]string{`member.podLabels={"a'b":"c"}`}, "is no label",
		},
		"two leaders": {
			[]string{`config.leaderElection.enabled=false`}, "leaderElection.enabled must be true",
		},
		"a monitor of nothing": {
			[]string{`metrics.enabled=false`, `metrics.serviceMonitor.enabled=true`}, "needs metrics.enabled",
		},
		"a value that does not exist": {
			[]string{`replicas=3`}, "additional properties 'replicas' not allowed",
		},
		"a setting of the manager that does not exist": {
			[]string{`config.ledger.claimExpiri="70s"`}, "additional properties 'claimExpiri' not allowed",
		},
		"a failure policy that does not exist": {
			[]string{`webhook.failurePolicy="Warn"`}, "must be one of 'Fail', 'Ignore'",
		},
		"a timeout that the API server would refuse": {
			[]string{`config.webhook.timeoutSeconds=31`}, "maximum: got 31, want 30",
		},
		"a duration without a unit": {
			[]string{`config.ledger.claimExpiry="70"`}, "does not match pattern",
		},
		"a port in quotes": {
			[]string{`config.webhook.port="9443"`}, "got string, want integer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := helm(t, append([]string{"template", release, chartDir, "--namespace", namespace}, set(tc.values)...)...)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestManagerRunsRestricted(t *testing.T) {
	pod := get[*appsv1.Deployment](t, render(t), release).Spec.Template.Spec
	if s := pod.SecurityContext; s == nil || !*s.RunAsNonRoot || *s.RunAsUser == 0 || *s.RunAsGroup == 0 ||
		s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("pod security context: %+v", s)
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		t.Error("the manager shares a namespace of the node")
	}
	for _, container := range pod.Containers {
		if s := container.SecurityContext; s == nil || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation ||
			!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
			t.Errorf("container %s: security context: %+v", container.Name, s)
		}
		if container.Resources.Requests.Cpu().IsZero() || container.Resources.Limits.Memory().IsZero() {
			t.Errorf("container %s: resources: %v", container.Name, container.Resources)
		}
		if container.LivenessProbe == nil || container.ReadinessProbe == nil {
			t.Errorf("container %s lacks a probe", container.Name)
		}
	}
	for _, volume := range pod.Volumes {
		if volume.HostPath != nil {
			t.Errorf("volume %s is a folder of the node", volume.Name)
		}
		if volume.Secret != nil && *volume.Secret.DefaultMode&0o007 != 0 {
			t.Errorf("volume %s can be read by everyone", volume.Name)
		}
	}
}

func TestManagerSurvivesTheLossOfANode(t *testing.T) {
	all := render(t)
	deployment := get[*appsv1.Deployment](t, all, release)
	if *deployment.Spec.Replicas < 2 {
		t.Error("one replica")
	}
	if u := deployment.Spec.Strategy.RollingUpdate; u.MaxUnavailable.IntValue() != 0 || u.MaxSurge.IntValue() < 1 {
		t.Errorf("rolling update: %+v", u)
	}
	if get[*policyv1.PodDisruptionBudget](t, all, release).Spec.MaxUnavailable.IntValue() != 1 {
		t.Error("a drain may stop all managers at once")
	}
	for _, c := range deployment.Spec.Template.Spec.TopologySpreadConstraints {
		if c.WhenUnsatisfiable != corev1.ScheduleAnyway {
			t.Errorf("a cluster without room in a second %s could not run the chart", c.TopologyKey)
		}
	}
}

func TestConfigurationRollsOut(t *testing.T) {
	annotation := func(values ...string) string {
		return get[*appsv1.Deployment](t, render(t, values...), release).Spec.Template.Annotations["checksum/config"]
	}
	if annotation() == "" || annotation() == annotation(`config.log.level="debug"`) {
		t.Error("a changed configuration does not change the pod template")
	}
}

func TestArguments(t *testing.T) {
	for name, tc := range map[string]struct {
		values []string
		want   []string
	}{
		"defaults":                 {nil, []string{"--config=/etc/spillway/config.yaml"}},
		"several pods of one host": {[]string{`bindToPodIP=true`}, []string{"--config=/etc/spillway/config.yaml", "--bind-address=$(POD_IP)"}},
		"more":                     {[]string{`extraArgs=["--x=1"]`}, []string{"--config=/etc/spillway/config.yaml", "--x=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			container := get[*appsv1.Deployment](t, render(t, tc.values...), release).Spec.Template.Spec.Containers[0]
			if !slices.Equal(container.Args, tc.want) {
				t.Errorf("got %q, want %q", container.Args, tc.want)
			}
		})
	}
}

func TestImage(t *testing.T) {
	const digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	for want, values := range map[string][]string{
		"spillway:0.1.0":                           nil,
		"spillway:v1":                              {`image.tag="v1"`},
		"registry.example/team/spillway:0.1.0":     {`image.registry="registry.example/team/"`},
		"registry.example/gate@" + digest:          {`image.registry="registry.example"`, `image.repository="gate"`, `image.digest="` + digest + `"`},
		"registry.example/team/spillway@" + digest: {`image.registry="registry.example/team"`, `image.tag="v1"`, `image.digest="` + digest + `"`},
	} {
		if got := get[*appsv1.Deployment](t, render(t, values...), release).Spec.Template.Spec.Containers[0].Image; got != want {
			t.Errorf("%q: got %s, want %s", values, got, want)
		}
	}
}

func TestCertificateIsTrusted(t *testing.T) {
	all := render(t)
	serving := get[*certmanagerv1.Certificate](t, all, "spillway-serving")
	service := get[*corev1.Service](t, all, release)
	if want := service.Name + "." + namespace + ".svc"; !slices.Contains(serving.Spec.DNSNames, want) {
		t.Errorf("the API server calls %s, the certificate is for %v", want, serving.Spec.DNSNames)
	}
	if mounted := secretVolume(t, all); mounted != serving.Spec.SecretName {
		t.Errorf("the manager mounts Secret %s, the certificate is in %s", mounted, serving.Spec.SecretName)
	}
	issuer := get[*certmanagerv1.Issuer](t, all, serving.Spec.IssuerRef.Name)
	ca := get[*certmanagerv1.Certificate](t, all, "spillway-ca")
	if issuer.Spec.CA == nil || issuer.Spec.CA.SecretName != ca.Spec.SecretName || !ca.Spec.IsCA {
		t.Errorf("issuer %s does not sign with the chart's CA", issuer.Name)
	}
	if ca.Spec.PrivateKey.RotationPolicy != certmanagerv1.RotationPolicyNever {
		t.Error("a renewed CA would not vouch for the certificates that are in use")
	}
	for _, webhooks := range webhookConfigurations(t, all) {
		if got, want := webhooks.Annotations["cert-manager.io/inject-ca-from"], namespace+"/"+serving.Name; got != want {
			t.Errorf("%s: CA from %q, want %q", webhooks.Name, got, want)
		}
		if webhooks.client.CABundle != nil {
			t.Errorf("%s: helm would undo what cert-manager injects", webhooks.Name)
		}
	}
}

func TestCertificateOfOnesOwn(t *testing.T) {
	all := render(t, variants["a certificate without cert-manager"]...)
	if n := len(list[*certmanagerv1.Certificate](all)) + len(list[*certmanagerv1.Issuer](all)); n > 0 {
		t.Errorf("%d objects of cert-manager", n)
	}
	if got := secretVolume(t, all); got != "mine" {
		t.Errorf("the manager mounts Secret %s", got)
	}
	for _, webhooks := range webhookConfigurations(t, all) {
		if string(webhooks.client.CABundle) != "CA" || webhooks.Annotations["cert-manager.io/inject-ca-from"] != "" {
			t.Errorf("%s: CA %q, annotations %v", webhooks.Name, webhooks.client.CABundle, webhooks.Annotations)
		}
	}
}

func TestIssuerOfTheCluster(t *testing.T) {
	all := render(t, variants["an issuer of the cluster"]...)
	if n := len(list[*certmanagerv1.Issuer](all)); n > 0 {
		t.Errorf("%d issuers of the chart's own", n)
	}
	ref := get[*certmanagerv1.Certificate](t, all, "spillway-serving").Spec.IssuerRef
	if ref.Name != "corporate" || ref.Kind != "ClusterIssuer" || ref.Group != "cert-manager.io" {
		t.Errorf("issuer: %+v", ref)
	}
}

// secretVolume returns the Secret that is mounted as the webhook's certificate.
func secretVolume(t *testing.T, all objects) string {
	t.Helper()
	for _, volume := range get[*appsv1.Deployment](t, all, release).Spec.Template.Spec.Volumes {
		if volume.Name == "tls" {
			return volume.Secret.SecretName
		}
	}
	t.Fatal("no volume tls")
	return ""
}

func TestCustomResourceDefinitionsAreKept(t *testing.T) {
	const policy = "helm.sh/resource-policy"
	for _, crd := range list[*apiextensionsv1.CustomResourceDefinition](render(t)) {
		if crd.Annotations[policy] != "keep" {
			t.Errorf("%s goes away with the release, and all its objects with it", crd.Name)
		}
	}
	for _, crd := range list[*apiextensionsv1.CustomResourceDefinition](render(t, `crds.keep=false`)) {
		if crd.Annotations[policy] != "" {
			t.Errorf("%s is kept against the user's wish", crd.Name)
		}
	}
}

func TestNotesNameWhatIsThere(t *testing.T) {
	notes, err := helm(t, "install", "gate", chartDir, "--namespace", "infra", "--dry-run=client", "--hide-secret",
		"--set", "replicaCount=1,webhook.excludedNamespaces=null")
	if err != nil {
		t.Fatal(err)
	}
	_, notes, _ = strings.Cut(notes, "NOTES:")
	for _, want := range []string{
		"kubectl -n infra rollout status deployment/gate-spillway",
		"mutatingwebhookconfiguration gate-spillway",
		"except in kube-system, infra",
		"WARNING: replicaCount is 1",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes lack %q:\n%s", want, notes)
		}
	}
}

// TestSchemaIsClosed keeps typing errors in values from passing unnoticed.
func TestSchemaIsClosed(t *testing.T) {
	raw, err := os.ReadFile(chartDir + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Defs map[string]struct {
			Properties           map[string]any
			AdditionalProperties *bool
		} `json:"$defs"`
	}
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	for name, definition := range schema.Defs {
		if len(definition.Properties) > 0 && (definition.AdditionalProperties == nil || *definition.AdditionalProperties) {
			t.Errorf("%s accepts fields that do not exist", name)
		}
	}
}

// A webhooks is what the two kinds of webhook configurations have in common.
type webhooks struct {
	metav1.ObjectMeta
	client admissionregistrationv1.WebhookClientConfig
}

func webhookConfigurations(t *testing.T, all objects) []webhooks {
	t.Helper()
	mutating := get[*admissionregistrationv1.MutatingWebhookConfiguration](t, all, release)
	validating := get[*admissionregistrationv1.ValidatingWebhookConfiguration](t, all, release)
	return []webhooks{
		{meta(mutating), mutating.Webhooks[0].ClientConfig},
		{meta(validating), validating.Webhooks[0].ClientConfig},
	}
}
