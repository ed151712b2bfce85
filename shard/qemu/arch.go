// Package qemu starts one VM: the command line as a pure value, the process,
// and the proof that KVM works before it is used.
package qemu

import (
	"fmt"
	"slices"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

// Accel is how the guest's instructions are executed.
type Accel uint8

// The accelerators. Auto is resolved by Choose and never stands in a result.
const (
	Unknown Accel = iota
	Auto
	TCG // emulation
	KVM // the host's virtualization
)

var accelNames = [...]string{"unknown", "auto", "tcg", "kvm"}

func (a Accel) String() string {
	if int(a) < len(accelNames) {
		return accelNames[a]
	}
	return fmt.Sprintf("Accel(%d)", uint8(a))
}

// ParseAccel reads auto, kvm or tcg.
func ParseAccel(s string) (Accel, error) {
	if i := slices.Index(accelNames[:], s); i > 0 {
		return Accel(i), nil
	}
	return Unknown, fmt.Errorf("accelerator %q: want auto, kvm or tcg", s)
}

// Arch is what differs between architectures: one row of a table.
type Arch struct {
	Name       string // GOARCH's
	Binary     string // of QEMU
	Package    string // Debian's and Ubuntu's packages of the binary and its firmware
	Machine    string // -M
	CPU        map[Accel]string
	Console    string           // the kernel's name of the serial line that is its console
	Results    string           // of the one that carries the results; "" if they share the console
	Append     string           // kernel parameters of this architecture
	Clock      map[Accel]string // kernel parameters that choose the clock
	FastParams map[Accel]string // kernel parameters that save time; a second attempt goes without
	FastOneCPU map[Accel]string // further ones for a machine with one CPU
	Avoid      map[Accel]string // kernel parameters that keep kernels from what the accelerator does wrong
	Needs      string           // the first kernel release that needs what Avoid takes from it; "" if none does
	TSC        string           // kernel parameter that takes the frequency of the time stamp counter; "" if there is none

	Options            map[Accel]string // of -M, behind the machine's name
	ConservativeCPU    map[Accel]string // -cpu of a second attempt; without one, as in CPU
	PlainCPU           map[Accel]string // -cpu where the usual one is in doubt
	EarlyCon           string           // kernel parameters that print before the console's driver is up; "": none is needed
	Bus                Bus              // of virtio's devices
	MaxCmdline         int              // bytes that the kernel keeps of its command line; 0: QEMU refuses a longer one
	Firmware           map[Accel]string // QEMU's name of a fast one that starts kernels by their PVH entry only; without one, the machine's own
	NoCompressedKernel bool             // QEMU starts no compressed image; otherwise it starts an image as it was shipped
}

// Bus is what virtio's devices are on.
type Bus struct {
	Name   string // in the names of QEMU's devices: virtio-blk-pci
	Option string // of the kernel's config
	Module string // of that option, if it is one
}

var pci = Bus{Name: "pci", Option: "VIRTIO_PCI", Module: "virtio_pci"}

// Device is QEMU's name of a virtio device, such as "blk".
func (b Bus) Device(kind string) string { return "virtio-" + kind + "-" + b.Name }

var arches = []Arch{
	{
		Name:    "amd64",
		Binary:  "qemu-system-x86_64",
		Package: "qemu-system-x86",
		Machine: "pc",
		// With ERMS and FSRM the kernel copies memory by rep movsb, which TCG
		// executes byte by byte: loading BPF programs takes half as long again.
		CPU:     map[Accel]string{TCG: "max,-erms,-fsrm", KVM: "host"},
		Console: "ttyS0",
		Results: "ttyS1",
		Append:  "no_timer_check i8042.noaux i8042.nokbd i8042.dumbkbd i8042.nopnp",
		// Under TCG the time stamp counter is the host's, and the kernel finds
		// out its frequency by counting during a timer's interrupts. On a busy
		// host it comes out wrong, by a factor of ten and more, and all of the
		// guest's time limits with it. The ACPI timer's frequency is fixed, and
		// the counter's, which the scheduler's clock and so the lockup watchdog
		// go by all the same, is told.
		Clock: map[Accel]string{TCG: "clocksource=acpi_pm", KVM: "tsc=reliable"},
		// QEMU before 8.0 takes the flags of cmpxchg16b from stale state: the slab
		// allocator, which uses it, got half a pointer, the trap flag with it, and
		// kernels died of double faults at random. The number is the flag's, CX16's,
		// since kernels before 5.18 take no name. The CPU keeps it: programs for
		// x86-64-v2, such as Go's with GOAMD64=v2, do not start without.
		Avoid: map[Accel]string{TCG: "clearcpuid=141"},
		// kmalloc_nolock came with 6.18. It fails without cmpxchg16b, and with it
		// BPF arenas and, later, the storage of tasks, sockets and the like.
		Needs: "6.18",
		// HPET is often too late for its time under emulation, and says so.
		FastParams: map[Accel]string{TCG: "hpet=disable"},
		// A kernel that finds one CPU takes some 9,000 lock prefixes out of its
		// code, and flushes the TLB four times for each, which took a seventh of
		// a boot; users' kernels keep them. Without the APIC's timer nothing
		// waits a tenth of a second for its frequency; that of the old timer is
		// fixed, and serves high resolution timers as well, on one CPU.
		FastOneCPU: map[Accel]string{TCG: "noreplace-smp nolapic_timer"},
		TSC:        "tsc_early_khz",
		// Of 2013, and still one for programs for x86-64-v3.
		PlainCPU:   map[Accel]string{TCG: "Haswell-noTSX,-erms"},
		EarlyCon:   "earlyprintk=ttyS0",
		Bus:        pci,
		MaxCmdline: 2048,
		// The default, SeaBIOS, takes twice as long to emulate from QEMU's start
		// to the kernel's first instruction: it looks for disks and screens.
		Firmware: map[Accel]string{TCG: "qboot.rom"},
	},
	{
		Name:    "arm64",
		Binary:  "qemu-system-aarch64",
		Package: "qemu-system-arm",
		Machine: "virt",
		// KVM takes the interrupt controller that the host has; TCG's default
		// is one that every kernel knows.
		Options: map[Accel]string{KVM: "gic-version=host"},
		// Pointer authentication is slow to emulate, four times as long until a
		// tracer is ready, and still a quarter longer with pauth-impdef=on. The
		// pinned CPUs are as fast as this one and lack what newer kernels use.
		CPU:             map[Accel]string{TCG: "max,pauth=off", KVM: "host"},
		ConservativeCPU: map[Accel]string{TCG: "cortex-a72"},
		PlainCPU:        map[Accel]string{TCG: "cortex-a72"},
		// The machine has one serial line, and the results share it.
		Console:            "ttyAMA0",
		EarlyCon:           "earlycon=pl011,0x9000000",
		Bus:                pci,
		MaxCmdline:         2048,
		NoCompressedKernel: true,
	},
	{
		Name:   "riscv64",
		Binary: "qemu-system-riscv64",
		// A name that qemu-system-riscv provides, or qemu-system-misc before it was split.
		Package: "qemu-system-riscv64 opensbi",
		Machine: "virt",
		CPU:     map[Accel]string{TCG: "rv64", KVM: "host"},
		// The machine has one serial line, and the results share it.
		Console:            "ttyS0",
		EarlyCon:           "earlycon=uart8250,mmio,0x10000000",
		Bus:                pci,
		MaxCmdline:         1024,
		NoCompressedKernel: true,
	},
	{
		Name:    "s390x",
		Binary:  "qemu-system-s390x",
		Package: "qemu-system-s390x", // or qemu-system-misc, which provides it
		Machine: "s390-ccw-virtio",
		CPU:     map[Accel]string{TCG: "max", KVM: "host"},
		// The second console breaks lines after 80 characters, so the results share
		// the first.
		Console:  "ttysclp0",
		EarlyCon: "earlyprintk=sclp",
		Bus:      Bus{Name: "ccw", Option: "S390_GUEST", Module: "virtio_ccw"},
	},
	{
		Name:    "ppc64le",
		Binary:  "qemu-system-ppc64",
		Package: "qemu-system-ppc",
		Machine: "pseries",
		// QEMU warns of each mitigation that the emulated CPU lacks, unless told that it may.
		Options:    map[Accel]string{TCG: "cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"},
		CPU:        map[Accel]string{TCG: "power9", KVM: "host"},
		Console:    "hvc0",
		Results:    "hvc1",
		Bus:        pci,
		MaxCmdline: 2048,
	},
}

// LookupArch returns the row of an architecture.
func LookupArch(name string) (Arch, error) {
	for _, a := range arches {
		if a.Name == name {
			return a, nil
		}
	}
	return Arch{}, fmt.Errorf("kernels for %s cannot be booted: want %s", name, goarch.List())
}
