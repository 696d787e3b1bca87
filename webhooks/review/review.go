// Package review is the HTTP shell of the admission webhooks. It decodes AdmissionReviews, bounds
// their size and time, and keeps verdicts and faults apart.
//
// A verdict is about the object: it may be refused, with a message for its author. A fault is ours:
// caches not synced, ledger unreachable, time run out, a panic. allowed: false refuses the object
// even under failurePolicy: Ignore, because the API server consults the policy only when the call
// fails. So a fault is answered as an HTTP error, and the failure policy decides.
package review

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/delta"
)

// Reviewer decides on one request. An error is a fault; a *Fault says which HTTP status it gets,
// any other error gets 500.
type Reviewer interface {
	Review(ctx context.Context, request *admissionv1.AdmissionRequest) (Verdict, error)
}

// Verdict is a decision about an object.
type Verdict struct {
	// Refusal, if set, refuses the object and tells its author why.
	Refusal *metav1.Status
	// Patch changes the object as received.
	Patch []delta.Operation
	// Warnings are shown to the author by the client.
	Warnings []string
	// Reason says in one word what was decided, for metrics and logs.
	Reason v1alpha1.Reason
}

// Fault is an error of ours, or of what we depend on.
type Fault struct {
	Code   int // HTTP status
	Reason v1alpha1.Reason
	Err    error
}

// Error implements error.
func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Unavailable is the fault of something that a retry may find mended.
func Unavailable(reason v1alpha1.Reason, err error) *Fault {
	return &Fault{Code: http.StatusServiceUnavailable, Reason: reason, Err: err}
}

// Recorder is told of every request. Implementations must not block.
type Recorder interface {
	// Reviewed: a request was answered with an HTTP status; reason is the verdict's or the fault's.
	Reviewed(webhook string, code int, reason v1alpha1.Reason, took time.Duration)
}

// Options of a handler.
type Options struct {
	// Name of the webhook, for metrics and logs.
	Name string
	// MaxBytes bounds the request body.
	MaxBytes int64
	// Timeout bounds a request for which the API server does not say how long it waits.
	Timeout time.Duration
	// Ready reports whether requests can be decided yet.
	Ready func() bool
	// Gate counts the requests under way.
	Gate     *Gate
	Recorder Recorder
	Log      logr.Logger
}

// margin is taken from the API server's timeout, so that our error arrives rather than its own.
const margin = time.Second

// deadline returns how long a request may take: what the API server grants (?timeout=10s), less the
// margin, but at least half of it.
func (o *Options) deadline(r *http.Request) time.Duration {
	granted := o.Timeout
	if d, err := time.ParseDuration(r.URL.Query().Get("timeout")); err == nil && d > 0 {
		granted = min(d, 30*time.Second) // the API's own maximum
	}
	return max(granted-margin, granted/2)
}

func badReview(format string, args ...any) *Fault {
	return &Fault{Code: http.StatusBadRequest, Reason: v1alpha1.ReasonBadReview, Err: fmt.Errorf(format, args...)}
}
