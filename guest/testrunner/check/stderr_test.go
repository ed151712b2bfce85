package check

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTelling(t *testing.T) {
	var noise strings.Builder
	for i := range 200 {
		fmt.Fprintf(&noise, "libbpf: elf: section(%d) .relfentry/x, size 672, link 121, flags 40, type=9\nlibbpf: prog 'p%d': skipped loading\n", i, i)
	}
	verifier := "libbpf: prog 'a': -- BEGIN PROG LOAD LOG --\n" + strings.Repeat("1: (79) r6 = *(u64 *)(r1 +0)\n2: R1=fp-16 invalid\n", 1) +
		"10: (85) call unknown#195896080\ninvalid func unknown#195896080\nprocessed 11 insns (limit 1000000) max_states_per_insn 0\n-- END PROG LOAD LOG --\n"
	for _, tt := range []struct {
		name, stderr string
		want         []string
	}{
		{"nothing", "\n \n", nil},
		{"nothing that tells", "one\ntwo\none\n", []string{"one", "two"}},
		{"first and last of a log are noise", noise.String() + "libbpf: failed to find valid kernel BTF\n" + noise.String() + "x\n", []string{"libbpf: failed to find valid kernel BTF"}},
		{"twice", strings.Repeat("libbpf: failed to load object 'x'\n"+noise.String(), 3), []string{"libbpf: failed to load object 'x'"}},
		{"numbers", "libbpf: prog 'a': x: -3\nCould not load: -22 no\nlibbpf: sec '.text': found at -x\nr1=-22\n", []string{"libbpf: prog 'a': x: -3", "Could not load: -22 no"}},
		{
			"what libbpf notes", "libbpf: prog 'a': relo #102: substituting insn #54 w/ invalid insn\nlibbpf: prog 'b': insn #176 relocated, imm -297 points to subprog 'c' (now at 185 offset)\nlibbpf: prog 'fentry__do_unlinkat': failed to find kernel BTF type ID of 'do_unlinkat': -3\n",
			[]string{"libbpf: prog 'fentry__do_unlinkat': failed to find kernel BTF type ID of 'do_unlinkat': -3"},
		},
		{"a verifier's log", "libbpf: prog 'a': BPF program load failed: Invalid argument\n" + verifier + "libbpf: prog 'a': failed to load: -22\n", []string{
			"libbpf: prog 'a': BPF program load failed: Invalid argument",
			"1: (79) r6 = *(u64 *)(r1 +0)", "2: R1=fp-16 invalid", "10: (85) call unknown#195896080", "invalid func unknown#195896080",
			"libbpf: prog 'a': failed to load: -22",
		}},
		{"a verifier's log that is cut", "libbpf: prog 'a': -- BEGIN PROG LOAD LOG --\n1\n2\n3\n4\n5\n6\n", []string{"2", "3", "4", "5", "6"}},
		{"a tracer's own words", noise.String() + "Unexpected variable length field: 12\n", []string{"Unexpected variable length field: 12"}},
	} {
		if d := cmp.Diff(tt.want, Telling(tt.stderr)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
	if got := OnceEach("b\na\nb\n\na\n"); got != "b\na" {
		t.Errorf("each line once: %q", got)
	}
}

func FuzzTelling(f *testing.F) {
	f.Add("libbpf: prog 'a': -- BEGIN PROG LOAD LOG --\n1\n-- END PROG LOAD LOG --\nfailed: -22\n")
	f.Fuzz(func(t *testing.T, log string) {
		got := Telling(log)
		if len(got) > maxTelling || len(got) == 0 && strings.TrimSpace(log) != "" && len(uniqueLines(log)) > 0 {
			t.Fatalf("%d lines of %q", len(got), log)
		}
		seen := map[string]bool{}
		for _, l := range got {
			if seen[l] || !strings.Contains(log, l) {
				t.Fatalf("line %q of %q", l, log)
			}
			seen[l] = true
		}
	})
}
