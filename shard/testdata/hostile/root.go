package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// lookAtRoot checks a root file system that the tests of package shard make, on a
// mount of a kind.
func lookAtRoot(kind string) error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	check(err == nil && regexp.MustCompile(`(?m)^\S+ / `+kind+` `).Match(mounts), "no %s on / in\n%s, %v", kind, mounts, err)
	for _, f := range []struct {
		name     string
		mode     uint32
		uid, gid uint32
	}{
		{"/", unix.S_IFDIR | 0o755, 0, 0},
		{"/root", unix.S_IFDIR | 0o700, 0, 0},
		{"/bin", unix.S_IFLNK | 0o777, 0, 0},
		{"/etc/secret", unix.S_IFREG | 0o640, 1000, 70000},
		{"/usr/bin/su", unix.S_IFREG | 0o4755, 0, 0},
		{"/var/lib/own", unix.S_IFDIR | 0o2750, 33, 34},
		{"/data/null", unix.S_IFCHR | 0o666, 0, 0},
		{"/data/link", unix.S_IFLNK | 0o777, 0, 0},
	} {
		var st unix.Stat_t
		err := unix.Lstat(f.name, &st)
		check(err == nil && st.Mode == f.mode && st.Uid == f.uid && st.Gid == f.gid, "%s: %v, mode %o, owner %d:%d, want %o, %d:%d", f.name, err, st.Mode, st.Uid, st.Gid, f.mode, f.uid, f.gid)
	}
	var a, b unix.Stat_t
	err = errors.Join(unix.Stat("/data/a", &a), unix.Stat("/data/b", &b))
	check(err == nil && a.Ino == b.Ino && a.Nlink == 2, "hard links: %v, inodes %d and %d, %d links", err, a.Ino, b.Ino, a.Nlink)
	check(os.WriteFile("/data/null", []byte("x"), 0) == nil, "the device does not work")

	content := func(name, want string) {
		b, err := os.ReadFile(name)
		check(err == nil && string(b) == want, "%s: %.100q, %v: want %q", name, b, err, want)
	}
	// The payload's files are over the root's, and nothing else has changed.
	content("/usr/bin/tool", "payload")
	content("/usr/bin/tool-too", "root")
	content("/outside", "payload") // where /data/link leads
	content("/var/lib/own/file", "payload")
	content("/init", "root")
	// What is empty or leads nowhere is as good as missing.
	for _, name := range []string{"/etc/hosts", "/etc/resolv.conf"} {
		info, err := os.Stat(name)
		check(err == nil && info.Size() > 0, "%s: %v, %v", name, info, err)
	}
	for _, name := range []string{"/modules/000-of-the-root.ko", "/dev/of-the-root"} {
		_, err := os.Lstat(name)
		check(errors.Is(err, os.ErrNotExist), "%s: %v", name, err)
	}
	// It can be written to.
	check(os.WriteFile("/etc/new", nil, 0o644) == nil, "no new file")
	f, err := os.OpenFile("/etc/secret", os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(" more")
	}
	check(err == nil, "append to a file: %v", err)
	content("/etc/secret", "secret more")
	check(os.Remove("/data/a") == nil, "a file cannot be removed")
	content("/data/b", "linked")

	path, err := exec.LookPath("prog")
	check(err == nil && path == "/usr/local/bin/prog", "prog is %q, %v", path, err)
	for name, want := range map[string]string{"/usr/bin/su": "euid 0", "/usr/bin/ping": "CapEff:\t0000000000002000", "prog": "euid 65534"} {
		cmd := exec.Command(name, "who")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		check(err == nil && strings.Contains(string(out), want), "%s: %v, %s, want %q", name, err, out, want)
	}
	if kind == "overlay" {
		for _, dir := range []string{"/tmp/upper", "/tmp/work", "/tmp/merged"} {
			check(os.Mkdir(dir, 0o755) == nil, "make %s", dir)
		}
		err := unix.Mount("overlay", "/tmp/merged", "overlay", 0, "lowerdir=/usr,upperdir=/tmp/upper,workdir=/tmp/work")
		check(err == nil, "mount an overlay: %v", err)
	}
	err = pivot()
	check(err == nil, "pivot_root: %v", err)
	return errors.Join(errs...)
}

// who prints with what rights this program runs.
func who() {
	fmt.Println("euid", os.Geteuid())
	b, err := os.ReadFile("/proc/self/status")
	check(err)
	fmt.Printf("%s\n", b)
}
