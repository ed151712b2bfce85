package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// node is a device's file below /dev.
type node struct {
	name         string
	mode         uint32
	major, minor uint32
}

// usualNodes are those that programs take for granted, and the serial lines on
// which results come (Documentation/admin-guide/devices.txt).
var usualNodes = []node{
	{"null", unix.S_IFCHR | 0o666, 1, 3},
	{"zero", unix.S_IFCHR | 0o666, 1, 5},
	{"full", unix.S_IFCHR | 0o666, 1, 7},
	{"random", unix.S_IFCHR | 0o666, 1, 8},
	{"urandom", unix.S_IFCHR | 0o666, 1, 9},
	{"kmsg", unix.S_IFCHR | 0o644, 1, 11},
	{"tty", unix.S_IFCHR | 0o666, 5, 0},
	{"console", unix.S_IFCHR | 0o600, 5, 1},
	{"ptmx", unix.S_IFCHR | 0o666, 5, 2},
	{"ttyS0", unix.S_IFCHR | 0o600, 4, 64},
	{"ttyS1", unix.S_IFCHR | 0o600, 4, 65},
}

// makeNodes makes the files below /dev that devtmpfs would have, for a kernel
// without it: of all devices that sysfs tells of, and at least the usual ones.
func makeNodes() error {
	if err := unix.Mount(tmpfs, "/dev", tmpfs, unix.MS_NOSUID, "mode=755"); err != nil {
		return wrap("mount "+tmpfs+" on /dev", err)
	}
	all := usualNodes
	for dir, kind := range map[string]uint32{"char": unix.S_IFCHR, "block": unix.S_IFBLK} {
		files, _ := filepath.Glob("/sys/dev/" + dir + "/*/uevent")
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil {
				if n, ok := parseNode(string(b), kind); ok {
					all = append(all, n)
				}
			}
		}
	}
	var errs errorList
	for _, n := range all {
		path := filepath.Join("/dev", n.name)
		errs.add(os.MkdirAll(filepath.Dir(path), 0o755))
		err := unix.Mknod(path, n.mode, int(unix.Mkdev(n.major, n.minor)))
		if err == nil {
			err = unix.Chmod(path, n.mode&0o777) // more than the umask leaves
		}
		if !errors.Is(err, fs.ErrExist) {
			errs.add(err)
		}
	}
	return wrap("make device nodes", errors.Join(errs...))
}

// parseNode reads what the kernel says of a device, as "MAJOR=1\nMINOR=3\n
// DEVNAME=null\nDEVMODE=0666\n".
func parseNode(uevent string, kind uint32) (node, bool) {
	n := node{mode: kind | 0o600}
	for line := range strings.Lines(uevent) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		number := func(base int) uint32 {
			u, _ := strconv.ParseUint(value, base, 32)
			return uint32(u)
		}
		switch key {
		case "MAJOR":
			n.major = number(10)
		case "MINOR":
			n.minor = number(10)
		case "DEVNAME":
			n.name = value
		case "DEVMODE":
			n.mode = kind | number(8)&0o777
		}
	}
	return n, n.name != "" && filepath.IsLocal(n.name)
}
