package snapshot

import (
	"debug/elf"
	"encoding/binary"
	"io"
)

// writeStub writes an ELF file with a PVH entry and next to nothing in it. QEMU
// sets a machine up for the kind of kernel it is given, and a restored VM has
// its kernel in memory: the stub spares it the reading of the real one.
func writeStub(w io.Writer) error {
	const (
		headerSize, progSize = 64, 56
		at                   = 1 << 20 // physical address
		code                 = headerSize + 2*progSize
		noteType             = 18 // XEN_ELFNOTE_PHYS32_ENTRY of xen/interface/elfnote.h
	)
	note := binary.LittleEndian.AppendUint32(nil, 4) // of the name
	note = binary.LittleEndian.AppendUint32(note, 8) // of the address
	note = binary.LittleEndian.AppendUint32(note, noteType)
	note = append(note, "Xen\x00"...)
	note = binary.LittleEndian.AppendUint64(note, at)
	text := []byte{0xfa, 0xf4, 0xeb, 0xfd, 0, 0, 0, 0} // cli; hlt; jmp to the hlt

	h := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Entry: at, Phoff: headerSize, Ehsize: headerSize, Phentsize: progSize, Phnum: 2,
	}
	load := elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Off: code, Vaddr: at, Paddr: at, Filesz: uint64(len(text)), Memsz: uint64(len(text)), Align: 4}
	notes := elf.Prog64{Type: uint32(elf.PT_NOTE), Flags: uint32(elf.PF_R), Off: code + uint64(len(text)), Vaddr: at + 8, Paddr: at + 8, Filesz: uint64(len(note)), Memsz: uint64(len(note)), Align: 4}
	for _, v := range []any{h, load, notes, text, note} {
		if err := binary.Write(w, binary.LittleEndian, v); err != nil {
			return err
		}
	}
	return nil
}
