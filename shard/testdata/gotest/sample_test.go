// Package gotest is compiled to a test binary for the VM tests: some of its
// tests fail on purpose. It is not for go test ./..., which passes over testdata.
package gotest

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv("EXIT") == "main" {
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestExits(t *testing.T) {
	if os.Getenv("EXIT") == "test" {
		fmt.Print("\x16--- PASS: TestExits (0.00s)\n\x16PASS\n")
		os.Exit(0)
	}
}

func TestSubtests(t *testing.T) {
	t.Run("passes", func(t *testing.T) { t.Log("fine") })
	t.Run("fails", func(t *testing.T) { t.Error("want 1, got 2") })
	t.Run("is skipped", func(t *testing.T) { t.Skip("no such feature") })
}

func TestPrintsWithoutNewline(t *testing.T) { fmt.Print("no newline") }

func TestFile(t *testing.T) {
	b, err := os.ReadFile("data/file.txt")
	if err != nil || string(b) != os.Getenv("WANT") {
		t.Errorf("read %q, %v, want %q", b, err, os.Getenv("WANT"))
	}
}

func TestPanic(t *testing.T) {
	if os.Getenv("PANIC") != "" {
		panic("boom")
	}
}

func TestLast(t *testing.T) {
	if os.Getenv("SKIP") != "" {
		t.Skip("nothing to do")
	}
}
