package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// maxBTF bounds a kernel's BTF, in bytes; distributions' have 5 to 10 MB.
const maxBTF = 128 << 20

// ErrNoBTF is returned by [RawBTF] for a kernel without BTF.
var ErrNoBTF = errors.New("kernel has no BTF")

// RawBTF returns the BTF of an unpacked kernel: the section of an ELF vmlinux,
// or, where there are no sections (an arm64 Image, a vmlinux whose section
// table was stripped), what its magic number is found with. A kernel without
// is [ErrNoBTF]. It is little-endian, whatever the kernel is. vmlinux is hostile
// input; the types are not parsed here.
func RawBTF(vmlinux string) ([]byte, error) {
	f, err := os.Open(vmlinux)
	if err != nil {
		return nil, fmt.Errorf("read BTF of %q: %w", vmlinux, err)
	}
	defer f.Close()
	if raw, err := sectionBTF(vmlinux, f); raw != nil || err != nil {
		return BTFInOrder(raw, binary.LittleEndian), err
	}
	b, err := io.ReadAll(io.LimitReader(f, MaxVmlinux))
	if err != nil {
		return nil, fmt.Errorf("read BTF of %q: %w", vmlinux, err)
	}
	if raw := findBTF(b); raw != nil {
		return BTFInOrder(raw, binary.LittleEndian), nil
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
	var largest []byte
	for _, magic := range []string{"\x9f\xeb\x01\x00", "\xeb\x9f\x01\x00"} { // version 1, no flags
		for rest := b; ; {
			i := bytes.Index(rest, []byte(magic))
			if i < 0 {
				break
			}
			if n := lengthBTF(rest[i:]); n > len(largest) {
				largest = rest[i : i+n : i+n]
			}
			rest = rest[i+len(magic):]
		}
	}
	return largest
}

// orderBTF is the order of the bytes of BTF, by its magic number.
func orderBTF(b []byte) binary.ByteOrder {
	if b[0] == 0xeb {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// lengthBTF is how many bytes the BTF at the start of b takes, 0 when the
// header is none.
func lengthBTF(b []byte) int {
	if len(b) < 24 {
		return 0
	}
	order := orderBTF(b)
	u32 := func(at int) uint64 { return uint64(order.Uint32(b[at:])) }
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

// BTFInOrder returns BTF in a byte order: raw itself, or a converted copy. All but the
// magic number and the strings is words of 32 bits. What is no BTF is returned as it
// is.
func BTFInOrder(raw []byte, order binary.ByteOrder) []byte {
	if len(raw) < 24 || orderBTF(raw) == order || orderBTF(raw).Uint16(raw) != 0xeb9f {
		return raw
	}
	u32 := func(at int) uint64 { return uint64(orderBTF(raw).Uint32(raw[at:])) }
	header, types := u32(4), u32(4)+u32(8)
	end := types + u32(12)
	if header < 24 || end > uint64(len(raw)) {
		return raw
	}
	raw = bytes.Clone(raw)
	raw[0], raw[1] = raw[1], raw[0]
	swap := func(from, to uint64) {
		for ; from+4 <= to; from += 4 {
			slices.Reverse(raw[from : from+4])
		}
	}
	swap(4, header)
	swap(types, end)
	return raw
}
