package main

import (
	"bytes"
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
	typ := r.u32()
	r.skip(4)
	if r.err != nil {
		return nil, r.err
	}
	if typ == 0 || int(typ) > len(typeNames) {
		return nil, fmt.Errorf("unknown type %d", typ)
	}
	name := typeNames[typ-1]
	c := common{name}
	p, comm := r.pids(), cString(r.take(commSize))

	var ev event
	switch name {
	case typeFork:
		ev = r.fork(c, p, comm)
	case typeExec:
		ev = r.exec(c, p, comm)
	case typeExit:
		e := exitEvent{common: c, PIDs: p, Comm: comm, CTTY: r.tty(), ExitCode: r.u32()}
		r.skip(4)
		ev = e
	case typeSetsid:
		r.skip(8)
		ev = setsidEvent{c, p}
	case typeSetuid:
		ev = setuidEvent{c, p, r.u32(), r.u32()}
	case typeSetgid:
		ev = setgidEvent{c, p, r.u32(), r.u32()}
	case typeTTYWrite:
		e := ttyWriteEvent{common: c, PIDs: p, Comm: comm, TTY: r.tty()}
		n := r.u32()
		e.Truncated = r.u32()
		e.Out = string(r.field(ttyOutSize, n))
		ev = e
	case typeMemfdCreate:
		ev = r.memfdCreate(c, p)
	case typeShmget:
		ev = shmgetEvent{c, p, int64(r.u64()), r.u64(), int64(r.u64())}
	case typePtrace:
		ev = ptraceEvent{c, p, int64(r.u64()), int64(r.u64())}
	case typeLoadModule:
		ev = loadModuleEvent{c, p, cString(r.take(moduleNameSize)),
			cString(r.take(moduleNameSize)), cString(r.take(moduleNameSize))}
	case typeNetAttempted, typeNetAccepted, typeNetClosed:
		ev = r.net(c, p, comm)
	default:
		ev = r.file(c, p, comm)
	}
	if r.err == nil && len(r.b) != 0 {
		r.err = errTrailing // the layouts here and in sample.h differ
	}
	if r.err != nil {
		return nil, fmt.Errorf("%s: %w", name, r.err)
	}
	return ev, nil
}

// A reader takes fields off the front of a sample. After an error it gives
// zeros, so that callers look at err once.
type reader struct {
	b   []byte
	err error
}

// take returns the next n bytes, or nil.
func (r *reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if len(r.b) < n {
		r.err = errShort
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// field returns the first n bytes of a field of size bytes.
func (r *reader) field(size int, n uint32) []byte {
	v := r.take(size)
	if r.err == nil && int64(n) > int64(size) {
		r.err = errLength
	}
	if r.err != nil {
		return nil
	}
	return v[:n]
}

func (r *reader) skip(n int) { r.take(n) }

func (r *reader) u16() uint16 {
	if v := r.take(2); v != nil {
		return binary.LittleEndian.Uint16(v)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (r *reader) pids() pids {
	p := pids{TID: r.u32(), TGID: r.u32(), PPID: r.u32(), PGID: r.u32(), SID: r.u32()}
	r.skip(4)
	p.StartTimeNS = r.u64()
	return p
}

func (r *reader) creds() creds {
	return creds{r.u32(), r.u32(), r.u32(), r.u32(), r.u32(), r.u32(), r.u64(), r.u64()}
}

func (r *reader) tty() tty {
	t := tty{r.u32(), r.u32(), r.u16(), r.u16()}
	r.skip(4)
	return t
}

// A pathInfo says how much of a path's field is set.
type pathInfo struct{ len, flags uint16 }

func (r *reader) pathInfo() pathInfo { return pathInfo{r.u16(), r.u16()} }

func (r *reader) path(p pathInfo) string {
	return joinPath(r.field(pathSize, uint32(p.len)), p.flags)
}

func (r *reader) fork(c common, parent pids, comm string) event {
	e := forkEvent{common: c, Parent: parent, Comm: comm}
	e.Child, e.Creds, e.CTTY = r.pids(), r.creds(), r.tty()
	e.Namespaces = namespaces{r.u32(), r.u32(), r.u32(), r.u32(), r.u32(), r.u32(), r.u32()}
	e.CWD = r.path(r.pathInfo())
	return e
}

func (r *reader) exec(c common, p pids, comm string) event {
	e := execEvent{common: c, PIDs: p, Comm: comm, Creds: r.creds(), CTTY: r.tty()}
	mode := r.u32()
	e.Setuid, e.Setgid = mode&modeSetuid != 0, mode&modeSetgid != 0
	e.NLink = r.u32()
	e.Memfd = r.u32() != 0
	argvLen, argsLen := r.u32(), r.u32()
	cwd, filename := r.pathInfo(), r.pathInfo()
	r.skip(4)
	e.CWD, e.Filename = r.path(cwd), r.path(filename)
	args := r.field(argsSize, argsLen)
	argvLen = min(argvLen, uint32(len(args)))
	e.Argv, e.Env = splitStrings(args[:argvLen]), splitStrings(args[argvLen:])
	return e
}

func (r *reader) memfdCreate(c common, p pids) event {
	flags, n := r.u32(), r.u32()
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
	e := fileEvent{common: c, PIDs: p, Comm: comm, Creds: r.creds(), MountNamespace: r.u32()}
	change := r.u32()
	e.Info = fileInfo{Inode: r.u64(), Size: r.u64(), ATime: r.u64(), MTime: r.u64(), CTime: r.u64()}
	mode := r.u32()
	e.Info.Mode, e.Info.Type = octal(mode), fileType(mode)
	e.Info.UID, e.Info.GID = r.u32(), r.u32()
	linkLen, info, newInfo := r.u32(), r.pathInfo(), r.pathInfo()
	path := r.path(info)
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
	family := r.u32()
	n := connection{Transport: "TCP", NetworkNamespace: r.u32(), SourcePort: r.u16(), DestinationPort: r.u16()}
	r.skip(4)
	n.Family, n.SourceAddress = address(family, r.take(16))
	_, n.DestinationAddress = address(family, r.take(16))
	sent, received := r.u64(), r.u64()
	if c.Type == typeNetClosed {
		n.BytesSent, n.BytesReceived = &sent, &received
	}
	return netEvent{c, p, n, comm}
}

func address(family uint32, b []byte) (name, addr string) {
	switch {
	case family == afINET && len(b) == 16:
		return "AF_INET", netip.AddrFrom4([4]byte(b)).String()
	case family == afINET6 && len(b) == 16:
		return "AF_INET6", netip.AddrFrom16([16]byte(b)).String()
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
	switch mode & modeType {
	case 0o010000:
		return "NAMED_PIPE"
	case 0o020000:
		return "CHARACTER_DEVICE"
	case 0o040000:
		return "DIR"
	case 0o060000:
		return "BLOCK_DEVICE"
	case 0o100000:
		return "FILE"
	case 0o120000:
		return "SYMLINK"
	case 0o140000:
		return "SOCKET"
	}
	return "UNKNOWN"
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
