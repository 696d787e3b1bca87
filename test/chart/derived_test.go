package chart

import (
	"cmp"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// TestPermissionsAreThoseOfTheCode: config/rbac/role.yaml is generated from the markers
// beside the code that needs the permissions.
func TestPermissionsAreThoseOfTheCode(t *testing.T) {
	raw, err := os.ReadFile(root + "/config/rbac/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, got := decode(t, string(raw)), render(t)
	if diff := gocmp.Diff(get[*rbacv1.ClusterRole](t, want, release).Rules, get[*rbacv1.ClusterRole](t, got, release).Rules); diff != "" {
		t.Errorf("ClusterRole (-code +chart):\n%s", diff)
	}
	if diff := gocmp.Diff(get[*rbacv1.Role](t, want, release).Rules, get[*rbacv1.Role](t, got, release).Rules); diff != "" {
		t.Errorf("Role (-code +chart):\n%s", diff)
	}
}

func TestPermissionsAreNarrow(t *testing.T) {
	all := render(t)
	for _, role := range list[*rbacv1.ClusterRole](all) {
		for _, rule := range role.Rules {
			for _, value := range slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs, rule.NonResourceURLs) {
				if strings.Contains(value, "*") {
					t.Errorf("%s has a wildcard: %+v", role.Name, rule)
				}
			}
			for _, resource := range rule.Resources {
				if slices.Contains([]string{"secrets", "configmaps", "leases"}, resource) {
					t.Errorf("%s may touch %s in every namespace", role.Name, resource)
				}
				if slices.Contains([]string{"clusterroles", "clusterrolebindings", "roles", "rolebindings"}, resource) {
					t.Errorf("%s may change permissions", role.Name)
				}
			}
		}
	}
}

func TestPermissionsAreBoundToTheManager(t *testing.T) {
	all := render(t)
	account := get[*appsv1.Deployment](t, all, release).Spec.Template.Spec.ServiceAccountName
	want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: namespace}}
	if diff := gocmp.Diff(want, get[*rbacv1.ClusterRoleBinding](t, all, release).Subjects); diff != "" {
		t.Error(diff)
	}
	if diff := gocmp.Diff(want, get[*rbacv1.RoleBinding](t, all, release).Subjects); diff != "" {
		t.Error(diff)
	}
	get[*corev1.ServiceAccount](t, all, account)
}

func TestPermissionsForOwnersOfOtherKinds(t *testing.T) {
	rules := get[*rbacv1.ClusterRole](t, render(t, variants["everything on"]...), release).Rules
	if last := rules[len(rules)-1]; !slices.Equal(last.Resources, []string{"rollouts"}) {
		t.Errorf("the last rule is %+v", last)
	}
}

// TestKustomizeInstallsTheSame compares config/default with the chart: whoever installs
// with kustomize gets the same, except for what each tool adds itself.
func TestKustomizeInstallsTheSame(t *testing.T) {
	chart, kustomized := render(t), decode(t, kustomize(t, "config/default"))
	delete(kustomized, "*v1.Namespace spillway-system") // helm has --create-namespace
	normalize(chart)
	normalize(kustomized)

	keys := func(all objects) []string {
		var keys []string
		for _, object := range all {
			keys = append(keys, object.GetName()+" "+object.GetObjectKind().GroupVersionKind().Kind)
		}
		slices.SortFunc(keys, cmp.Compare[string])
		return keys
	}
	if diff := gocmp.Diff(keys(chart), keys(kustomized)); diff != "" {
		t.Fatalf("objects (-chart +config):\n%s", diff)
	}
	for key, want := range chart {
		if diff := gocmp.Diff(want, kustomized[key]); diff != "" {
			t.Errorf("%s (-chart +config):\n%s", key, diff)
		}
	}
}

// normalize removes what the tools add: labels of theirs, and how each of them makes a
// changed configuration roll out (helm a checksum, kustomize a hash in the name).
func normalize(all objects) {
	for key, object := range all {
		labels := object.GetLabels()
		for _, label := range []string{"app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"} {
			delete(labels, label)
		}
		object.SetLabels(labels)
		switch o := object.(type) {
		case *appsv1.Deployment:
			template := &o.Spec.Template
			delete(template.Annotations, "checksum/config")
			for _, label := range []string{"app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"} {
				delete(template.Labels, label)
			}
			for i := range template.Spec.Volumes {
				if c := template.Spec.Volumes[i].ConfigMap; c != nil {
					c.Name = withoutHash(c.Name)
				}
			}
		case *corev1.ConfigMap:
			delete(all, key)
			o.Name = withoutHash(o.Name)
			o.Data = map[string]string{"config.yaml": sorted(o.Data["config.yaml"])}
			all["*v1.ConfigMap "+o.Name] = o
		case *apiextensionsv1.CustomResourceDefinition:
			delete(o.Annotations, "helm.sh/resource-policy")
		}
	}
}

func withoutHash(name string) string {
	name, _, _ = strings.Cut(name, "-")
	return name
}
