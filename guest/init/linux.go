package main

import (
	"embed"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// etc are the files that a C library and Go's look for: without them "localhost",
// the user nobody or the port of http have no meaning.
//
//go:embed etc
var etc embed.FS

// errorList takes errors but for those of what is there already.
type errorList []error

func (l *errorList) add(err error) {
	if err != nil && !errors.Is(err, fs.ErrExist) {
		*l = append(*l, err)
	}
}

// populate makes below root, "" for /, what programs expect of a Linux system and
// root lacks. A file that is there is a payload's or a root file system's own, and
// stays. In a VM that is restored the payload comes later, and overwrites. In a
// user's root an empty file is one that is missing, as container runtimes leave
// them, and so is a link to nothing, as resolv.conf is where a service writes it.
func populate(root string, net, usersRoot bool) error {
	var errs errorList
	for _, d := range []struct {
		path string
		mode uint32
	}{
		{"/etc", 0o755},
		{"/mnt", 0o755},
		{"/run/lock", 0o1777},
		{"/var", 0o755},
		{"/var/cache", 0o755},
		{"/var/lib", 0o755},
		{"/var/log", 0o755},
		{"/var/tmp", 0o1777},
	} {
		err := unix.Mkdir(root+d.path, d.mode)
		if err == nil && d.mode == 0o1777 { // more than the umask leaves
			err = unix.Chmod(root+d.path, d.mode)
		}
		errs.add(err)
	}
	for _, l := range [][2]string{
		{"/run", "/var/run"}, {"/run/lock", "/var/lock"}, {"/proc/self/mounts", "/etc/mtab"},
	} {
		errs.add(os.Symlink(l[0], root+l[1]))
	}
	files, err := etc.ReadDir("etc")
	errs.add(err)
	for _, f := range files {
		b, err := etc.ReadFile("etc/" + f.Name())
		if f.Name() == "resolv.conf" && net {
			b = []byte(netResolver)
		}
		path := root + "/etc/" + f.Name()
		if usersRoot && stale(path) {
			errs.add(os.Remove(path))
		}
		errs.add(errors.Join(err, createFile(path, b)))
	}
	return wrap("make the files of a Linux system", errors.Join(errs...))
}

// stale says whether a path is an empty file or a link to nothing.
func stale(path string) bool {
	info, err := os.Stat(path)
	if err == nil {
		return info.Mode().IsRegular() && info.Size() == 0
	}
	_, err = os.Readlink(path)
	return err == nil
}

// createFile writes a file that must not exist.
func createFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// devices adds to /dev the links that udev would.
func devices() error {
	var errs errorList
	for _, l := range [][2]string{
		{"/proc/self/fd", "/dev/fd"}, {"fd/0", "/dev/stdin"}, {"fd/1", "/dev/stdout"}, {"fd/2", "/dev/stderr"},
	} {
		errs.add(os.Symlink(l[0], l[1]))
	}
	return wrap("make links of devices", errors.Join(errs...))
}

// deviceModes gives nodes the modes that udev would, which the kernel leaves to it.
// Those of drivers that the kernel lacks are not there.
func deviceModes() {
	for path, mode := range map[string]uint32{"/dev/net/tun": 0o666, "/dev/fuse": 0o666, "/dev/loop-control": 0o660} {
		_ = unix.Chmod(path, mode)
	}
}

// limits sets what systemd sets on every distribution.
func limits() error {
	return errors.Join(
		// Before 5.11 BPF maps and programs count against it.
		wrap("lift the limit of locked memory", unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})),
		// By package syscall, which else gives its programs what init came with.
		wrap("set the limit of open files", syscall.Setrlimit(unix.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 1024, Max: 512 << 10})),
		wrap("set the highest process number", os.WriteFile("/proc/sys/kernel/pid_max", []byte("4194304"), 0)),
	)
}
