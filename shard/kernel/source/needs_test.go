package source

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNeeds(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "kernels.txt")
	if err := os.WriteFile(list, []byte("# promised\ndebian:trixie:cloud-amd64 newest:1\n. debian/*\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const apt = "apt dpkg gpgv"
	for _, tt := range []struct {
		specs []string
		want  string
	}{
		{nil, ""},
		{[]string{dir, "gs://bucket/x", "fedora:43", "oci://quay.io/lvh-images/kernel-images"}, ""},
		{[]string{"arch:", "opensuse:tumbleweed"}, ""},
		{[]string{"apt:https://h.example bookworm main"}, apt},
		{[]string{"debian:bookworm"}, apt},
		{[]string{"debian:bookworm", "debian:sid:cloud-amd64", dir}, apt},
		{[]string{"ubuntu:noble:generic"}, apt},
		{[]string{"ubuntu:noble", "debian:bookworm"}, apt},
		{[]string{"@" + list}, apt},
		{[]string{"@" + filepath.Join(dir, "none.txt")}, ""},
		{[]string{"debian:bookwurm"}, ""},
	} {
		var got []string
		for _, n := range Needs(tt.specs) {
			got = append(got, n.Package)
		}
		if !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("%q need %q, want %s", tt.specs, got, tt.want)
		}
	}
}
