package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// leave leaves behind one of each thing that outlives a program.
func leave() error {
	runtime.LockOSThread() // for the network namespace
	loadOf := func(name string, kind ebpf.ProgramType, attach ebpf.AttachType, returns int32) (*ebpf.Program, error) {
		return ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: name, Type: kind, AttachType: attach, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, returns), asm.Return()},
		})
	}
	pinned, err := loadOf("left_pinned", ebpf.SocketFilter, ebpf.AttachNone, 0)
	if err == nil {
		err = errors.Join(os.Mkdir("/sys/fs/bpf/left", 0o755), pinned.Pin("/sys/fs/bpf/left/program"))
	}
	onCgroup, err2 := loadOf("left_cgroup", ebpf.CGroupSKB, ebpf.AttachCGroupInetEgress, 1)
	if err2 == nil {
		err2 = link.RawAttachProgram(link.RawAttachProgramOptions{Target: int(open("/sys/fs/cgroup", os.O_RDONLY).Fd()), Program: onCgroup, Attach: ebpf.AttachCGroupInetEgress, Flags: 2})
	}
	xdp, err3 := loadOf("left_xdp", ebpf.XDP, ebpf.AttachXDP, 2)
	if err3 == nil {
		var l link.Link
		if l, err3 = link.AttachXDP(link.XDPOptions{Program: xdp, Interface: 1}); err3 == nil {
			err3 = l.Pin("/sys/fs/bpf/left/xdp")
		}
	}
	err = errors.Join(err, err2, err3,
		os.MkdirAll("/sys/fs/cgroup/left/inner", 0o755),
		write("/sys/fs/cgroup/left/inner/cgroup.procs", fmt.Sprint(os.Getpid())),
		os.WriteFile("/tmp/left", nil, 0o644), os.WriteFile("/dev/shm/left", nil, 0o644), os.MkdirAll("/var/tmp/left/a", 0o755),
		os.MkdirAll("/left/a", 0o755), os.WriteFile("/root/.left", nil, 0o600), os.WriteFile(filepath.Join(filepath.Dir(os.Args[0]), "left"), nil, 0o644),
		unix.Mount("tmpfs", "/mnt", "tmpfs", 0, ""),
		write("/proc/sys/net/ipv4/ip_forward", "1"), write("/proc/sys/kernel/core_pattern", "left"), unix.Sethostname([]byte("left")),
		write("/sys/kernel/tracing/kprobe_events", "p:left/open do_sys_openat2"), write("/sys/kernel/tracing/events/left/open/enable", "1"),
		os.Mkdir("/sys/kernel/tracing/instances/left", 0o755),
		tun("left0"), address(), loop(),
		os.Mkdir("/run/netns", 0o755), os.WriteFile("/run/netns/left", nil, 0o644), unix.Unshare(unix.CLONE_NEWNET),
		unix.Mount("/proc/thread-self/ns/net", "/run/netns/left", "", unix.MS_BIND, ""),
	)
	return err
}

// tun makes an interface that stays.
func tun(name string) error {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = errors.Join(unix.IoctlIfreq(int(f.Fd()), unix.TUNSETIFF, ifr), unix.IoctlSetInt(int(f.Fd()), unix.TUNSETPERSIST, 1))
	}
	return err
}

// address gives the loopback another one.
func address() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	ifr, err := unix.NewIfreq("lo:1")
	if err == nil {
		err = ifr.SetInet4Addr([]byte{10, 9, 8, 7})
	}
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCSIFADDR, ifr)
	}
	return err
}

// loop sets up a loop device, where the kernel has one.
func loop() error {
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return err
	}
	file := open("/tmp/image", os.O_RDWR|os.O_CREATE)
	dev := open(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR)
	return errors.Join(file.Truncate(1<<20), unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_SET_FD, int(file.Fd())))
}

// find says what another program left behind.
func find() error {
	var errs []error
	found := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, pattern := range []string{
		"/sys/fs/bpf/left*", "/sys/fs/cgroup/left*", "/tmp/*", "/var/tmp/*", "/dev/shm/*", "/run/netns/*", "/left", "/root/.left", "/payload/left", "/sys/class/net/left*",
		"/sys/kernel/tracing/instances/*", "/sys/kernel/tracing/events/left", "/sys/block/loop*/loop/backing_file",
	} {
		if list, _ := filepath.Glob(pattern); len(list) > 0 {
			found("found %s", list)
		}
	}
	for file, want := range map[string]string{
		"/proc/sys/net/ipv4/ip_forward": "0", "/proc/sys/kernel/core_pattern": "core", "/proc/sys/kernel/hostname": "guest", "/sys/kernel/tracing/kprobe_events": "",
	} {
		if b, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(b)) != want {
			found("%s is %q, %v, want %q", file, b, err, want)
		}
	}
	if b, err := os.ReadFile("/proc/sys/kernel/unprivileged_bpf_disabled"); err == nil && string(b) == "1\n" {
		found("unprivileged BPF is locked")
	}
	if info, err := os.Stat(os.Args[0]); err != nil || info.Mode().Perm() != 0o755 {
		found("the program's mode %v, %v", info, err)
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	if strings.Contains(string(mounts), " /mnt ") || strings.Contains(string(mounts), "/run/netns") {
		found("mounts %s", mounts)
	}
	if addrs, err := net.InterfaceAddrs(); err != nil || len(addrs) > 2 {
		found("addresses %v, %v", addrs, err)
	}
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if err != nil {
			break
		}
		id = next
		if p, err := ebpf.NewProgramFromID(id); err == nil {
			if info, err := p.Info(); err == nil && strings.HasPrefix(info.Name, "left_") {
				found("BPF program %s", info.Name)
			}
			p.Close()
		}
	}
	return errors.Join(errs...)
}
