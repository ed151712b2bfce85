package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

const newRoot = "/.root"

// theRoot is what switchRoot found and did.
type theRoot struct {
	cmdline string
	loaded  bool          // the modules are
	users   bool          // it is a root file system that the user gave
	failed  []wire.Module // of these
	err     error         // why the user's root file system is not the guest's; nil if none was asked for
	note    string        // what the guest's root lacks of the user's; "": nothing
}

// switchRoot moves everything from the rootfs that the kernel unpacked the
// initramfs into to a tmpfs, and makes that the root: pivot_root(2), which
// container tests need, refuses to work on the rootfs itself. Where the user gave
// a root file system, it is that which everything moves to.
//
//	before: / rootfs (init, payload)
//	after:  / tmpfs (payload) over rootfs (init, empty directories)
func switchRoot() (r theRoot, err error) {
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return r, fmt.Errorf("make %s: %w", newRoot, err)
	}
	if err := mountRoot(); err != nil {
		return r, err
	}
	const proc = newRoot + "/proc" // where it is when the root has moved
	if err := mountProc(proc); err != nil {
		return r, err
	}
	b, err := os.ReadFile(proc + "/cmdline")
	if err != nil {
		return r, fmt.Errorf("read the kernel command line: %w", err)
	}
	r.cmdline = string(b)
	if kind := param(r.cmdline, wire.ParamRoot); kind != "" {
		var entered bool
		if entered, r.err = r.enterUsersRoot(kind); entered {
			r.users = true
			return r, nil
		}
	}
	if err := moveTree("/", newRoot, false); err != nil {
		return r, err
	}
	return r, enter(newRoot)
}

// tmpfs is the file system that keeps files in memory. Without CONFIG_TMPFS the one
// of that name is there all the same, and takes no files.
var tmpfs = "tmpfs"

// mountRoot mounts the file system that the guest gets.
func mountRoot() (err error) {
	for _, tmpfs = range []string{"tmpfs", "ramfs"} {
		if err = unix.Mount(tmpfs, newRoot, tmpfs, 0, "mode=755,size=90%"); err != nil {
			continue
		}
		if err = os.Mkdir(newRoot+"/proc", 0o755); err == nil {
			return nil
		}
		_ = unix.Unmount(newRoot, 0)
	}
	return wrap("mount "+tmpfs+" on "+newRoot, err)
}

func mountProc(dir string) error {
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	return wrap("mount proc", unix.Mount("proc", dir, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
}

// makeDir makes a directory to mount on. What is no directory there, which a
// user's root file system may have, goes.
func makeDir(dir string) error {
	err := os.MkdirAll(dir, 0o755)
	if err != nil && os.Remove(dir) == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	return err
}

// enter makes the root of a mount the guest's.
func enter(root string) error {
	if err := os.Chdir(root); err != nil {
		return fmt.Errorf("change to the new root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the new root over the rootfs: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot to the new root: %w", err)
	}
	return os.Chdir("/")
}

// moveTree copies the tree from, which is the rootfs, to another file system and
// removes its files on the way, so that a large payload is never in memory twice.
// With over, to has files of its own: where both have one, that of from takes its
// place, and directories of to stay as they are.
func moveTree(from, to string, over bool) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read the initramfs: %w", err)
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch "/" + rel {
		case newRoot, wire.RootDir, "/proc":
			return fs.SkipDir
		case "/init": // running; it goes with the rootfs
			return nil
		}
		placed = append(placed, filepath.Clean("/"+rel))
		dst := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return fmt.Errorf("read the initramfs: %w", err)
		}
		if over {
			if there, err := os.Stat(dst); err == nil && there.IsDir() && info.IsDir() {
				return nil
			}
			if err := os.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("put %s into the root file system: %w", "/"+rel, errors.Unwrap(err))
			}
		}
		const bits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
		switch mode := info.Mode(); {
		case mode.IsDir():
			if err = os.MkdirAll(dst, 0o755); err == nil {
				err = os.Chmod(dst, mode&bits)
			}
		case mode.IsRegular():
			if err = moveFile(path, dst, mode&bits); err == nil {
				err = os.Remove(path)
			}
		case mode.Type() == fs.ModeSymlink:
			var target string
			if target, err = os.Readlink(path); err == nil {
				err = os.Symlink(target, dst)
			}
		default:
			return nil // device nodes: devtmpfs brings its own
		}
		if err != nil {
			return fmt.Errorf("move /%s to the new root: %w", rel, err)
		}
		return nil
	})
}

