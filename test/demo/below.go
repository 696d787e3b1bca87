package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/clusterselector"
)

// sideBySide prints one overflow pod as it is above and as it is below, and checks that what its author asked for holds
// there.
func (d *demo) sideBySide(ctx context.Context) error {
	var pods corev1.PodList
	if err := d.cluster.client.List(ctx, &pods, client.InNamespace("default"), client.MatchingLabels{"app": workload, overflowLabel: "true"}); err != nil {
		return fmt.Errorf("looking for an overflow pod: %w", err)
	}
	if len(pods.Items) == 0 {
		return fmt.Errorf("no pod has the label %s", overflowLabel)
	}
	above := slices.MinFunc(pods.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	var below corev1.Pod
	if err := d.cluster.member.Client().Get(ctx, client.ObjectKeyFromObject(&above), &below); err != nil {
		return fmt.Errorf("looking for the lower pod: %w", err)
	}
	d.out.columns([3]string{"", "ABOVE", "BELOW"}, compare(&above, &below))
	affinity := below.Spec.Affinity
	if below.Spec.NodeSelector[corev1.LabelOSStable] != "linux" || affinity == nil || affinity.PodAntiAffinity == nil || affinity.NodeAffinity != nil {
		return fmt.Errorf("pod %s below has not the constraints of the Deployment: node selector %v, affinity %v", below.Name, below.Spec.NodeSelector, affinity)
	}
	return nil
}

// compare returns a line for each thing to compare: what it is, above and below.
func compare(above, below *corev1.Pod) [][3]string {
	var out [][3]string
	for _, row := range []struct {
		name string
		of   func(*corev1.Pod) []string
	}{
		{"pod", func(p *corev1.Pod) []string { return []string{p.Name} }},
		{"node", func(p *corev1.Pod) []string { return []string{p.Spec.NodeName} }},
		{"address", func(p *corev1.Pod) []string { return []string{p.Status.PodIP} }},
		{"node selector", func(p *corev1.Pod) []string { return pairs(p.Spec.NodeSelector) }},
		{"node affinity", requiredTerms},
		{"anti-affinity", antiAffinity},
		{"tolerations", tolerations},
		{"handed over", func(p *corev1.Pod) []string {
			if p == below {
				return nil // it has the same annotation
			}
			return handed(p)
		}},
	} {
		left, right := row.of(above), row.of(below)
		for i := range max(len(left), len(right), 1) {
			line := [3]string{"", element(left, i), element(right, i)}
			if i == 0 {
				line[0] = row.name
			}
			out = append(out, line)
		}
	}
	return out
}

// element returns the i-th text of a list, and a dash for an empty list.
func element(list []string, i int) string {
	switch {
	case i < len(list):
		return list[i]
	case i == 0:
		return "-"
	default:
		return ""
	}
}

func pairs(m map[string]string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, key+"="+m[key])
	}
	return out
}

// requiredTerms names the nodes that the pod must have: above that is the pin.
func requiredTerms(p *corev1.Pod) []string {
	if p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil || p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	var out []string
	for _, term := range p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, e := range term.MatchExpressions {
			out = append(out, shorten(e.Key)+" "+string(e.Operator)+" "+strings.Join(e.Values, ", "))
		}
	}
	return out
}

func antiAffinity(p *corev1.Pod) []string {
	if p.Spec.Affinity == nil || p.Spec.Affinity.PodAntiAffinity == nil {
		return nil
	}
	var out []string
	for _, term := range p.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		out = append(out, "preferred, by "+term.PodAffinityTerm.TopologyKey)
	}
	return out
}

func tolerations(p *corev1.Pod) []string {
	var out []string
	for _, t := range p.Spec.Tolerations {
		text := shorten(t.Key)
		if t.TolerationSeconds != nil {
			text = fmt.Sprintf("%s for %d s", text, *t.TolerationSeconds)
		}
		if !slices.Contains(out, text) { // they may differ in what is not shown
			out = append(out, text)
		}
	}
	return out
}

// handed says which fields stand in the annotation.
func handed(p *corev1.Pod) []string {
	selection, _, err := clusterselector.Parse(p.Annotations[clusterselector.AnnotationTensileKube])
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, field := range selection.Fields() {
		out = append(out, strings.TrimPrefix(string(field), "affinity."))
	}
	return out
}

// shorten leaves out the domain of a label or taint.
func shorten(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }
