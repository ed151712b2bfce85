package qemu

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hosts are machines as advice needs to know them.
var hosts = map[string]host{
	"intel":           {arch: "amd64", known: true, driver: "kvm_intel"},
	"amd":             {arch: "amd64", known: true, driver: "kvm_amd"},
	"firmware off":    {arch: "amd64", known: true},
	"vm":              {arch: "amd64", known: true, vm: true},
	"nested intel":    {arch: "amd64", known: true, vm: true, driver: "kvm_intel"},
	"nested amd":      {arch: "amd64", known: true, vm: true, driver: "kvm_amd"},
	"container":       {arch: "amd64", known: true, driver: "kvm_amd", container: true},
	"container in vm": {arch: "amd64", known: true, vm: true, container: true},
	"arm64":           {arch: "arm64"},
}

// What is said of an error is what it means on this machine: nested
// virtualization is named where it is that, or where it cannot be told.
func TestKVMErrors(t *testing.T) {
	const dev = "/does/not/exist/kvm"
	for _, tt := range []struct {
		host string
		say  func(host) string
		want string
		not  string
	}{
		{"intel", opening(dev, unix.ENOENT), "there is no " + dev + ": load the driver (modprobe kvm_intel)", "nested"},
		{"amd", opening(dev, unix.ENODEV), "has no driver behind it: load the driver (modprobe kvm_amd)", "nested"},
		{"amd", opening(dev, unix.ENXIO), "modprobe kvm_amd", "nested"},
		{"firmware off", opening(dev, unix.ENOENT), "turn it on in the firmware", "nested"},
		{"vm", opening(dev, unix.ENOENT), "nested virtualization on at its host", "firmware"},
		{"vm", opening(dev, unix.ENODEV), "nested virtualization on at its host", "modprobe"},
		{"container", opening(dev, unix.ENOENT), "container: start it with the device (--device " + dev, "nested"},
		{"container", opening(dev, unix.EPERM), "forbidden in this container, whatever its mode says: start it with --device", "usermod"},
		{"container in vm", opening(dev, unix.ENOENT), "nested virtualization on at its host", "--device"},
		{"intel", opening(dev, unix.EPERM), "DeviceAllow=", "usermod"},
		{"intel", opening(dev, unix.EACCES), "may not be opened by this user", "DeviceAllow"},
		{"intel", opening(dev, unix.EBUSY), "VirtualBox, VMware", "nested"},
		{"intel", opening(dev, unix.EIO), "open " + dev + ": input/output error", "nested"},
		{"arm64", opening(dev, unix.ENOENT), "EL2", "firmware"},

		{"intel", running(unix.EBUSY), "another hypervisor has the CPU's virtualization (VirtualBox, VMware)", "nested"},
		{"intel", running(unix.ENOMEM), "no room for a VM", "nested"},
		{"intel", running(unix.EMFILE), "ulimit", "nested"},
		{"intel", running(unix.EPERM), "security module", "nested"},
		{"intel", running(unix.ENOTTY), "not KVM's device", "nested"},
		{"intel", running(unix.EIO), "dmesg", "nested"},
		{"vm", running(unix.EIO), "nested virtualization on at its host", "dmesg"},
		{"nested intel", running(unix.EINVAL), "VMCS shadowing", "dmesg"},
		{"nested amd", running(unix.EINVAL), "virtualization is nested", "VMCS"},
		{"arm64", running(unix.EINVAL), "where this machine is a VM itself", "kvm_intel"},

		{"intel", host.broken, "dmesg", "nested"},
		{"firmware off", host.broken, "VT-x, AMD-V", "nested"},
		{"vm", host.broken, "nested=1 of kvm_intel or kvm_amd", "firmware"},

		{"container", stderr("Could not access KVM kernel module: No such file or directory\nqemu-system-x86_64: failed to initialize kvm: No such file or directory\n"), "there is no /dev/kvm: this is a container", "nested"},
		{"container", stderr("Could not access KVM kernel module: Operation not permitted\n"), "forbidden in this container", "nested"},
		{"intel", stderr("Could not access KVM kernel module: Permission denied\n"), "may not be opened by this user", "nested"},
		{"intel", stderr("ioctl(KVM_CREATE_VM) failed: 16 Device or resource busy\nqemu-system-x86_64: failed to initialize kvm: Device or resource busy\n"), "VirtualBox", "nested"},
		{"intel", stderr("qemu-system-x86_64: kvm_init_vcpu: kvm_create_vcpu failed (0): Cannot allocate memory\n"), "no room for a VM", "nested"},
		{"intel", stderr("qemu-system-x86_64: kvm_init_vcpu: kvm_get_vcpu failed (0): Too many open files\n"), "ulimit", "nested"},
	} {
		t.Run(tt.host+"/"+tt.want, func(t *testing.T) {
			if got := tt.say(hosts[tt.host]); !strings.Contains(got, tt.want) || strings.Contains(got, tt.not) || strings.Contains(got, "\n") {
				t.Errorf("got %q, want %q in it and not %q", got, tt.want, tt.not)
			}
		})
	}
	for _, text := range []string{"", "qemu: could not load kernel '/x': No such file or directory\n", "qemu-system-x86_64: warning: host doesn't support requested feature: MSR(48FH).vmx [bit 12]\n"} {
		if got := hosts["intel"].afterQEMU(text); got != "" {
			t.Errorf("%q says %q of KVM", text, got)
		}
	}
}

