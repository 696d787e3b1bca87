package sidecar

import (
	"encoding/json"
	"fmt"
	"testing"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func parseSet(t testing.TB, text string) *SidecarSet {
	t.Helper()
	out := new(SidecarSet)
	if err := yaml.Unmarshal([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

const vectorContainer = `{name: sidecar1, image: "centos:6.7", command: [sleep, 999d]}`

// TestVectors: the hashes are OpenKruise's, byte for byte.
func TestVectors(t *testing.T) {
	const big = `
  - name: sidecar1
    image: centos:6.7
    command: [sleep, 999d]
    env: [{name: A, value: "<&>"}]
    resources: {limits: {cpu: 1, memory: 1024Mi}}
    upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: "%s"}
    transferEnv: [{sourceContainerNameFrom: {fieldRef: {fieldPath: "metadata.labels['x']"}}, envNames: [Z, "Y"]}]
    livenessProbe: {httpGet: {port: 80}}`
	for name, tc := range map[string]struct{ spec, hash, without string }{
		"B1": {
			"{containers: [" + vectorContainer + "]}",
			"2xd6x7272b8v26fc9fcc4zw47vwcvcv2fcd45d6xvb2w2cwdw9x4f74v495949z2", "4zv6464d6c4bb89d2298d2w2cww65d2d5f89bd72zcxw4dbcf85f44774f6c4794",
		},
		"B2, another image": {
			`{containers: [{name: sidecar1, image: "centos:7", command: [sleep, 999d]}]}`,
			"6d4dzb4467bv64dv659b2x7xxww5dx5788wv5wc4d67bx4vf657f92ff98xw64bf", "4zv6464d6c4bb89d2298d2w2cww65d2d5f89bd72zcxw4dbcf85f44774f6c4794",
		},
		"B3, a plain init container": {
			"{containers: [" + vectorContainer + `], initContainers: [{name: init, image: "busybox:1"}]}`,
			"2xd6x7272b8v26fc9fcc4zw47vwcvcv2fcd45d6xvb2w2cwdw9x4f74v495949z2", "4zv6464d6c4bb89d2298d2w2cww65d2d5f89bd72zcxw4dbcf85f44774f6c4794",
		},
		"B3, a native one too": {
			"{containers: [" + vectorContainer + `], updateStrategy: {type: NotUpdate}, initContainers: [{name: init, image: "busybox:1"}, {name: nat, image: "busybox:1", restartPolicy: Always}]}`,
			"d7f7749c24vwb475889f64xzc27745bv7x779f47f96wbfv64fd52xv6x8wz46c2", "4b47xv779v5dvdc542wv57zc86fvx8dw64cx42982d94wcvw2x579b84cv62ff84",
		},
		"B4, no containers": {
			"{}", "x5vwx9w6vv4dv72c9w4c2f6v74fbwx545b45bbfz6z2dvf8w887xw86fvcb4cf48", "x5vwx9w6vv4dv72c9w4c2f6v74fbwx545b45bbfz6z2dvf8w887xw86fvcb4cf48",
		},
		"B5": {
			"containers:" + fmt.Sprintf(big, "empty:1"),
			"xbw95f25d6wff7d59xvfcvc48bcb77f4849bf294bxcd525fcfwc55v684z24bw9", "479xz5cw966wfx57ff46w68w845x6d4f7b489cf4x2b7652vwvcw989w74b8x8x6",
		},
		"B5, another empty image": {
			"containers:" + fmt.Sprintf(big, "empty:2"),
			"6d56c78f497fz44b5674dxx59278bw5v7wvd6zf7v9w766x544d8f56w47422zvw", "f75d9272fz9zv9cvd674ww92xd4f7wc4x8vwzdx2dx2cx626ddwd82cc6c994bx6",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var spec Spec
			if err := yaml.Unmarshal([]byte(tc.spec), &spec); err != nil {
				t.Fatal(err)
			}
			Default(&spec)
			got, err := HashesOf(&spec)
			if err != nil || got.Hash != tc.hash || got.WithoutImage != tc.without {
				raw, _ := json.Marshal(map[string]any{"containers": spec.Containers, "initContainers": spec.InitContainers})
				t.Errorf("got %+v, %v of %s", got, err, raw)
			}
			once := spec.deepCopy()
			Default(&spec)
			if again, _ := HashesOf(&once); again != got {
				t.Error("defaulting twice gives another hash")
			}
		})
	}
}

func TestTheHashOfAnUndefaultedObject(t *testing.T) {
	spec := Spec{Containers: []Container{{Container: corev1.Container{Name: "container1", Image: "test-image"}}}}
	if got, err := HashesOf(&spec); err != nil || got.Hash != "w26c4x8fz245642fdv499b464248f974xddx4x55z5dw55bc6x66464fxz77dc78" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestRevisions(t *testing.T) {
	set := parseSet(t, "{metadata: {name: ss}, spec: {containers: ["+vectorContainer+"]}}")
	Default(&set.Spec)
	data, err := RevisionData(&set.Spec)
	const want = `{"spec":{"$patch":"replace","containers":[{"command":["sleep","999d"],"image":"centos:6.7","imagePullPolicy":"IfNotPresent","name":"sidecar1","podInjectPolicy":"BeforeAppContainer","resources":{},"shareVolumePolicy":{"type":"disabled"},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","upgradeStrategy":{"upgradeType":"ColdUpgrade"}}],"imagePullSecrets":null,"initContainers":null,"patchPodMetadata":null,"volumes":null}}`
	if err != nil || string(data) != want {
		t.Errorf("got %s, %v", data, err)
	}
	if got := RevisionName("ss", data, 0); got != "ss-768d78dfb6" {
		t.Errorf("got %s", got)
	}
	if RevisionName("ss", data, 1) == "ss-768d78dfb6" {
		t.Error("a collision gives the same name")
	}
	live := parseSet(t, `{metadata: {name: ss}, spec: {selector: {matchLabels: {a: b}}, containers: [{name: other, image: x}], volumes: [{name: v}]}}`)
	back, err := Restore(live, data)
	if err != nil || len(back.Spec.Containers) != 1 || back.Spec.Containers[0].Image != "centos:6.7" || back.Spec.Volumes != nil || back.Spec.Selector == nil {
		t.Errorf("restored %+v, %v", back, err)
	}
	if again, _ := RevisionData(&back.Spec); string(again) != want {
		t.Errorf("a restored spec is another revision: %s", again)
	}
}

// TestFieldsOfLaterVersions: what the type of kruise-api lacks changes the hash only when it is set.
func TestFieldsOfLaterVersions(t *testing.T) {
	set := parseSet(t, `
spec:
  containers:
  - name: a
    image: b
    shareVolumeDevicePolicy: {type: enabled}
    transferEnv: [{envName: X}]
    resourcesPolicy: {targetContainersMode: max, targetContainersNameRegex: ".*", resourcesExpr: {limits: {cpu: "max(cpu*50%, 50m)"}}}
    resources: {future: 1}
    futureField: {deep: [1, 2]}
    stdin: false
`)
	raw, err := json.Marshal(set.Spec.Containers)
	const want = `[{"name":"a","image":"b","resources":{},"upgradeStrategy":{},"shareVolumePolicy":{},"shareVolumeDevicePolicy":{"type":"enabled"},"transferEnv":[{"envName":"X"}],"resourcesPolicy":{"targetContainersMode":"max","targetContainersNameRegex":".*","resourcesExpr":{"limits":{"cpu":"max(cpu*50%, 50m)"}}}}]`
	if err != nil || string(raw) != want {
		t.Errorf("got %s, %v", raw, err)
	}
	unknown, _ := json.Marshal(set.Spec.Containers[0].Unknown)
	if string(unknown) != `{"futureField":{"deep":[1,2]},"resources":{"future":1}}` {
		t.Errorf("unknown fields: %s", unknown)
	}
	again, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	if back := parseSet(t, string(again)); len(back.Spec.Containers[0].Unknown) != 2 {
		t.Errorf("lost on the way through JSON: %s", again)
	}
	if set.DeepCopy().Spec.Containers[0].Unknown == nil {
		t.Error("lost in a copy")
	}
	data, _ := RevisionData(&set.Spec)
	back, err := Restore(set, data)
	if err != nil || len(back.Spec.Containers[0].Unknown) != 2 {
		t.Errorf("lost in a revision: %s, %v", data, err)
	}
}

func TestStoredHashesWin(t *testing.T) {
	set := parseSet(t, `{metadata: {name: a, annotations: {kruise.io/sidecarset-hash: h, kruise.io/sidecarset-hash-without-image: w}}, spec: {containers: [`+vectorContainer+`]}}`)
	if got, err := Compile(set); err != nil || got.Hash != "h" || got.WithoutImage != "w" {
		t.Errorf("got %+v, %v", got, err)
	}
	set.Annotations = nil
	if got, err := Compile(set); err != nil || got.Hash != "2xd6x7272b8v26fc9fcc4zw47vwcvcv2fcd45d6xvb2w2cwdw9x4f74v495949z2" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestTheTypeIsKruisesWithMore: the fields have the JSON names of kruise-api, in its order.
func TestTheTypeIsKruisesWithMore(t *testing.T) {
	var theirs appsv1alpha1.SidecarSet
	const text = `{"metadata":{"name":"a"},"spec":{"selector":{"matchLabels":{"a":"b"}},"namespace":"n","namespaceSelector":{},"initContainers":[{"name":"i","resources":{},"upgradeStrategy":{},"shareVolumePolicy":{}}],"containers":[{"name":"c","resources":{},"podInjectPolicy":"AfterAppContainer","upgradeStrategy":{"upgradeType":"ColdUpgrade"},"shareVolumePolicy":{"type":"enabled"},"transferEnv":[{"envName":"x"}]}],"volumes":[{"name":"v"}],"updateStrategy":{"type":"NotUpdate"},"injectionStrategy":{"paused":true},"imagePullSecrets":[{"name":"s"}],"revisionHistoryLimit":3,"patchPodMetadata":[{"annotations":{"a":"b"}}]},"status":{"observedGeneration":1,"matchedPods":1,"updatedPods":2,"readyPods":3}}`
	if err := json.Unmarshal([]byte(text), &theirs); err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(theirs)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(parseSet(t, text))
	if err != nil || string(got) != string(want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestResizable(t *testing.T) {
	set := func(containers string) *Set {
		return compile(t, "{metadata: {name: s}, spec: {containers: ["+containers+"]}}")
	}
	const former = `{name: c, image: "i:1", resources: {limits: {cpu: 1}, requests: {cpu: 500m}}}`
	for name, tc := range map[string]struct {
		is   string
		want bool
	}{
		"the same":            {former, true},
		"other resources":     {`{name: c, image: "i:2", resources: {limits: {cpu: 2}, requests: {cpu: 1, memory: 1Gi}}}`, true},
		"a limit less":        {`{name: c, image: "i:1", resources: {requests: {cpu: 500m}}}`, false},
		"another environment": {`{name: c, image: "i:1", env: [{name: A, value: b}], resources: {limits: {cpu: 1}, requests: {cpu: 500m}}}`, false},
		"a container more":    {former + `, {name: d, image: x}`, false},
		"a policy":            {`{name: c, image: "i:1", resourcesPolicy: {targetContainersMode: sum, resourcesExpr: {limits: {cpu: cpu}}}}`, false},
	} {
		if got := Resizable(set(tc.is), set(former)); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
