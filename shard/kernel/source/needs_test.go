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
	const debian, ubuntu = "apt dpkg gpgv debian-archive-keyring", "apt dpkg gpgv ubuntu-keyring"
	for _, tt := range []struct {
		specs []string
		want  string
	}{
		{nil, ""},
		{[]string{dir, "gs://bucket/x", "fedora:43", "oci://quay.io/lvh-images/kernel-images"}, ""},
		{[]string{"debian:bookworm"}, debian},
		{[]string{"debian:bookworm", "debian:sid:cloud-amd64", dir}, debian},
		{[]string{"ubuntu:noble:generic"}, ubuntu},
		{[]string{"ubuntu:noble", "debian:bookworm"}, ubuntu + " debian-archive-keyring"},
		{[]string{"@" + list}, debian},
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
