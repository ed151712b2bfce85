package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// enterUsersRoot makes the root file system that the user gave the guest's root,
// and moves init's and the payload's files over it. It says whether the root is
// another one now: an error may come after that.
//
//	disk, 9p: newRoot/lower  the disk or the share, read-only
//	          newRoot/merged overlay of it and of newRoot/upper: the new root
//	cpio:     wire.RootDir   the new root, by a mount of its own: pivot_root wants one
func (r *theRoot) enterUsersRoot(kind string) (entered bool, err error) {
	root := wire.RootDir
	r.failed, r.loaded = loadModules(), true // before the root's own /modules are in their place
	if kind == wire.RootArchive {
		err = bindRoot()
	} else if root, err = overlayRoot(kind); err != nil && len(r.failed) > 0 {
		err = fmt.Errorf("%w; module %s: %s", err, r.failed[0].Name, r.failed[0].Error)
	}
	if err != nil {
		return false, err
	}
	old, err := os.Open("/")
	if err != nil {
		return false, err
	}
	defer old.Close()
	if err := enter(root); err != nil {
		return false, err
	}
	// Where links lead inside of the root only, so do those on the way to a file
	// of the payload. What it is moved from is the working directory meanwhile.
	if err := old.Chdir(); err != nil {
		return true, err
	}
	if kind == wire.RootArchive {
		err = setXattrs("." + wire.XattrsPath)
	}
	_ = os.RemoveAll(wire.ModulesDir)
	_ = os.Remove("/" + guestTestrunner) // whatever it is there: the link is made later
	return true, errors.Join(err, moveTree(".", "/", true), os.Chdir("/"), mountProc("/proc"))
}

// bindRoot makes a mount of the directory that the kernel unpacked the root into,
// which costs no copy.
func bindRoot() error {
	// A rootfs takes half of the memory at most, until here.
	_ = unix.Mount("", "/", "", unix.MS_REMOUNT, "size=90%")
	return wrap("mount the root file system that came in the initramfs", unix.Mount(wire.RootDir, wire.RootDir, "", unix.MS_BIND, ""))
}

// overlayRoot mounts the disk or the share below a writable layer in memory and
// returns where.
func overlayRoot(kind string) (string, error) {
	const lower, upper, work, merged = newRoot + "/lower", newRoot + "/upper", newRoot + "/work", newRoot + "/merged"
	for _, dir := range []string{lower, upper, work, merged} {
		if err := unix.Mkdir(dir, 0o755); err != nil {
			return "", fmt.Errorf("make %s: %w", dir, err)
		}
	}
	var err error
	if kind == wire.RootShare {
		// Large messages: each one is a trip to the host.
		err = wrap("mount the host's files by 9p", unix.Mount(wire.HostTag, lower, "9p", unix.MS_RDONLY, "trans=virtio,version=9p2000.L,msize=262144,access=any,cache=loose"))
	} else {
		err = mountDisk(lower)
	}
	if err != nil {
		return "", err
	}
	// The overlay's own root is as that of its upper layer.
	var st unix.Stat_t
	if err := errors.Join(unix.Stat(lower, &st), unix.Chown(upper, int(st.Uid), int(st.Gid)), unix.Chmod(upper, st.Mode&0o7777)); err != nil {
		return "", fmt.Errorf("make the root file system's writable layer: %w", err)
	}
	return merged, wrap("mount an overlay over the root file system", unix.Mount("overlay", merged, "overlay", 0, "lowerdir="+lower+",upperdir="+upper+",workdir="+work))
}

// diskLimit is how long the disk may take to show up behind its driver.
const diskLimit = 20 * time.Second

func mountDisk(dir string) error {
	if err := unix.Mount("devtmpfs", "/dev", "devtmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount devtmpfs: %w", err)
	}
	defer func() { _ = unix.Unmount("/dev", 0) }() // mountAll mounts it again
	for end := time.Now().Add(diskLimit); ; time.Sleep(5 * time.Millisecond) {
		for _, disk := range []string{"/dev/vda", "/dev/nvme0n1"} {
			if _, err := os.Stat(disk); err == nil {
				return wrap("mount the root file system on "+disk, unix.Mount(disk, dir, "ext4", unix.MS_RDONLY, ""))
			}
		}
		if time.Now().After(end) {
			return errors.New("the kernel shows no disk with the root file system")
		}
	}
}

// setXattrs gives files the extended attributes that their archive had no place
// for, and removes the list of them.
func setXattrs(list string) error {
	b, err := os.ReadFile(list)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var all []wire.Xattr
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		return fmt.Errorf("read the root file system's extended attributes: %w", err)
	}
	for _, x := range all {
		err := unix.Lsetxattr(string(x.Path), x.Name, x.Value, 0)
		// Before 6.6 a tmpfs takes none of a user's own, which nothing depends on.
		if err != nil && !(strings.HasPrefix(x.Name, "user.") && slices.Contains([]error{unix.EOPNOTSUPP, unix.EPERM}, err)) {
			return fmt.Errorf("set %s of %s: %w", x.Name, x.Path, err)
		}
	}
	return os.Remove(list)
}
