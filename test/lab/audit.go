package lab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Audit is the API server's own record of what one user asks of it. Its arguments go into
// Options.APIServerArgs.
type Audit struct{ dir string }

// auditPolicy records the requests of one user, once each, when they are answered.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted, Panic]
rules:
- {level: Metadata, users: [%q]}
- {level: None}
`

// NewAudit prepares the record of a user, such as system:serviceaccount:NAMESPACE:NAME, in a folder of its
// own, which Close removes.
func NewAudit(user string) (*Audit, error) {
	dir, err := os.MkdirTemp("", "spillway-audit-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the audit: %w", err)
	}
	a := &Audit{dir}
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), fmt.Appendf(nil, auditPolicy, user), 0o600); err != nil {
		return nil, fmt.Errorf("write the audit's policy: %w", err)
	}
	return a, nil
}

// Close removes the record.
func (a *Audit) Close() error { return os.RemoveAll(a.dir) }

// Args are the arguments for the API server. Each request is recorded before it is answered.
func (a *Audit) Args() []string {
	return []string{
		"--audit-policy-file=" + filepath.Join(a.dir, "policy.yaml"), "--audit-log-path=" + a.log(), "--audit-log-mode=blocking",
		"--audit-log-maxsize=10000", // never rotated: marks stay valid
	}
}

func (a *Audit) log() string { return filepath.Join(a.dir, "audit.log") }

// Mark returns the place that the record has come to.
func (a *Audit) Mark() int64 {
	info, err := os.Stat(a.log())
	if err != nil {
		return 0 // nothing was recorded yet
	}
	return info.Size()
}

// Request is a kind of request.
type Request struct {
	// What is "verb resource" or "verb resource/subresource", of requests for no resource "verb path".
	What string
	// Code is the HTTP status that it was answered with.
	Code int
}

// Since counts the requests after a mark.
func (a *Audit) Since(mark int64) (map[Request]int, error) {
	file, err := os.Open(a.log())
	if err != nil {
		if os.IsNotExist(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("read the audit: %w", err)
	}
	defer file.Close()
	if _, err := file.Seek(mark, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the audit: %w", err)
	}
	out := make(map[Request]int)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Verb, RequestURI string
			ObjectRef        struct{ Resource, Subresource string }
			ResponseStatus   struct{ Code int }
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // the line that is being written
		}
		what := e.ObjectRef.Resource
		if e.ObjectRef.Subresource != "" {
			what += "/" + e.ObjectRef.Subresource
		}
		if what == "" {
			what, _, _ = strings.Cut(e.RequestURI, "?")
		}
		out[Request{e.Verb + " " + what, e.ResponseStatus.Code}]++
	}
	return out, lines.Err()
}
