package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKernelTypes(t *testing.T) {
	there, absent := filepath.Join(t.TempDir(), "btf"), filepath.Join(t.TempDir(), "none")
	if err := os.WriteFile(there, []byte("types"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, given, own, file string
		without                bool
	}{
		{"a kernel with types", there, there, "", false},
		{"without", there, absent, there, false},
		{"without, and no file for it", absent, absent, "", true},
		{"nothing given", "", absent, "", false},
	} {
		file, without := kernelTypes(tt.given, tt.own)
		if file != tt.file || (without != "") != tt.without {
			t.Errorf("%s: %q, %q", tt.name, file, without)
		}
	}
}
