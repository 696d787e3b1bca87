package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spillway-project/spillway/internal/lint"
	"github.com/spillway-project/spillway/internal/testing/golden"
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
	golden.File(t, manual, before+head+table.String())
}
