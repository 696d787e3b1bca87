// Package golden is the one way in which tests compare what they produce with files: each NAME.in.yaml in a folder is a
// case, and what is made of it stands beside it. It is for tests only.
//
// go test PACKAGE -update writes the files anew, of a package whose tests use this one; look at the difference before
// committing it. A file of the folder that belongs to no case fails the test, so that none is left behind by a case that
// was renamed.
package golden

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Pairs runs each folder/NAME+in as a subtest NAME: what produce makes of its text is to be what folder/NAME+out holds.
func Pairs(t *testing.T, folder, in, out string, produce func(t *testing.T, text string) string) {
	t.Helper()
	Cases(t, folder, in, []string{out}, func(t *testing.T, text string) []string { return []string{produce(t, text)} })
}

// Cases is Pairs with several files for each input: produce returns their texts in the order of outs.
func Cases(t *testing.T, folder, in string, outs []string, produce func(t *testing.T, text string) []string) {
	t.Helper()
	names, strangers, err := sorted(folder, in, outs)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			stem := filepath.Join(folder, name)
			text, err := os.ReadFile(stem + in)
			if err != nil {
				t.Fatal(err)
			}
			for i, got := range produce(t, string(text)) {
				File(t, stem+outs[i], got)
			}
		})
	}
	for _, file := range strangers {
		t.Errorf("%s belongs to no file %s", filepath.Join(folder, file), in)
	}
}

// File compares a text with that of a file.
func File(t *testing.T, path, got string) {
	t.Helper()
	difference, err := compare(path, got, *update)
	if err != nil {
		t.Fatal(err)
	}
	if difference != "" {
		t.Errorf("%s: check this, and run the tests with -update (-want +got):\n%s", path, difference)
	}
}

// compare returns how a file differs from a text; nothing after it has written the text there.
func compare(path, got string, write bool) (string, error) {
	if write {
		return "", os.WriteFile(path, []byte(got), 0o600)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return cmp.Diff(string(want), got), nil
}

// sorted returns the cases in a folder, and the files that belong to none. What is in folders below is not looked at:
// fuzzing keeps its finds there.
func sorted(folder, in string, outs []string) (names, strangers []string, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), in); ok && !e.IsDir() {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, nil, fmt.Errorf("%s holds no file %s", folder, in)
	}
	for _, e := range entries {
		belongs := slices.ContainsFunc(append([]string{in}, outs...), func(suffix string) bool {
			name, ok := strings.CutSuffix(e.Name(), suffix)
			return ok && slices.Contains(names, name)
		})
		if !e.IsDir() && !belongs {
			strangers = append(strangers, e.Name())
		}
	}
	return names, strangers, nil
}
