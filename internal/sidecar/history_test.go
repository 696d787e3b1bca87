package sidecar

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

func stored(number int64, name, data string) *appsv1.ControllerRevision {
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}, Revision: number, Data: runtime.RawExtension{Raw: []byte(data)},
	}
}

func TestRegister(t *testing.T) {
	set := compile(t, "{metadata: {name: ss, uid: u, labels: {team: a}, annotations: {mine: x}}, spec: {containers: ["+vectorContainer+"]}}")
	_, data, _ := set.Revision()
	equal := func(number int64) *appsv1.ControllerRevision {
		return stored(number, fmt.Sprint("equal-", number), string(data))
	}
	for name, tc := range map[string]struct {
		existing []*appsv1.ControllerRevision
		want     string
	}{
		"the first":              {nil, "create ss-768d78dfb6 as 1"},
		"another one":            {[]*appsv1.ControllerRevision{stored(3, "a", "{}")}, "create ss-768d78dfb6 as 4"},
		"the newest is equal":    {[]*appsv1.ControllerRevision{stored(3, "a", "{}"), equal(4)}, "equal-4"},
		"a rollback":             {[]*appsv1.ControllerRevision{equal(2), stored(3, "a", "{}")}, "equal-2 becomes 4"},
		"the newer of two equal": {[]*appsv1.ControllerRevision{equal(1), equal(2)}, "equal-2"},
	} {
		got, err := Register(set, tc.existing, "system", 0)
		text := got.Name
		switch {
		case got.Create != nil:
			text = fmt.Sprintf("create %s as %d", got.Name, got.Create.Revision)
		case got.Change != nil:
			text = fmt.Sprintf("%s becomes %d", got.Name, got.Change.Revision)
		}
		if err != nil || text != tc.want {
			t.Errorf("%s: got %s, %v", name, text, err)
		}
	}
	made, _ := Register(set, nil, "system", 0)
	r := made.Create
	if r.Labels["team"] != "a" || r.Labels[v1alpha1.LabelSidecarSetName] != "ss" || r.Labels[v1alpha1.LabelRevisionHash] != "768d78dfb6" ||
		r.Annotations["mine"] != "x" || r.Annotations[v1alpha1.AnnotationSidecarHash] != set.Hash || r.OwnerReferences[0].APIVersion != "apps.kruise.io/v1alpha1" {
		t.Errorf("got %+v", r.ObjectMeta)
	}
	if second, _ := Register(set, nil, "system", 1); second.Name == r.Name {
		t.Error("a collision gives the same name")
	}
	versioned := compile(t, "{metadata: {name: ss, labels: {apps.kruise.io/sidecarset-custom-version: v2}}, spec: {containers: ["+vectorContainer+"]}}")
	if got, _ := Register(versioned, []*appsv1.ControllerRevision{equal(1)}, "system", 0); got.Change == nil || got.Change.Labels[v1alpha1.LabelSidecarCustomVersion] != "v2" {
		t.Errorf("the version is not on the revision: %+v", got)
	}
}

func TestExcess(t *testing.T) {
	var list []*appsv1.ControllerRevision
	for i := int64(1); i <= 6; i++ {
		r := stored(i, fmt.Sprint("r", i), "{}")
		if i <= 2 {
			r.Labels[v1alpha1.LabelSidecarCustomVersion] = "v1"
		}
		list = append(list, r)
	}
	slices.Reverse(list)
	for name, tc := range map[string]struct{ spec, recorded, want string }{
		"oldest first":            {spec: "revisionHistoryLimit: 3", want: "r1 r2 r3"},
		"the newest stays":        {spec: "revisionHistoryLimit: 0", want: "r1 r2 r3 r4 r5"},
		"enough":                  {spec: "revisionHistoryLimit: 6"},
		"those in use":            {spec: "revisionHistoryLimit: 3", recorded: "r2", want: "r1 r3 r4"},
		"a pinned one":            {spec: "revisionHistoryLimit: 3, injectionStrategy: {revision: {revisionName: r1}}", want: "r2 r3 r4"},
		"a pinned version's last": {spec: "revisionHistoryLimit: 3, injectionStrategy: {revision: {customVersion: v1}}", want: "r1 r3 r4"},
	} {
		set := compile(t, "{metadata: {name: ss}, spec: {"+tc.spec+"}}")
		var got []string
		for _, r := range Excess(set, list, map[string]bool{tc.recorded: true}) {
			got = append(got, r.Name)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: got %v, want %s", name, got, tc.want)
		}
	}
}

func TestOwned(t *testing.T) {
	set := compile(t, "{metadata: {name: ss, uid: mine}}")
	yes := true
	owner := func(uid string) appsv1.ControllerRevision {
		r := stored(1, uid, "{}")
		r.OwnerReferences = []metav1.OwnerReference{{UID: "x" + set.Object.UID, Controller: &yes}}
		if uid == "mine" {
			r.OwnerReferences[0].UID = set.Object.UID
		}
		return *r
	}
	got := Owned(set, []appsv1.ControllerRevision{owner("mine"), owner("other"), *stored(2, "nobody's", "{}")})
	if len(got) != 2 || got[0].Name != "mine" || got[1].Name != "nobody's" {
		t.Errorf("got %+v", got)
	}
}
