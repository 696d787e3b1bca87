package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// audit is the API server's own record of what Spillway asks of it.
type audit struct{ dir string }

// policy records the requests of Spillway's service account, once each, when they are answered.
const policy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted, Panic]
rules:
- {level: Metadata, users: ["system:serviceaccount:spillway-system:spillway"]}
- {level: None}
`

func newAudit() (*audit, error) {
	dir, err := os.MkdirTemp("", "spillway-audit-")
	if err != nil {
		return nil, err
	}
	a := &audit{dir}
	return a, os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(policy), 0o600)
}

func (a *audit) args() []string {
	return []string{
		"--audit-policy-file=" + filepath.Join(a.dir, "policy.yaml"), "--audit-log-path=" + filepath.Join(a.dir, "audit.log"),
		"--audit-log-mode=blocking",
	}
}

// mark returns the place in the record that it has come to.
func (a *audit) mark() int64 {
	info, err := os.Stat(filepath.Join(a.dir, "audit.log"))
	if err != nil {
		return 0
	}
	return info.Size()
}

// since counts the requests after a mark, by "verb resource".
func (f *fixture) requestsSince(mark int64) map[string]int {
	f.Helper()
	file, err := os.Open(filepath.Join(cluster.audit.dir, "audit.log"))
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Seek(mark, 0); err != nil {
		f.Fatal(err)
	}
	out := map[string]int{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Verb       string
			RequestURI string
			ObjectRef  struct{ Resource, Subresource, Namespace string }
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
		out[fmt.Sprintf("%s %s", e.Verb, what)]++
	}
	return out
}
