package build

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

// Arch is what differs between architectures.
type Arch struct {
	goarch.Arch
	Base    string // make's target for the configuration to start with
	Modules string // y or n: what becomes of the base's modules
	Target  string // of make
	Image   string // what the target makes
	File    string // what its name starts with in the archive
	Options string // console, buses and ways to boot, of the VMs here
}

var arches = []Arch{
	{
		Arch: goarch.Lookup("amd64"), Base: "defconfig", Modules: "y",
		Target: "bzImage", Image: "arch/x86/boot/bzImage", File: "bzImage-",
		Options: "SERIAL_8250 SERIAL_8250_CONSOLE PCI VIRTIO_PCI X86_PM_TIMER HYPERVISOR_GUEST PVH",
	},
	{
		// The modules are hundreds of drivers for boards that QEMU does not have.
		Arch: goarch.Lookup("arm64"), Base: "defconfig", Modules: "n",
		Target: "Image", Image: "arch/arm64/boot/Image", File: "Image-",
		Options: "SERIAL_AMBA_PL011 SERIAL_AMBA_PL011_CONSOLE PCI VIRTIO_PCI PCI_HOST_GENERIC",
	},
	{
		Arch: goarch.Lookup("riscv64"), Base: "defconfig", Modules: "n",
		Target: "Image", Image: "arch/riscv/boot/Image", File: "Image-",
		Options: "SERIAL_8250 SERIAL_8250_CONSOLE SERIAL_OF_PLATFORM PCI VIRTIO_PCI PCI_HOST_GENERIC",
	},
	{
		Arch: goarch.Lookup("s390x"), Base: "defconfig", Modules: "n",
		Target: "bzImage", Image: "arch/s390/boot/bzImage", File: "bzImage-",
		Options: "SCLP_TTY SCLP_CONSOLE SCLP_VT220_TTY SCLP_VT220_CONSOLE S390_GUEST",
	},
	{
		Arch: goarch.Lookup("ppc64le"), Base: "ppc64le_defconfig", Modules: "n",
		Target: "vmlinux", Image: "vmlinux", File: "vmlinux-",
		Options: "HVC_CONSOLE PPC_PSERIES PCI VIRTIO_PCI",
	},
}

// LookupArch returns the row of an architecture.
func LookupArch(name string) (Arch, error) {
	for _, a := range arches {
		if name != "" && a.Name == name {
			return a, nil
		}
	}
	return Arch{}, usagef("kernels for %q cannot be built: want %s", name, goarch.List())
}

// cross is CROSS_COMPILE on other architectures.
func (a Arch) cross() string { return a.Triplet + "-" }

// gcc is Debian's package of the cross compiler.
func (a Arch) gcc() string { return "gcc-" + strings.ReplaceAll(a.Triplet, "_", "-") }

// native says whether this machine's compiler makes kernels for a.
func (a Arch) native() bool { return a.Name == runtime.GOARCH }

// Option is one line of a kernel's configuration.
type Option struct {
	Name   string // without CONFIG_
	Value  string // y, n, or a value as it stands in .config
	Helper bool   // not wanted itself: others depend on it in some trees
}

func (o Option) String() string { return fmt.Sprintf("CONFIG_%s=%s", o.Name, o.Value) }

// Recipe is how a kernel is configured.
type Recipe struct {
	Arch    Arch
	Name    string // what the kernel's name ends with, such as "-kasan"
	Base    string // make's target for the configuration to start with; "": nothing
	Modules string // y or n: what becomes of the base's modules, as an image comes without
	Options []Option
}

// Mainline is the recipe for a kernel that BPF programs are to be tested on:
// the architecture's default configuration, what BPF needs, what the guest of
// this project needs, and what virtme needs to debug with it.
func Mainline(a Arch) Recipe {
	r := Recipe{Arch: a, Base: a.Base, Modules: a.Modules, Options: options("y", `
		BPF_SYSCALL BPF_JIT BPF_JIT_ALWAYS_ON BPF_EVENTS BPF_LSM CGROUP_BPF
		SECURITY SECURITYFS
		DEBUG_KERNEL DEBUG_INFO DEBUG_INFO_BTF
		FTRACE FUNCTION_TRACER FTRACE_SYSCALLS KPROBES KPROBE_EVENTS UPROBE_EVENTS
		OVERLAY_FS TMPFS PROC_FS DEBUG_FS DEVTMPFS CGROUPS BLK_DEV_INITRD BINFMT_ELF
		UNIX98_PTYS SYSVIPC MEMFD_CREATE INET
		IKCONFIG IKCONFIG_PROC
		VIRTIO NET_9P NET_9P_VIRTIO 9P_FS VIRTIO_NET VIRTIO_CONSOLE SCSI_VIRTIO `+a.Options)}
	// The choice of the debug information's format, which from 5.18 on has an
	// entry for none, and menus.
	for _, o := range options("y", "DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT VIRTIO_MENU NETWORK_FILESYSTEMS SCSI_LOWLEVEL NETDEVICES NET_CORE") {
		o.Helper = true
		r.Options = append(r.Options, o)
	}
	// REDUCED and SPLIT exclude BTF. Compilers newer than the kernel warn of more.
	r.Options = append(r.Options, options("n", "DEBUG_INFO_NONE DEBUG_INFO_REDUCED DEBUG_INFO_SPLIT WERROR LOCALVERSION_AUTO")...)
	r.Options = append(r.Options, Option{Name: "LOCALVERSION", Value: `""`})
	return r
}

// options gives each of the names the value.
func options(value, names string) (out []Option) {
	for name := range strings.FieldsSeq(names) {
		out = append(out, Option{Name: name, Value: value})
	}
	return out
}

// wants says whether the recipe sets an option to y.
func (r Recipe) wants(name string) bool {
	for _, o := range r.Options {
		if o.Name == name {
			return o.Value == "y"
		}
	}
	return false
}
