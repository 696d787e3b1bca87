package system

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// eagerPeriod is how often a container that was not yet started or ready is asked. Kubernetes keeps
// to the probe's period, which only costs a test time: until the first success nothing counts.
const eagerPeriod = 250 * time.Millisecond

// probe runs the probes of one run of a container until ctx ends.
func (c *container) probe(ctx context.Context, spec *corev1.Container) {
	if spec.StartupProbe != nil && !c.probeStartup(ctx, spec) {
		return
	}
	c.set(true, spec.ReadinessProbe == nil)
	if spec.LivenessProbe != nil {
		go c.probeLiveness(ctx, spec)
	}
	if spec.ReadinessProbe != nil {
		c.probeReadiness(ctx, spec)
	}
}

func (c *container) probeStartup(ctx context.Context, spec *corev1.Container) bool {
	probe := spec.StartupProbe
	limit := time.Now().Add(seconds(probe.InitialDelaySeconds, 0) + time.Duration(orDefault(probe.FailureThreshold, 3))*seconds(probe.PeriodSeconds, 10))
	ok := false
	err := errors.New("not probed yet")
	c.each(ctx, probe, min(eagerPeriod, seconds(probe.PeriodSeconds, 10)), func(result error) bool {
		ok, err = result == nil, result
		return ok || time.Now().After(limit)
	})
	if !ok && ctx.Err() == nil {
		c.unhealthy("Startup", err)
		c.restart()
	}
	return ok
}

func (c *container) probeLiveness(ctx context.Context, spec *corev1.Container) {
	failures := int32(0)
	c.each(ctx, spec.LivenessProbe, seconds(spec.LivenessProbe.PeriodSeconds, 10), func(err error) bool {
		if err == nil {
			failures = 0
			return false
		}
		c.unhealthy("Liveness", err)
		failures++
		return failures >= orDefault(spec.LivenessProbe.FailureThreshold, 3)
	})
	if ctx.Err() == nil {
		c.restart()
	}
}

func (c *container) probeReadiness(ctx context.Context, spec *corev1.Container) {
	probe := spec.ReadinessProbe
	period := seconds(probe.PeriodSeconds, 10)
	// Until the first success.
	c.each(ctx, probe, min(eagerPeriod, period), func(err error) bool { return err == nil })
	if ctx.Err() != nil {
		return
	}
	c.set(true, true)
	// From then on both thresholds count.
	failures, successes, ready := int32(0), int32(0), true
	c.each(ctx, probe, period, func(err error) bool {
		if err != nil {
			c.unhealthy("Readiness", err)
			failures, successes = failures+1, 0
		} else {
			failures, successes = 0, successes+1
		}
		switch {
		case ready && failures >= orDefault(probe.FailureThreshold, 3):
			ready = false
		case !ready && successes >= orDefault(probe.SuccessThreshold, 1):
			ready = true
		}
		c.set(true, ready)
		return false
	})
}

// each probes once a period until done returns true or ctx ends.
func (c *container) each(ctx context.Context, probe *corev1.Probe, period time.Duration, done func(error) bool) {
	timer := time.NewTimer(seconds(probe.InitialDelaySeconds, 0))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		attempt, cancel := context.WithTimeout(ctx, seconds(probe.TimeoutSeconds, 1))
		err := c.attempt(attempt, probe.ProbeHandler)
		cancel()
		if ctx.Err() != nil || done(err) {
			return
		}
		timer.Reset(period)
	}
}

func (c *container) attempt(ctx context.Context, handler corev1.ProbeHandler) error {
	switch {
	case handler.HTTPGet != nil:
		return c.httpGet(ctx, handler.HTTPGet)
	case handler.TCPSocket != nil:
		return c.tcpDial(ctx, handler.TCPSocket)
	case handler.Exec != nil:
		return c.execute(ctx, handler.Exec.Command)
	default:
		return errors.New("this kind of probe is not supported")
	}
}

// unhealthy leaves an event about a failed probe.
func (c *container) unhealthy(kind string, err error) {
	c.pod.node.events.Eventf(c.pod.spec(), corev1.EventTypeWarning, "Unhealthy", "%s probe failed: %v", kind, err)
}

// restart asks the container's loop to stop the process.
func (c *container) restart() {
	select {
	case c.change <- struct{}{}:
	default:
	}
}

// address is where a probe or hook goes: to the pod's loopback address unless it names a host.
func (c *container) address(given string, port intstr.IntOrString) (string, error) {
	if given == "" {
		given = c.pod.address
	}
	number := port.IntValue()
	if port.Type == intstr.String && number == 0 {
		for _, p := range c.spec().Ports {
			if p.Name == port.StrVal {
				number = int(p.ContainerPort)
			}
		}
	}
	if number == 0 {
		return "", fmt.Errorf("container %s has no port %q", c.name, port.String())
	}
	return net.JoinHostPort(given, strconv.Itoa(number)), nil
}

// probeClient follows no redirects, keeps no connections and trusts any certificate, as the kubelet's probes do.
var probeClient = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport: &http.Transport{
		DisableKeepAlives: true,
		Proxy:             func(*http.Request) (*url.URL, error) { return nil, nil },
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a probe asks whether it answers, not who
	},
}

func (c *container) httpGet(ctx context.Context, action *corev1.HTTPGetAction) error {
	address, err := c.address(action.Host, action.Port)
	if err != nil {
		return err
	}
	scheme := strings.ToLower(string(action.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	target, err := url.Parse(scheme + "://" + address + "/" + strings.TrimPrefix(action.Path, "/"))
	if err != nil {
		return fmt.Errorf("parsing the path: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe/lab")
	for _, header := range action.HTTPHeaders {
		if http.CanonicalHeaderKey(header.Name) == "Host" {
			request.Host = header.Value
			continue
		}
		request.Header.Add(header.Name, header.Value)
	}
	response, err := probeClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", response.StatusCode)
	}
	return nil
}

func (c *container) tcpDial(ctx context.Context, action *corev1.TCPSocketAction) error {
	address, err := c.address(action.Host, action.Port)
	if err != nil {
		return err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// execute runs a command in the container.
func (c *container) execute(ctx context.Context, command []string) error {
	process, env := c.current()
	if process == nil {
		return errors.New("the container is not running")
	}
	cmd, err := process.Command(c.pod.node.mode, command, env)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill()
		}
	})
	defer stop()
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("command %q: %w: %s", command, err, strings.TrimSpace(string(output)))
	}
	return nil
}

// hook runs a lifecycle handler; a failed one is an event.
func (c *container) hook(ctx context.Context, kind string, handler *corev1.LifecycleHandler) {
	var err error
	switch {
	case handler.HTTPGet != nil:
		err = c.httpGet(ctx, handler.HTTPGet)
	case handler.Exec != nil:
		err = c.execute(ctx, handler.Exec.Command)
	case handler.Sleep != nil:
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(handler.Sleep.Seconds) * time.Second):
		}
	default:
		err = errors.New("this kind of handler is not supported")
	}
	if err != nil && ctx.Err() == nil {
		c.pod.node.events.Eventf(c.pod.spec(), corev1.EventTypeWarning, "Failed"+kind+"Hook", "%v", err)
	}
}

func seconds(given, fallback int32) time.Duration {
	return time.Duration(orDefault(given, fallback)) * time.Second
}

func orDefault(given, fallback int32) int32 {
	if given == 0 {
		return fallback
	}
	return given
}
