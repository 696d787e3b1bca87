package chart

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

// TestRevisionsElsewhere: where the revisions of SidecarSets are in another namespace, the manager may
// write them there, and is told so.
func TestRevisionsElsewhere(t *testing.T) {
	roles := func(values ...string) map[string][]rbacv1.PolicyRule {
		out := map[string][]rbacv1.PolicyRule{}
		for _, role := range list[*rbacv1.Role](render(t, values...)) {
			out[role.Namespace] = role.Rules
		}
		return out
	}
	if got := roles(); len(got) != 1 || got[namespace] == nil {
		t.Errorf("roles in %v", got)
	}
	const elsewhere = `config.sidecarSet.namespace="kruise-system"`
	got := roles(elsewhere)
	if len(got) != 2 {
		t.Fatalf("roles in %v", got)
	}
	if diff := gocmp.Diff(got[namespace], got["kruise-system"]); diff != "" {
		t.Errorf("rules (-release +elsewhere):\n%s", diff)
	}
	bound := map[string]string{}
	for _, b := range list[*rbacv1.RoleBinding](render(t, elsewhere)) {
		bound[b.Namespace] = b.Subjects[0].Namespace
	}
	if diff := gocmp.Diff(map[string]string{namespace: namespace, "kruise-system": namespace}, bound); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
	if c := parse(t, elsewhere); c.SidecarSet.Namespace != "kruise-system" {
		t.Errorf("the manager is told %q", c.SidecarSet.Namespace)
	}
}

// TestSidecarSetsAreReadOnlyForUsers: whoever writes one puts containers into pods of every namespace.
func TestSidecarSetsAreReadOnlyForUsers(t *testing.T) {
	for _, role := range list[*rbacv1.ClusterRole](render(t)) {
		if role.Labels["rbac.authorization.k8s.io/aggregate-to-edit"] != "true" {
			continue
		}
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				if resource == "sidecarsets" {
					t.Errorf("%s lets editors of a namespace write %s", role.Name, resource)
				}
			}
		}
	}
}
