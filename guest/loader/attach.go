package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

const cgroupRoot = "/sys/fs/cgroup"

// attachOnce attaches a program where its section says, and detaches it. note
// says what is to be known of it: that it was only loaded, or that it will not
// run.
func (l *loader) attachOnce(prog *ebpf.Program, ps *ebpf.ProgramSpec) (note string, err error) {
	where, lnk, err := attach(prog, ps)
	function := ""
	if err != nil && (ps.Type == ebpf.Kprobe || ps.Type == ebpf.Tracing) {
		symbol, _, _ := symbolOffset(ps.AttachTo)
		function = l.kernel.functionNote(symbol)
	}
	switch {
	case function != "":
		return "", fmt.Errorf("%s: the function %s (%w)", where, function, err)
	case err != nil && ps.AttachTo != "" && errors.Is(err, fs.ErrNotExist) && (ps.Type == ebpf.Kprobe || ps.Type == ebpf.TracePoint):
		return "", fmt.Errorf("this kernel has no %s to attach to", where)
	case err != nil && errors.Is(err, ebpf.ErrNotSupported):
		return "", l.supportedOr(err)
	case err != nil:
		return "", fmt.Errorf("%s: %w", where, err)
	case lnk == nil:
		return fmt.Sprintf("loaded only: %s\n", where), nil
	}
	if err := lnk.Close(); err != nil {
		return "", fmt.Errorf("detach from %s: %w", where, err)
	}
	if active, known := l.kernel.bpfLSM(); ps.Type == ebpf.LSM && known && !active {
		return fmt.Sprintf("attached to %s, where it never runs: bpf is not among the active LSMs (%s)\n", where, strings.Join(l.kernel.lsms, ",")), nil
	}
	return fmt.Sprintf("attached to %s\n", where), nil
}

// attach attaches a program. No link and no error mean that there is nothing to
// attach it to here, for the reason in where.
func attach(prog *ebpf.Program, ps *ebpf.ProgramSpec) (where string, lnk link.Link, err error) {
	section, _, _ := strings.Cut(ps.SectionName, "/")
	section = strings.TrimPrefix(section, "?")
	where = section + " " + ps.AttachTo
	if ps.AttachTo == "" {
		where = ps.SectionName
	}
	nothing := func(why string) (string, link.Link, error) { return why, nil, nil }
	needsTarget := []ebpf.ProgramType{ebpf.Kprobe, ebpf.RawTracepoint, ebpf.RawTracepointWritable}
	group, name, inGroup := strings.Cut(ps.AttachTo, "/")
	if ps.AttachTo == "" && slices.Contains(needsTarget, ps.Type) || ps.Type == ebpf.TracePoint && !inGroup {
		return nothing(fmt.Sprintf("its section %q names nothing to attach to", ps.SectionName))
	}

	switch ps.Type {
	case ebpf.Kprobe:
		symbol, offset, ok := symbolOffset(ps.AttachTo)
		switch {
		case section == "kprobe.multi" || section == "kretprobe.multi" || section == "kprobe.session":
			symbols, err := functionsLike(ps.AttachTo)
			if err != nil {
				return where, nil, err
			}
			opts := link.KprobeMultiOptions{Symbols: symbols, Session: section == "kprobe.session"}
			if section == "kretprobe.multi" {
				lnk, err = link.KretprobeMulti(prog, opts)
			} else {
				lnk, err = link.KprobeMulti(prog, opts)
			}
			return fmt.Sprintf("%s (%d functions)", where, len(symbols)), lnk, err
		case !ok:
			return where, nil, errors.New("want a function and a number of bytes behind it, such as do_exit+0x5")
		case section != "kprobe" && section != "kretprobe":
			return nothing(section + " programs are not attached")
		case section == "kretprobe":
			lnk, err = link.Kretprobe(symbol, prog, &link.KprobeOptions{Offset: offset})
		default:
			lnk, err = link.Kprobe(symbol, prog, &link.KprobeOptions{Offset: offset})
		}
	case ebpf.TracePoint:
		lnk, err = link.Tracepoint(group, name, prog, nil)
	case ebpf.RawTracepoint, ebpf.RawTracepointWritable:
		lnk, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: ps.AttachTo, Program: prog})
	case ebpf.Tracing:
		switch ps.AttachType {
		case ebpf.AttachTraceRawTp, ebpf.AttachTraceFEntry, ebpf.AttachTraceFExit, ebpf.AttachModifyReturn:
			lnk, err = link.AttachTracing(link.TracingOptions{Program: prog})
		case ebpf.AttachTraceIter:
			lnk, err = link.AttachIter(link.IterOptions{Program: prog})
		default:
			return nothing(fmt.Sprintf("%s programs are not attached", ps.AttachType))
		}
	case ebpf.LSM:
		if ps.AttachType != ebpf.AttachLSMMac {
			return nothing("LSM programs for cgroups are not attached")
		}
		lnk, err = link.AttachLSM(link.LSMOptions{Program: prog})
	case ebpf.XDP:
		if ps.AttachType != ebpf.AttachXDP && ps.AttachType != ebpf.AttachNone {
			return nothing(fmt.Sprintf("programs of attach type %s are entries of a map", ps.AttachType))
		}
		lo, lerr := net.InterfaceByName("lo")
		if lerr != nil {
			return "lo", nil, lerr
		}
		where = "lo, in generic mode"
		lnk, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: lo.Index, Flags: link.XDPGenericMode})
	case ebpf.CGroupSKB, ebpf.CGroupSock, ebpf.CGroupSockAddr, ebpf.CGroupSockopt, ebpf.CGroupSysctl, ebpf.CGroupDevice, ebpf.SockOps:
		where = "the root cgroup as " + ps.AttachType.String()
		lnk, err = link.AttachCgroup(link.CgroupOptions{Path: cgroupRoot, Attach: ps.AttachType, Program: prog})
	default:
		return nothing(fmt.Sprintf("programs of type %s are not attached", ps.Type))
	}
	return where, lnk, err
}

// functionsLike are the functions that a pattern with * and ? stands for, which
// is matched as libbpf does: against those that ftrace knows.
func functionsLike(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, "*?") {
		return []string{pattern}, nil
	}
	b, err := os.ReadFile("/sys/kernel/tracing/available_filter_functions")
	if err != nil {
		return nil, fmt.Errorf("find functions like %s: %w", pattern, err)
	}
	var found []string
	for line := range strings.Lines(string(b)) {
		name, module, _ := strings.Cut(strings.TrimSpace(line), " ")
		if ok, _ := path.Match(pattern, name); ok && module == "" {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) == 0 {
		return nil, fmt.Errorf("this kernel has no function like %s to attach to", pattern)
	}
	return found, nil
}

// symbolOffset cuts a kprobe's target, such as do_exit+0x5. ok is false when
// what stands behind the sign is no number.
func symbolOffset(target string) (symbol string, offset uint64, ok bool) {
	symbol, number, found := strings.Cut(target, "+")
	if !found {
		return symbol, 0, true
	}
	offset, err := strconv.ParseUint(number, 0, 64)
	return symbol, offset, err == nil
}
