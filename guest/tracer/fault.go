package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const dieAtStartMessage = `libbpf: prog 'fexit_vfs_unlink_exit': BPF program load failed: Invalid argument
libbpf: prog 'fexit_vfs_unlink_exit': failed to load: -22
libbpf: failed to load object 'tracer_bpf'
Could not load event probes: -22
`

// faults are the ways to misbehave that this build has; see the package
// comment. The zero value has none.
type faults struct {
	drop       string // an event type
	swapPIDs   bool
	dieAtStart bool
	ptrace     string
}

// Which processes PROCESS_PTRACE tells of with the fault ptrace.
const (
	ptraceAll    = "all"    // as builds of EventsTrace before 2025
	ptraceFamily = "family" // what must be left out, and nothing else
)

func parseFault(s string) (f faults, err error) {
	name, arg, _ := strings.Cut(s, "=")
	switch {
	case s == "":
	case name == "drop" && slices.Contains(typeNames[:], arg):
		f.drop = arg
	case name == "ptrace" && (arg == ptraceAll || arg == ptraceFamily):
		f.ptrace = arg
	case s == "swap-pids":
		f.swapPIDs = true
	case s == "die-at-start":
		f.dieAtStart = true
	default:
		err = fmt.Errorf("%q: unknown fault", s)
	}
	return f, err
}

// render turns an event into what this build prints for it, nil for nothing.
func (f faults) render(ev event) ([]byte, error) {
	if ev.eventType() == f.drop {
		return nil, nil
	}
	line, err := encodeLine(ev)
	if err != nil || !f.swapPIDs {
		return line, err
	}
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		return nil, fmt.Errorf("decode own line: %w", err)
	}
	for _, v := range fields {
		if p, ok := v.(map[string]any); ok && p["tgid"] != nil && p["ppid"] != nil {
			p["tid"], p["tgid"], p["ppid"] = p["ppid"], p["ppid"], p["tgid"]
		}
	}
	return encodeLine(fields)
}
