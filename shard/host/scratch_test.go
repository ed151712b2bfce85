package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestScratchOfKilledRunsIsRemoved(t *testing.T) {
	parent := t.TempDir()
	stale := filepath.Join(parent, scratchPrefix+"1")
	other := filepath.Join(parent, "another-program")
	for _, d := range []string{stale, other} {
		if err := os.MkdirAll(filepath.Join(d, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// What is no directory of ours does not hold anybody up.
	pipe, link := filepath.Join(parent, scratchPrefix+"pipe"), filepath.Join(parent, scratchPrefix+"link")
	if err := errors.Join(unix.Mkfifo(pipe, 0o644), os.Symlink(pipe, link)); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(stale, old, old); err != nil {
		t.Fatal(err)
	}
	first, removeFirst, err := MakeScratch(parent)
	if err != nil {
		t.Fatal(err)
	}
	second, removeSecond, err := MakeScratch(parent)
	if err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{stale: false, other: true, pipe: true, first: true, second: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: %v, want there %v", dir, err, want)
		}
	}
	removeFirst()
	removeSecond()
	for _, dir := range []string{first, second} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
	}
}
