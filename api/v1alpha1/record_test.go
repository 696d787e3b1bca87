package v1alpha1

import "testing"

func TestTheRecordIsOpenKruises(t *testing.T) {
	for want, r := range map[string]Record{
		`{"name":"ws","subset":"own","uid":"k1"}`: {Name: "ws", Subset: "own", UID: "k1"},
		`{"name":"ws","subset":"own"}`:            {Name: "ws", Subset: "own"},
	} {
		if got := r.Encode(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, ok := ParseRecord(map[string]string{AnnotationMatched: want}); !ok || got != r {
			t.Errorf("%s was read as %+v", want, got)
		}
	}
}

func TestRecordsThatAssignNothing(t *testing.T) {
	for name, value := range map[string]string{
		"no JSON": "own", "empty": "", "null": "null", "a list": "[]", "no subset": `{"name":"ws"}`, "no name": `{"subset":"own"}`, "numbers": `{"name":1,"subset":2}`,
	} {
		t.Run(name, func(t *testing.T) {
			if r, ok := ParseRecord(map[string]string{AnnotationMatched: value}); ok {
				t.Errorf("read as %+v", r)
			}
		})
	}
	if r, ok := ParseRecord(map[string]string{AnnotationMatched: `{"Name":"ws","SUBSET":"own"}`}); !ok || r.Subset != "own" {
		t.Error("keys match case-insensitively in OpenKruise")
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(`{"name":"ws","subset":"own","uid":"k1"}`)
	f.Add(`{"name":"a\u0000b","subset":"\"}"}`)
	f.Fuzz(func(t *testing.T, value string) {
		r, ok := ParseRecord(map[string]string{AnnotationMatched: value})
		if !ok {
			return
		}
		if again, ok := ParseRecord(map[string]string{AnnotationMatched: r.Encode()}); !ok || again != r {
			t.Errorf("%q: read as %+v, written and read again %+v", value, r, again)
		}
	})
}
