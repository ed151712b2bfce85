// Package goarch is the table of architectures: what other projects call each, and
// how their files tell it. What a VM, a build or a loader needs beside that is in
// rows of theirs. It must not know what an architecture is used for.
package goarch

import (
	"debug/elf"
	"encoding/binary"
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
	PE      uint16      // COFF's number, of EFI images; 0: it has none
	Image   string      // of an uncompressed Image of the kernel, at byte 56; "": there is none
	BPF     string      // in libbpf's __TARGET_ARCH_ and in bpf2go's file names
	Syscall string      // what the kernel's functions of system calls start with
	Triplet string      // GNU's
}

var arches = []Arch{
	{
		Name: "amd64", Debian: "amd64", Machine: "x86_64", Kernel: "x86_64", Dir: "x86",
		ELF: elf.EM_X86_64, Data: elf.ELFDATA2LSB, PE: 0x8664, BPF: "x86", Syscall: "__x64_", Triplet: "x86_64-linux-gnu",
	},
	{
		Name: "arm64", Debian: "arm64", Machine: "aarch64", Kernel: "arm64", Dir: "arm64",
		ELF: elf.EM_AARCH64, Data: elf.ELFDATA2LSB, PE: 0xaa64, Image: "ARM\x64", BPF: "arm64", Syscall: "__arm64_", Triplet: "aarch64-linux-gnu",
	},
	{
		Name: "riscv64", Debian: "riscv64", Machine: "riscv64", Kernel: "riscv", Dir: "riscv",
		ELF: elf.EM_RISCV, Data: elf.ELFDATA2LSB, PE: 0x5064, Image: "RSC\x05", BPF: "riscv", Syscall: "__riscv_", Triplet: "riscv64-linux-gnu",
	},
	{
		Name: "s390x", Debian: "s390x", Machine: "s390x", Kernel: "s390", Dir: "s390",
		ELF: elf.EM_S390, Data: elf.ELFDATA2MSB, BPF: "s390", Syscall: "__s390x_", Triplet: "s390x-linux-gnu",
	},
}

// Order is the order of bytes in words of the architecture's.
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

// OfELF returns the architecture of an ELF file, an empty one if the table does
// not have it.
func OfELF(machine elf.Machine, data elf.Data) Arch {
	return find(func(a Arch) bool { return a.ELF == machine && a.Data == data })
}

// OfPE returns the architecture of an EFI image, an empty one if the table does
// not have it.
func OfPE(machine uint16) Arch {
	return find(func(a Arch) bool { return a.PE != 0 && a.PE == machine })
}

// OfImage returns the architecture of an uncompressed Image of the kernel by its
// first bytes, an empty one if they are none that the table has.
func OfImage(head []byte) Arch {
	return find(func(a Arch) bool { return a.Image != "" && len(head) >= 60 && string(head[56:60]) == a.Image })
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
