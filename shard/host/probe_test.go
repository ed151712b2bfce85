package host

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// QEMU is asked once for as long as its program stays as it is; a script is asked
// each time.
func TestProbeRemembers(t *testing.T) {
	arch, err := qemu.LookupArch("amd64")
	if err != nil {
		t.Fatal(err)
	}
	real, err := qemu.Find(arch)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := kernel.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	probe := func() Machine {
		t.Helper()
		m, err := Probe(t.Context(), cache, arch, qemu.TCG)
		if err != nil {
			t.Fatal(err)
		}
		m.Init, m.TSC = nil, 0 // which is never quite the same
		return m
	}
	notes := func() int {
		t.Helper()
		list, err := os.ReadDir(filepath.Join(cache.Dir(), "hashes"))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	first := probe()
	if first.Version == "" || first.Digest == "" || first.Sandbox == "" || first.Firmware == "" || notes() != 1 {
		t.Fatalf("%+v, %d notes", first, notes())
	}
	if d := cmp.Diff(first, probe()); d != "" {
		t.Errorf("the second time (-first +second):\n%s", d)
	}

	dir := t.TempDir()
	asked := filepath.Join(dir, "asked")
	script := "#!/bin/sh\necho >>" + asked + "\nexec " + real + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, arch.Binary), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for want := range 2 {
		if m := probe(); m.Version != first.Version || notes() != 1 {
			t.Errorf("%+v, %d notes", m, notes())
		}
		if b, err := os.ReadFile(asked); err != nil || len(b) != 3*(want+1) {
			t.Errorf("asked %d times after %d probes, %v", len(b), want+1, err)
		}
	}
}
