package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Attaching that needs a call of the library's or the kernel's, and nothing made
// for it but a socket, a map or a cgroup.

// bpfLink makes a system call of bpf(2) that returns a link, and the function
// that closes it. Both go past Go's scheduler, which may start a thread around a
// call: a program for the LSM hook task_alloc may deny that.
func bpfLink(cmd uintptr, attr unsafe.Pointer, size uintptr) (func() error, error) {
	fd, _, errno := unix.RawSyscall(unix.SYS_BPF, cmd, uintptr(attr), size)
	if errno != 0 {
		return nil, errno
	}
	return func() error {
		if _, _, errno := unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0); errno != 0 {
			return errno
		}
		return nil
	}, nil
}

// openRawTracepoint attaches to a tracepoint or, without a name, to what the
// program was loaded for. All kernels with such programs know this call; the
// library's way asks of the link afterwards, which a program for the LSM hook
// bpf may deny.
func openRawTracepoint(name string, prog *ebpf.Program) (func() error, error) {
	attr := struct {
		name *byte
		prog uint32
		_    uint32
	}{prog: uint32(prog.FD())}
	if name != "" {
		var err error
		if attr.name, err = unix.BytePtrFromString(name); err != nil {
			return nil, err
		}
	}
	detach, err := bpfLink(unix.BPF_RAW_TRACEPOINT_OPEN, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(prog)
	return detach, err
}

// attachIter attaches an iterator, with a map made for it where it is one over a
// map's elements, or with a cgroup.
func attachIter(prog *ebpf.Program, where, target string) (string, func() error, error) {
	var spec *ebpf.MapSpec
	switch target {
	case "bpf_map_elem":
		// As large as a program may expect its map's keys and values to be.
		spec = &ebpf.MapSpec{Type: ebpf.Hash, KeySize: 512, ValueSize: 8 << 10, MaxEntries: 1, Flags: unix.BPF_F_NO_PREALLOC}
	case "bpf_sk_storage_map":
		number := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
		value := &btf.Array{Index: number, Type: number, Nelems: 1 << 10}
		spec = &ebpf.MapSpec{Type: ebpf.SkStorage, KeySize: 4, ValueSize: 4 << 10, Flags: unix.BPF_F_NO_PREALLOC, Key: number, Value: value}
	case "sockmap":
		spec = &ebpf.MapSpec{Type: ebpf.SockHash, KeySize: 512, ValueSize: 8, MaxEntries: 1}
	case "cgroup":
		return onCgroup(where, func(dir *os.File) (func() error, error) {
			info := struct {
				order, cgroup uint32
				id            uint64
			}{order: 1, cgroup: uint32(dir.Fd())} // BPF_CGROUP_ITER_SELF_ONLY
			attr := struct {
				prog, target, attachType, flags uint32
				info                            unsafe.Pointer
				size, _                         uint32
			}{prog: uint32(prog.FD()), attachType: uint32(ebpf.AttachTraceIter), info: unsafe.Pointer(&info), size: uint32(unsafe.Sizeof(info))}
			detach, err := bpfLink(unix.BPF_LINK_CREATE, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
			runtime.KeepAlive(prog)
			return detach, err
		})
	}
	opts := link.IterOptions{Program: prog}
	if spec != nil {
		m, err := ebpf.NewMap(spec)
		if err != nil {
			return where, nil, fmt.Errorf("make a map for it: %w", err)
		}
		defer m.Close() // the link holds it
		opts.Map = m
	}
	lnk, err := link.AttachIter(opts)
	if err != nil {
		return where, nil, err
	}
	return where, lnk.Close, nil
}

// attachPerfEvent attaches to the CPU clock, which every machine has.
func attachPerfEvent(prog *ebpf.Program) (func() error, error) {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Sample: 1e6}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open it: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, prog.FD()); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return func() error { return unix.Close(fd) }, nil
}

// attachSocket attaches to a socket.
func attachSocket(prog *ebpf.Program, typ ebpf.ProgramType) (where string, detach func() error, err error) {
	where, option := "a socket", unix.SO_ATTACH_BPF
	if typ == ebpf.SkReuseport {
		where, option = "a socket with SO_REUSEPORT", unix.SO_ATTACH_REUSEPORT_EBPF
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return where, nil, err
	}
	if typ == ebpf.SkReuseport {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, prog.FD())
	}
	if err != nil {
		return where, nil, errors.Join(err, unix.Close(fd))
	}
	return where, func() error { return unix.Close(fd) }, nil
}

// attachSockmap attaches to a sockmap made for it. The kernel does not tell one
// from another.
func attachSockmap(prog *ebpf.Program, ps *programInfo) (where string, detach func() error, err error) {
	at := ps.attachType
	if at == ebpf.AttachNone { // SEC("sk_skb") leaves it open
		at = ebpf.AttachSkSKBStreamVerdict
	}
	where = "a sockmap as " + at.String()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.SockMap, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return where, nil, fmt.Errorf("make a map for it: %w", err)
	}
	opts := link.RawAttachProgramOptions{Target: m.FD(), Program: prog, Attach: at}
	if err := link.RawAttachProgram(opts); err != nil {
		return where, nil, errors.Join(err, m.Close())
	}
	return where, func() error {
		return errors.Join(link.RawDetachProgram(link.RawDetachProgramOptions(opts)), m.Close())
	}, nil
}

// attachCgroup attaches to a cgroup of its own, without processes.
func attachCgroup(prog *ebpf.Program, ps *programInfo) (where string, detach func() error, err error) {
	as := ps.attachType.String()
	switch {
	case ps.attachType == ebpf.AttachCGroupInetIngress: // has the number of none
		as = "CGroupInetIngress"
	case ps.typ == ebpf.LSM:
		as += " of " + ps.attachTo
	}
	where = "a cgroup as " + as
	return onCgroup(where, func(dir *os.File) (func() error, error) {
		lnk, err := link.AttachCgroup(link.CgroupOptions{Path: dir.Name(), Attach: ps.attachType, Program: prog})
		if err != nil {
			return nil, err
		}
		return lnk.Close, nil
	})
}

// onCgroup makes a cgroup of version 2, attaches to it, and removes it after
// detaching.
func onCgroup(where string, attach func(dir *os.File) (func() error, error)) (string, func() error, error) {
	root, unmount := "/sys/fs/cgroup", func() {}
	var stat unix.Statfs_t
	if err := unix.Statfs(root, &stat); err != nil || stat.Type != unix.CGROUP2_SUPER_MAGIC {
		// With version 1 below /sys, the kernel still has the other hierarchy.
		var err error
		if root, err = os.MkdirTemp("", "cgroup"); err != nil {
			return where, nil, err
		}
		unmount = func() { _, _ = unix.Unmount(root, unix.MNT_DETACH), os.Remove(root) }
		if err := unix.Mount("none", root, "cgroup2", 0, ""); err != nil {
			unmount()
			return where, nil, needsMore("cgroups of version 2, and they cannot be mounted: " + err.Error())
		}
	}
	path, err := os.MkdirTemp(root, "bpf-kernel-check-")
	if err != nil {
		unmount()
		return where, nil, err
	}
	dir, err := os.Open(path)
	// What cannot be removed harms nothing, and is no fault of the program's.
	clean := func() { _, _ = dir.Close(), os.Remove(path); unmount() }
	if err != nil {
		clean()
		return where, nil, err
	}
	detach, err := attach(dir)
	if err != nil {
		clean()
		return where, nil, err
	}
	return where, func() error {
		defer clean()
		return detach()
	}, nil
}
