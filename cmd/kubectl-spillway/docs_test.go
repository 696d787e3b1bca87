package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spillway-project/spillway/internal/lint"
)

// TestTheManualListsTheRules: docs/cli.md has the table of rules as it is. -update writes it.
func TestTheManualListsTheRules(t *testing.T) {
	const manual, head = "../../docs/cli.md", "| rule | severity | corrected | what | why |\n|---|---|---|---|---|\n"
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(text), head)
	if !found {
		t.Fatalf("%s has no table of rules", manual)
	}
	var table strings.Builder
	for _, r := range lint.Rules() {
		corrected := ""
		if r.Corrects {
			corrected = "yes"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s | %s |\n", r.ID, r.Severity, corrected, r.What, r.Why)
	}
	want := before + head + table.String()
	if *update {
		if err := os.WriteFile(manual, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("%s lists other rules: run go test ./cmd/kubectl-spillway -update", manual)
	}
}
