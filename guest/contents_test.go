package guest

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestObjectContents(t *testing.T) {
	b, err := os.ReadFile("../cmd/bpf-kernel-check/testdata/objects/probe.bpf.o")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ObjectFile{Data: b}.Contents()
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

func FuzzObjectContents(f *testing.F) {
	paths, err := FindObjects([]string{"loader/testdata/*.bpf.o", "../cmd/bpf-kernel-check/testdata/objects/*.bpf.o"})
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ObjectFile{Data: b}.Contents()
		if err == nil && (!slices.IsSorted(c.Programs) || !slices.IsSorted(c.Maps) || slices.Contains(c.Programs, "")) {
			t.Errorf("%q", c)
		}
	})
}
