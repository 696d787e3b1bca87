package chart

import (
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func podWebhook(t *testing.T, values ...string) admissionregistrationv1.MutatingWebhook {
	t.Helper()
	return get[*admissionregistrationv1.MutatingWebhookConfiguration](t, render(t, values...), release).Webhooks[0]
}

func TestWhichNamespacesAreSeen(t *testing.T) {
	optIn := `webhook.namespaceSelector=[{"key":"spillway-project.io/admission","operator":"In","values":["enabled"]}]`
	for name, tc := range map[string]struct {
		values    []string
		namespace labels.Set
		want      bool
	}{
		"a team's":                  {nil, labels.Set{"kubernetes.io/metadata.name": "shop"}, true},
		"the cluster's":             {nil, labels.Set{"kubernetes.io/metadata.name": "kube-system"}, false},
		"cert-manager's":            {nil, labels.Set{"kubernetes.io/metadata.name": "cert-manager"}, false},
		"Spillway's own":            {nil, labels.Set{"kubernetes.io/metadata.name": namespace}, false},
		"opted out":                 {nil, labels.Set{"kubernetes.io/metadata.name": "shop", "spillway-project.io/admission": "disabled"}, false},
		"Spillway's own, list gone": {[]string{`webhook.excludedNamespaces=[]`}, labels.Set{"kubernetes.io/metadata.name": namespace}, false},
		"named by the user":         {[]string{`webhook.excludedNamespaces=["shop"]`}, labels.Set{"kubernetes.io/metadata.name": "shop"}, false},
		"not opted in":              {[]string{optIn}, labels.Set{"kubernetes.io/metadata.name": "shop"}, false},
		"opted in":                  {[]string{optIn}, labels.Set{"kubernetes.io/metadata.name": "shop", "spillway-project.io/admission": "enabled"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			selector, err := metav1.LabelSelectorAsSelector(podWebhook(t, tc.values...).NamespaceSelector)
			if err != nil {
				t.Fatal(err)
			}
			if got := selector.Matches(tc.namespace); got != tc.want {
				t.Errorf("pods of %v are seen: %v, want %v", tc.namespace, got, tc.want)
			}
		})
	}
}

func TestWhichPodsAreSeen(t *testing.T) {
	selector, err := metav1.LabelSelectorAsSelector(podWebhook(t).ObjectSelector)
	if err != nil {
		t.Fatal(err)
	}
	if !selector.Matches(labels.Set{"app": "web"}) {
		t.Error("an ordinary pod is not seen")
	}
	if selector.Matches(labels.Set{"app": "web", "spillway-project.io/admission": "disabled"}) {
		t.Error("a pod that opted out is seen")
	}
}

func TestPodWebhook(t *testing.T) {
	webhook := podWebhook(t)
	if webhook.Name != "pods.spillway-project.io" || *webhook.ClientConfig.Service.Path != "/mutate-pods" {
		t.Errorf("%s at %s", webhook.Name, *webhook.ClientConfig.Service.Path)
	}
	if rule := webhook.Rules[0]; len(webhook.Rules) != 1 || len(rule.Operations) != 1 ||
		rule.Operations[0] != admissionregistrationv1.Create || rule.Resources[0] != "pods" {
		t.Errorf("rules: %+v", webhook.Rules)
	}
	if *webhook.FailurePolicy != admissionregistrationv1.Fail || *webhook.TimeoutSeconds != 10 ||
		*webhook.SideEffects != admissionregistrationv1.SideEffectClassNoneOnDryRun ||
		*webhook.ReinvocationPolicy != admissionregistrationv1.IfNeededReinvocationPolicy ||
		*webhook.MatchPolicy != admissionregistrationv1.Equivalent {
		t.Errorf("policies: %+v", webhook)
	}
	if got := *podWebhook(t, `webhook.failurePolicy="Ignore"`).FailurePolicy; got != admissionregistrationv1.Ignore {
		t.Errorf("failure policy: %s", got)
	}
	if got := *podWebhook(t, `config.webhook.timeoutSeconds=5`).TimeoutSeconds; got != 5 {
		t.Errorf("timeout: %d", got)
	}
}

func TestValidatingWebhook(t *testing.T) {
	webhook := get[*admissionregistrationv1.ValidatingWebhookConfiguration](t, render(t), release).Webhooks[0]
	if webhook.Name != "workloadspreads.spillway-project.io" || *webhook.ClientConfig.Service.Path != "/validate-workloadspreads" {
		t.Errorf("%s at %s", webhook.Name, *webhook.ClientConfig.Service.Path)
	}
	for _, resource := range webhook.Rules[0].Resources {
		if resource != "workloadspreads" {
			t.Errorf("%s is validated: the status is written by the manager itself", resource)
		}
	}
}

func TestWebhooksPointAtTheService(t *testing.T) {
	all := render(t, `service.port=8443`)
	service := get[*corev1.Service](t, all, release)
	for _, webhooks := range webhookConfigurations(t, all) {
		ref := webhooks.client.Service
		if ref.Name != service.Name || ref.Namespace != service.Namespace || *ref.Port != service.Spec.Ports[0].Port {
			t.Errorf("%s: calls %s/%s:%d", webhooks.Name, ref.Namespace, ref.Name, *ref.Port)
		}
	}
}
