// Package version says which build this is.
package version

import "runtime/debug"

// These are set by the linker (-X); see the Makefile.
var (
	version = "devel"
	commit  = ""
)

// String returns version, commit and Go version in one line.
func String() string {
	info, ok := debug.ReadBuildInfo()
	s := version
	if commit != "" {
		s += " (" + commit + ")"
	}
	if ok {
		s += " " + info.GoVersion
	}
	return s
}

// Version returns the version alone.
func Version() string { return version }
