package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// host is the machine as advice about KVM needs to know it.
type host struct {
	arch      string // GOARCH's
	driver    string // the module for the CPU's virtualization, such as kvm_intel; "" on x86 that shows none, or if not known
	vm        bool   // it is a VM itself
	known     bool   // what is above was found
	container bool   // this process is in one
}

// readHost looks under root, which is / but for tests.
func readHost(root, arch string) host {
	h := host{arch: arch}
	if b, err := os.ReadFile(filepath.Join(root, "proc/cpuinfo")); err == nil && arch == "amd64" {
		for line := range bytes.Lines(b) {
			name, flags, _ := strings.Cut(string(line), ":")
			if strings.TrimSpace(name) != "flags" {
				continue
			}
			f := strings.Fields(flags)
			h.known, h.vm = true, slices.Contains(f, "hypervisor")
			switch {
			case slices.Contains(f, "vmx"):
				h.driver = "kvm_intel"
			case slices.Contains(f, "svm"):
				h.driver = "kvm_amd"
			}
			break
		}
	}
	for _, mark := range []string{".dockerenv", "run/.containerenv", "run/systemd/container"} {
		if _, err := os.Stat(filepath.Join(root, mark)); err == nil {
			h.container = true
		}
	}
	if b, err := os.ReadFile(filepath.Join(root, "proc/self/mounts")); err == nil && bytes.HasPrefix(b, []byte("overlay / overlay ")) {
		h.container = true
	}
	return h
}

// thisHost is the machine that this runs on.
var thisHost = sync.OnceValue(func() host { return readHost("/", runtime.GOARCH) })

// InContainer says whether this process is in one, as far as it shows.
func InContainer() bool { return thisHost().container }

const orTCG = ", or use --accel tcg"

// KVMAdvice is what to do where KVM is there and does not carry a kernel.
func KVMAdvice() string { return thisHost().broken() }

func (h host) broken() string {
	switch {
	case !h.known:
		return "where this machine is a VM itself, turn nested virtualization on at its host" + orTCG
	case h.vm && h.driver == "":
		return "this machine is a VM whose CPU shows no virtualization: turn nested virtualization on at its host (nested=1 of kvm_intel or kvm_amd)" + orTCG
	case h.vm && h.driver == "kvm_intel":
		return "this machine is a VM and its virtualization is nested: its host's hypervisor has to do that well, on Intel CPUs by VMCS shadowing" + orTCG
	case h.vm:
		return "this machine is a VM and its virtualization is nested: its host's hypervisor has to do that well" + orTCG
	case h.driver == "":
		return "the CPU shows no virtualization: turn it on in the firmware (VT-x, AMD-V)" + orTCG
	}
	return "the kernel's log may say why (dmesg)" + orTCG
}

// absent says what to do where there is no driver, or no device.
func (h host) absent(device string) string {
	switch {
	case h.known && h.driver == "":
		return h.broken()
	case h.container:
		return fmt.Sprintf("this is a container: start it with the device (--device %s), where its host has one", device)
	case h.arch == "arm64":
		return "the kernel has to be started at EL2: in a VM, turn nested virtualization on at its host" + orTCG
	case h.driver != "":
		return fmt.Sprintf("load the driver (modprobe %s), and where it refuses turn virtualization on in the firmware", h.driver)
	}
	return "load the driver, or turn virtualization on in the firmware"
}

// notOpened says why a device did not open and what to do.
func (h host) notOpened(device string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("there is no %s: %s", device, h.absent(device))
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%s has no driver behind it: %s", device, h.absent(device))
	case errors.Is(err, unix.EPERM):
		if h.container {
			return fmt.Errorf("%s is forbidden in this container, whatever its mode says: start it with --device %s", device, device)
		}
		return fmt.Errorf("%s is forbidden to this process, whatever its mode says: a control group's rules for devices (DeviceAllow= of systemd) or a filter of system calls say so", device)
	case errors.Is(err, os.ErrPermission):
		return errors.New(h.whoMayOpen(device))
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s is busy: %s", device, busy)
	}
	return fmt.Errorf("open %s: %w", device, err)
}

// notRun says what to do after an error of KVM's.
func (h host) notRun(err error) string {
	switch {
	case errors.Is(err, unix.ENOTTY):
		return "it is not KVM's device"
	case errors.Is(err, unix.EBUSY):
		return busy
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.EAGAIN):
		return "the limits of this process or of its control group leave no room for a VM (ulimit -a, memory.max)"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "a security module or a filter of system calls forbids it"
	}
	return h.broken()
}

const busy = "another hypervisor has the CPU's virtualization (VirtualBox, VMware): end its VMs"

// Advice is what to do after QEMU said that it cannot use KVM, "" where it did
// not say so.
func (e Exit) Advice() string { return thisHost().afterQEMU(e.Stderr) }

func (h host) afterQEMU(stderr string) string {
	for line := range strings.Lines(stderr) {
		if !strings.Contains(line, "KVM") && !strings.Contains(line, "kvm") || noise.MatchString(line) {
			continue
		}
		for _, errno := range []unix.Errno{unix.ENOENT, unix.ENODEV, unix.ENXIO, unix.EPERM, unix.EACCES, unix.EBUSY, unix.ENOMEM, unix.EMFILE, unix.ENFILE} {
			// As the C library has it, with a capital.
			words := errno.Error()
			if !strings.HasSuffix(strings.TrimSpace(strings.ToLower(line)), words) {
				continue
			}
			if errno == unix.ENOENT || errno == unix.ENODEV || errno == unix.ENXIO || strings.Contains(line, "access") && (errno == unix.EPERM || errno == unix.EACCES) {
				return h.notOpened(DefaultKVM, errno).Error()
			}
			return h.notRun(errno)
		}
	}
	return ""
}

// UdevRule lets everyone open KVM's device.
const UdevRule = `KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm"`

// whoMayOpen says why this user may not open a device and what to do.
func (h host) whoMayOpen(device string) string {
	rule := "install the udev rule " + UdevRule + " and run udevadm trigger --name-match=kvm"
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return fmt.Sprintf("%s may not be opened by this user: %s", device, rule)
	}
	group := strconv.FormatUint(uint64(st.Gid), 10)
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	is := fmt.Sprintf("%s may not be opened by this user: it is of group %s with mode %04o", device, group, st.Mode&0o777)
	switch {
	case st.Mode&0o006 == 0o006:
		return is + ", which lets everyone: its file system is mounted with nodev, or a security module forbids it"
	case h.container:
		return fmt.Sprintf("%s: start the container with --group-add %d", is, st.Gid)
	case st.Mode&0o060 == 0o060 && st.Gid != 0:
		return fmt.Sprintf("%s: add the user to that group (usermod -aG %s USER, then log in again), or %s", is, group, rule)
	}
	return is + ": " + rule
}
