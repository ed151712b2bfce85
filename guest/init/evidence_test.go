package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLeftRunning(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cat", file, "-")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	has := func(args ...string) bool {
		return slices.Contains(leftRunning(), fmt.Sprintf("%.80q", strings.Join(args, " ")))
	}
	if !has(cmd.Args...) {
		t.Errorf("a process that runs is not among %q", leftRunning())
	}
	if has(os.Args...) {
		t.Error("init itself is among them")
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil || has(cmd.Args...) {
		t.Errorf("it ended (%v) and is still found: %v", err, has(cmd.Args...))
	}
}
