package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	xenNotePhys32Entry = 18 // XEN_ELFNOTE_PHYS32_ENTRY, xen/interface/elfnote.h
	maxNotes           = 1 << 20
)

// HasPVH reports whether the ELF vmlinux at path can be started through the
// PVH entry point, that is, has a Xen note of type 18. A file that is no
// 64-bit little-endian ELF file is a *NotKernelError.
func HasPVH(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("look for a PVH note: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("look for a PVH note: %w", err)
	}
	head := make([]byte, 64)
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("look for a PVH note in %q: %w", path, err)
	}
	if err := CheckELF(head); err != nil {
		err.File = path
		return false, err
	}
	pvh, err := pvhNote(f, st.Size(), head)
	if err != nil {
		return false, fmt.Errorf("look for a PVH note in %q: %w", path, err)
	}
	return pvh, nil
}

func probeELF(r io.ReaderAt, size int64, head []byte) (Info, error) {
	if err := CheckELF(head); err != nil {
		return Info{}, err
	}
	info := Info{Format: FormatVmlinux, Arch: "amd64"}
	if binary.LittleEndian.Uint16(head[18:]) == emAArch64 {
		info.Arch = "arm64"
	}
	var err error
	if info.PVH, err = pvhNote(r, size, head); err != nil {
		return Info{}, err
	}
	// Any program is an ELF file; only a kernel carries its banner.
	if info.Version, err = findVersion(io.NewSectionReader(r, 0, size)); err != nil {
		return Info{}, err
	}
	if info.Version == "" {
		return Info{}, &NotKernelError{Reason: `it is an ELF file without a "Linux version" banner`}
	}
	return info, nil
}

const (
	emX86_64  = 62
	emAArch64 = 183
)

// CheckELF says why a file with these first bytes is no vmlinux; nil if it may be.
func CheckELF(head []byte) *NotKernelError {
	if len(head) < 64 || string(head[:4]) != "\x7fELF" {
		return &NotKernelError{Reason: "it is no ELF file"}
	}
	if head[4] != 2 || head[5] != 1 {
		return &NotKernelError{Reason: "it is an ELF file, but not a 64-bit little-endian one"}
	}
	if t := binary.LittleEndian.Uint16(head[16:]); t != 2 && t != 3 {
		return &NotKernelError{Reason: fmt.Sprintf("it is an ELF file of type %d, not an executable", t)}
	}
	if m := binary.LittleEndian.Uint16(head[18:]); m != emX86_64 && m != emAArch64 {
		return &NotKernelError{Reason: fmt.Sprintf("it is an ELF file for machine %d; only x86-64 and arm64 are known", m)}
	}
	return nil
}

// pvhNote walks the PT_NOTE segments by hand: debug/elf also reads section
// tables, which a hostile file can make large and which we do not need.
func pvhNote(r io.ReaderAt, size int64, head []byte) (bool, error) {
	le := binary.LittleEndian
	phoff, phentsize, phnum := le.Uint64(head[32:]), le.Uint16(head[54:]), le.Uint16(head[56:])
	if phentsize != 56 || phnum > 256 || phoff > uint64(size) {
		return false, nil
	}
	ph := make([]byte, 56*int(phnum))
	if n, err := r.ReadAt(ph, int64(phoff)); err != nil {
		if !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("read program headers: %w", err)
		}
		ph = ph[:n]
	}
	for ; len(ph) >= 56; ph = ph[56:] {
		if le.Uint32(ph) != 4 { // PT_NOTE
			continue
		}
		off, n, align := le.Uint64(ph[8:]), le.Uint64(ph[32:]), le.Uint64(ph[48:])
		if off > uint64(size) || n > maxNotes {
			continue
		}
		notes := make([]byte, n)
		got, err := r.ReadAt(notes, int64(off))
		if err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("read notes: %w", err)
		}
		if align != 8 {
			align = 4
		}
		if hasNote(notes[:got], align) {
			return true, nil
		}
	}
	return false, nil
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
