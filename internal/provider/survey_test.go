package provider

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	config "github.com/spillway-project/spillway/api/config/v1alpha1"
)

func one(key string, operator corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorRequirement {
	return corev1.NodeSelectorRequirement{Key: key, Operator: operator, Values: values}
}

// TestPinsBeforeThereIsANode: they hold for the nodes that come, and leave those of other profiles to them.
func TestPinsBeforeThereIsANode(t *testing.T) {
	wide := []config.VirtualNodeProfile{{Name: "wide", Nodes: byLabel(typeLabel, typeValue)}}
	for name, tc := range map[string]struct {
		configured []config.VirtualNodeProfile
		profile    string
		want       []corev1.NodeSelectorTerm
	}{
		"what is a special case of it is another profile's": {nil, Generic, []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
			one(typeLabel, corev1.NodeSelectorOpIn, typeValue), one("clusterID", corev1.NodeSelectorOpDoesNotExist), one(corev1.LabelHostname, corev1.NodeSelectorOpNotIn, "bursting-node"),
		}}}},
		"it is a special case itself": {wide, TensileKube, nil},
		"a label":                     {nil, Kosmos, []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{one("kosmos.io/node", corev1.NodeSelectorOpIn, "true")}}}},
		"a taint tells nothing before it is there": {nil, AzureACI, nil},
		"a label or a taint: by the label":         {nil, Admiralty, []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{one(providerTaint, corev1.NodeSelectorOpIn, "admiralty")}}}},
	} {
		t.Run(name, func(t *testing.T) {
			catalog := NewCatalog(tc.configured)
			if diff := cmp.Diff(tc.want, catalog.Survey(nil).Pin(catalog.ByName(tc.profile))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestManyLabelsTogetherDoNotMakeAPodExplode: what would take too many terms is excluded by name, as the nodes are now.
func TestManyLabelsTogetherDoNotMakeAPodExplode(t *testing.T) {
	var profiles []config.VirtualNodeProfile
	for i := range 10 {
		n := string(rune('a' + i))
		profiles = append(profiles, config.VirtualNodeProfile{Name: n, Nodes: []config.VirtualNodeMatch{{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{n + "1": "x", n + "2": "x"}}}}})
	}
	last := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "last", Labels: map[string]string{"j1": "x", "j2": "x"}}}
	terms := NewCatalog(profiles).Survey([]*corev1.Node{last}).Exclude(nil, nil)
	if len(terms) > maxTerms {
		t.Errorf("%d terms", len(terms))
	}
	if selects(terms, last) {
		t.Error("the last profile's node is selected")
	}
}

// TestTolerationsOfAllProfiles: one that another covers is left out; one that ends covers none that does not.
func TestTolerationsOfAllProfiles(t *testing.T) {
	seconds := int64(5)
	never := corev1.Toleration{Key: "k", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
	ends := never
	ends.TolerationSeconds = &seconds
	narrow := corev1.Toleration{Key: "k", Operator: corev1.TolerationOpEqual, Value: "v", Effect: corev1.TaintEffectNoExecute}
	for name, tc := range map[string]struct{ have, want []corev1.Toleration }{
		"the wide one comes first": {[]corev1.Toleration{never, narrow}, []corev1.Toleration{never}},
		"the wide one comes last":  {[]corev1.Toleration{narrow, never}, []corev1.Toleration{never}},
		"the wide one ends":        {[]corev1.Toleration{ends, narrow}, []corev1.Toleration{ends, narrow}},
	} {
		c := &Catalog{profiles: []*Profile{newProfile(config.VirtualNodeProfile{Tolerations: tc.have})}}
		if diff := cmp.Diff(tc.want, c.Tolerations()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
