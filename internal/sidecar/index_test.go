package sidecar

import (
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"
)

func compile(t testing.TB, text string) *Set {
	t.Helper()
	s, err := Compile(parseSet(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func names(sets []*Set) []string {
	var out []string
	for _, s := range sets {
		out = append(out, s.Name())
	}
	return out
}

func TestWhatMatches(t *testing.T) {
	for name, tc := range map[string]struct {
		spec   string
		ns     string
		nsGets labels.Set
		pod    labels.Set
		want   bool
	}{
		"a label":                               {spec: "{selector: {matchLabels: {a: b}}}", pod: labels.Set{"a": "b", "c": "d"}, want: true},
		"another value":                         {spec: "{selector: {matchLabels: {a: b}}}", pod: labels.Set{"a": "c"}},
		"no selector":                           {spec: "{}", pod: labels.Set{"a": "b"}},
		"one of several values":                 {spec: "{selector: {matchExpressions: [{key: a, operator: In, values: [x, b]}]}}", pod: labels.Set{"a": "b"}, want: true},
		"any value":                             {spec: "{selector: {matchExpressions: [{key: a, operator: Exists}]}}", pod: labels.Set{"a": ""}, want: true},
		"nothing required":                      {spec: "{selector: {matchExpressions: [{key: a, operator: DoesNotExist}]}}", pod: labels.Set{"b": ""}, want: true},
		"its namespace":                         {spec: "{selector: {matchLabels: {a: b}}, namespace: shop}", ns: "shop", pod: labels.Set{"a": "b"}, want: true},
		"another namespace":                     {spec: "{selector: {matchLabels: {a: b}}, namespace: shop}", ns: "mall", pod: labels.Set{"a": "b"}},
		"a namespace's label":                   {spec: "{selector: {matchLabels: {a: b}}, namespaceSelector: {matchLabels: {x: w}}}", nsGets: labels.Set{"x": "w"}, pod: labels.Set{"a": "b"}, want: true},
		"a namespace without it":                {spec: "{selector: {matchLabels: {a: b}}, namespaceSelector: {matchLabels: {x: w}}}", pod: labels.Set{"a": "b"}},
		"a namespace by the label of its name":  {spec: "{selector: {matchLabels: {a: b}}, namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}", ns: "shop", pod: labels.Set{"a": "b"}, want: true},
		"namespaces by the label of their name": {spec: "{selector: {matchLabels: {a: b}}, namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [mall, shop]}]}}", ns: "shop", pod: labels.Set{"a": "b"}, want: true},
		"an empty selector in a namespace":      {spec: "{selector: {}, namespace: shop}", ns: "shop", want: true},
		"both scopes":                           {spec: "{selector: {}, namespace: shop, namespaceSelector: {matchLabels: {x: w}}}", ns: "shop"},
	} {
		t.Run(name, func(t *testing.T) {
			x := NewIndex()
			x.Put(compile(t, "{metadata: {name: s}, spec: "+tc.spec+"}"))
			found := slices.ContainsFunc(x.Selecting(tc.ns, tc.pod), func(s *Set) bool { return s.InNamespace(tc.ns, tc.nsGets) })
			if found != tc.want {
				t.Errorf("got %v", found)
			}
			x.Remove("s")
			if x.Len() != 0 || len(x.buckets) != 0 || x.Get("s") != nil {
				t.Errorf("left behind: %+v", x)
			}
		})
	}
}

func TestSetsAreInOrder(t *testing.T) {
	x := NewIndex()
	for name, priority := range map[string]string{"b": "0", "a": "0", "c": "5", "d": "-1", "e": "no number"} {
		x.Put(compile(t, fmt.Sprintf(`{metadata: {name: %s, annotations: {spillway-project.io/priority: %q}}, spec: {selector: {matchLabels: {a: b}}}}`, name, priority)))
	}
	if got := names(x.Selecting("n", labels.Set{"a": "b"})); !slices.Equal(got, []string{"c", "a", "b", "e", "d"}) {
		t.Errorf("got %v", got)
	}
}

func TestACanaryShadowsItsBase(t *testing.T) {
	base, other := compile(t, "{metadata: {name: base}}"), compile(t, "{metadata: {name: other}}")
	canary := compile(t, `{metadata: {name: canary, annotations: {apps.kruise.io/sidecarset-canary: "true", apps.kruise.io/sidecarset-base: base}}}`)
	if got := names(Unshadowed([]*Set{base, canary, other})); !slices.Equal(got, []string{"canary", "other"}) {
		t.Errorf("got %v", got)
	}
	if got := names(Unshadowed([]*Set{base, other})); len(got) != 2 {
		t.Errorf("got %v", got)
	}
}

// drawSelector makes a selector over few keys and values, so that sets overlap.
func drawSelector(t *rapid.T, name string) string {
	out := "{matchExpressions: ["
	for i := range rapid.IntRange(0, 3).Draw(t, name) {
		key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, fmt.Sprint(name, i, "key"))
		values := rapid.SampledFrom([]string{"[x]", "[w]", "[x, w]", "[w, z]"}).Draw(t, fmt.Sprint(name, i, "values"))
		switch rapid.IntRange(0, 3).Draw(t, fmt.Sprint(name, i, "operator")) {
		case 0:
			out += fmt.Sprintf("{key: %s, operator: In, values: %s},", key, values)
		case 1:
			out += fmt.Sprintf("{key: %s, operator: NotIn, values: %s},", key, values)
		case 2:
			out += fmt.Sprintf("{key: %s, operator: Exists},", key)
		case 3:
			out += fmt.Sprintf("{key: %s, operator: DoesNotExist},", key)
		}
	}
	return out + "]}"
}

// pods are all label sets over the keys and values of drawSelector, and one value that is in none.
func pods() []labels.Set {
	var out []labels.Set
	values := []string{"", "x", "w", "z", "other"}
	for _, a := range values {
		for _, b := range values {
			for _, c := range values {
				l := labels.Set{}
				for k, v := range map[string]string{"a": a, "b": b, "c": c} {
					if v != "" {
						l[k] = v
					}
				}
				out = append(out, l)
			}
		}
	}
	return out
}

// TestTheIndexFindsWhatAScanFinds, and overlap is exactly that some pod matches both.
func TestTheIndexFindsWhatAScanFinds(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		x := NewIndex()
		var all []*Set
		for i := range rapid.IntRange(2, 6).Draw(r, "sets") {
			scope := rapid.SampledFrom([]string{"", "namespace: shop, ", "namespace: mall, "}).Draw(r, fmt.Sprint("scope", i))
			s := compile(t, fmt.Sprintf("{metadata: {name: s%d}, spec: {%sselector: %s}}", i, scope, drawSelector(r, fmt.Sprint("s", i))))
			x.Put(s)
			all = append(all, s)
		}
		common := map[[2]int]bool{}
		for _, ns := range []string{"shop", "mall", "other"} {
			for _, pod := range pods() {
				var want []string
				for i, s := range all {
					if !s.InNamespace(ns, nil) || !s.SelectsPod(pod) {
						continue
					}
					want = append(want, s.Name())
					for j := range i {
						if all[j].InNamespace(ns, nil) && all[j].SelectsPod(pod) {
							common[[2]int{j, i}] = true
						}
					}
				}
				if got := names(x.Selecting(ns, pod)); !slices.Equal(got, want) {
					r.Fatalf("pod %v in %s: got %v, want %v", pod, ns, got, want)
				}
			}
		}
		for i := range all {
			for j := range i {
				if got := Overlap(&all[j].Object.Spec, &all[i].Object.Spec); got != common[[2]int{j, i}] {
					r.Fatalf("%s and %s: overlap %v", all[j].Name(), all[i].Name(), got)
				}
			}
		}
	})
}

// BenchmarkSelecting: the cost follows the sets that match, not those that are there.
func BenchmarkSelecting(b *testing.B) {
	for _, total := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("1 of %d", total), func(b *testing.B) {
			x := NewIndex()
			for i := range total {
				x.Put(compile(b, fmt.Sprintf("{metadata: {name: s%d}, spec: {selector: {matchLabels: {env: prod, app: app-%d}}}}", i, i)))
			}
			pod := labels.Set{"app": "app-7", "env": "prod", "pod-template-hash": "abc", "team": "t"}
			b.ReportAllocs()
			for b.Loop() {
				if len(x.Selecting("n", pod)) != 1 {
					b.Fatal("not found")
				}
			}
		})
	}
}
