package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func signalIgnore() { signal.Ignore(unix.SIGHUP, unix.SIGCONT) }

// unbind takes a serial port away from its driver.
func unbind(tty string) error {
	dev, err := filepath.EvalSymlinks("/sys/class/tty/" + tty + "/device")
	if err != nil {
		return err
	}
	fmt.Println("unbind", dev)
	return os.WriteFile(dev+"/driver/unbind", []byte(filepath.Base(dev)), 0)
}

// look checks the system that init has prepared, as a payload sees it.
func look() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	check(err == nil, "read mounts: %v", err)
	for _, want := range []string{
		" / tmpfs ", " /proc proc ", " /sys sysfs ", " /dev devtmpfs ", " /dev/pts devpts ", " /tmp tmpfs ",
		" /sys/kernel/debug debugfs ", " /sys/kernel/tracing tracefs ", " /sys/fs/bpf bpf ", " /sys/fs/cgroup cgroup2 ",
	} {
		check(strings.Contains(string(mounts), want), "no mount %q in\n%s", want, mounts)
	}
	wd, err := os.Getwd()
	check(err == nil && wd == "/", "working directory %q, %v", wd, err)
	check(os.Getuid() == 0, "uid %d", os.Getuid())
	cpu, err := os.ReadFile("/proc/cpuinfo")
	check(err == nil && !strings.Contains(string(cpu), " cx16 "), "the kernel uses cmpxchg16b, which emulators get wrong: %v", err)
	// pivot_root works: the root is no rootfs.
	err = pivot()
	check(err == nil, "pivot_root: %v", err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err == nil, "listen on the loopback: %v", err)
	if err == nil {
		c, err := net.Dial("tcp", l.Addr().String())
		check(err == nil, "connect over the loopback: %v", err)
		if err == nil {
			c.Close()
		}
	}
	var lim unix.Rlimit
	err = unix.Getrlimit(unix.RLIMIT_MEMLOCK, &lim)
	check(err == nil && lim.Cur == unix.RLIM_INFINITY, "locked memory is limited to %d, %v", lim.Cur, err)
	check(os.Getenv("PATH") != "" && os.Getenv("HOME") == "/", "environment %q", os.Environ())
	return errors.Join(errs...)
}

func pivot() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := os.MkdirAll("/tmp/new/old", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/tmp/new", "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := os.MkdirAll("/tmp/new/old", 0o755); err != nil {
		return err
	}
	return unix.PivotRoot("/tmp/new", "/tmp/new/old")
}
