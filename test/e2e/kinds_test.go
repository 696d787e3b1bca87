package e2e

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// on makes a WorkloadSpread that targets another kind.
func on(apiVersion, kind string, ws *appsv1alpha1.WorkloadSpread) *appsv1alpha1.WorkloadSpread {
	ws.Spec.TargetReference.APIVersion, ws.Spec.TargetReference.Kind = apiVersion, kind
	return ws
}

// patch changes an object by a merge patch.
func (f *fixture) patch(o client.Object, patch string) {
	f.Helper()
	if err := cluster.client.Patch(f.ctx, o, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		f.Fatalf("patch %T %s: %v", o, o.GetName(), err)
	}
}

func (f *fixture) awaitStatus(ws, want string) {
	f.Helper()
	f.eventually("the status of "+ws+" says "+want, func() (bool, string) {
		got := f.statusOf(ws)
		return got == want, got
	})
}

// subsetsByName returns the subset of each active pod.
func (f *fixture) subsetsByName(app string) map[string]string {
	f.Helper()
	out := map[string]string{}
	for _, p := range f.pods(app) {
		record, _ := v1alpha1.ParseRecord(p.Annotations)
		out[p.Name] = record.Subset
	}
	return out
}

// TestAStatefulSetGoesByNumber: the first number counts, nothing is written for a pod, and a closed
// subset gives away only its own numbers.
func TestAStatefulSetGoesByNumber(t *testing.T) {
	f := newFixture(t)
	f.create(on("apps/v1", "StatefulSet", workloadSpread("db", "db", subset{"own", "2"}, subset{"virtual", "2"}, subset{"rest", ""})))
	d := deployment("db", 5)
	set := &appsv1.StatefulSet{ObjectMeta: d.ObjectMeta}
	set.Spec = appsv1.StatefulSetSpec{
		Replicas: d.Spec.Replicas, Selector: d.Spec.Selector, Template: d.Spec.Template, PodManagementPolicy: appsv1.ParallelPodManagement,
		Ordinals: &appsv1.StatefulSetOrdinals{Start: 3},
	}
	f.create(set)
	want := map[string]string{"db-3": "own", "db-4": "own", "db-5": "virtual", "db-6": "virtual", "db-7": "rest"}
	f.eventually(fmt.Sprintf("the pods are %v", want), func() (bool, string) {
		got := f.subsetsByName("db")
		return maps.Equal(got, want), fmt.Sprint(got)
	})
	f.awaitStatus("db", "own=2+0 virtual=2+0 rest=1+0 ")
	f.patch(set, `{"spec":{"replicas":3}}`)
	f.awaitStatus("db", "own=2+0 virtual=1+0 rest=0+0 ")
	if err := cluster.client.Delete(f.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: f.ns, Name: "db-4"}}); err != nil {
		t.Fatal(err)
	}
	delete(want, "db-6")
	delete(want, "db-7")
	f.eventually("the pod of that name is back where it was", func() (bool, string) {
		got := f.subsetsByName("db")
		return maps.Equal(got, want), fmt.Sprint(got)
	})
	for _, p := range f.pods("db") {
		if p.Annotations[v1alpha1.PodDeletionCost] != "" {
			t.Errorf("pod %s has a deletion cost, which a StatefulSet does not heed", p.Name)
		}
	}
}

func TestAClosedSubsetOfAStatefulSet(t *testing.T) {
	f := newFixture(t)
	ws := on("apps/v1", "StatefulSet", f.adaptive(2, subset{"own", "2"}, subset{"virtual", "2"}, subset{"rest", ""}))
	f.create(ws)
	d := deployment("web", 5)
	set := &appsv1.StatefulSet{ObjectMeta: d.ObjectMeta}
	set.Spec = appsv1.StatefulSetSpec{
		Replicas: d.Spec.Replicas, Selector: d.Spec.Selector, Template: d.Spec.Template, PodManagementPolicy: appsv1.ParallelPodManagement,
	}
	f.create(set)
	want := map[string]string{"web-0": "virtual", "web-1": "virtual", "web-2": "virtual", "web-3": "virtual", "web-4": "rest"}
	f.eventually(fmt.Sprintf("the pods are %v", want), func() (bool, string) {
		got := f.subsetsByName("web")
		return maps.Equal(got, want), fmt.Sprint(got)
	})
}

