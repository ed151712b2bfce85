package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dieOfSegv ends the process as a segmentation fault in a C program does. Go's
// runtime catches SIGSEGV to panic and exit 2, and os/signal cannot undo that.
func dieOfSegv() error {
	// struct kernel_sigaction, all zero: the default action. 4 words on amd64
	// and arm64; the last argument is the size of a kernel sigset_t.
	var dfl [4]uintptr
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGSEGV),
		uintptr(unsafe.Pointer(&dfl)), 0, 8, 0, 0); errno != 0 {
		return fmt.Errorf("reset SIGSEGV: %w", errno)
	}
	if err := unix.Kill(unix.Getpid(), unix.SIGSEGV); err != nil {
		return fmt.Errorf("send SIGSEGV to itself: %w", err)
	}
	select {}
}
