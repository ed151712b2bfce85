package check

import (
	"cmp"
	"strconv"
	"strings"
)

// Facts is what the machine itself says, to hold events against.
type Facts struct {
	NS        map[string]uint64 `json:"ns"`   // inode numbers of /proc/self/ns/*
	IPv6      bool              `json:"ipv6"` // /proc/sys/net/ipv6 is there
	Overlayfs bool              `json:"overlayfs"`
	BPFTramp  bool              `json:"bpf_tramp"` // the kernel can have BPF trampolines
	LastCap   int               `json:"last_cap"`  // /proc/sys/kernel/cap_last_cap; 0: not known, 40
	Dir       string            `json:"dir"`       // the generators' working directory; empty: /
}

// allCaps is the full capability set as EventsTrace prints it.
func (f Facts) allCaps() string {
	last := f.LastCap
	if last <= 0 || last > 62 {
		last = 40
	}
	return strconv.FormatUint(1<<(last+1)-1, 10)
}

// value is the fact a test's table names. ok is false when this machine has
// no such fact, as a kernel without time namespaces: the field is then not
// checked.
func (f Facts) value(path string) (v any, ok bool) {
	if ns, found := strings.CutPrefix(path, "ns."); found {
		id, ok := f.NS[ns]
		return id, ok
	}
	dir := strings.TrimSuffix(f.Dir, "/")
	switch path {
	case "ipv6":
		return f.IPv6, true
	case "bpf_tramp":
		return f.BPFTramp, true
	case "all_caps":
		return f.allCaps(), true
	case "dir":
		return cmp.Or(dir, "/"), true
	case "do_nothing":
		return dir + "/do_nothing", true
	}
	return nil, false
}
