package main

import (
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pidInfo is what the calling process is, as a tracer should report it.
func pidInfo() (object, error) {
	pgid, err := unix.Getpgid(0)
	if err != nil {
		return nil, wrap("read the process group", err)
	}
	sid, err := unix.Getsid(0)
	if err != nil {
		return nil, wrap("read the session", err)
	}
	permitted, effective, err := capabilities()
	if err != nil {
		return nil, err
	}
	return object{
		"tid":           unix.Gettid(),
		"ppid":          unix.Getppid(),
		"tgid":          unix.Getpid(),
		"sid":           sid,
		"pgid":          pgid,
		"cap_permitted": strconv.FormatUint(permitted, 10),
		"cap_effective": strconv.FormatUint(effective, 10),
	}, nil
}

// capabilities are those of the calling thread.
func capabilities() (permitted, effective uint64, err error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, 0, wrap("read the capabilities", err)
	}
	join := func(low, high uint32) uint64 { return uint64(high)<<32 | uint64(low) }
	return join(data[0].Permitted, data[1].Permitted), join(data[0].Effective, data[1].Effective), nil
}

// limitCapabilities changes those of the calling thread only.
func limitCapabilities(permitted, effective uint32) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Permitted: permitted, Effective: effective}}
	return wrap("limit the capabilities", unix.Capset(&hdr, &data[0]))
}

// address is for system calls that take pointers as plain numbers. The caller
// keeps p alive until the call has returned.
func address[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }
