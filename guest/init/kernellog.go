package main

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelLog tells whether the kernel printed something, which on the console
// lands in the middle of what init writes.
type kernelLog struct{ kmsg *os.File }

func openKernelLog() *kernelLog {
	// O_NONBLOCK: a read with nothing to read returns.
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &kernelLog{}
	}
	return &kernelLog{kmsg: os.NewFile(uintptr(fd), "/dev/kmsg")}
}

// mark makes silent speak of what comes from now on.
func (l *kernelLog) mark() {
	if l.kmsg != nil {
		_, _ = unix.Seek(int(l.kmsg.Fd()), 0, io.SeekEnd)
	}
}

// silent says that nothing was printed since mark. Where it cannot be known it
// is false.
func (l *kernelLog) silent() bool {
	if l.kmsg == nil {
		return false
	}
	var one [8 << 10]byte // the kernel's limit of a record
	_, err := unix.Read(int(l.kmsg.Fd()), one[:])
	return errors.Is(err, unix.EAGAIN)
}

const ignoreLoglevel = "/sys/module/printk/parameters/ignore_loglevel"

// hush keeps the kernel's messages off the console until the function that it
// returns is called. A panic or oops raises the level by itself, and a warning
// that is not seen taints the kernel, which the end record tells.
func hush() (restore func()) {
	const consoleLevel = 8 // syslog(2)
	level := 7
	if f := strings.Fields(text("/proc/sys/kernel/printk")); len(f) > 0 {
		if n, err := strconv.Atoi(f[0]); err == nil && n > 0 && n <= 15 {
			level = n
		}
	}
	ignore := text(ignoreLoglevel)
	_ = os.WriteFile(ignoreLoglevel, []byte("N"), 0)
	_, _ = klogctl(consoleLevel, 1)
	return func() {
		_, _ = klogctl(consoleLevel, min(level, 8))
		if ignore == "Y" {
			_ = os.WriteFile(ignoreLoglevel, []byte("Y"), 0)
		}
	}
}

// klogctl is syslog(2) for commands that take a number in place of a buffer.
func klogctl(cmd, n int) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_SYSLOG, uintptr(cmd), 0, uintptr(n))
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}
