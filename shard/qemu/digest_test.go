package qemu

import (
	"os"
	"path/filepath"
	"testing"
)

func TestROMDigest(t *testing.T) {
	arch, err := LookupArch("amd64")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := Find(arch)
	if err != nil {
		t.Fatal(err)
	}
	a, err := ROMDigest(t.Context(), bin)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := ROMDigest(t.Context(), bin); err != nil || a != b {
		t.Errorf("%s, then %s, %v", a, b, err)
	}
	if _, err := ROMDigest(t.Context(), filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a QEMU that is not there has firmware")
	}
}

func TestROMDigestFollowsTheFiles(t *testing.T) {
	dir := t.TempDir()
	list := []byte("/does/not/exist\n" + dir + "\n")
	if _, err := romDigest(list); err == nil {
		t.Error("no firmware has a digest")
	}
	seen := map[string]string{}
	for _, x := range []struct{ name, data string }{
		{"bios.bin", "one"}, {"bios.bin", "two"}, {"pvh.bin", "two"}, {"a.rom", ""},
	} {
		if err := os.WriteFile(filepath.Join(dir, x.name), []byte(x.data), 0o644); err != nil {
			t.Fatal(err)
		}
		d, err := romDigest(list)
		if err != nil {
			t.Fatal(err)
		}
		if old, twice := seen[d]; twice {
			t.Errorf("%v changes nothing after %s", x, old)
		}
		seen[d] = x.name
	}
	before, _ := romDigest(list)
	if err := os.WriteFile(filepath.Join(dir, "keymap"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if after, err := romDigest(list); err != nil || after != before {
		t.Errorf("a keymap counts as firmware: %v", err)
	}
}
