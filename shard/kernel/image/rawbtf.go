package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// maxBTF bounds a kernel's BTF, in bytes; distributions' have 5 to 10 MB.
const maxBTF = 128 << 20

// ErrNoBTF is returned by [RawBTF] for a kernel without BTF.
var ErrNoBTF = errors.New("kernel has no BTF")

// RawBTF returns the BTF of an unpacked kernel: the section of an ELF vmlinux,
// or, where there are no sections (an arm64 Image, a vmlinux whose section
// table was stripped), what its magic number is found with. A kernel without
// is [ErrNoBTF]. vmlinux is hostile input; the bytes are not parsed here.
func RawBTF(vmlinux string) ([]byte, error) {
	f, err := os.Open(vmlinux)
	if err != nil {
		return nil, fmt.Errorf("read BTF of %q: %w", vmlinux, err)
	}
	defer f.Close()
	if raw, err := sectionBTF(vmlinux, f); raw != nil || err != nil {
		return raw, err
	}
	b, err := io.ReadAll(io.LimitReader(f, MaxVmlinux))
	if err != nil {
		return nil, fmt.Errorf("read BTF of %q: %w", vmlinux, err)
	}
	if raw := findBTF(b); raw != nil {
		return raw, nil
	}
	return nil, ErrNoBTF
}

// sectionBTF returns nil when the file has no such section.
func sectionBTF(name string, r io.ReaderAt) ([]byte, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, nil // no ELF file
	}
	section := f.Section(".BTF")
	if section == nil && len(f.Sections) > 1 {
		return nil, ErrNoBTF // what its magic number finds is not the kernel's
	}
	if section == nil || section.Type == elf.SHT_NOBITS {
		return nil, nil
	}
	if section.Size > maxBTF {
		return nil, &bounded.LimitError{What: fmt.Sprintf("size of BTF of %q", name), Limit: maxBTF}
	}
	raw, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read BTF of %q: %w", name, err)
	}
	return raw, nil
}

// findBTF finds BTF by its header (include/uapi/linux/btf.h). A program's own,
// such as that of the objects that the kernel preloads, is much smaller than
// the kernel's: the largest counts.
func findBTF(b []byte) []byte {
	magic := []byte{0x9f, 0xeb, 1, 0} // version 1, no flags
	var largest []byte
	for rest := b; ; {
		i := bytes.Index(rest, magic)
		if i < 0 {
			return largest
		}
		if n := lengthBTF(rest[i:]); n > len(largest) {
			largest = rest[i : i+n : i+n]
		}
		rest = rest[i+len(magic):]
	}
}

// lengthBTF is how many bytes the BTF at the start of b takes, 0 when the
// header is none.
func lengthBTF(b []byte) int {
	if len(b) < 24 {
		return 0
	}
	u32 := func(at int) uint64 { return uint64(binary.LittleEndian.Uint32(b[at:])) }
	header, types, typesLen, strs, strsLen := u32(4), u32(8), u32(12), u32(16), u32(20)
	if header < 24 || header > 128 || types%4 != 0 || typesLen < 12 || strs < types+typesLen || strsLen < 2 {
		return 0
	}
	end := header + strs + strsLen
	if end > maxBTF || end > uint64(len(b)) || b[header+strs] != 0 || b[end-1] != 0 {
		return 0
	}
	return int(end)
}

// Kinds of BTF types (include/uapi/linux/btf.h), and how many bytes follow the
// twelve that all have: so many, and so many for each member.
var kindsBTF = [...]struct{ fixed, each int }{
	1:  {4, 0},  // int
	2:  {0, 0},  // pointer
	3:  {12, 0}, // array
	4:  {0, 12}, // struct
	5:  {0, 12}, // union
	6:  {0, 8},  // enum
	7:  {0, 0},  // forward
	8:  {0, 0},  // typedef
	9:  {0, 0},  // volatile
	10: {0, 0},  // const
	11: {0, 0},  // restrict
	12: {0, 0},  // function
	13: {0, 8},  // its parameters
	14: {4, 0},  // variable
	15: {0, 12}, // section
	16: {0, 0},  // float
	17: {4, 0},  // declaration tag
	18: {0, 0},  // type tag
	19: {0, 12}, // enum of 64 bits
}

const (
	kindStruct  = 4
	kindUnion   = 5
	kindEnum    = 6
	kindTypedef = 8
	kindEnum64  = 19
)

// ModuleTypes returns the names of the types in the BTF of a module, which
// continues the kernel's: base is how many bytes of strings that has. Of BTF that
// is broken it returns what comes before. It walks by hand: as values the types
// of all modules would take a gigabyte, and names are all that is wanted.
func ModuleTypes(raw []byte, base int) (names []string) {
	le := binary.LittleEndian
	if len(raw) < 24 || le.Uint16(raw) != 0xeb9f {
		return nil
	}
	part := func(at int) []byte {
		from := uint64(le.Uint32(raw[4:])) + uint64(le.Uint32(raw[at:]))
		to := from + uint64(le.Uint32(raw[at+4:]))
		if to > uint64(len(raw)) {
			return nil
		}
		return raw[from:to]
	}
	types, strs := part(8), part(16)
	for len(types) >= 12 {
		name, info := int64(le.Uint32(types))-int64(base), le.Uint32(types[4:])
		kind, members := int(info>>24&0x1f), int(info&0xffff)
		if kind == 0 || kind >= len(kindsBTF) {
			return names
		}
		switch kind {
		case kindStruct, kindUnion, kindEnum, kindTypedef, kindEnum64:
			if name < 0 || name >= int64(len(strs)) { // the kernel's
				break
			}
			if s, _, ok := bytes.Cut(strs[name:], []byte{0}); ok && goodName(string(s)) {
				names = append(names, string(s))
			}
		}
		size := 12 + kindsBTF[kind].fixed + members*kindsBTF[kind].each
		if size > len(types) {
			return names
		}
		types = types[size:]
	}
	return names
}
