package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// cost is what a loaded program costs.
func (l *loader) cost(ld *loaded, p program) *wire.BPFProgram {
	c := &wire.BPFProgram{Name: p.name, Type: wire.BPFType(uint32(p.typ)), Insns: processed(ld.log)}
	c.States, c.PeakStates, c.Stack = statistics(ld.log)
	if ld.prog == nil {
		return c
	}
	info, err := ld.prog.Info()
	if err != nil {
		return c
	}
	c.Tag = info.Tag
	if n, err := info.JitedSize(); err == nil {
		c.Jited = int(n)
	}
	if n, ok := info.VerifiedInstructions(); ok && c.Insns == 0 {
		c.Insns = int(n)
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		c.MapMemory += l.mapMemory(id)
	}
	return c
}

// mapMemory is what a map takes, in bytes; 0: not known. The kernel gives out
// IDs in ascending order, so one that was seen is still the same map.
func (l *loader) mapMemory(id ebpf.MapID) int64 {
	if n, ok := l.memory[id]; ok {
		return n
	}
	var n uint64
	if m, err := ebpf.NewMapFromID(id); err == nil {
		if info, err := m.Info(); err == nil {
			n, _ = info.Memlock()
		}
		m.Close()
	}
	l.memory[id] = int64(min(n, 1<<50))
	return l.memory[id]
}

// statistics reads states and stack from a verifier's log: "processed N insns
// (limit N) max_states_per_insn N total_states N peak_states N mark_read N" and
// "stack depth N+N", of the program and each function. 0 where there is none.
func statistics(log []string) (states, peak, stack int) {
	for _, line := range slices.Backward(log) {
		if depths, ok := strings.CutPrefix(line, "stack depth "); ok && stack == 0 {
			depths, _, _ = strings.Cut(depths, " ")
			for depth := range strings.SplitSeq(depths, "+") {
				stack += logNumber(depth)
			}
		}
		if m := regexp.MustCompile(`^processed \d+ insns .* total_states (\d+) peak_states (\d+)`).FindStringSubmatch(line); m != nil && states == 0 {
			states, peak = logNumber(m[1]), logNumber(m[2])
		}
	}
	return states, peak, stack
}

// logNumber reads a count; 0 is one that cannot be.
func logNumber(s string) int {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}
