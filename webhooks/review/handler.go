package review

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// Handler serves a Reviewer over HTTP.
func Handler(reviewer Reviewer, o Options) http.Handler {
	return &handler{reviewer: reviewer, Options: o}
}

type handler struct {
	reviewer Reviewer
	Options
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	defer h.Gate.enter(w)()
	body, reason, err := h.serve(w, r)
	code := http.StatusOK
	if err != nil {
		var fault *Fault
		if !errors.As(err, &fault) {
			fault = &Fault{Code: http.StatusInternalServerError, Reason: v1alpha1.ReasonUnavailable, Err: err}
		}
		code, reason = fault.Code, fault.Reason
		h.Log.Error(err, "Request failed", "webhook", h.Name, "reason", reason, "code", code)
		http.Error(w, fmt.Sprintf("spillway: %s: %v", reason, err), code)
	} else {
		w.Header().Set("Content-Type", "application/json")
		if _, err := w.Write(body); err != nil {
			h.Log.Info("Answer was not read", "webhook", h.Name, "error", err.Error())
		}
	}
	h.Recorder.Reviewed(h.Name, code, reason, time.Since(start))
}

// serve decodes, decides and encodes. It never panics.
func (h *handler) serve(w http.ResponseWriter, r *http.Request) (body []byte, reason v1alpha1.Reason, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.Log.Error(fmt.Errorf("%v", p), "Panic in webhook", "webhook", h.Name, "stack", string(debug.Stack()))
			err = &Fault{Code: http.StatusInternalServerError, Reason: v1alpha1.ReasonPanic, Err: fmt.Errorf("panic: %v", p)}
		}
	}()
	review, err := h.decode(w, r)
	if err != nil {
		return nil, "", err
	}
	if !h.Ready() {
		return nil, "", Unavailable(v1alpha1.ReasonNotReady, errors.New("caches have not synced yet"))
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.deadline(r))
	defer cancel()
	verdict, err := h.reviewer.Review(ctx, review.Request)
	if err != nil {
		return nil, "", classify(err)
	}
	review.Response, err = respond(review.Request, verdict)
	if err != nil {
		return nil, "", err
	}
	review.Request = nil
	body, err = json.Marshal(review)
	if err != nil {
		return nil, "", fmt.Errorf("encode the answer: %w", err)
	}
	return body, verdict.Reason, nil
}

// classify gives the end of a request's time its own reason.
func classify(err error) error {
	var fault *Fault
	if !errors.As(err, &fault) && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return &Fault{Code: http.StatusGatewayTimeout, Reason: v1alpha1.ReasonDeadline, Err: err}
	}
	return err
}

func (h *handler) decode(w http.ResponseWriter, r *http.Request) (*admissionv1.AdmissionReview, error) {
	if r.Method != http.MethodPost {
		return nil, &Fault{Code: http.StatusMethodNotAllowed, Reason: v1alpha1.ReasonBadReview, Err: fmt.Errorf("method %s: AdmissionReviews are posted", r.Method)}
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &Fault{Code: http.StatusUnsupportedMediaType, Reason: v1alpha1.ReasonBadReview, Err: fmt.Errorf("content type %q: send application/json", r.Header.Get("Content-Type"))}
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.MaxBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &Fault{Code: http.StatusRequestEntityTooLarge, Reason: v1alpha1.ReasonBodyTooLarge, Err: fmt.Errorf("the body is larger than %d bytes", tooLarge.Limit)}
	case err != nil:
		return nil, badReview("read the body: %w", err)
	}
	var review admissionv1.AdmissionReview
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &review); err != nil {
		return nil, badReview("decode the AdmissionReview: %w", err)
	}
	if review.APIVersion != admissionv1.SchemeGroupVersion.String() || review.Kind != "AdmissionReview" {
		return nil, badReview("the body is %q of %q, not an AdmissionReview of %s", review.Kind, review.APIVersion, admissionv1.SchemeGroupVersion)
	}
	if review.Request == nil || review.Request.UID == "" {
		return nil, badReview("the AdmissionReview holds no request with a uid")
	}
	return &review, nil
}

func respond(request *admissionv1.AdmissionRequest, v Verdict) (*admissionv1.AdmissionResponse, error) {
	out := &admissionv1.AdmissionResponse{
		UID: request.UID, Allowed: v.Refusal == nil, Result: v.Refusal, Warnings: v.Warnings,
	}
	if len(v.Patch) > 0 {
		patch, err := json.Marshal(v.Patch)
		if err != nil {
			return nil, fmt.Errorf("encode the patch: %w", err)
		}
		kind := admissionv1.PatchTypeJSONPatch
		out.Patch, out.PatchType = patch, &kind
	}
	return out, nil
}

// Refuse is the verdict on an object that breaks its own rules.
func Refuse(reason metav1.StatusReason, code int32, message string) Verdict {
	return Verdict{
		Refusal: &metav1.Status{Status: metav1.StatusFailure, Reason: reason, Code: code, Message: message},
		Reason:  v1alpha1.Reason(reason),
	}
}
