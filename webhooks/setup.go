// Package webhooks registers the admission webhooks with a server.
package webhooks

import (
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	config "github.com/spillway-project/spillway/api/config/v1alpha1"
	"github.com/spillway-project/spillway/webhooks/pod"
	"github.com/spillway-project/spillway/webhooks/restore"
	"github.com/spillway-project/spillway/webhooks/review"
	"github.com/spillway-project/spillway/webhooks/sidecarset"
	"github.com/spillway-project/spillway/webhooks/workloadspread"
)

// SetupMember registers the webhook of the member role. It can decide from the first request on; gate counts those
// under way.
func SetupMember(server webhook.Server, c config.Webhook, restorer *restore.Restorer, gate *review.Gate, recorder review.Recorder, log logr.Logger) {
	server.Register(restore.Path, review.Handler(restorer, review.Options{
		Name: "restore", MaxBytes: c.MaxBodyBytes, Timeout: time.Duration(c.TimeoutSeconds) * time.Second,
		Ready: func() bool { return true }, Gate: gate, Recorder: recorder, Log: log.WithName("restore"),
	}))
}

// Setup registers the webhooks of the upper role. ready reports whether requests can be decided yet; gate counts
// those under way.
func Setup(server webhook.Server, c config.Webhook, pods *pod.Mutator, spreads *workloadspread.Validator,
	sidecarDefaults *sidecarset.Defaulter, sidecars *sidecarset.Validator, ready func() bool, gate *review.Gate, recorder review.Recorder, log logr.Logger,
) {
	options := func(name string) review.Options {
		return review.Options{
			Name: name, MaxBytes: c.MaxBodyBytes, Timeout: time.Duration(c.TimeoutSeconds) * time.Second,
			Ready: ready, Gate: gate, Recorder: recorder, Log: log.WithName(name),
		}
	}
	server.Register(pod.Path, review.Handler(pods, options("pods")))
	server.Register(workloadspread.Path, review.Handler(spreads, options("workloadspreads")))
	server.Register(sidecarset.DefaultPath, review.Handler(sidecarDefaults, options("sidecarset-defaults")))
	server.Register(sidecarset.ValidatePath, review.Handler(sidecars, options("sidecarsets")))
}
