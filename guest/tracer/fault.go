package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// longLine is the size to which the fault long-line pads.
const longLine = 1 << 20

const dieAtStartMessage = `libbpf: prog 'fexit_vfs_unlink_exit': BPF program load failed: Invalid argument
libbpf: prog 'fexit_vfs_unlink_exit': failed to load: -22
libbpf: failed to load object 'tracer_bpf'
Could not load event probes: -22
`

// faults are the ways to misbehave that this build has; see the package
// comment. The zero value has none.
type faults struct {
	drop, double, badJSON, longLine map[string]bool
	late                            map[string]time.Duration
	changes                         []change
	swapPIDs                        bool
	dieAtStart                      bool
	neverReady                      bool
	dieAfter                        int // events; 0: do not
	ptrace                          string
}

// Which processes PROCESS_PTRACE tells of with the fault ptrace.
const (
	ptraceAll    = "all"    // as builds of EventsTrace before 2025
	ptraceFamily = "family" // what must be left out, and nothing else
)

// A change sets the field at path of events of a type.
type change struct {
	event string
	path  []string
	value any
}

func parseFaults(s string) (faults, error) {
	f := faults{
		drop: map[string]bool{}, double: map[string]bool{},
		badJSON: map[string]bool{}, longLine: map[string]bool{},
		late: map[string]time.Duration{},
	}
	if s == "" {
		return f, nil
	}
	for one := range strings.SplitSeq(s, ",") {
		if err := f.add(one); err != nil {
			return faults{}, fmt.Errorf("%q: %w", one, err)
		}
	}
	return f, nil
}

func (f *faults) add(s string) error {
	name, arg, hasArg := strings.Cut(s, "=")
	switch name {
	case "drop":
		return addType(f.drop, arg)
	case "double":
		return addType(f.double, arg)
	case "bad-json":
		return addType(f.badJSON, arg)
	case "long-line":
		return addType(f.longLine, arg)
	case "late":
		typ, d, _ := strings.Cut(arg, ":")
		delay, err := time.ParseDuration(d)
		if err != nil {
			return fmt.Errorf("want late=TYPE:DURATION: %w", err)
		}
		f.late[typ] = delay
		return checkType(typ)
	case "change":
		target, value, ok := strings.Cut(arg, "=")
		typ, path, ok2 := strings.Cut(target, ".")
		if !ok || !ok2 || path == "" {
			return fmt.Errorf("want change=TYPE.field.path=value")
		}
		f.changes = append(f.changes, change{typ, strings.Split(path, "."), parseValue(value)})
		return checkType(typ)
	case "ptrace":
		if arg != ptraceAll && arg != ptraceFamily {
			return fmt.Errorf("want ptrace=%s or ptrace=%s", ptraceAll, ptraceFamily)
		}
		f.ptrace = arg
		return nil
	case "die-after":
		n, err := strconv.Atoi(arg)
		if err != nil || n < 1 {
			return fmt.Errorf("want die-after=N, N at least 1")
		}
		f.dieAfter = n
		return nil
	}
	if hasArg {
		return fmt.Errorf("unknown fault")
	}
	switch name {
	case "swap-pids":
		f.swapPIDs = true
	case "die-at-start":
		f.dieAtStart = true
	case "never-ready":
		f.neverReady = true
	default:
		return fmt.Errorf("unknown fault")
	}
	return nil
}

func addType(set map[string]bool, typ string) error {
	set[typ] = true
	return checkType(typ)
}

func checkType(typ string) error {
	if !slices.Contains(typeNames[:], typ) {
		return fmt.Errorf("unknown event type %q", typ)
	}
	return nil
}

// parseValue takes s as JSON if it is, else as a string.
func parseValue(s string) any {
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil || dec.More() {
		return s
	}
	return v
}

// output is what to write for an event: nothing if empty.
type output struct {
	data  []byte
	delay time.Duration
}

// render turns an event into what this build prints for it.
func (f faults) render(ev event) (output, error) {
	typ := ev.eventType()
	if f.drop[typ] {
		return output{}, nil
	}
	line, err := encodeLine(ev)
	if err != nil {
		return output{}, err
	}
	if f.rewrites(typ) {
		if line, err = f.rewrite(typ, line); err != nil {
			return output{}, err
		}
	}
	if f.badJSON[typ] {
		line = append(line[:len(line)/2:len(line)/2], '\n')
	}
	if f.double[typ] {
		line = append(line, line...)
	}
	return output{line, f.late[typ]}, nil
}

func (f faults) rewrites(typ string) bool {
	return f.swapPIDs || f.longLine[typ] ||
		slices.ContainsFunc(f.changes, func(c change) bool { return c.event == typ })
}

// rewrite alters the fields of a line. The order of keys is lost, which
// readers must bear anyway.
func (f faults) rewrite(typ string, line []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var fields map[string]any
	if err := dec.Decode(&fields); err != nil {
		return nil, fmt.Errorf("decode own line: %w", err)
	}
	if f.swapPIDs {
		swapPIDs(fields)
	}
	for _, c := range f.changes {
		if c.event == typ {
			setField(fields, c.path, c.value)
		}
	}
	if f.longLine[typ] {
		fields["padding"] = ""
		short, err := encodeLine(fields)
		if err != nil {
			return nil, err
		}
		fields["padding"] = strings.Repeat("x", max(0, longLine-len(short)))
	}
	return encodeLine(fields)
}

// setField makes the objects on the path that are not there.
func setField(fields map[string]any, path []string, value any) {
	for _, name := range path[:len(path)-1] {
		next, ok := fields[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			fields[name] = next
		}
		fields = next
	}
	fields[path[len(path)-1]] = value
}

// swapPIDs exchanges the process with its parent in every object that has both.
func swapPIDs(fields map[string]any) {
	for _, v := range fields {
		p, ok := v.(map[string]any)
		if !ok || p["tgid"] == nil || p["ppid"] == nil {
			continue
		}
		p["tid"], p["tgid"], p["ppid"] = p["ppid"], p["ppid"], p["tgid"]
	}
}
