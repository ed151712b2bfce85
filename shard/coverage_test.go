package shard

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// A program's GOCOVERDIR becomes a profile; what is damaged, or more than it can
// be, is an error and leaves none.
func TestCoverText(t *testing.T) {
	dir := t.TempDir()
	data, profile := filepath.Join(dir, wire.CoverDataDir), filepath.Join(dir, wire.CoverProfileName)
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-cover", "-coverpkg=./testdata/collect/...", "-o", program, "./testdata/collect/program")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), "GOCOVERDIR="+data)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := coverText(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(profile)
	if err != nil || !strings.HasPrefix(string(b), "mode: set\n") || !strings.Contains(string(b), "collect.go:6.43,8.3 1 0\n") {
		t.Errorf("%v, %s", err, b)
	}
	// Damaged in its middle, as a guest may write it.
	metas, _ := filepath.Glob(data + "/covmeta.*")
	if len(metas) != 1 {
		t.Fatalf("%q", metas)
	}
	b, err = os.ReadFile(metas[0])
	if err == nil {
		for i := 16; i < len(b); i++ {
			b[i] = 0xff
		}
		err = errors.Join(os.WriteFile(metas[0], b, 0o600), os.Remove(profile))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := coverText(t.Context(), dir); err == nil {
		t.Error("damaged data is no error")
	} else if len(err.Error()) > 1000 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
	if _, err := os.Stat(profile); err == nil {
		t.Error("damaged data leaves a profile")
	}
	t.Setenv("PATH", "")
	if err := coverText(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "there is no go command here") {
		t.Errorf("without a go command: %v", err)
	}
}
