// Command kubectl-spillway is the plugin of kubectl for Spillway: "kubectl spillway …". What it says comes from the
// code that admits pods and objects.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spillway-project/spillway/internal/version"
)

// Exit codes.
const (
	exitClean    = 0
	exitFindings = 1
	exitUsage    = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// errFindings is the end of a command that found something and has said so.
var errFindings = errors.New("there are findings")

// run executes a command line and returns the exit code.
func run(args []string, in io.Reader, out, errs io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	switch err := root.Execute(); {
	case err == nil:
		return exitClean
	case errors.Is(err, errFindings):
		return exitFindings
	default:
		fmt.Fprintln(errs, "error:", err)
		return exitUsage
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-spillway",
		Short:         "Work with WorkloadSpreads and SidecarSets.",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl spillway"},
		Version:       version.String(),
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetVersionTemplate("kubectl-spillway {{.Version}}\n")
	root.AddCommand(newLint())
	return root
}

// lines joins the lines of a help text.
func lines(all ...string) string { return strings.Join(all, "\n") }
