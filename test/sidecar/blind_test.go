package sidecar

import (
	"context"
	"fmt"
	"time"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// blind keeps the webhook of pods away from the namespace of the test, by a value of the chart.
func (f *fixture) blind() {
	f.Helper()
	selector := fmt.Sprintf(`webhook.namespaceSelector=[{"key":"kubernetes.io/metadata.name","operator":"NotIn","values":[%q]}]`, f.ns)
	f.upgrade(f.ctx, "--set-json", selector)
	f.Cleanup(func() { f.upgrade(context.WithoutCancel(f.ctx)) })
}

// upgrade installs the chart with more values.
func (f *fixture) upgrade(ctx context.Context, args ...string) {
	f.Helper()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if out, err := cluster.Helm(ctx, installArgs(args...)...); err != nil {
		f.Fatalf("upgrade the release: %v\n%s", err, out)
	}
}

// rounds waits until the audit has gone round so many times, in a namespace that the webhook does not
// see: each time it finds the pod of another set, and says so.
func (f *fixture) rounds(n int) {
	f.Helper()
	for i := range n {
		name := fmt.Sprintf("round-%d", i)
		f.create(deployment(name, 1))
		f.running(name, 1)
		f.set(name, fmt.Sprintf("selector: {matchLabels: {app: %s}}\ncontainers: [{name: round, image: \"r:1\"}]", name))
		f.eventually("the audit went round", func() (bool, string) {
			n := f.events(string(v1alpha1.ReasonUninjected), f.named(name))
			return n > 0, fmt.Sprint(n)
		})
	}
}
