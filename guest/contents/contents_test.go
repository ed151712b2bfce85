package contents

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	b, err := os.ReadFile("../../cmd/bpf-kernel-check/testdata/objects/probe.bpf.o")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var variables []string
	for _, name := range slices.Sorted(maps.Keys(got.Variables)) {
		if got.Variables[name] == nil {
			name += " of no type"
		}
		variables = append(variables, name)
	}
	if d := cmp.Diff(map[string]uint32{"counts": 1, "events": 27}, got.MapTypes); d != "" {
		t.Errorf("types of maps (-want +got):\n%s", d)
	}
	for _, tt := range []struct {
		what string
		got  []string
		want string
	}{
		{"programs", got.Programs, "emit guarded later on_exit_fentry on_exit_kprobe unwanted"},
		{"maps", got.Maps, ".bss .rodata counts events"},
		{"variables", variables, "cfg hits mode verbose"},
	} {
		if d := cmp.Diff(strings.Fields(tt.want), tt.got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.what, d)
		}
	}
}

func FuzzRead(f *testing.F) {
	of, err := filepath.Glob("../loader/testdata/*.bpf.o")
	if err != nil || of == nil {
		f.Fatal(of, err)
	}
	for _, path := range append(of, "../../cmd/bpf-kernel-check/testdata/objects/probe.bpf.o") {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Read(bytes.NewReader(b))
		if err == nil && (!slices.IsSorted(c.Programs) || !slices.IsSorted(c.Maps) || slices.Contains(c.Programs, "")) {
			t.Errorf("%+v", c)
		}
	})
}

func TestGuard(t *testing.T) {
	if _, err := Guard(func() (int, error) { panic("odd") }); err == nil || !strings.Contains(err.Error(), "odd") {
		t.Error(err)
	}
	if got, err := Guard(func() (int, error) { return 7, nil }); got != 7 || err != nil {
		t.Error(got, err)
	}
}
