package golden

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// folder makes one that holds the files, each with its name as its text.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestEveryInputIsACase(t *testing.T) {
	var seen []string
	Pairs(t, folder(t, "a.in", "a.out", "b.in", "b.out"), ".in", ".out", func(t *testing.T, text string) string {
		seen = append(seen, text+" "+t.Name())
		return strings.TrimSuffix(text, ".in") + ".out"
	})
	if diff := cmp.Diff([]string{"a.in TestEveryInputIsACase/a", "b.in TestEveryInputIsACase/b"}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestAnInputMayHaveSeveralFiles(t *testing.T) {
	Cases(t, folder(t, "a.in", "a.told", "a.made"), ".in", []string{".told", ".made"}, func(*testing.T, string) []string {
		return []string{"a.told", "a.made"}
	})
}

func TestWhatBelongsToNoCaseIsFound(t *testing.T) {
	dir := folder(t, "a.in", "a.out", "b.out", "c.txt")
	if err := os.Mkdir(filepath.Join(dir, "fuzz"), 0o700); err != nil {
		t.Fatal(err)
	}
	names, strangers, err := sorted(dir, ".in", []string{".out"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"a"}, {"b.out", "c.txt"}}, [][]string{names, strangers}); diff != "" {
		t.Error(diff)
	}
	if _, _, err := sorted(dir, ".yaml", nil); err == nil {
		t.Error("a folder without cases is no fault")
	}
}

func TestAFileIsComparedOrWritten(t *testing.T) {
	file := filepath.Join(folder(t, "a.out"), "a.out")
	if diff, err := compare(file, "other", false); err != nil || !strings.Contains(diff, `+`) {
		t.Errorf("compared: %q, %v", diff, err)
	}
	if diff, err := compare(file, "other", true); err != nil || diff != "" {
		t.Errorf("written: %q, %v", diff, err)
	}
	if diff, err := compare(file, "other", false); err != nil || diff != "" {
		t.Errorf("compared again: %q, %v", diff, err)
	}
	if _, err := compare(file+".not", "other", false); err == nil {
		t.Error("a file that is missing is no fault")
	}
}
