package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

// programInfo is what attaching has to know of a loaded program.
type programInfo struct {
	name       string
	section    string // such as fentry/do_exit
	typ        ebpf.ProgramType
	attachType ebpf.AttachType // as it was loaded
	attachTo   string          // what its section names behind the first slash; "": nothing
	flags      uint32          // BPF_F_* that it was loaded with
}

// kind is the section without its target.
func (ps *programInfo) kind() string {
	kind, _, _ := strings.Cut(ps.section, "/")
	return strings.TrimPrefix(kind, "?")
}

// object is what attaching asks of the library that loaded a program.
type object interface {
	// attachBySection attaches a program where its section says. The error is
	// errors.ErrUnsupported where the library does not do that.
	attachBySection(program string) (io.Closer, error)
}

// needsMore is why a program is only loaded: what it would have to be given.
type needsMore string

func (n needsMore) Error() string { return string(n) }

// attachProgram attaches a program where its section says, until detach is
// called. detach is nil where the program is only loaded. note says what is to be
// known of it: where it is attached, what it lacks for that, or that it will not
// run. Nothing may come between the two calls for a program on its own: one for
// an LSM hook that denies everything denies it to this program as well. Closing
// its link is never denied.
func (l *loader) attachProgram(prog *ebpf.Program, ps *programInfo, obj object) (note string, detach func() error, err error) {
	where, detach, err := l.attachTo(prog, ps, obj)
	var more needsMore
	switch {
	case err == nil:
	case errors.As(err, &more):
		return fmt.Sprintf("loaded only: needs %s\n", more), nil, nil
	case l.cannotTrace(ps) != "":
		return "", nil, fmt.Errorf("%s: the function %s (%w)", where, l.cannotTrace(ps), err)
	case ps.attachTo != "" && errors.Is(err, fs.ErrNotExist) && !strings.HasPrefix(ps.kind(), "u") &&
		slices.Contains([]ebpf.ProgramType{ebpf.Kprobe, ebpf.TracePoint, ebpf.RawTracepoint, ebpf.RawTracepointWritable}, ps.typ):
		return "", nil, fmt.Errorf("this kernel has no %s to attach to", where)
	default:
		return "", nil, l.attachError(where, ps, err)
	}
	note = fmt.Sprintf("attached to %s\n", where)
	// Read at the start: here the program may deny it.
	if active, known := l.kernel.bpfLSM(); ps.typ == ebpf.LSM && known && !active {
		note = fmt.Sprintf("attached to %s, where it never runs: bpf is not among the active LSMs (%s)\n", where, strings.Join(l.kernel.lsms, ","))
	}
	return note, detach, nil
}

// cannotTrace says why a function that the kernel has cannot be attached to; ""
// when that is not the reason.
func (l *loader) cannotTrace(ps *programInfo) string {
	if ps.typ != ebpf.Kprobe && ps.typ != ebpf.Tracing || strings.HasPrefix(ps.kind(), "u") {
		return ""
	}
	function, _, _ := symbolOffset(ps.attachTo)
	return l.kernel.functionNote(function)
}

// attachTypes are those that came after the oldest kernels, by the mainline
// version that brought them, from the history of include/uapi/linux/bpf.h.
var attachTypes = map[string][]ebpf.AttachType{
	"5.13": {ebpf.AttachSkSKBVerdict},
	"5.14": {ebpf.AttachSkReuseportSelectOrMigrate},
	"5.18": {ebpf.AttachTraceKprobeMulti},
	"6.0":  {ebpf.AttachLSMCgroup},
	"6.4":  {ebpf.AttachNetfilter},
	"6.6":  {ebpf.AttachTCXIngress, ebpf.AttachTCXEgress, ebpf.AttachTraceUprobeMulti},
	"6.7": {
		ebpf.AttachNetkitPrimary, ebpf.AttachNetkitPeer, ebpf.AttachCgroupUnixConnect, ebpf.AttachCgroupUnixSendmsg,
		ebpf.AttachCgroupUnixRecvmsg, ebpf.AttachCgroupUnixGetpeername, ebpf.AttachCgroupUnixGetsockname,
	},
	"6.10": {ebpf.AttachTraceKprobeSession},
	"6.13": {attachUprobeSession},
}

// Attach types that the library has no names for.
const (
	attachUprobeSession = ebpf.AttachType(57)
	attachFSession      = ebpf.AttachType(58)
)

// enotsupp is the kernel's own "not supported", which has no name outside.
const enotsupp = unix.Errno(524)

// tooNew says that a program's section is newer than this kernel; nil: it is
// not, as far as the versions tell. Distributions bring such things to older
// kernels: only a program that failed is asked about.
func (l *loader) tooNew(ps *programInfo) error {
	if since := ps.since(); since != "" && versionLess(l.kernel.release, since) {
		section := ps.kind()
		if section == "cgroup" { // and what it is called at
			section = strings.TrimPrefix(ps.section, "?")
		}
		return l.kernel.lacks("section "+section, since)
	}
	return nil
}

