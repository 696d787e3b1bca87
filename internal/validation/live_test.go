package validation

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const template = `
metadata: {labels: {app: web}}
spec:
  containers: [{name: main, image: app, volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, emptyDir: {}}]
`

func TestPatchesAreTriedOnTheTarget(t *testing.T) {
	for name, tc := range map[string]struct{ patch, want string }{
		"no patch":                        {"", ""},
		"labels and env":                  {`{metadata: {labels: {vk: "true"}}, spec: {containers: [{name: main, env: [{name: A, value: b}]}]}}`, ""},
		"a container of another name":     {`{spec: {containers: [{name: mian, env: [{name: A, value: b}]}]}}`, `container "mian" has no image`},
		"a second source":                 {`{spec: {volumes: [{name: data, hostPath: {path: /x}}]}}`, `"$retainKeys": ["name", "hostPath"]`},
		"another source":                  {`{spec: {volumes: [{$retainKeys: [name, hostPath], name: data, hostPath: {path: /x}}]}}`, ""},
		"the volume taken away":           {`{spec: {volumes: [{$patch: delete, name: data}]}}`, `mounts volume "data", which the pod does not have`},
		"the container taken away":        {`{spec: {containers: [{$patch: delete, name: main}]}}`, "no containers left"},
		"nulled affinity beside no terms": {`{spec: {affinity: null}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ws := parse(t, "spec: {"+target+", subsets: [{name: a}]}")
			if tc.patch != "" {
				raw, err := yaml.YAMLToJSON([]byte(tc.patch))
				if err != nil {
					t.Fatal(err)
				}
				ws.Spec.Subsets[0].Patch.Raw = raw
			}
			var of corev1.PodTemplateSpec
			if err := yaml.Unmarshal([]byte(template), &of); err != nil {
				t.Fatal(err)
			}
			errs := WorkloadSpreadTemplate(ws, &of)
			switch {
			case tc.want == "" && len(errs) > 0:
				t.Error(errs.ToAggregate())
			case tc.want != "" && (len(errs) != 1 || errs[0].Field != "spec.subsets[0].patch" || !strings.Contains(errs[0].Error(), tc.want)):
				t.Errorf("got %v, want %q", errs, tc.want)
			}
			if errs := WorkloadSpreadTemplate(ws, nil); len(errs) > 0 {
				t.Errorf("without a target: %v", errs)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	own := &corev1.Node{}
	own.Labels = map[string]string{"own": "true"}
	const term = "requiredNodeSelectorTerm: {matchExpressions: [{key: own, operator: Exists}]}"
	for name, tc := range map[string]struct {
		subset string
		live   Live
		want   string
	}{
		"nothing to say":            {term, Live{Nodes: []*corev1.Node{own}}, ""},
		"no node matches":           {"requiredNodeSelectorTerm: {matchExpressions: [{key: other, operator: Exists}]}", Live{Nodes: []*corev1.Node{own}}, "no node matches it now"},
		"no nodes at all":           {term, Live{Nodes: []*corev1.Node{}}, "no node matches it now"},
		"nodes are not known":       {term, Live{}, ""},
		"a selector in the patch":   {term + ", patch: {spec: {nodeSelector: {a: b}}}", Live{}, "sets spec.nodeSelector beside"},
		"affinity in the patch":     {"tolerations: [{operator: Exists}], patch: {spec: {affinity: {nodeAffinity: {}}}}", Live{}, "sets spec.affinity beside"},
		"affinity taken away":       {term + ", patch: {spec: {affinity: null}}", Live{}, ""},
		"a patch instead of a pin":  {"patch: {spec: {nodeSelector: {a: b}}}", Live{}, ""},
		"a path that leads nowhere": {term, Live{Paths: errors.New(`path "spec.x"`)}, `replicasPathList: path "spec.x"`},
	} {
		t.Run(name, func(t *testing.T) {
			got := WorkloadSpreadWarnings(parse(t, "spec: {"+target+", subsets: [{name: a, "+tc.subset+"}]}"), tc.live)
			switch {
			case tc.want == "" && len(got) > 0:
				t.Errorf("got %q", got)
			case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)):
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