// TestAJobSpreadsByParallelism: limits bound the pods at a time; places of finished pods go to the next.
func TestAJobSpreadsByParallelism(t *testing.T) {
	f := newFixture(t)
	f.create(on("batch/v1", "Job", workloadSpread("work", "work", subset{"own", "50%"}, subset{"virtual", "50%"})))
	safe := f.watchSafety("work", 3)
	f.create(job("work", 6, 24))
	f.awaitSplit("work", map[string]int{"own": 3, "virtual": 3})
	f.eventually("the Job is complete", func() (bool, string) {
		var j batchv1.Job
		if err := cluster.client.Get(f.ctx, client.ObjectKey{Namespace: f.ns, Name: "work"}, &j); err != nil {
			return false, err.Error()
		}
		return j.Status.Succeeded == 24 && j.Status.CompletionTime != nil, fmt.Sprintf("%d succeeded, %d failed", j.Status.Succeeded, j.Status.Failed)
	})
	safe()
	all := map[string]int{}
	var pods corev1.PodList
	if err := cluster.client.List(f.ctx, &pods, client.InNamespace(f.ns), client.MatchingLabels{"app": "work"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		record, _ := v1alpha1.ParseRecord(p.Annotations)
		all[record.Subset]++
	}
	if all["own"] < 8 || all["virtual"] < 8 || all[""] > 0 {
		t.Errorf("24 pods, three at a time in each subset: %v", all)
	}
	f.awaitStatus("work", "own=0+0 virtual=0+0 ")
}

func job(name string, parallelism, completions int32) *batchv1.Job {
	d := deployment(name, 0)
	j := &batchv1.Job{ObjectMeta: d.ObjectMeta}
	j.Spec = batchv1.JobSpec{Parallelism: &parallelism, Completions: &completions, Template: d.Spec.Template}
	j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	j.Spec.Template.Annotations = map[string]string{"lab.spillway-project.io/run-for": "2s"}
	return j
}

// TestTheJobsOfACronJob: the target is two steps above the pods.
func TestTheJobsOfACronJob(t *testing.T) {
	f := newFixture(t)
	yes := true
	cron := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "work"}}
	cron.Spec = batchv1.CronJobSpec{Schedule: "0 0 1 1 *", Suspend: &yes, JobTemplate: batchv1.JobTemplateSpec{Spec: job("work", 4, 4).Spec}}
	cron.Spec.JobTemplate.Spec.Template.Annotations = map[string]string{"lab.spillway-project.io/run-for": "60s"}
	f.create(cron)
	f.create(on("batch/v1", "CronJob", workloadSpread("work", "work", subset{"own", "50%"}, subset{"virtual", ""})))
	if out, err := cluster.Kubectl(f.ctx, "create", "job", "now", "--from=cronjob/work", "-n", f.ns); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f.awaitSplit("work", map[string]int{"own": 2, "virtual": 2})
}

// definition is a CRD for tests, of any content.
func definition(group, version, kind, plural string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": plural + "." + group},
		"spec": map[string]any{
			"group": group, "scope": "Namespaced",
			"names": map[string]any{"kind": kind, "plural": plural, "singular": strings.ToLower(kind)},
			"versions": []any{map[string]any{
				"name": version, "served": true, "storage": true, "subresources": map[string]any{"status": map[string]any{}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
			}},
		},
	}}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	return u
}

// define installs a CRD for the time of the test, and waits until it is served.
func (f *fixture) define(group, version, kind, plural string) {
	f.Helper()
	crd := definition(group, version, kind, plural)
	if err := cluster.client.Create(f.ctx, crd); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := cluster.client.Delete(f.withoutDeadline().ctx, crd); err != nil {
			f.Error(err)
		}
	})
	f.eventually(kind+" is served", func() (bool, string) {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: version, Kind: kind + "List"})
		err := cluster.client.List(f.ctx, list, client.InNamespace(f.ns))
		return err == nil, fmt.Sprint(err)
	})
}

