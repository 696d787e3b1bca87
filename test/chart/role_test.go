package chart

import (
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	configv1alpha1 "github.com/spillway-project/spillway/api/config/v1alpha1"
)

func mutating(t *testing.T, all objects) []string {
	t.Helper()
	var names []string
	for _, w := range get[*admissionregistrationv1.MutatingWebhookConfiguration](t, all, release).Webhooks {
		names = append(names, w.Name)
	}
	return names
}

func TestARoleHasItsWebhooks(t *testing.T) {
	for role, want := range map[string][]string{
		"upper":  {"pods.spillway-project.io", "sidecarsets.spillway-project.io"},
		"member": {"restore.spillway-project.io"},
		// Restored first: the API server calls them in this order.
		"both": {"restore.spillway-project.io", "pods.spillway-project.io", "sidecarsets.spillway-project.io"},
	} {
		t.Run(role, func(t *testing.T) {
			all := render(t, `role="`+role+`"`)
			if diff := gocmp.Diff(want, mutating(t, all)); diff != "" {
				t.Errorf("webhooks (-want +got):\n%s", diff)
			}
			if got := parse(t, `role="`+role+`"`).Role; got != configv1alpha1.Role(role) {
				t.Errorf("the manager is told %q", got)
			}
			places := role != "member"
			if n := len(list[*admissionregistrationv1.ValidatingWebhookConfiguration](all)); (n > 0) != places {
				t.Errorf("%d configurations of validating webhooks", n)
			}
			if n := len(list[*apiextensionsv1.CustomResourceDefinition](all)); (n > 0) != places {
				t.Errorf("%d definitions of resources", n)
			}
		})
	}
}

// TestAMemberMayNextToNothing: it reads nothing of the cluster, and writes nothing.
func TestAMemberMayNextToNothing(t *testing.T) {
	all := render(t, `role="member"`)
	if roles := list[*rbacv1.Role](all); len(roles) > 0 {
		t.Errorf("roles: %v", roles)
	}
	for _, role := range list[*rbacv1.ClusterRole](all) {
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				if !slices.Contains([]string{"tokenreviews", "subjectaccessreviews"}, resource) || !slices.Equal(rule.Verbs, []string{"create"}) {
					t.Errorf("%s: %+v", role.Name, rule)
				}
			}
		}
	}
	checkSelectors(t, all)
}

func TestRestoreWebhook(t *testing.T) {
	configuration := get[*admissionregistrationv1.MutatingWebhookConfiguration](t, render(t, `role="both"`, `member.podLabels={"example.com/virtual":"yes"}`), release)
	restore, pods := configuration.Webhooks[0], configuration.Webhooks[1]
	if *restore.ClientConfig.Service.Path != "/restore-pods" || *restore.SideEffects != admissionregistrationv1.SideEffectClassNone ||
		*restore.FailurePolicy != admissionregistrationv1.Fail || *restore.ReinvocationPolicy != admissionregistrationv1.IfNeededReinvocationPolicy {
		t.Errorf("got %+v", restore)
	}
	if diff := gocmp.Diff(pods.NamespaceSelector, restore.NamespaceSelector); diff != "" {
		t.Errorf("namespaces (-pods +restore):\n%s", diff)
	}
	if diff := gocmp.Diff(pods.Rules, restore.Rules); diff != "" {
		t.Errorf("rules (-pods +restore):\n%s", diff)
	}
	condition := restore.MatchConditions[0].Expression
	for _, want := range []string{
		"has(object.metadata.labels) && (", "object.metadata.labels['virtual-pod'] == 'true'",
		"object.metadata.labels['kosmos-io/pod'] == 'true'", "object.metadata.labels['example.com/virtual'] == 'yes'",
	} {
		if !strings.Contains(condition, want) {
			t.Errorf("%s lacks %s", condition, want)
		}
	}
}
