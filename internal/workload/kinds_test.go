package workload

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestVersionsAreThoseOfReplicaSets(t *testing.T) {
	for name, tc := range map[string]struct {
		owner  schema.GroupKind
		labels map[string]string
		want   string
	}{
		"a Deployment's pod":                    {ReplicaSet, map[string]string{"pod-template-hash": "h1", "rollouts-pod-template-hash": "h2"}, "h1"},
		"an Argo Rollout's pod":                 {ReplicaSet, map[string]string{"rollouts-pod-template-hash": "h2"}, "h2"},
		"a stand-alone ReplicaSet's pod":        {ReplicaSet, nil, VersionIgnored},
		"a CloneSet relabels running pods":      {CloneSet, map[string]string{"controller-revision-hash": "web-h3", "pod-template-hash": "h1"}, VersionIgnored},
		"a StatefulSet's":                       {StatefulSet, map[string]string{"controller-revision-hash": "web-h3"}, VersionIgnored},
		"a kind that has the name only":         {schema.GroupKind{Group: "example.com", Kind: "ReplicaSet"}, map[string]string{"pod-template-hash": "h1"}, VersionIgnored},
		"an empty hash is none":                 {ReplicaSet, map[string]string{"pod-template-hash": "", "rollouts-pod-template-hash": "h2"}, "h2"},
		"a revision label means nothing at all": {ReplicaSet, map[string]string{"controller-revision-hash": "x"}, VersionIgnored},
	} {
		t.Run(name, func(t *testing.T) {
			if got := VersionOf(tc.owner, tc.labels); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if got := RevisionOf(map[string]string{"controller-revision-hash": "web-5d4f"}); got != "5d4f" {
		t.Errorf("revision %q", got)
	}
	if got := RevisionOf(map[string]string{"controller-revision-hash": "5d4f"}); got != "5d4f" {
		t.Errorf("revision %q", got)
	}
}

func TestAllowList(t *testing.T) {
	rollout := schema.GroupKind{Group: "argoproj.io", Kind: "Rollout"}
	volcano := schema.GroupKind{Group: "batch.volcano.sh", Kind: "Job"}
	for name, tc := range map[string]struct {
		text     string
		targets  []schema.GroupKind
		parts    []schema.GroupKind
		problems []string
	}{
		"nothing": {text: "  "},
		"a kind with a part": {
			text:    `{"workloads":[{"Group":"argoproj.io","Version":"v1alpha1","Kind":"Rollout","replicasPath":"spec.replicas","subResources":[{"Group":"example.com","Version":"v1","Kind":"Slice"}]}]}`,
			targets: []schema.GroupKind{rollout}, parts: []schema.GroupKind{{Group: "example.com", Kind: "Slice"}},
		},
		"no version, other case, a trailing comma as in OpenKruise's manual": {
			text: `{"workloads":[{"group":"argoproj.io","kind":"Rollout",},]}`, targets: []schema.GroupKind{rollout},
		},
		"a kind named like a built-in one": {text: `{"workloads":[{"Group":"batch.volcano.sh","Kind":"Job"}]}`, targets: []schema.GroupKind{volcano}},
		"one bad entry costs only itself": {
			text:     `{"workloads":[{"Group":"example.com"},{"Group":"argoproj.io","Kind":"Rollout"},7,{"Group":"a/b","Kind":"C"},{"Kind":"D","replicasPath":"spec..n"}]}`,
			targets:  []schema.GroupKind{rollout},
			problems: []string{"workloads[0] is left out: its Kind is missing", "workloads[2] is left out", `Group "a/b" holds a slash`, `replicasPath "spec..n" has an empty step`},
		},
		"a part that is a target stays one": {
			text:    `{"workloads":[{"Group":"argoproj.io","Kind":"Rollout"},{"Group":"x","Kind":"Y","subResources":[{"Group":"argoproj.io","Kind":"Rollout"}]}]}`,
			targets: []schema.GroupKind{rollout},
		},
		"no JSON":  {text: "{", problems: []string{"is no JSON"}},
		"no list":  {text: `[]`, problems: []string{`must be an object {"workloads": […]}`}},
		"not text": {text: `{"workloads": 3}`, problems: []string{"must be an object"}},
	} {
		t.Run(name, func(t *testing.T) {
			kinds, problems := ParseAllowList(tc.text)
			for _, gk := range tc.targets {
				if _, ok := kinds.Target(gk); !ok {
					t.Errorf("%s is no target; targets are %s", gk, kinds.Names())
				}
			}
			for _, gk := range tc.parts {
				_, known := kinds.Lookup(gk)
				if _, target := kinds.Target(gk); !known || target {
					t.Errorf("%s: known %t, target %t", gk, known, target)
				}
			}
			if len(problems) != len(tc.problems) {
				t.Fatalf("problems: %v", problems)
			}
			for i, want := range tc.problems {
				if !strings.Contains(problems[i].Error(), want) {
					t.Errorf("problem %q, want %q in it", problems[i], want)
				}
			}
		})
	}
}

func TestBuiltInKindsStandOverTheList(t *testing.T) {
	kinds, _ := ParseAllowList(`{"workloads":[{"Group":"apps","Kind":"Deployment","replicasPath":"spec.nonsense"}]}`)
	if k, ok := kinds.Lookup(Deployment); !ok || k.ReplicasPath != "spec.replicas" {
		t.Errorf("%+v", k)
	}
	var none *Kinds
	if _, ok := none.Lookup(CloneSet); !ok {
		t.Error("without a list the built-in kinds are known")
	}
	if !strings.Contains(none.Names(), "StatefulSet (apps.kruise.io)") {
		t.Error(none.Names())
	}
}

func FuzzParseAllowList(f *testing.F) {
	f.Add(`{"workloads":[{"Group":"argoproj.io","Kind":"Rollout","subResources":[{"Kind":"X"}]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		kinds, _ := ParseAllowList(text)
		if _, ok := kinds.Lookup(Deployment); !ok {
			t.Error("a list took a built-in kind away")
		}
	})
}