func opening(device string, errno unix.Errno) func(host) string {
	return func(h host) string {
		return h.notOpened(device, &os.PathError{Op: "open", Path: device, Err: errno}).Error()
	}
}

func running(errno unix.Errno) func(host) string {
	return func(h host) string { return h.notRun(fmt.Errorf("make a VM: %w", errno)) }
}

func stderr(text string) func(host) string {
	return func(h host) string { return h.afterQEMU(text) }
}

func TestReadHost(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		arch  string
		want  host
	}{
		{"nothing", nil, "amd64", host{arch: "amd64"}},
		{"intel", map[string]string{"proc/cpuinfo": "processor\t: 0\nvmx flags\t: vnmi ept\nflags\t\t: fpu vmx sse\n"}, "amd64", hosts["intel"]},
		{"a vm on amd", map[string]string{"proc/cpuinfo": "flags : fpu hypervisor svm\n"}, "amd64", hosts["nested amd"]},
		{"a vm", map[string]string{"proc/cpuinfo": "flags : fpu hypervisor\n"}, "amd64", hosts["vm"]},
		{"docker", map[string]string{"proc/cpuinfo": "flags : svm\n", ".dockerenv": ""}, "amd64", hosts["container"]},
		{"podman", map[string]string{"proc/cpuinfo": "flags : svm\n", "run/.containerenv": ""}, "amd64", hosts["container"]},
		{"kubernetes", map[string]string{"proc/cpuinfo": "flags : svm\n", "proc/self/mounts": "overlay / overlay rw 0 0\n"}, "amd64", hosts["container"]},
		{"arm64", map[string]string{"proc/cpuinfo": "Features : fp asimd\n"}, "arm64", hosts["arm64"]},
	} {
		root := t.TempDir()
		for name, text := range tt.files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := readHost(root, tt.arch); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// A machine with fewer than 40 address bits refuses a VM of type 0. Asked by a
// stand-in for arm64's KVM; not run on hardware.
func TestVMType(t *testing.T) {
	const ipaSize = 165
	answer := func(n int, err error) func(uintptr) (int, error) {
		return func(ext uintptr) (int, error) {
			if ext != ipaSize {
				t.Errorf("asked for extension %d", ext)
			}
			return n, err
		}
	}
	for _, tt := range []struct {
		n    int
		err  error
		want uintptr
	}{{36, nil, 36}, {40, nil, 40}, {48, nil, 48}, {0, nil, 0}, {-1, nil, 0}, {0, unix.EINVAL, 0}} {
		if got := vmType(ipaSize, answer(tt.n, tt.err)); got != tt.want {
			t.Errorf("%d, %v: type %d, want %d", tt.n, tt.err, got, tt.want)
		}
	}
	if got := vmType(0, func(uintptr) (int, error) { t.Error("x86 was asked"); return 0, nil }); got != 0 {
		t.Errorf("type %d on x86", got)
	}
}

// Every call to KVM goes through it.
func TestIoctlIsNotInterrupted(t *testing.T) {
	for _, tt := range []struct {
		errnos []unix.Errno
		want   error
	}{
		{[]unix.Errno{0}, nil},
		{[]unix.Errno{unix.EINTR, unix.EINTR, 0}, nil},
		{[]unix.Errno{unix.EINTR, unix.EBUSY}, unix.EBUSY},
	} {
		left := slices.Clone(tt.errnos)
		n, err := uninterrupted(func() (uintptr, unix.Errno) {
			errno := left[0]
			left = left[1:]
			return 7, errno
		})
		if err != tt.want || err == nil && n != 7 || len(left) != 0 {
			t.Errorf("%v: %d, %v, and %d calls not made", tt.errnos, n, err, len(left))
		}
	}
}
