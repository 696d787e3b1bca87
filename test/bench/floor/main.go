// Command floor is what an admission webhook costs that decides nothing: the same server, TLS and
// probes as Spillway's, and an answer that is made without decoding the request. It takes the place of
// the manager in the chart, and is what the benchmark compares with.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/spillway-project/spillway/internal/config"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run() error {
	path := flag.String("config", "", "the manager's configuration file")
	bind := flag.String("bind-address", "", "IP address to listen on")
	flag.Parse()
	c, err := config.Load(*path)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	server := webhook.NewServer(webhook.Options{
		Host: *bind, Port: int(c.Webhook.Port), CertDir: c.Webhook.CertDir,
		TLSOpts: []func(*tls.Config){func(t *tls.Config) { t.NextProtos, t.MinVersion = []string{"http/1.1"}, tls.VersionTLS12 }},
	})
	for _, path := range []string{"/mutate-pods", "/validate-workloadspreads", "/mutate-sidecarsets", "/validate-sidecarsets"} {
		server.Register(path, http.HandlerFunc(allow))
	}
	probes := &http.Server{
		Addr: net.JoinHostPort(*bind, strconv.Itoa(int(c.Health.Port))), ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := server.StartedChecker()(r); err != nil && r.URL.Path == "/readyz" {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
			}
		}),
	}
	go func() {
		if err := probes.ListenAndServe(); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "floor:", err)
			os.Exit(1)
		}
	}()
	return server.Start(ctx)
}

// allow lets everything pass. The request's UID is found as text: the API server writes it first.
func allow(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	const key = `"uid":"`
	_, rest, _ := bytes.Cut(body, []byte(key))
	uid, _, ok := bytes.Cut(rest, []byte(`"`))
	if !ok {
		http.Error(w, "no uid", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"%s","allowed":true}}`, uid)
}
