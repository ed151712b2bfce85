package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A link leads to a file of the rootfs, also when that is hidden and removed.
func TestStayBehind(t *testing.T) {
	src, dst := filepath.Join(t.TempDir(), "zip"), filepath.Join(t.TempDir(), "zip")
	if err := os.WriteFile(src, []byte("PK"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := stayBehind(src, dst); err != nil {
		t.Fatal(err)
	}
	defer onDemandFile.Close()
	os.Remove(src)
	to, err := os.Readlink(dst)
	if err != nil || !strings.HasPrefix(to, "/proc/1/fd/") {
		t.Fatalf("%q, %v", to, err)
	}
	if b, err := os.ReadFile("/proc/self/fd/" + filepath.Base(to)); err != nil || string(b) != "PK" {
		t.Errorf("%q, %v", b, err)
	}
}
