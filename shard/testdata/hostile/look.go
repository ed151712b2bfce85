package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

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
	check(os.Getenv("PATH") != "" && os.Getenv("HOME") == "/root", "environment %q", os.Environ())
	return errors.Join(errs...)
}

func pivot() error {
	return errors.Join(
		unix.Unshare(unix.CLONE_NEWNS),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		os.MkdirAll("/tmp/new", 0o755),
		unix.Mount("tmpfs", "/tmp/new", "tmpfs", 0, ""),
		os.Mkdir("/tmp/new/old", 0o755),
		unix.PivotRoot("/tmp/new", "/tmp/new/old"))
}

// identity prints what no other guest may have: what is random in a guest, and
// its time.
func identity() {
	random := make([]byte, 16)
	_, err := unix.Getrandom(random, 0)
	check(err)
	fmt.Printf("random %x\n", random)
	for _, name := range []string{"uuid", "boot_id"} {
		b, err := os.ReadFile("/proc/sys/kernel/random/" + name)
		check(err)
		fmt.Printf("%s %s", name, b)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	check(err)
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(line, "[stack]\n") {
			fmt.Println("stack", strings.Fields(line)[0])
		}
	}
	fmt.Println("clock", time.Now().UTC().Format(time.RFC3339Nano))
}
