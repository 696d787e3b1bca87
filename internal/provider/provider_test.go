package provider

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/spillway-project/spillway/api/clusterselector"
	config "github.com/spillway-project/spillway/api/config/v1alpha1"
)

func parse[T any](t testing.TB, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out
}

func nameOf(p *Profile) string {
	if p == nil {
		return ""
	}
	return p.Name
}

const (
	tensileNode = `{metadata: {name: t, labels: {type: virtual-kubelet, clusterID: c1, kubernetes.io/role: agent}}}`
	genericNode = `{metadata: {name: g, labels: {type: virtual-kubelet, overflow: "yes"}}, spec: {taints: [{key: virtual-kubelet.io/provider, value: mock, effect: NoSchedule}]}}`
	ownNode     = `{metadata: {name: o, labels: {overflow: "yes", worker: "true"}}}`
)

func TestNodesAreRecognised(t *testing.T) {
	for name, tc := range map[string]struct{ node, want string }{
		"tensile-kube":       {tensileNode, TensileKube},
		"Kosmos":             {`{metadata: {labels: {kosmos.io/node: "true", kubernetes.io/role: agent}}}`, Kosmos},
		"Liqo":               {`{metadata: {labels: {liqo.io/type: virtual-node, type: virtual-kubelet}}}`, Liqo},
		"Admiralty":          {`{metadata: {labels: {type: virtual-kubelet}}, spec: {taints: [{key: virtual-kubelet.io/provider, value: admiralty, effect: NoSchedule}]}}`, Admiralty},
		"Admiralty by label": {`{metadata: {labels: {virtual-kubelet.io/provider: admiralty}}}`, Admiralty},
		"Alibaba":            {`{metadata: {labels: {type: virtual-kubelet}}, spec: {taints: [{key: virtual-kubelet.io/provider, value: alibabacloud, effect: NoSchedule}]}}`, AlibabaECI},
		"Azure":              {`{metadata: {labels: {type: virtual-kubelet, kubernetes.io/role: agent}}, spec: {taints: [{key: virtual-kubelet.io/provider, value: azure, effect: NoSchedule}]}}`, AzureACI},
		"Azure, older":       {`{spec: {taints: [{key: azure.com/aci, effect: NoSchedule}]}}`, AzureACI},
		"Fargate":            {`{metadata: {labels: {eks.amazonaws.com/compute-type: fargate}}}`, AWSFargate},
		"Huawei":             {`{metadata: {labels: {type: virtual-kubelet, kubernetes.io/hostname: bursting-node}}}`, HuaweiCCI},
		"Tencent":            {`{metadata: {labels: {node.kubernetes.io/instance-type: eklet}}}`, TencentEKS},
		"any other":          {genericNode, Generic},
		"a real one":         {ownNode, ""},
		"one with a taint":   {`{spec: {taints: [{key: other, value: azure}]}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nameOf(NewCatalog(nil).OfNode(parse[corev1.Node](t, tc.node))); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestATermSpeaksForItself(t *testing.T) {
	for name, tc := range map[string]struct{ term, want string }{
		"the label of a profile":          {`{matchExpressions: [{key: kosmos.io/node, operator: In, values: ["true"]}]}`, Kosmos},
		"beside others":                   {`{matchExpressions: [{key: zone, operator: Exists}, {key: kosmos.io/node, operator: In, values: ["true"]}]}`, Kosmos},
		"one of two labels is generic":    {`{matchExpressions: [{key: type, operator: In, values: [virtual-kubelet]}]}`, Generic},
		"both labels":                     {`{matchExpressions: [{key: type, operator: In, values: [virtual-kubelet]}, {key: clusterID, operator: In, values: [c1, c2]}]}`, TensileKube},
		"another value":                   {`{matchExpressions: [{key: kosmos.io/node, operator: In, values: ["false"]}]}`, ""},
		"that value or another":           {`{matchExpressions: [{key: kosmos.io/node, operator: In, values: ["true", "false"]}]}`, ""},
		"the label with any value":        {`{matchExpressions: [{key: kosmos.io/node, operator: Exists}]}`, ""},
		"the label not with that value":   {`{matchExpressions: [{key: kosmos.io/node, operator: NotIn, values: ["true"]}]}`, ""},
		"a label that nobody knows":       {`{matchExpressions: [{key: node-role.kubernetes.io/local-virtual-kubelet, operator: In, values: ["true"]}]}`, ""},
		"nothing":                         {`{}`, ""},
		"a node by name":                  {`{matchFields: [{key: metadata.name, operator: In, values: [kosmos-a]}]}`, ""},
		"a taint is not seen in the term": {`{matchExpressions: [{key: virtual-kubelet.io/provider, operator: In, values: [azure]}]}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nameOf(NewCatalog(nil).OfTerm(parse[corev1.NodeSelectorTerm](t, tc.term))); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if p := NewCatalog(nil).OfTerm(nil); p != nil {
		t.Errorf("no term is of %s", p.Name)
	}
}

// TestEveryOperatorIsImpliedSoundly: whenever a term alone tells a profile, nodes that it selects are of it.
func TestEveryOperatorIsImpliedSoundly(t *testing.T) {
	configured := []config.VirtualNodeProfile{
		{Name: "exists", Nodes: []config.VirtualNodeMatch{*parse[config.VirtualNodeMatch](t, `{selector: {matchExpressions: [{key: k, operator: Exists}]}}`)}},
		{Name: "absent", Nodes: []config.VirtualNodeMatch{*parse[config.VirtualNodeMatch](t, `{selector: {matchExpressions: [{key: k, operator: DoesNotExist}]}}`)}},
		{Name: "in", Nodes: []config.VirtualNodeMatch{*parse[config.VirtualNodeMatch](t, `{selector: {matchExpressions: [{key: k, operator: In, values: ["1", "2"]}]}}`)}},
		{Name: "not-in", Nodes: []config.VirtualNodeMatch{*parse[config.VirtualNodeMatch](t, `{selector: {matchExpressions: [{key: k, operator: NotIn, values: ["1", "2"]}]}}`)}},
	}
	terms := []string{
		`{key: k, operator: Exists}`, `{key: k, operator: DoesNotExist}`, `{key: k, operator: In, values: ["1"]}`, `{key: k, operator: In, values: ["1", "3"]}`,
		`{key: k, operator: NotIn, values: ["1", "2", "3"]}`, `{key: k, operator: NotIn, values: ["1"]}`, `{key: k, operator: Gt, values: ["1"]}`, `{key: k, operator: Lt, values: ["3"]}`, `{key: k, operator: In}`,
	}
	spoke := 0
	for _, p := range configured {
		catalog := NewCatalog([]config.VirtualNodeProfile{p})
		for _, term := range terms {
			parsed := parse[corev1.NodeSelectorTerm](t, `{matchExpressions: [`+term+`]}`)
			if nameOf(catalog.OfTerm(parsed)) != p.Name {
				continue
			}
			spoke++
			for _, labels := range []string{`{}`, `{k: "1"}`, `{k: "2"}`, `{k: "3"}`, `{k: x}`} {
				node := parse[corev1.Node](t, `{metadata: {labels: `+labels+`}}`)
				if _, virtual, own := catalog.occurring(parsed, []*corev1.Node{node}); (own || len(virtual) == 1) && nameOf(catalog.OfNode(node)) != p.Name {
					t.Errorf("term %s is said to be of %s, but selects a node with labels %s", term, p.Name, labels)
				}
			}
		}
	}
	if spoke < 9 {
		t.Errorf("only %d terms told a profile", spoke)
	}
}

func TestSubsetsThatAreVirtual(t *testing.T) {
	const writes = `{"metadata":{"annotations":{"clusterSelector":"{}"}}}`
	for name, tc := range map[string]struct {
		term, patch string
		nodes       []string
		want        string
		also        []string
		mixed       bool
	}{
		"no term at all":                {nodes: []string{genericNode}},
		"every node is virtual":         {term: `{matchExpressions: [{key: clusterID, operator: Exists}]}`, nodes: []string{tensileNode, ownNode}, want: TensileKube},
		"own nodes":                     {term: `{matchExpressions: [{key: worker, operator: Exists}]}`, nodes: []string{tensileNode, ownNode}},
		"both":                          {term: `{matchExpressions: [{key: overflow, operator: Exists}]}`, nodes: []string{genericNode, ownNode}, also: []string{Generic}, mixed: true},
		"two kinds, the first counts":   {term: `{matchExpressions: [{key: type, operator: Exists}]}`, nodes: []string{genericNode, tensileNode}, want: TensileKube, also: []string{Generic}},
		"no node, but the term speaks":  {term: `{matchExpressions: [{key: kosmos.io/node, operator: In, values: ["true"]}]}`, nodes: []string{ownNode}, want: Kosmos},
		"no node, and the term is mute": {term: `{matchExpressions: [{key: local, operator: Exists}]}`},
		"no node, but the patch writes what a provider reads": {term: `{matchExpressions: [{key: local, operator: Exists}]}`, patch: writes, want: TensileKube},
		"generic nodes, and the patch tells more":             {term: `{matchExpressions: [{key: overflow, operator: Exists}]}`, nodes: []string{genericNode}, patch: writes, want: TensileKube, also: []string{Generic}},
		"own nodes, whatever the patch writes":                {term: `{matchExpressions: [{key: worker, operator: Exists}]}`, nodes: []string{ownNode}, patch: writes},
		"a patch that removes it tells nothing":               {term: `{matchExpressions: [{key: local, operator: Exists}]}`, patch: `{"metadata":{"annotations":{"clusterSelector":null}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			var term *corev1.NodeSelectorTerm
			if tc.term != "" {
				term = parse[corev1.NodeSelectorTerm](t, tc.term)
			}
			var nodes []*corev1.Node
			for _, n := range tc.nodes {
				nodes = append(nodes, parse[corev1.Node](t, n))
			}
			got := NewCatalog(nil).Subset(term, nodes, []byte(tc.patch))
			var also []string
			for _, p := range got.Also {
				also = append(also, p.Name)
			}
			if nameOf(got.Profile) != tc.want || !slices.Equal(also, tc.also) || got.Mixed() != tc.mixed {
				t.Errorf("got %q and %v, mixed %v", nameOf(got.Profile), also, got.Mixed())
			}
			if len(tc.also) > 0 && len(got.Tolerations()) == 0 {
				t.Error("without the tolerations of the others")
			}
		})
	}
}

func TestTheOverrideIsReadStrictly(t *testing.T) {
	read := func(text string) (map[string]*Profile, error) {
		ws := parse[appsv1alpha1.WorkloadSpread](t, `{spec: {subsets: [{name: vk}, {name: own}]}}`)
		ws.Annotations = map[string]string{"spillway-project.io/virtual-subsets": text}
		return NewCatalog(nil).Override(ws)
	}
	got, err := read(`{"vk":"tensile-kube","own":""}`)
	if own, ok := got["own"]; err != nil || nameOf(got["vk"]) != TensileKube || !ok || own != nil {
		t.Errorf("got %v, %v", got, err)
	}
	for text, want := range map[string]string{
		`vk`: "not a JSON object of names", `null`: "not a JSON object", `{} x`: "something follows", `{"v":""}`: `"v" is no subset: the subsets are vk, own`,
		`{"vk":"tensile"}`: `subset "vk": "tensile" is no profile: use "" for own nodes, or one of tensile-kube, kosmos`,
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "annotation spillway-project.io/virtual-subsets") {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	if got, err := NewCatalog(nil).Override(&appsv1alpha1.WorkloadSpread{}); got != nil || err != nil {
		t.Errorf("without the annotation: %v, %v", got, err)
	}
}

func TestConfiguredProfilesComeFirst(t *testing.T) {
	c := NewCatalog([]config.VirtualNodeProfile{{Name: "mine", Nodes: byLabel("mine", "true")}, {Name: Generic, Nodes: byLabel("type", "mine")}})
	want := []string{"mine", Generic, TensileKube, Kosmos, Liqo, Admiralty, AlibabaECI, AzureACI, AWSFargate, HuaweiCCI, TencentEKS}
	if diff := cmp.Diff(want, c.Names()); diff != "" {
		t.Error(diff)
	}
	if p := c.OfNode(parse[corev1.Node](t, genericNode)); p != nil {
		t.Errorf("a replaced profile still matches: %s", p.Name)
	}
}

func TestBuiltInProfilesAreValid(t *testing.T) {
	all := builtin()
	if errs := Validate(&config.VirtualNodes{Profiles: all}, field.NewPath("virtualNodes")); len(errs) > 0 {
		t.Error(errs.ToAggregate())
	}
	if last := all[len(all)-1]; len(all) != 10 || last.Name != Generic {
		t.Errorf("%d profiles, the last is %s", len(all), last.Name)
	}
	for _, p := range all {
		if len(p.Nodes) == 0 || len(p.Tolerations) == 0 || !slices.Contains(p.Unsupported, DaemonSet) {
			t.Errorf("%s lacks something: %+v", p.Name, p)
		}
	}
}

func TestLossesAreKnown(t *testing.T) {
	pod := parse[corev1.Pod](t, `{spec: {nodeSelector: {a: b}, affinity: {podAntiAffinity: {}}, tolerations: [{key: a}, {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}],
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule}]}}`)
	for name, want := range map[string][]clusterselector.Field{
		TensileKube: {clusterselector.PodAntiAffinity, clusterselector.TopologySpreadConstraints},
		Kosmos:      {clusterselector.PodAntiAffinity},
		Liqo:        {clusterselector.NodeSelector, clusterselector.PodAntiAffinity},
		Admiralty:   nil,
		Generic:     {clusterselector.NodeSelector, clusterselector.PodAntiAffinity, clusterselector.Tolerations, clusterselector.TopologySpreadConstraints},
	} {
		if got := NewCatalog(nil).ByName(name).NotHonoured(pod); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if got := NewCatalog(nil).ByName(Generic).NotHonoured(&corev1.Pod{}); len(got) > 0 {
		t.Errorf("a pod without constraints loses %v", got)
	}
}

// TestNothingIsLostWhereSpillwayRestores, and only there.
func TestNothingIsLostWhereSpillwayRestores(t *testing.T) {
	pod := parse[corev1.Pod](t, `{spec: {nodeSelector: {a: b}, affinity: {podAntiAffinity: {}}, topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule}]}}`)
	before := NewCatalog(nil)
	c := before.RestoredBelow([]string{TensileKube, Liqo})
	for name, annotation := range map[string]string{TensileKube: clusterselector.AnnotationTensileKube, Liqo: clusterselector.AnnotationTensileKube} {
		if p := c.ByName(name); len(p.NotHonoured(pod)) > 0 || p.HandOver() != annotation {
			t.Errorf("%s: %v by %q", name, p.NotHonoured(pod), p.HandOver())
		}
	}
	if len(c.ByName(Kosmos).NotHonoured(pod)) == 0 || len(before.ByName(TensileKube).NotHonoured(pod)) == 0 || before.ByName(Liqo).HandOver() != "" {
		t.Error("others changed too")
	}
}
