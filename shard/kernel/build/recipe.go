package build

import (
	"fmt"
	"runtime"
	"strings"
)

// Arch is what differs between architectures.
type Arch struct {
	Name   string // GOARCH's
	Kernel string // make's ARCH
	Dir    string // below arch/ in the sources
	Target string // of make
	Image  string // what the target makes
	File   string // what its name starts with in the archive
	Cross  string // CROSS_COMPILE on other architectures
	GCC    string // Debian's package of the cross compiler
}

var arches = []Arch{
	{
		Name: "amd64", Kernel: "x86_64", Dir: "x86", Target: "bzImage", Image: "arch/x86/boot/bzImage", File: "bzImage-",
		Cross: "x86_64-linux-gnu-", GCC: "gcc-x86-64-linux-gnu",
	},
	{
		Name: "arm64", Kernel: "arm64", Dir: "arm64", Target: "Image", Image: "arch/arm64/boot/Image", File: "Image-",
		Cross: "aarch64-linux-gnu-", GCC: "gcc-aarch64-linux-gnu",
	},
}

// LookupArch returns the row of an architecture.
func LookupArch(name string) (Arch, error) {
	var names []string
	for _, a := range arches {
		if a.Name == name {
			return a, nil
		}
		names = append(names, a.Name)
	}
	return Arch{}, usagef("kernels for %q cannot be built: want %s", name, strings.Join(names, " or "))
}

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
	Base    string // make's target for the configuration to start with
	Modules string // y or n: what becomes of the base's modules, as an image comes without
	Options []Option
}

// Mainline is the recipe for a kernel that BPF programs are to be tested on:
// the architecture's default configuration, what BPF needs, what the guest of
// this project needs, and what virtme needs to debug with it.
func Mainline(a Arch) Recipe {
	r := Recipe{Arch: a, Base: "defconfig", Modules: "y"}
	for name := range strings.FieldsSeq(`
		BPF_SYSCALL BPF_JIT BPF_JIT_ALWAYS_ON BPF_EVENTS BPF_LSM CGROUP_BPF
		SECURITY SECURITYFS
		DEBUG_KERNEL DEBUG_INFO DEBUG_INFO_BTF
		FTRACE FUNCTION_TRACER FTRACE_SYSCALLS KPROBES KPROBE_EVENTS UPROBE_EVENTS
		OVERLAY_FS TMPFS PROC_FS DEBUG_FS DEVTMPFS CGROUPS BLK_DEV_INITRD BINFMT_ELF
		UNIX98_PTYS SYSVIPC MEMFD_CREATE INET
		IKCONFIG IKCONFIG_PROC
		PCI VIRTIO VIRTIO_PCI NET_9P NET_9P_VIRTIO 9P_FS VIRTIO_NET VIRTIO_CONSOLE SCSI_VIRTIO`) {
		r.Options = append(r.Options, Option{Name: name, Value: "y"})
	}
	// The choice of the debug information's format, which from 5.18 on has an
	// entry for none, and menus.
	for _, name := range []string{"DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT", "VIRTIO_MENU", "NETWORK_FILESYSTEMS", "SCSI_LOWLEVEL", "NETDEVICES", "NET_CORE"} {
		r.Options = append(r.Options, Option{Name: name, Value: "y", Helper: true})
	}
	r.Options = append(r.Options,
		Option{Name: "DEBUG_INFO_NONE", Value: "n"},
		Option{Name: "DEBUG_INFO_REDUCED", Value: "n"}, // excludes BTF, as does the next
		Option{Name: "DEBUG_INFO_SPLIT", Value: "n"},
		Option{Name: "WERROR", Value: "n"}, // compilers newer than the kernel warn of more
		Option{Name: "LOCALVERSION_AUTO", Value: "n"},
		Option{Name: "LOCALVERSION", Value: `""`})
	switch a.Name {
	case "amd64":
		for _, name := range []string{"SERIAL_8250", "SERIAL_8250_CONSOLE", "X86_PM_TIMER", "HYPERVISOR_GUEST", "PVH"} {
			r.Options = append(r.Options, Option{Name: name, Value: "y"})
		}
	case "arm64":
		// Hundreds of drivers for boards that QEMU does not have.
		r.Modules = "n"
		for _, name := range []string{"SERIAL_AMBA_PL011", "SERIAL_AMBA_PL011_CONSOLE", "PCI_HOST_GENERIC"} {
			r.Options = append(r.Options, Option{Name: name, Value: "y"})
		}
	}
	return r
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
