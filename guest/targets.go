package guest

import (
	"regexp"
	"slices"
)

// sections are the names that libbpf gives the sections of programs, with the
// kernel function or tracepoint they attach to. They stand in a BPF object's
// string table, and so in every program that carries one inside.
var sections = regexp.MustCompile(`\x00(?:kprobe|kretprobe|fentry|fexit|fmod_ret|tp_btf|raw_tp|raw_tracepoint|lsm)(?:\.s)?/[a-z_A-Z][a-zA-Z0-9_]{0,127}\x00`)

// maxTargets bounds what one payload can name.
const maxTargets = 1000

// Targets returns the sections of BPF programs whose names stand in a
// payload's bytes, such as "fentry/vfs_unlink", sorted.
func Targets(program []byte) []string {
	var found []string
	for at := 0; len(found) < maxTargets; {
		loc := sections.FindIndex(program[at:])
		if loc == nil {
			break
		}
		found = append(found, string(program[at+loc[0]+1:at+loc[1]-1]))
		at += loc[1] - 1 // the closing zero opens the next name
	}
	slices.Sort(found)
	return slices.Compact(found)
}
