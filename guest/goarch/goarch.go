// Package goarch is the table of architectures: what other projects call each, and
// how its files are recognised. Packages that need more, such as qemu, have tables of
// their own. It must not know what an architecture is used for.
package goarch

import (
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
)

// Arch is one architecture: a row of the table.
type Arch struct {
	Name    string      // GOARCH's
	Debian  string      // of packages, as dpkg says it
	Machine string      // as uname -m, RPM and pacman say it
	Kernel  string      // make's ARCH of the kernel's sources
	Dir     string      // below arch/ in the kernel's sources
	ELF     elf.Machine // of programs and of vmlinux
	Data    elf.Data    // order of bytes, of programs and of BPF objects
	PE      uint16      // machine number of EFI images; 0: there are no EFI images
	Image   string      // magic number at byte 56 of the kernel's uncompressed Image; "": there is no Image
	BPF     string      // in libbpf's __TARGET_ARCH_ and in bpf2go's file names
	Syscall string      // prefix of the kernel's system call functions; "": they have none
	Triplet string      // GNU's
	// Offsets in struct pt_regs, a probe's context, in bytes: of a function's
	// arguments, of its result, and of the other registers that libbpf's macros read
	// (stack, frame, instruction and return pointers, arguments of system calls).
	Args      []int
	Result    int
	Registers []int
}

var arches = []Arch{
	{
		Name: "amd64", Debian: "amd64", Machine: "x86_64", Kernel: "x86_64", Dir: "x86",
		ELF: elf.EM_X86_64, Data: elf.ELFDATA2LSB, PE: 0x8664, BPF: "x86", Syscall: "__x64_", Triplet: "x86_64-linux-gnu",
		Args: []int{112, 104, 96, 88, 72, 64}, Result: 80, Registers: []int{32, 56, 120, 128, 152},
	},
	{
		Name: "arm64", Debian: "arm64", Machine: "aarch64", Kernel: "arm64", Dir: "arm64",
		ELF: elf.EM_AARCH64, Data: elf.ELFDATA2LSB, PE: 0xaa64, Image: "ARM\x64", BPF: "arm64", Syscall: "__arm64_", Triplet: "aarch64-linux-gnu",
		Args: []int{0, 8, 16, 24, 32, 40, 48, 56}, Result: 0, Registers: []int{64, 232, 240, 248, 256},
	},
	{
		Name: "riscv64", Debian: "riscv64", Machine: "riscv64", Kernel: "riscv", Dir: "riscv",
		ELF: elf.EM_RISCV, Data: elf.ELFDATA2LSB, PE: 0x5064, Image: "RSC\x05", BPF: "riscv", Syscall: "__riscv_", Triplet: "riscv64-linux-gnu",
		Args: []int{80, 88, 96, 104, 112, 120, 128, 136}, Result: 80, Registers: []int{0, 8, 16, 64, 280},
	},
	{
		Name: "s390x", Debian: "s390x", Machine: "s390x", Kernel: "s390", Dir: "s390",
		ELF: elf.EM_S390, Data: elf.ELFDATA2MSB, BPF: "s390", Syscall: "__s390x_", Triplet: "s390x-linux-gnu",
		Args: []int{40, 48, 56, 64, 72}, Result: 40, Registers: []int{16, 80, 112, 136, 144, 152},
	},
	{
		Name: "ppc64le", Debian: "ppc64el", Machine: "ppc64le", Kernel: "powerpc", Dir: "powerpc",
		ELF: elf.EM_PPC64, Data: elf.ELFDATA2LSB, BPF: "powerpc", Triplet: "powerpc64le-linux-gnu",
		Args: []int{24, 32, 40, 48, 56, 64, 72, 80}, Result: 24, Registers: []int{8, 248, 256, 272, 288},
	},
}

// Order is the architecture's byte order.
func (a Arch) Order() binary.ByteOrder {
	if a.Data == elf.ELFDATA2MSB {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// Lookup returns the row of an architecture, and an empty one for a name that
// the table does not have.
func Lookup(name string) Arch {
	return find(func(a Arch) bool { return a.Name == name })
}

// Named is Lookup for a name that GOARCH, dpkg or uname uses.
func Named(name string) Arch {
	return find(func(a Arch) bool { return name == a.Name || name == a.Debian || name == a.Machine })
}

// OfELF returns the architecture of an ELF file, an empty one if the table does
// not have it.
func OfELF(machine elf.Machine, data elf.Data) Arch {
	return find(func(a Arch) bool { return a.ELF == machine && a.Data == data })
}

// OfHeader is OfELF for the first 20 bytes of a file.
func OfHeader(b []byte) Arch {
	return find(func(a Arch) bool {
		return len(b) >= 20 && b[elf.EI_DATA] == byte(a.Data) && elf.Machine(a.Order().Uint16(b[18:])) == a.ELF
	})
}

// OfPE is OfELF for the machine number of an EFI image.
func OfPE(machine uint16) Arch {
	return find(func(a Arch) bool { return a.PE != 0 && a.PE == machine })
}

// OfImage is OfELF for the first 60 bytes of a kernel's uncompressed Image.
func OfImage(head []byte) Arch {
	return find(func(a Arch) bool { return a.Image != "" && len(head) >= 60 && string(head[56:60]) == a.Image })
}

// OfBPF is Lookup for the name that libbpf and bpf2go use.
func OfBPF(name string) Arch {
	return find(func(a Arch) bool { return a.BPF == name })
}

// OfRegisters guesses for which architectures of a byte order a probe was built that
// reads these offsets of its context: each must be a register's. Where some have the
// first argument or the result at one of them, only those are named.
func OfRegisters(offsets []int, order binary.ByteOrder) (names []string) {
	var likely []string
	for _, a := range arches {
		reads := func(at int) bool { return slices.Contains(offsets, at) }
		known := slices.Concat(a.Args, a.Registers, []int{a.Result})
		switch {
		// BPF_PROG reads 0 alone on every architecture.
		case a.Order() != order || !slices.ContainsFunc(offsets, func(at int) bool { return at != 0 }) ||
			slices.ContainsFunc(offsets, func(at int) bool { return !slices.Contains(known, at) }):
		case reads(a.Args[0]) || reads(a.Result):
			likely = append(likely, a.Name)
		case slices.ContainsFunc(a.Args, reads):
			names = append(names, a.Name)
		}
	}
	if likely != nil {
		return likely
	}
	return names
}

// OfRelease guesses the architecture of a kernel from its release, as
// distributions write it: 6.1.0-50-amd64, 5.14.0-570.el9.aarch64.
func OfRelease(release string) Arch {
	return find(func(a Arch) bool { return strings.Contains(release, a.Machine) || strings.Contains(release, a.Debian) })
}

// Names are GOARCH's names, the most usual one first.
func Names() []string {
	var names []string
	for _, a := range arches {
		names = append(names, a.Name)
	}
	return names
}

// List is the names for a sentence: "amd64 or arm64".
func List() string {
	names := Names()
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func find(match func(Arch) bool) Arch {
	for _, a := range arches {
		if match(a) {
			return a
		}
	}
	return Arch{}
}
