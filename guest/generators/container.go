package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const containerOrig, containerRenamed = "/foo.txt", "/bar.txt"

// containerFileOperations creates, renames and deletes a file as a container's
// process does: in a mount namespace of its own, with an overlay as its root.
func containerFileOperations(_ object, _ []string, _ *os.File) (object, error) {
	base := "/tmp/container." + strconv.Itoa(unix.Getpid())
	if err := unix.Mkdirat(unix.AT_FDCWD, base, 0o700); err != nil {
		return nil, wrap("make directory "+base, err)
	}
	defer func() { _ = unix.Unlinkat(unix.AT_FDCWD, base, unix.AT_REMOVEDIR) }()
	pid, err := startSelf("container_child", base)
	if err != nil {
		return nil, err
	}
	return object{"child_pid": pid, "filename_orig": containerOrig, "filename_new": containerRenamed}, wait(pid)
}

// containerChild is the process in the container. What it mounts:
//
//	base        tmpfs    for the overlay's parts; gone with the namespace
//	base/root   overlay  of base/lower, base/upper, base/work
//	/           the overlay, by pivot_root; the old root is at /old, then gone
func containerChild(_ object, args []string, _ *os.File) (object, error) {
	base := args[0]
	root := base + "/root"
	unix.Umask(0o022)
	mount := func(source, target, fstype string, flags uintptr, data string) func() error {
		return func() error { return unix.Mount(source, target, fstype, flags, data) }
	}
	mkdir := func(name string) func() error {
		return func() error { return unix.Mkdir(name, 0o755) }
	}
	for _, step := range []struct {
		doing string
		do    func() error
	}{
		{"leave the mount namespace", func() error { return unix.Unshare(unix.CLONE_NEWNS) }},
		{"make mounts private", mount("none", "/", "none", unix.MS_REC|unix.MS_PRIVATE, "")},
		{"mount tmpfs on " + base, mount("tmpfs", base, "tmpfs", 0, "")},
		{"make the lower directory", mkdir(base + "/lower")},
		{"make the upper directory", mkdir(base + "/upper")},
		{"make the work directory", mkdir(base + "/work")},
		{"make directory " + root, mkdir(root)},
		{"mount overlay on " + root, mount("overlay", root, "overlay", 0, "lowerdir="+base+"/lower,upperdir="+base+"/upper,workdir="+base+"/work")},
		{"make the old root's directory", mkdir(root + "/old")},
		{"pivot_root to " + root, func() error { return unix.PivotRoot(root, root+"/old") }},
		{"change to /", func() error { return unix.Chdir("/") }},
		{"unmount the old root", func() error { return unix.Unmount("/old", unix.MNT_DETACH) }},
		{"create " + containerOrig, func() error {
			fd, err := unix.Open(containerOrig, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}},
		{"rename " + containerOrig, func() error { return unix.Rename(containerOrig, containerRenamed) }},
		{"delete " + containerRenamed, func() error { return unix.Unlink(containerRenamed) }},
	} {
		if err := step.do(); err != nil {
			return nil, wrap(step.doing, err)
		}
	}
	return nil, nil
}