// since is the version that brought what a program is attached as; "": not known.
func (ps *programInfo) since() string {
	if ps.flags&unix.BPF_F_XDP_HAS_FRAGS != 0 {
		return "5.18"
	}
	for version, types := range attachTypes {
		if slices.Contains(types, ps.attachType) {
			return version
		}
	}
	return ""
}

// attachError is why a program was not attached. What the kernel cannot have is
// unsupported.
func (l *loader) attachError(where string, ps *programInfo, err error) error {
	missing := errors.Is(err, ebpf.ErrNotSupported)
	lacks := missing || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, enotsupp)
	if u := l.tooNew(ps); u != nil && (lacks || errors.Is(err, unix.EINVAL)) {
		return u
	}
	what := "attachment of " + ps.kind() + " programs"
	switch {
	case missing:
		return l.kernel.unsupported(what, ps.since())
	case lacks && ps.typ == ebpf.Tracing && versionLess(l.kernel.release, "6.6"):
		return fmt.Errorf("%s: %w: before Linux 6.6 this is so for functions with more than 6 arguments, among others", where, err)
	case lacks:
		return l.kernel.lacks(what, "")
	}
	return fmt.Errorf("%s: %w", where, err)
}

// attachTo attaches a program and says where. An error may be needsMore.
func (l *loader) attachTo(prog *ebpf.Program, ps *programInfo, obj object) (where string, detach func() error, err error) {
	kind := ps.kind()
	where = strings.TrimSuffix(kind+" "+ps.attachTo, " ")
	linked := func(where string, lnk link.Link, err error) (string, func() error, error) {
		if err != nil {
			return where, nil, err
		}
		return where, lnk.Close, nil
	}
	needs := func(format string, args ...any) (string, func() error, error) {
		return where, nil, needsMore(fmt.Sprintf(format, args...))
	}
	bySection := func() (string, func() error, error) {
		if obj != nil {
			if c, err := obj.attachBySection(ps.name); err == nil {
				return where, c.Close, nil
			} else if !errors.Is(err, errors.ErrUnsupported) {
				return where, nil, err
			}
		}
		return needs("libbpf to attach it: --loader libbpf")
	}
	noTarget := func() (string, func() error, error) {
		return needs("something to attach to, which its section %q does not name: --target", ps.section)
	}

	group, name, inGroup := strings.Cut(ps.attachTo, "/")
	switch ps.typ {
	case ebpf.Kprobe:
		base, _, _ := strings.Cut(kind, ".")
		switch {
		case base == "uprobe" || base == "uretprobe" || base == "usdt":
			return l.attachUprobe(prog, ps, bySection)
		case ps.attachTo == "":
			return noTarget()
		case strings.Contains(kind, "."):
			symbols, err := functionsLike(ps.attachTo)
			if err != nil {
				return where, nil, err
			}
			opts := link.KprobeMultiOptions{Symbols: symbols, Session: kind == "kprobe.session"}
			multi := link.KprobeMulti
			if base == "kretprobe" {
				multi = link.KretprobeMulti
			}
			lnk, err := multi(prog, opts)
			return linked(fmt.Sprintf("%s (%d functions)", where, len(symbols)), lnk, err)
		}
		symbol, offset, ok := symbolOffset(ps.attachTo)
		if !ok {
			return where, nil, errors.New("want a function and a number of bytes behind it, such as do_exit+0x5")
		}
		if strings.HasSuffix(base, "syscall") {
			symbol = "sys_" + symbol // the library knows the architecture's prefix
		}
		probe := link.Kprobe
		if strings.HasPrefix(base, "kret") {
			probe = link.Kretprobe
		}
		lnk, err := probe(symbol, prog, &link.KprobeOptions{Offset: offset})
		return linked(where, lnk, err)
	case ebpf.TracePoint:
		if !inGroup {
			return noTarget()
		}
		lnk, err := link.Tracepoint(group, name, prog, nil)
		return linked(where, lnk, err)
	case ebpf.RawTracepoint, ebpf.RawTracepointWritable:
		if ps.attachTo == "" {
			return noTarget()
		}
		detach, err := openRawTracepoint(ps.attachTo, prog)
		return where, detach, err
	case ebpf.Tracing:
		switch ps.attachType {
		case ebpf.AttachTraceIter:
			return attachIter(prog, where, ps.attachTo)
		case ebpf.AttachTraceRawTp, ebpf.AttachTraceFEntry, ebpf.AttachTraceFExit, ebpf.AttachModifyReturn, attachFSession:
			detach, err := openRawTracepoint("", prog)
			return where, detach, err
		}
		return bySection()
	case ebpf.LSM:
		if ps.attachType == ebpf.AttachLSMCgroup {
			return attachCgroup(prog, ps)
		}
		detach, err := openRawTracepoint("", prog)
		return where, detach, err
	case ebpf.PerfEvent:
		detach, err := attachPerfEvent(prog)
		return "perf_event of the software CPU clock", detach, err
	case ebpf.CGroupSKB, ebpf.CGroupSock, ebpf.CGroupSockAddr, ebpf.CGroupSockopt, ebpf.CGroupSysctl, ebpf.CGroupDevice, ebpf.SockOps:
		return attachCgroup(prog, ps)
	case ebpf.SocketFilter, ebpf.SkReuseport:
		return attachSocket(prog, ps.typ)
	case ebpf.SkSKB, ebpf.SkMsg:
		return attachSockmap(prog, ps)
	case ebpf.XDP, ebpf.SchedCLS, ebpf.SchedACT, ebpf.LWTIn, ebpf.LWTOut, ebpf.LWTXmit, ebpf.LWTSeg6Local, ebpf.SkLookup, ebpf.FlowDissector, ebpf.Netfilter:
		if l.net == nil {
			l.net = newNetwork()
		}
		return l.net.attach(prog, ps)
	case ebpf.StructOps:
		return needs("the struct_ops map that it is a member of")
	case ebpf.Syscall:
		return needs("a caller: its application runs it with BPF_PROG_RUN")
	case ebpf.LircMode2:
		return needs("an infrared receiver")
	}
	return bySection()
}

