// Command testimage is a container image for tests of the lab: a program that shows what its
// container looks like from inside, and that can be told to behave badly.
//
//	testimage serve [flags]   serves HTTP on the pod's address until SIGTERM
//	testimage exit CODE       ends with that code
//	testimage cat FILE...     prints files: for exec
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: testimage serve|exit|cat")
		os.Exit(2)
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "serve":
		if err := serve(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "exit":
		code, err := strconv.Atoi(args[0])
		if err != nil {
			code = 2
		}
		fmt.Println("exiting with", code)
		// What ends up in the container's status.
		_ = os.WriteFile("/dev/termination-log", []byte("told to exit"), 0o644)
		os.Exit(code)
	case "cat":
		for _, name := range args {
			content, err := os.ReadFile(name)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			_, _ = os.Stdout.Write(content)
		}
	}
}

// serve runs a server with what tests ask for. It answers admission reviews, too: it allows everything and labels it.
func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	port := flags.String("port", "8080", "port on the pod's address")
	certs := flags.String("certs", "", "folder with tls.crt and tls.key; none means plain HTTP")
	startAfter := flags.Duration("start-after", 0, "how long to wait before serving")
	stopAfter := flags.Duration("stop-after", 0, "how long to go on after SIGTERM")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	host, _ := os.Hostname()
	fmt.Println("started as", host, "version", os.Getenv("VERSION"))
	<-time.After(*startAfter)

	server := &http.Server{Addr: net.JoinHostPort(os.Getenv("POD_IP"), *port), Handler: handler(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() {
		if *certs == "" {
			failed <- server.ListenAndServe()
			return
		}
		failed <- server.ListenAndServeTLS(filepath.Join(*certs, "tls.crt"), filepath.Join(*certs, "tls.key"))
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	fmt.Println("stopping")
	<-time.After(*stopAfter)
	err := server.Shutdown(context.Background())
	fmt.Println("stopped")
	return err
}

func handler() http.Handler {
	var sick atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			http.Error(w, "sick", http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/sick", func(http.ResponseWriter, *http.Request) { sick.Store(true) })
	mux.HandleFunc("/well", func(http.ResponseWriter, *http.Request) { sick.Store(false) })
	mux.HandleFunc("/inside", func(w http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(w).Encode(inside(r)) })
	mux.HandleFunc("/exit", func(_ http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.URL.Query().Get("code"))
		os.Exit(code)
	})
	mux.HandleFunc("/admit", admit)
	return mux
}

// Inside is what the program finds in its container.
type Inside struct {
	Hostname string            `json:"hostname"`
	UID      int               `json:"uid"`
	PID      int               `json:"pid"`
	Args     []string          `json:"args"`
	Env      []string          `json:"env"`
	Files    map[string]string `json:"files"`  // contents of the files asked for, or the error
	Writes   map[string]string `json:"writes"` // errors of writing to the folders asked for
}

func inside(r *http.Request) Inside {
	host, _ := os.Hostname()
	found := Inside{Hostname: host, UID: os.Getuid(), PID: os.Getpid(), Args: os.Args, Env: os.Environ(), Files: map[string]string{}, Writes: map[string]string{}}
	for _, name := range r.URL.Query()["file"] {
		content, err := os.ReadFile(name)
		found.Files[name] = string(content)
		if err != nil {
			found.Files[name] = "error: " + err.Error()
		}
	}
	for _, dir := range r.URL.Query()["write"] {
		if err := os.WriteFile(filepath.Join(dir, "written"), nil, 0o644); err != nil {
			found.Writes[dir] = err.Error()
		}
	}
	return found
}

// review is what is used of an admission review.
type review struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Request    *request  `json:"request,omitempty"`
	Response   *response `json:"response,omitempty"`
}

type request struct {
	UID    string `json:"uid"`
	Object struct {
		Metadata struct {
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
	} `json:"object"`
}

type response struct {
	UID       string `json:"uid"`
	Allowed   bool   `json:"allowed"`
	PatchType string `json:"patchType"`
	Patch     []byte `json:"patch"`
}

// operation is one of a JSON patch.
type operation struct {
	Op    string            `json:"op"`
	Path  string            `json:"path"`
	Value map[string]string `json:"value"`
}

// admit answers a mutating admission review by adding a label with the pod's name.
func admit(w http.ResponseWriter, r *http.Request) {
	var asked review
	body, err := io.ReadAll(r.Body)
	if err := errors.Join(err, json.Unmarshal(body, &asked)); err != nil || asked.Request == nil {
		http.Error(w, fmt.Sprint("not an admission review: ", err), http.StatusBadRequest)
		return
	}
	host, _ := os.Hostname()
	labels := map[string]string{"admitted-by": host}
	maps.Copy(labels, asked.Request.Object.Metadata.Labels)
	patch, err := json.Marshal([]operation{{Op: "add", Path: "/metadata/labels", Value: labels}})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review{
		APIVersion: asked.APIVersion, Kind: asked.Kind,
		Response: &response{UID: asked.Request.UID, Allowed: true, PatchType: "JSONPatch", Patch: patch},
	})
}
