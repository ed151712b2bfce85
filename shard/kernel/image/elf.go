package image

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

const (
	xenNotePhys32Entry = 18      // XEN_ELFNOTE_PHYS32_ENTRY, xen/interface/elfnote.h
	maxNotes           = 1 << 20 // bytes of a segment of notes
)

// HasPVH reports whether the ELF vmlinux at path can be started through the
// PVH entry point, that is, has a Xen note of type 18. A file that is no
// 64-bit ELF file for a known architecture is a *NotKernelError.
func HasPVH(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("look for a PVH note: %w", err)
	}
	defer f.Close()
	head := make([]byte, 64)
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("look for a PVH note in %q: %w", path, err)
	}
	if err := checkELF(head); err != nil {
		var nk *NotKernelError
		if errors.As(err, &nk) {
			nk.File = path
		}
		return false, err
	}
	return pvhNote(f), nil
}

func probeELF(r io.ReaderAt, size int64, head []byte) (Info, error) {
	if err := checkELF(head); err != nil {
		return Info{}, err
	}
	info := Info{Format: FormatVmlinux, Arch: goarch.OfHeader(head).Name, PVH: pvhNote(r)}
	// Any program is an ELF file; only a kernel carries its banner.
	var err error
	if info.Version, err = findVersion(io.NewSectionReader(r, 0, size)); err != nil {
		return Info{}, err
	}
	if info.Version == "" {
		return Info{}, &NotKernelError{Reason: `it is an ELF file without a "Linux version" banner`}
	}
	return info, nil
}

// checkELF looks at the first 64 bytes of a kernel.
func checkELF(head []byte) error {
	fail := func(format string, args ...any) error { return &NotKernelError{Reason: fmt.Sprintf(format, args...)} }
	if len(head) < 64 || string(head[:4]) != elf.ELFMAG {
		return fail("it is no ELF file")
	}
	if elf.Class(head[elf.EI_CLASS]) != elf.ELFCLASS64 {
		return fail("it is an ELF file, but not a 64-bit one")
	}
	arch := goarch.OfHeader(head)
	if arch.Name == "" {
		return fail("it is an ELF file for none of %s", goarch.List())
	}
	if typ := elf.Type(arch.Order().Uint16(head[16:])); typ != elf.ET_EXEC && typ != elf.ET_DYN {
		return fail("it is an ELF file of type %d, not an executable", int(typ))
	}
	return nil
}

// pvhNote says whether a kernel has the note that QEMU looks for.
func pvhNote(r io.ReaderAt) bool {
	f, err := elf.NewFile(r)
	if err != nil {
		return false
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > maxNotes {
			continue
		}
		notes, _ := io.ReadAll(p.Open()) // what there is of it
		align := uint64(4)
		if p.Align == 8 {
			align = 8
		}
		if hasNote(notes, align) {
			return true
		}
	}
	return false
}

func hasNote(b []byte, align uint64) bool {
	le := binary.LittleEndian
	for uint64(len(b)) >= 12 {
		namesz, descsz, typ := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:])), le.Uint32(b[8:])
		desc := (12 + namesz + align - 1) &^ (align - 1)
		next := (desc + descsz + align - 1) &^ (align - 1)
		if namesz == 4 && len(b) >= 16 && string(b[12:16]) == "Xen\x00" && typ == xenNotePhys32Entry {
			return true
		}
		if next > uint64(len(b)) {
			return false
		}
		b = b[next:]
	}
	return false
}
