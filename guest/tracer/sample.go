package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Sizes of the fields in bpf/sample.h.
const (
	commSize       = 16
	nameSize       = 256
	pathSize       = 4096 + nameSize
	argsSize       = 12288
	ttyOutSize     = 4096
	moduleNameSize = 64
	linkSize       = 1024
)

// Flags of a path in a sample.
const (
	pathReached   = 1 // it ends at the process's root
	pathTruncated = 2
)

// Bits of a mode, of memfd_create's flags and address families: part of
// Linux's ABI on all architectures.
const (
	modeType   = 0o170000
	modeSetuid = 0o4000
	modeSetgid = 0o2000

	mfdCloexec      = 0x1
	mfdAllowSealing = 0x2
	mfdHugeTLB      = 0x4
	mfdNoExecSeal   = 0x8
	mfdExec         = 0x10

	afINET  = 2
	afINET6 = 10
)

var (
	errShort    = errors.New("sample is too short")
	errTrailing = errors.New("sample is too long")
	errLength   = errors.New("length exceeds its field")
)

// decodeSample turns a sample of the ring buffer into an event. It believes
// nothing in the sample: any bytes give an event or an error.
func decodeSample(b []byte) (event, error) {
	r := &reader{b: b}
	var h struct {
		Type uint32
		_    uint32
		PIDs pids
		Comm [commSize]byte
	}
	r.read(&h)
	if r.err == nil && (h.Type == 0 || int64(h.Type) > int64(len(typeNames))) {
		r.err = fmt.Errorf("unknown type %d", h.Type)
	}
	if r.err != nil {
		return nil, r.err
	}
	name := typeNames[h.Type-1]
	ev := r.event(common{name}, h.PIDs, cString(h.Comm[:]))
	if r.err == nil && len(r.b) != 0 {
		r.err = errTrailing // the layouts here and in sample.h differ
	}
	if r.err != nil {
		return nil, fmt.Errorf("%s: %w", name, r.err)
	}
	return ev, nil
}

// event reads what comes after the header.
func (r *reader) event(c common, p pids, comm string) event {
	switch c.Type {
	case typeFork:
		return r.fork(c, p, comm)
	case typeExec:
		return r.exec(c, p, comm)
	case typeExit:
		e := exitEvent{common: c, PIDs: p, Comm: comm}
		r.read(&e.CTTY, &e.ExitCode, new(uint32))
		return e
	case typeSetsid:
		r.read(new(uint64))
		return setsidEvent{c, p}
	case typeSetuid:
		e := setuidEvent{common: c, PIDs: p}
		r.read(&e.RUID, &e.EUID)
		return e
	case typeSetgid:
		e := setgidEvent{common: c, PIDs: p}
		r.read(&e.RGID, &e.EGID)
		return e
	case typeTTYWrite:
		e := ttyWriteEvent{common: c, PIDs: p, Comm: comm}
		var n uint32
		r.read(&e.TTY, &n, &e.Truncated)
		e.Out = string(r.field(ttyOutSize, n))
		return e
	case typeMemfdCreate:
		return r.memfdCreate(c, p)
	case typeShmget:
		e := shmgetEvent{common: c, PIDs: p}
		r.read(&e.Key, &e.Size, &e.Flags)
		return e
	case typePtrace:
		e := ptraceEvent{common: c, PIDs: p}
		r.read(&e.ChildPID, &e.Request)
		return e
	case typeLoadModule:
		text := func() string { return cString(r.field(moduleNameSize, moduleNameSize)) }
		return loadModuleEvent{c, p, text(), text(), text()}
	case typeNetAttempted, typeNetAccepted, typeNetClosed:
		return r.net(c, p, comm)
	default:
		return r.file(c, p, comm)
	}
}

// A reader takes fields off the front of a sample. After an error it gives
// zeros, so that callers look at err once.
type reader struct {
	b   []byte
	err error
}

// read fills what the fields point to.
func (r *reader) read(fields ...any) {
	for _, f := range fields {
		if r.err != nil {
			return
		}
		n, err := binary.Decode(r.b, binary.NativeEndian, f)
		if err != nil {
			r.err = errShort
			return
		}
		r.b = r.b[n:]
	}
}

// field returns the first n bytes of a field of size bytes.
func (r *reader) field(size int, n uint32) []byte {
	switch {
	case r.err != nil:
	case len(r.b) < size:
		r.err = errShort
	case int64(n) > int64(size):
		r.err = errLength
	default:
		v := r.b[:n]
		r.b = r.b[size:]
		return v
	}
	return nil
}

// A pathInfo says how much of a path's field is set.
type pathInfo struct{ Len, Flags uint16 }

func (r *reader) path(p pathInfo) string {
	return joinPath(r.field(pathSize, uint32(p.Len)), p.Flags)
}

func (r *reader) fork(c common, parent pids, comm string) event {
	e := forkEvent{common: c, Parent: parent, Comm: comm}
	var cwd pathInfo
	r.read(&e.Child, &e.Creds, &e.CTTY, &e.Namespaces, &cwd)
	e.CWD = r.path(cwd)
	return e
}

