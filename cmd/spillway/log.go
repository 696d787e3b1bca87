package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	config "github.com/spillway-project/spillway/api/config/v1alpha1"
)

// newLogger makes the structured log on standard error, for us and for client-go.
func newLogger(c config.Log) (logr.Logger, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "error": slog.LevelError}
	level, ok := levels[c.Level]
	if !ok {
		return logr.Logger{}, fmt.Errorf("log.level %q: use debug, info or error", c.Level)
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewJSONHandler(os.Stderr, options)
	if c.Format == "text" {
		handler = slog.NewTextHandler(os.Stderr, options)
	}
	log := logr.FromSlogHandler(handler)
	klog.SetLogger(log)
	return log, nil
}
