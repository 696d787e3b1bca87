package review_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/delta"
	"github.com/spillway-project/spillway/webhooks/review"
)

type reviewer func(context.Context, *admissionv1.AdmissionRequest) (review.Verdict, error)

func (f reviewer) Review(ctx context.Context, r *admissionv1.AdmissionRequest) (review.Verdict, error) {
	return f(ctx, r)
}

type reviewed struct{ reason v1alpha1.Reason }

func (r *reviewed) Reviewed(_ string, _ int, reason v1alpha1.Reason, _ time.Duration) {
	r.reason = reason
}

const good = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","operation":"CREATE","object":{"kind":"Pod"}}}`

func post(t *testing.T, f reviewer, body, contentType string, change func(*review.Options)) (*http.Response, string, v1alpha1.Reason) {
	t.Helper()
	seen := &reviewed{}
	o := review.Options{
		Name: "test", MaxBytes: 1000, Timeout: 10 * time.Second, Recorder: seen,
		Ready: func() bool { return true }, Gate: new(review.Gate), Log: logr.Discard(),
	}
	if change != nil {
		change(&o)
	}
	server := httptest.NewServer(review.Handler(f, o))
	defer server.Close()
	response, err := server.Client().Post(server.URL+"?timeout=4s", contentType, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(raw), seen.reason
}

func allow(context.Context, *admissionv1.AdmissionRequest) (review.Verdict, error) {
	return review.Verdict{Reason: v1alpha1.ReasonNotManaged}, nil
}

func TestFaultsAreHTTPErrors(t *testing.T) {
	type Case struct {
		f           reviewer
		body, ctype string
		change      func(*review.Options)
		code        int
		reason      v1alpha1.Reason
	}
	for name, tc := range map[string]Case{
		"no JSON":               {body: "pod", code: 400, reason: v1alpha1.ReasonBadReview},
		"an empty body":         {body: "", code: 400, reason: v1alpha1.ReasonBadReview},
		"null":                  {body: "null", code: 400, reason: v1alpha1.ReasonBadReview},
		"another kind":          {body: `{"apiVersion":"v1","kind":"Pod"}`, code: 400, reason: v1alpha1.ReasonBadReview},
		"an old version":        {body: strings.Replace(good, "/v1", "/v1beta1", 1), code: 400, reason: v1alpha1.ReasonBadReview},
		"no request":            {body: `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, code: 400, reason: v1alpha1.ReasonBadReview},
		"a request without uid": {body: strings.Replace(good, "u1", "", 1), code: 400, reason: v1alpha1.ReasonBadReview},
		"fields of wrong types": {body: strings.Replace(good, `"CREATE"`, `{}`, 1), code: 400, reason: v1alpha1.ReasonBadReview},
		"another content type":  {body: good, ctype: "text/plain", code: 415, reason: v1alpha1.ReasonBadReview},
		"a body over the limit": {body: good + strings.Repeat(" ", 1000), code: 413, reason: v1alpha1.ReasonBodyTooLarge},
		"caches not synced":     {body: good, change: func(o *review.Options) { o.Ready = func() bool { return false } }, code: 503, reason: v1alpha1.ReasonNotReady},
		"a panic":               {body: good, f: func(context.Context, *admissionv1.AdmissionRequest) (review.Verdict, error) { panic("boom") }, code: 500, reason: v1alpha1.ReasonPanic},
		"an error":              {body: good, f: fails(errors.New("x")), code: 500, reason: v1alpha1.ReasonUnavailable},
		"a fault":               {body: good, f: fails(review.Unavailable(v1alpha1.ReasonUnproven, errors.New("x"))), code: 503, reason: v1alpha1.ReasonUnproven},
		"time that ran out":     {body: good, f: fails(context.DeadlineExceeded), code: 504, reason: v1alpha1.ReasonDeadline},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.f == nil {
				tc.f = allow
			}
			if tc.ctype == "" {
				tc.ctype = "application/json"
			}
			response, body, reason := post(t, tc.f, tc.body, tc.ctype, tc.change)
			if response.StatusCode != tc.code || reason != tc.reason || !strings.HasPrefix(body, "spillway: "+string(tc.reason)) {
				t.Errorf("got %d, %q, %s; want %d, %s", response.StatusCode, body, reason, tc.code, tc.reason)
			}
		})
	}
}

func fails(err error) reviewer {
	return func(context.Context, *admissionv1.AdmissionRequest) (review.Verdict, error) {
		return review.Verdict{}, err
	}
}

func answer(t *testing.T, f reviewer) *admissionv1.AdmissionResponse {
	t.Helper()
	response, body, _ := post(t, f, good, "application/json; charset=utf-8", nil)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("got %d: %s", response.StatusCode, body)
	}
	var out admissionv1.AdmissionReview
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		t.Fatal(err)
	}
	if out.Response == nil || out.Response.UID != "u1" || out.APIVersion != "admission.k8s.io/v1" || out.Kind != "AdmissionReview" || out.Request != nil {
		t.Fatalf("not an answer to the request: %s", body)
	}
	return out.Response
}

func TestVerdictsAreAnswers(t *testing.T) {
	if r := answer(t, allow); !r.Allowed || r.Patch != nil || r.PatchType != nil {
		t.Errorf("allowed without a change: got %+v", r)
	}
	r := answer(t, func(context.Context, *admissionv1.AdmissionRequest) (review.Verdict, error) {
		return review.Refuse(metav1.StatusReasonInvalid, 422, "why"), nil
	})
	if r.Allowed || r.Result == nil || r.Result.Code != 422 || r.Result.Message != "why" {
		t.Errorf("refused: got %+v", r)
	}
	r = answer(t, func(context.Context, *admissionv1.AdmissionRequest) (review.Verdict, error) {
		return review.Verdict{Patch: []delta.Operation{{Op: "add", Path: "/a", Value: 1}}, Warnings: []string{"w"}}, nil
	})
	if !bytes.Equal(r.Patch, []byte(`[{"op":"add","path":"/a","value":1}]`)) || *r.PatchType != admissionv1.PatchTypeJSONPatch || len(r.Warnings) != 1 {
		t.Errorf("patched: got %+v", r)
	}
}

func TestTheDeadlineLeavesTimeToAnswer(t *testing.T) {
	answer(t, func(ctx context.Context, _ *admissionv1.AdmissionRequest) (review.Verdict, error) {
		at, ok := ctx.Deadline()
		if left := time.Until(at); !ok || left > 3*time.Second {
			t.Errorf("the API server waits 4 s, the request has %s", left)
		}
		return review.Verdict{}, nil
	})
}

// TestAReplicaFinishesWhatIsUnderWay: told to stop, it waits for the request that it has, and sends its
// clients elsewhere.
func TestAReplicaFinishesWhatIsUnderWay(t *testing.T) {
	gate := new(review.Gate)
	entered, finish := make(chan struct{}), make(chan struct{})
	answered := make(chan *http.Response, 1)
	go func() {
		response, _, _ := post(t, func(context.Context, *admissionv1.AdmissionRequest) (review.Verdict, error) {
			close(entered)
			<-finish
			return review.Verdict{}, nil
		}, good, "application/json", func(o *review.Options) { o.Gate = gate })
		answered <- response
	}()
	<-entered
	gate.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := gate.Idle(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("a request is under way: got %v", err)
	}
	close(finish)
	if err := gate.Idle(t.Context()); err != nil {
		t.Error(err)
	}
	if r := <-answered; r.StatusCode != http.StatusOK || r.Close {
		t.Errorf("the request under way got %d, close %v", r.StatusCode, r.Close)
	}
	response, _, _ := post(t, allow, good, "application/json", func(o *review.Options) { o.Gate = gate })
	if !response.Close {
		t.Error("the connection stays open for more requests")
	}
}

func FuzzHandler(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"a","object":null}}`))
	h := review.Handler(reviewer(allow), review.Options{
		Name: "fuzz", MaxBytes: 1 << 20, Timeout: time.Second, Recorder: &reviewed{}, Ready: func() bool { return true }, Gate: new(review.Gate), Log: logr.Discard(),
	})
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 && w.Code != 400 && w.Code != 413 {
			t.Errorf("%q was answered with %d", body, w.Code)
		}
	})
}
