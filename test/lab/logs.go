package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// lastLines is the end of text, at most n lines of it.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Tail is the end of a log file, at most n lines, or why it cannot be read: it goes into messages about failures.
func Tail(file string, n int) string {
	const window = 64 << 10
	f, err := os.Open(file)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	content := make([]byte, min(info.Size(), window))
	read, _ := f.ReadAt(content, info.Size()-int64(len(content)))
	return lastLines(string(content[:read]), n)
}

// LogTail is the end of the log of one of the lab's processes, such as kube-apiserver or kwok, at most n lines.
func (l *Lab) LogTail(name string, n int) string {
	return Tail(filepath.Join(l.logs(), name+".log"), n)
}

// CopyLogs makes dir a copy of the lab's logs, those of its containers included. What dir held before is removed.
func (l *Lab) CopyLogs(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clearing %s: %w", dir, err)
	}
	if err := os.CopyFS(dir, os.DirFS(l.logs())); err != nil {
		return fmt.Errorf("copying the lab's logs: %w", err)
	}
	return nil
}
