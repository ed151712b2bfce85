package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// containerFileOperations creates, renames and deletes a file as a container's
// process does: in a mount namespace of its own, with an overlay as its root.
//
// What the child mounts, with base = /tmp/container.PID:
//
//	base        tmpfs    for the overlay's parts; gone with the namespace
//	base/root   overlay  of base/lower, base/upper, base/work
//	/           the overlay, by pivot_root; the old root is at /old, then gone
func containerFileOperations(_ object, _ []string, _ *os.File) (object, error) {
	const orig, renamed = "/foo.txt", "/bar.txt"
	base := "/tmp/container." + strconv.Itoa(unix.Getpid())
	if err := unix.Mkdirat(unix.AT_FDCWD, base, 0o700); err != nil {
		return nil, wrap("make directory "+base, err)
	}
	defer func() { _ = unix.Unlinkat(unix.AT_FDCWD, base, unix.AT_REMOVEDIR) }()
	unix.Umask(0o022)

	var s script
	mount := func(doing, source, target, fstype string, flags uintptr, data string) {
		s.do(doing, unix.SYS_MOUNT, s.text(source), s.text(target), s.text(fstype), flags, s.text(data))
	}
	mkdir := func(name string) {
		s.do("make directory "+name, unix.SYS_MKDIRAT, cwd, s.text(name), 0o755)
	}
	s.do("leave the mount namespace", unix.SYS_UNSHARE, unix.CLONE_NEWNS)
	mount("make mounts private", "none", "/", "none", unix.MS_REC|unix.MS_PRIVATE, "")
	mount("mount tmpfs on "+base, "tmpfs", base, "tmpfs", 0, "")
	for _, name := range []string{"/lower", "/upper", "/work", "/root"} {
		mkdir(base + name)
	}
	root := base + "/root"
	mount("mount overlay on "+root, "overlay", root, "overlay", 0,
		"lowerdir="+base+"/lower,upperdir="+base+"/upper,workdir="+base+"/work")
	mkdir(root + "/old")
	s.do("pivot_root to "+root, unix.SYS_PIVOT_ROOT, s.text(root), s.text(root+"/old"))
	s.do("change to /", unix.SYS_CHDIR, s.text("/"))
	s.do("unmount the old root", unix.SYS_UMOUNT2, s.text("/old"), unix.MNT_DETACH)
	s.do("create "+orig, unix.SYS_OPENAT, cwd, s.text(orig), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644)
	s.onResult("close "+orig, unix.SYS_CLOSE)
	s.do("rename "+orig, unix.SYS_RENAMEAT2, cwd, s.text(orig), cwd, s.text(renamed), 0)
	s.do("delete "+renamed, unix.SYS_UNLINKAT, cwd, s.text(renamed), 0)

	c, err := fork(&s)
	if err != nil {
		return nil, err
	}
	return object{"child_pid": c.pid, "filename_orig": orig, "filename_new": renamed}, c.wait()
}

// cwd is AT_FDCWD as a system call's argument.
const cwd = ^uintptr(-unix.AT_FDCWD - 1)