// grant lets the manager read a kind, as the chart's rbac.extraRules do.
func (f *fixture) grant(group, plural string) {
	f.Helper()
	name := "e2e-" + f.ns
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
	role.Rules = []rbacv1.PolicyRule{{APIGroups: []string{group}, Resources: []string{plural}, Verbs: []string{"get", "list", "watch"}}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
	binding.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
	binding.Subjects = []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: system, Name: "spillway"}}
	for _, o := range []client.Object{role, binding} {
		if err := cluster.client.Create(f.ctx, o); err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() {
			if err := cluster.client.Delete(f.withoutDeadline().ctx, o); err != nil {
				f.Error(err)
			}
		})
	}
}

// custom makes an object of a kind that only the test knows.
func (f *fixture) custom(apiVersion, kind, name string, spec map[string]any) *unstructured.Unstructured {
	f.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetAPIVersion(apiVersion)
	u.SetKind(kind)
	u.SetName(name)
	f.create(u)
	return u
}

func controlledBy(o *unstructured.Unstructured) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Name: o.GetName(), UID: o.GetUID(), Controller: &yes}}
}

// allow writes the allow-list; its entries are gone after the test.
func (f *fixture) allow(workloads string) {
	f.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "kruise-configuration"}}
	err := cluster.client.Create(f.ctx, cm)
	if client.IgnoreAlreadyExists(err) != nil {
		f.Fatal(err)
	}
	f.patch(cm, fmt.Sprintf(`{"data":{"WorkloadSpread_Watch_Custom_Workload_WhiteList":%q}}`, workloads))
	f.Cleanup(func() {
		f.withoutDeadline().patch(cm, `{"data":{"WorkloadSpread_Watch_Custom_Workload_WhiteList":null}}`)
	})
}

// TestAnArgoRollout: a custom kind becomes a target while the manager runs; its pods come from ReplicaSets
// with a hash label of their own, and the percentages refer to a count of its own.
func TestAnArgoRollout(t *testing.T) {
	f := newFixture(t)
	ws := on("argoproj.io/v1alpha1", "Rollout", workloadSpread("web", "web", subset{"own", "50%"}, subset{"virtual", "50%"}))
	ws.Namespace = f.ns
	if err := cluster.client.Create(f.ctx, ws); err == nil || !strings.Contains(err.Error(), "allow-list") {
		t.Fatalf("a target that nobody allowed: %v", err)
	}
	f.define("argoproj.io", "v1alpha1", "Rollout", "rollouts")
	f.allow(`{"workloads":[{"Group":"argoproj.io"},{"Group":"argoproj.io","Kind":"Rollout","replicasPath":"spec.replicas",}]}`)
	f.eventually("the target is allowed", func() (bool, string) {
		ws.ResourceVersion = ""
		err := cluster.client.Create(f.ctx, ws)
		return err == nil, fmt.Sprint(err)
	})
	f.eventually("people are told that it cannot be read", func() (bool, string) {
		n := f.count(string(v1alpha1.ReasonTargetUnreadable))
		return n > 0, fmt.Sprint(n)
	})
	f.grant("argoproj.io", "rollouts")
	rollout := f.custom("argoproj.io/v1alpha1", "Rollout", "web", map[string]any{"replicas": int64(6)})
	d := deployment("web", 6)
	rs := &appsv1.ReplicaSet{ObjectMeta: d.ObjectMeta}
	rs.OwnerReferences = controlledBy(rollout)
	rs.Spec = appsv1.ReplicaSetSpec{Replicas: d.Spec.Replicas, Selector: d.Spec.Selector, Template: d.Spec.Template}
	rs.Spec.Template.Labels = map[string]string{"app": "web", "rollouts-pod-template-hash": "5f6d"}
	// Until the grant is seen pods pass as they are; the Rollout's own controller would make them anew.
	f.eventually("the manager may read Rollouts", func() (bool, string) {
		out, err := cluster.Kubectl(f.ctx, "auth", "can-i", "get", "rollouts.argoproj.io", "--as=system:serviceaccount:"+system+":spillway", "-n", f.ns)
		return err == nil, out
	})
	f.create(rs)
	f.awaitSplit("web", map[string]int{"own": 3, "virtual": 3})
	f.patch(rollout, `{"spec":{"replicas":10}}`)
	f.patch(rs, `{"spec":{"replicas":10}}`)
	f.awaitReady("web", map[string]int{"own": 5, "virtual": 5})
	f.patch(rollout, `{"spec":{"replicas":4}}`)
	f.patch(rs, `{"spec":{"replicas":4}}`)
	f.awaitSplit("web", map[string]int{"own": 2, "virtual": 2})
	var got appsv1alpha1.WorkloadSpread
	if err := cluster.client.Get(f.ctx, client.ObjectKeyFromObject(ws), &got); err != nil {
		t.Fatal(err)
	}
	if _, ok := got.Status.VersionedSubsetStatuses["5f6d"]; !ok {
		t.Errorf("versions in the status: %v", got.Status.VersionedSubsetStatuses)
	}
	var events corev1.EventList
	if err := cluster.client.List(f.ctx, &events, client.InNamespace(system)); err != nil {
		t.Fatal(err)
	}
	told := false
	for _, e := range events.Items {
		told = told || (e.Reason == string(v1alpha1.ReasonInvalidAllowList) && strings.Contains(e.Message, "workloads[0] is left out"))
	}
	if !told {
		t.Error("nobody is told of the entry without a kind")
	}
}