func (r *reader) exec(c common, p pids, comm string) event {
	e := execEvent{common: c, PIDs: p, Comm: comm}
	var mode, memfd, argvLen, argsLen uint32
	var cwd, filename pathInfo
	r.read(&e.Creds, &e.CTTY, &mode, &e.NLink, &memfd, &argvLen, &argsLen, &cwd, &filename, new(uint32))
	e.Setuid, e.Setgid, e.Memfd = mode&modeSetuid != 0, mode&modeSetgid != 0, memfd != 0
	e.CWD, e.Filename = r.path(cwd), r.path(filename)
	args := r.field(argsSize, argsLen)
	argvLen = min(argvLen, uint32(len(args)))
	e.Argv, e.Env = splitStrings(args[:argvLen]), splitStrings(args[argvLen:])
	return e
}

func (r *reader) memfdCreate(c common, p pids) event {
	var flags, n uint32
	r.read(&flags, &n)
	return memfdCreateEvent{
		common: c, PIDs: p,
		Flags:        flags,
		CloseOnExec:  flags&mfdCloexec != 0,
		AllowSealing: flags&mfdAllowSealing != 0,
		HugeTLB:      flags&mfdHugeTLB != 0,
		NoExecSeal:   flags&mfdNoExecSeal != 0,
		Exec:         flags&mfdExec != 0,
		Filename:     cString(r.field(nameSize, n)),
	}
}

func (r *reader) file(c common, p pids, comm string) event {
	e := fileEvent{common: c, PIDs: p, Comm: comm}
	var change, mode, linkLen uint32
	var oldInfo, newInfo pathInfo
	i := &e.Info
	r.read(&e.Creds, &e.MountNamespace, &change, &i.Inode, &i.Size, &i.ATime, &i.MTime, &i.CTime,
		&mode, &i.UID, &i.GID, &linkLen, &oldInfo, &newInfo)
	i.Mode, i.Type = octal(mode), fileType(mode)
	path := r.path(oldInfo)
	// Samples end where the rest cannot be set; see bpf/sample.h.
	if len(r.b) > 0 {
		e.SymlinkTarget = cString(r.field(linkSize, linkLen))
	}
	if c.Type == typeFileRename {
		newPath := r.path(newInfo)
		e.OldPath, e.NewPath = &path, &newPath
	} else {
		e.Path = &path
	}
	if c.Type == typeFileModify {
		e.ChangeType = changeType(change)
	}
	return e
}

func (r *reader) net(c common, p pids, comm string) event {
	n := connection{Transport: "TCP"}
	var family uint32
	var source, destination [16]byte
	var sent, received uint64
	r.read(&family, &n.NetworkNamespace, &n.SourcePort, &n.DestinationPort, new(uint32),
		&source, &destination, &sent, &received)
	n.Family, n.SourceAddress = address(family, source)
	_, n.DestinationAddress = address(family, destination)
	if c.Type == typeNetClosed {
		n.BytesSent, n.BytesReceived = &sent, &received
	}
	return netEvent{c, p, n, comm}
}

func address(family uint32, b [16]byte) (name, addr string) {
	switch family {
	case afINET:
		return "AF_INET", netip.AddrFrom4([4]byte(b[:4])).String()
	case afINET6:
		return "AF_INET6", netip.AddrFrom16(b).String()
	}
	return "UNKNOWN", ""
}

func changeType(c uint32) string {
	names := [...]string{"UNKNOWN", "PERMISSIONS", "CONTENT", "OWNER", "XATTRS"}
	if int64(c) >= int64(len(names)) {
		c = 0
	}
	return names[c]
}

func fileType(mode uint32) string {
	names := [...]string{0o01: "NAMED_PIPE", 0o02: "CHARACTER_DEVICE", 0o04: "DIR", 0o06: "BLOCK_DEVICE", 0o10: "FILE", 0o12: "SYMLINK", 0o14: "SOCKET", 0o17: ""}
	return cmp.Or(names[mode&modeType>>12], "UNKNOWN")
}

// joinPath puts the components of a path, leaf first and each ended by a NUL,
// together. What is no place under the process's root, as a memfd is not, is
// "." as with EventsTrace; a path cut for its length begins with "...".
func joinPath(b []byte, flags uint16) string {
	parts := splitStrings(b)
	if len(parts) == 0 {
		if flags&pathReached != 0 {
			return "/"
		}
		return "."
	}
	slices.Reverse(parts)
	path := "/" + strings.Join(parts, "/")
	if flags&pathTruncated != 0 {
		return "..." + path
	}
	return path
}

// splitStrings splits at NULs. The last string may lack its own; it is never
// nil, so that it is a list in JSON.
func splitStrings(b []byte) []string {
	out := []string{}
	for len(b) > 0 {
		s, rest, _ := bytes.Cut(b, []byte{0})
		out = append(out, string(s))
		b = rest
	}
	return out
}

// cString returns b up to its first NUL.
func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
