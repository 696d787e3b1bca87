package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// ServeControl serves the control API of a kubelet on a Unix socket until ctx ends.
func ServeControl(ctx context.Context, socket string, handler http.Handler) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("listening for control: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving control: %w", err)
	}
	return nil
}

// Handle makes a handler of a function: its error becomes the answer, its result JSON.
func Handle(do func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		result, err := do(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		// An error here means that the one who asked is gone.
		_ = json.NewEncoder(w).Encode(result)
	}
}

// Decode reads the request's JSON into v. Unknown fields are refused, so that the two sides of the
// socket, which are different modules, cannot drift apart unnoticed.
func Decode(r *http.Request, v any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return fmt.Errorf("decoding the request: %w", err)
	}
	return nil
}