// attachStructOps registers a struct_ops map by attach, and takes it back.
func (l *loader) attachStructOps(attach func() (io.Closer, error)) (note string, err error) {
	registered, err := attach()
	if err != nil {
		return "", l.supportedOr(fmt.Errorf("register the struct_ops: %w", err))
	}
	if err := registered.Close(); err != nil {
		return "", fmt.Errorf("take the struct_ops back: %w", err)
	}
	return "registered, and taken back\n", nil
}

// attachUprobe attaches to a program or library of the guest, which a section
// names as PATH:FUNCTION+OFFSET, or PATH:PROVIDER:NAME for USDT.
func (l *loader) attachUprobe(prog *ebpf.Program, ps *programInfo, bySection func() (string, func() error, error)) (where string, detach func() error, err error) {
	kind := ps.kind()
	where = kind + " " + ps.attachTo
	file, target, ok := strings.Cut(ps.attachTo, ":")
	if !ok {
		return where, nil, needsMore("a program to probe: --target")
	}
	path := findProgram(file)
	if path == "" {
		return where, nil, needsMore(file + " in the guest: --file")
	}
	if strings.HasPrefix(kind, "usdt") || strings.Contains(kind, ".session") {
		return bySection()
	}
	exe, err := link.OpenExecutable(path)
	if err != nil {
		return where, nil, err
	}
	ret := strings.HasPrefix(kind, "uret")
	var lnk link.Link
	if strings.Contains(kind, ".multi") {
		if strings.ContainsAny(target, "*?") { // the patterns of libbpf
			return bySection()
		}
		attach := exe.UprobeMulti
		if ret {
			attach = exe.UretprobeMulti
		}
		lnk, err = attach([]string{target}, prog, nil)
	} else {
		symbol, offset, ok := symbolOffset(target)
		if !ok {
			return where, nil, errors.New("want a function and a number of bytes behind it, such as /bin/sh:main+0x5")
		}
		attach := exe.Uprobe
		if ret {
			attach = exe.Uretprobe
		}
		lnk, err = attach(symbol, prog, &link.UprobeOptions{Offset: offset})
	}
	switch {
	case errors.Is(err, link.ErrNoSymbol) && strings.HasPrefix(file, "/proc/self/"):
		return where, nil, needsMore("its application, which it probes: --target")
	case errors.Is(err, link.ErrNoSymbol):
		return where, nil, fmt.Errorf("%s has no function %s", file, target)
	case err != nil:
		return where, nil, err
	}
	return where, lnk.Close, nil
}

// findProgram is where the guest has a program or library; "": nowhere. A name
// without directory is looked for where programs and libraries are.
func findProgram(name string) string {
	dirs := []string{""}
	if !strings.Contains(name, "/") {
		dirs = []string{"/usr/bin", "/usr/sbin", "/bin", "/sbin"}
		if strings.Contains(name, ".so") {
			triplet := goarch.Lookup(runtime.GOARCH).Triplet
			dirs = []string{"/usr/lib64", "/usr/lib", "/usr/lib/" + triplet, "/lib64", "/lib", "/lib/" + triplet}
		}
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
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
		if ok, _ := filepath.Match(pattern, name); ok && module == "" && !strings.HasPrefix(name, "__ftrace_invalid_address_") {
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

// symbolOffset cuts a probe's target, such as do_exit+0x5. ok is false when
// what stands behind the sign is no number.
func symbolOffset(target string) (symbol string, offset uint64, ok bool) {
	symbol, number, found := strings.Cut(target, "+")
	if !found {
		return symbol, 0, true
	}
	offset, err := strconv.ParseUint(number, 0, 64)
	return symbol, offset, err == nil
}
