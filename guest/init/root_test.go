package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// A root file system has anything where init mounts.
func TestMakeDir(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(at("file"), nil, 0o600), os.Symlink("nowhere", at("broken")), os.Mkdir(at("dir"), 0o700), os.Symlink("dir", at("link"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "broken", "dir", "link", "none"} {
		if err := makeDir(at(name)); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(at(name)); err != nil || !info.IsDir() {
			t.Errorf("%s is %v, %v", name, info, err)
		}
	}
	if to, err := os.Readlink(at("link")); err != nil || to != "dir" {
		t.Errorf("a link to a directory is %q, %v", to, err)
	}
}

// A file system that takes no attributes costs a note, and nothing more.
func TestXattrsThatAreNotTaken(t *testing.T) {
	file, list := filepath.Join(t.TempDir(), "file"), filepath.Join(t.TempDir(), "list")
	all := []wire.Xattr{{Path: []byte(file), Name: "none.a"}, {Path: []byte(file), Name: "none.b"}, {Path: []byte(list), Name: "none.a"}}
	b, err := json.Marshal(all)
	if err = errors.Join(err, os.WriteFile(file, nil, 0o600), os.WriteFile(list, b, 0o600)); err != nil {
		t.Fatal(err)
	}
	note, err := setXattrs(list)
	if err != nil || !strings.Contains(note, ": 2 files of the root file system lack theirs") {
		t.Errorf("%q, %v", note, err)
	}
	if note, err := setXattrs(list); err != nil || note != "" {
		t.Errorf("the list is still there: %q, %v", note, err)
	}
}
