package provider

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	config "github.com/spillway-project/spillway/api/config/v1alpha1"
)

func TestObstaclesHaveAReasonAndAField(t *testing.T) {
	offers := Surroundings{Resources: map[corev1.ResourceName]bool{"cpu": true, "example.com/fast": true}}
	claims := Surroundings{Claims: map[string]ClaimState{"far": ClaimElsewhere, "early": ClaimImmediate, "near": ClaimReachable}}
	for name, tc := range map[string]struct {
		profile, pod string
		s            Surroundings
		want         []string // reason, field and part of the message
	}{
		"a plain pod":                  {profile: Generic, pod: `{spec: {containers: [{name: a, resources: {limits: {cpu: 1}}}]}}`, s: offers},
		"owned by a DaemonSet":         {profile: Generic, pod: `{metadata: {ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: logs, uid: u, controller: true}]}}`, want: []string{"OwnedByDaemonSet metadata.ownerReferences[0] DaemonSet logs"}},
		"related to a DaemonSet":       {profile: Generic, pod: `{metadata: {ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: logs, uid: u}]}}`},
		"host namespaces":              {profile: Kosmos, pod: `{spec: {hostNetwork: true, hostPID: true, containers: []}}`, want: []string{"HostNamespace spec.hostNetwork network", "HostNamespace spec.hostPID processes"}},
		"a path of the node":           {profile: Generic, pod: `{spec: {containers: [], volumes: [{name: v}, {name: w, hostPath: {path: /var/log}}]}}`, want: []string{"HostPath spec.volumes[1].hostPath /var/log"}},
		"a privileged init container":  {profile: Generic, pod: `{spec: {containers: [{name: a}], initContainers: [{name: i, securityContext: {privileged: true}}]}}`, want: []string{"Privileged spec.initContainers[0].securityContext.privileged container i"}},
		"the token that every pod has": {profile: TensileKube, pod: `{spec: {containers: [], volumes: [{name: kube-api-access-x2x4z, projected: {sources: []}}]}}`},
		"a projected volume": {profile: TensileKube, pod: `{spec: {containers: [], volumes: [{name: all, projected: {sources: []}}]}}`,
			want: []string{"VolumeUnsupported spec.volumes[0].projected all is projected, which tensile-kube cannot run"}},
		"a projected volume elsewhere": {profile: Kosmos, pod: `{spec: {containers: [], volumes: [{name: all, projected: {sources: []}}]}}`},
		"claims": {profile: Generic, s: claims, pod: `{spec: {containers: [], volumes: [{name: a, persistentVolumeClaim: {claimName: far}}, {name: b, persistentVolumeClaim: {claimName: early}},
  {name: c, persistentVolumeClaim: {claimName: near}}, {name: d, persistentVolumeClaim: {claimName: unknown}}]}}`,
			want: []string{"VolumeElsewhere spec.volumes[0].persistentVolumeClaim claim far", "VolumeImmediate spec.volumes[1].persistentVolumeClaim WaitForFirstConsumer"}},
		"no claim on Azure": {profile: AzureACI, s: claims, pod: `{spec: {hostAliases: [{ip: "::1"}], containers: [], volumes: [{name: c, persistentVolumeClaim: {claimName: near}}]}}`,
			want: []string{"HostAliases spec.hostAliases /etc/hosts", "VolumeUnsupported spec.volumes[0].persistentVolumeClaim claim near"}},
		"a GPU on Fargate":                {profile: AWSFargate, pod: `{spec: {containers: [{name: a, resources: {limits: {nvidia.com/gpu: 1}}}]}}`, want: []string{"ResourceMissing spec.containers[0].resources nvidia.com/gpu"}},
		"a GPU, where nothing is known":   {profile: Generic, pod: `{spec: {containers: [{name: a, resources: {limits: {nvidia.com/gpu: 1}}}]}}`},
		"a resource that nobody offers":   {profile: Generic, s: offers, pod: `{spec: {containers: [{name: a, resources: {requests: {example.com/slow: 1, example.com/fast: 1, hugepages-2Mi: 2Mi}}}]}}`, want: []string{"ResourceMissing spec.containers[0].resources example.com/slow", "ResourceMissing spec.containers[0].resources hugepages-2Mi"}},
		"nothing of a resource":           {profile: Generic, s: offers, pod: `{spec: {containers: [{name: a, resources: {requests: {example.com/slow: 0}}}]}}`},
		"a fixed address":                 {profile: Generic, s: Surroundings{FixedIPAnnotations: []string{"cni/ip"}}, pod: `{metadata: {annotations: {cni/ip: 10.0.0.1}}}`, want: []string{"FixedIP metadata.annotations[cni/ip] fixed address"}},
		"references in the environment":   {profile: "strict", pod: `{spec: {containers: [{name: a, envFrom: [{}], env: [{name: X, valueFrom: {secretKeyRef: {key: k}}}, {name: Y, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]}}`, want: []string{"EnvUnsupported spec.containers[0].envFrom container a", "EnvUnsupported spec.containers[0].env[0].valueFrom X"}},
		"what a profile does not exclude": {profile: "strict", pod: `{spec: {hostNetwork: true, containers: [{name: a, securityContext: {privileged: true}}]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewCatalog([]config.VirtualNodeProfile{{Name: "strict", Unsupported: []string{EnvReference}}})
			got := c.ByName(tc.profile).Obstacles(parse[corev1.Pod](t, tc.pod), tc.s)
			if len(got) != len(tc.want) {
				t.Fatalf("got %+v", got)
			}
			for i, want := range tc.want {
				parts := strings.SplitN(want, " ", 3)
				if string(got[i].Reason) != parts[0] || got[i].Field != parts[1] || !strings.Contains(got[i].Message, parts[2]) {
					t.Errorf("got %+v, want %s", got[i], want)
				}
			}
		})
	}
}

func TestWrongProfilesAreExplained(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"no name":                     {`{profiles: [{}]}`, `virtualNodes.profiles[0].name: Invalid value: "": must be the name of a profile`},
		"a name twice":                {`{profiles: [{name: a}, {name: a}]}`, `virtualNodes.profiles[1].name: Duplicate value: "a"`},
		"a match of everything":       {`{profiles: [{name: a, nodes: [{selector: {}}]}]}`, "virtualNodes.profiles[0].nodes[0]: Required value: it would match every node"},
		"a selector that is none":     {`{profiles: [{name: a, nodes: [{selector: {matchExpressions: [{key: k, operator: Is}]}}]}]}`, `profiles[0].nodes[0].selector: Invalid value: `},
		"a taint without a key":       {`{profiles: [{name: a, nodes: [{taint: {value: x}}]}]}`, "nodes[0].taint.key: Required value: give a key"},
		"an effect of no kind":        {`{profiles: [{name: a, tolerations: [{key: k, effect: Never}]}]}`, `tolerations[0].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule"`},
		"a toleration of no operator": {`{profiles: [{name: a, tolerations: [{key: k, operator: In}]}]}`, `tolerations[0].operator: Unsupported value: "In"`},
		"Exists with a value":         {`{profiles: [{name: a, tolerations: [{key: k, operator: Exists, value: v}]}]}`, "has no meaning with operator Exists"},
		"Equal without a key":         {`{profiles: [{name: a, tolerations: [{value: v}]}]}`, "tolerations[0].key: Required value"},
		"seconds without NoExecute":   {`{profiles: [{name: a, tolerations: [{key: k, tolerationSeconds: 3}]}]}`, "needs effect NoExecute"},
		"a label of no form":          {`{profiles: [{name: a, labels: {"a b": "c d"}}]}`, "profiles[0].labels[a b]: Invalid value"},
		"no annotation":               {`{profiles: [{name: a, handOver: {}}]}`, "handOver.annotation: Required value"},
		"an annotation of ours":       {`{profiles: [{name: a, handOver: {annotation: spillway-project.io/placement-record}}]}`, "is Spillway's own: name the annotation that the provider reads"},
		"a field of no pod":           {`{profiles: [{name: a, handOver: {annotation: k, fields: [affinity]}}]}`, `handOver.fields[0]: Unsupported value: "affinity"`},
		"carrying what is no field":   {`{profiles: [{name: a, carries: [priority]}]}`, `carries[0]: Unsupported value: "priority"`},
		"a feature of no name":        {`{profiles: [{name: a, unsupported: [hostPath]}]}`, `unsupported[0]: Unsupported value: "hostPath"`},
		"a mark of every pod":         {`{profiles: [{name: a, stuckReasons: [""]}]}`, "would match every pod"},
		"an empty annotation key":     {`{fixedIPAnnotations: [""]}`, "virtualNodes.fixedIPAnnotations[0]: Required value"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Validate(parse[config.VirtualNodes](t, tc.text), field.NewPath("virtualNodes")).ToAggregate()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