// TestTwoSpreadsOnOneTarget: disjoint filters, and a count of its own for each.
func TestTwoSpreadsOnOneTarget(t *testing.T) {
	f := newFixture(t)
	f.define("training.example.com", "v1", "TrainJob", "trainjobs")
	f.grant("training.example.com", "trainjobs")
	f.allow(`{"workloads":[{"Group":"training.example.com","Version":"v1","Kind":"TrainJob"}]}`)
	role := func(name, path string) *appsv1alpha1.WorkloadSpread {
		ws := on("training.example.com/v1", "TrainJob", workloadSpread(name, "train", subset{"own", "50%"}, subset{"virtual", "50%"}))
		ws.Spec.TargetFilter = &appsv1alpha1.TargetFilter{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"role": name}}, ReplicasPathList: []string{path},
		}
		return ws
	}
	train := f.custom("training.example.com/v1", "TrainJob", "train", map[string]any{"roles": []any{
		map[string]any{"replicas": int64(2)}, map[string]any{"replicas": int64(8)},
	}})
	f.eventually("the kind is allowed", func() (bool, string) {
		ws := role("ps", "spec.roles.0.replicas")
		ws.Namespace = f.ns
		err := cluster.client.Create(f.ctx, ws)
		return err == nil, fmt.Sprint(err)
	})
	f.create(role("worker", "spec.roles.1.replicas"))
	for name, n := range map[string]int{"ps": 2, "worker": 8} {
		for range n {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				GenerateName: name + "-", Labels: map[string]string{"app": name, "role": name}, OwnerReferences: controlledBy(train),
			}}
			p.Spec.Containers = []corev1.Container{{Name: "main", Image: "app:1"}}
			f.create(p)
		}
	}
	f.awaitSplit("ps", map[string]int{"own": 1, "virtual": 1})
	f.awaitSplit("worker", map[string]int{"own": 4, "virtual": 4})
	f.awaitStatus("ps", "own=1+0 virtual=1+0 ")
	f.awaitStatus("worker", "own=4+0 virtual=4+0 ")
	// A named pod takes a place under its name, and its successor the same one.
	named := func() *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "ps-extra", Labels: map[string]string{"app": "ps", "role": "ps"}, OwnerReferences: controlledBy(train)}}
		p.Spec.Containers = []corev1.Container{{Name: "main", Image: "app:1"}}
		return p
	}
	f.patch(train, `{"spec":{"roles":[{"replicas":4},{"replicas":8}]}}`)
	f.create(named())
	f.awaitSplit("ps", map[string]int{"own": 2, "virtual": 1})
	if err := cluster.client.Delete(f.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: f.ns, Name: "ps-extra"}}); err != nil {
		t.Fatal(err)
	}
	f.eventually("the name is free again", func() (bool, string) {
		p := named()
		p.Namespace = f.ns
		err := cluster.client.Create(f.ctx, p)
		return err == nil, fmt.Sprint(err)
	})
	f.awaitSplit("ps", map[string]int{"own": 2, "virtual": 1})
	f.awaitStatus("ps", "own=2+0 virtual=1+0 ")
}
