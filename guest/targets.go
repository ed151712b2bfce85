package guest

import (
	"bytes"
	"slices"
)

// kinds are the names that libbpf gives the sections of programs, before the
// slash and the kernel function or tracepoint they attach to. They stand in a
// BPF object's string table, and so in every program that carries one inside.
var kinds = []string{"kprobe", "kretprobe", "fentry", "fexit", "fmod_ret", "tp_btf", "raw_tp", "raw_tracepoint", "lsm"}

// maxTargets bounds what one payload can name.
const maxTargets = 1000

const (
	maxKind   = len("raw_tracepoint.s")
	maxTarget = 128 // bytes of a function's name
)

// Targets returns the sections of BPF programs whose names stand in a
// payload's bytes, such as "fentry/vfs_unlink", sorted.
func Targets(program []byte) []string {
	var found []string
	// Payloads have many megabytes: looking for slashes is faster by far than
	// an expression that is tried at each byte.
	for at := 0; len(found) < maxTargets; at++ {
		i := bytes.IndexByte(program[at:], '/')
		if i < 0 {
			break
		}
		at += i
		head := program[max(0, at-maxKind-1):at]
		kind := head[bytes.LastIndexByte(head, 0)+1:]
		if len(kind) == len(head) || !slices.Contains(kinds, string(bytes.TrimSuffix(kind, []byte(".s")))) {
			continue
		}
		rest := program[at+1 : min(len(program), at+1+maxTarget+1)]
		if end := bytes.IndexByte(rest, 0); end > 0 && isIdentifier(rest[:end]) {
			found = append(found, string(kind)+"/"+string(rest[:end]))
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func isIdentifier(b []byte) bool {
	for i, c := range b {
		switch {
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', i > 0 && '0' <= c && c <= '9':
		default:
			return false
		}
	}
	return true
}