func moveFile(src, dst string, perm fs.FileMode) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), os.Chmod(dst, perm))
}

// mountAll mounts what payloads expect of a running system and returns what
// this kernel did not mount. Whether a payload can do without is for it to say.
func mountAll() []wire.Mount {
	const noexec = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	var failed []wire.Mount
	for _, m := range []struct {
		fstype, target string
		flags          uintptr
		data           string
	}{
		{"sysfs", "/sys", noexec, ""},
		{"devtmpfs", "/dev", unix.MS_NOSUID, "mode=755"},
		{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=620,ptmxmode=666"},
		{tmpfs, "/dev/shm", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{tmpfs, "/tmp", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{tmpfs, "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"debugfs", "/sys/kernel/debug", noexec, ""},
		{"tracefs", "/sys/kernel/tracing", noexec, ""},
		{"securityfs", "/sys/kernel/security", noexec, ""},
		{"bpf", "/sys/fs/bpf", noexec, "mode=700"},
		{"cgroup2", "/sys/fs/cgroup", noexec, ""},
	} {
		// Below /sys nothing can be made: a directory that is missing there
		// means that this kernel lacks the file system.
		err := makeDir(m.target)
		if err == nil {
			err = unix.Mount(m.fstype, m.target, m.fstype, m.flags, m.data)
		}
		if err != nil && m.fstype == "devtmpfs" {
			err = errors.Join(err, makeNodes())
		}
		if err != nil {
			failed = append(failed, wire.Mount{Target: m.target, Type: m.fstype, Error: err.Error()})
		}
	}
	return failed
}

// mount is a mount that a system has only if its kernel knows the file system.
type mount struct {
	fstype, target string
	flags          uintptr
}

var optionalMounts = []mount{
	{"hugetlbfs", "/dev/hugepages", unix.MS_NOSUID | unix.MS_NODEV},
	{"mqueue", "/dev/mqueue", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"configfs", "/sys/kernel/config", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"fusectl", "/sys/fs/fuse/connections", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"binfmt_misc", "/proc/sys/fs/binfmt_misc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
}

// mountKnown mounts those whose file systems the kernel knows, and returns the
// others: a module may bring them. To mount one that is not known would have the
// kernel start a program that looks for the module.
func mountKnown(list []mount) (rest []mount) {
	known, _ := os.ReadFile("/proc/filesystems")
	for _, m := range list {
		if bytes.Contains(known, []byte("\t"+m.fstype+"\n")) && os.MkdirAll(m.target, 0o755) == nil &&
			unix.Mount(m.fstype, m.target, m.fstype, m.flags, "") == nil {
			continue
		}
		rest = append(rest, m)
	}
	return rest
}

// mountCgroupV1 replaces the one hierarchy of control groups by those of version 1,
// each controller in its own, and returns what this kernel did not mount.
func mountCgroupV1() []wire.Mount {
	const dir, flags = "/sys/fs/cgroup", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	list, err := os.ReadFile("/proc/cgroups")
	if err == nil {
		err = errors.Join(unix.Unmount(dir, 0), unix.Mount(tmpfs, dir, tmpfs, flags, "mode=755"))
	}
	if err != nil {
		return []wire.Mount{{Target: dir, Type: "cgroup", Error: err.Error()}}
	}
	var failed []wire.Mount
	for line := range strings.Lines(string(list)) {
		// name, hierarchy, number of groups, enabled
		f := strings.Fields(line)
		if len(f) != 4 || f[3] != "1" {
			continue
		}
		target := dir + "/" + f[0]
		err := os.Mkdir(target, 0o755)
		if err == nil {
			err = unix.Mount("cgroup", target, "cgroup", flags, f[0])
		}
		if err != nil {
			failed = append(failed, wire.Mount{Target: target, Type: "cgroup", Error: err.Error()})
		}
	}
	return failed
}

// prepare sets up what is not a mount.
func prepare(net, usersRoot bool) error {
	return errors.Join(
		populate("", net, usersRoot),
		devices(),
		limits(),
		loopbackUp(),
		wrap("set the host name", unix.Sethostname([]byte("guest"))),
	)
}

func wrap(doing string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}
