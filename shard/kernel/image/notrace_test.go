package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// tracedKernel is an ELF file whose code starts at text, with a table of every
// second one of 3,000 functions; layout says where symbols' addresses are.
func tracedKernel(layout string) []byte {
	const text, table, first, functions = 0xffffffff81000000, 128, 0x4000, 3000
	symbols, at := []string{"T_text", "D__start_mcount_loc", "D__stop_mcount_loc"}, []int64{0, table, table + 8*functions/2}
	var traced []byte
	for i := range functions {
		typ := []string{"t", "T"}[i/2%2]
		symbols, at = append(symbols, fmt.Sprintf("%sf%d", typ, i)), append(at, int64(first+16*i))
		if i%2 == 1 { // behind an endbr
			traced = binary.LittleEndian.AppendUint64(traced, uint64(text)+uint64(first+16*i+4))
		}
	}
	if layout == "in front" { // and processors' variables above the base
		symbols, at = append([]string{"Avar"}, symbols...), append([]int64{0}, at...)
	}
	var addresses []byte
	for i, a := range at {
		switch {
		case layout == "in front" && i > 0:
			a = -1 - a
		case layout == "relative":
			a -= int64(4*i) + 0x10000
		}
		addresses = binary.LittleEndian.AppendUint32(addresses, uint32(a))
	}
	for len(addresses)%8 != 0 {
		addresses = append(addresses, 0)
	}
	var head bytes.Buffer
	ident := [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1}
	_ = binary.Write(&head, binary.LittleEndian, elf.Header64{Ident: ident, Type: 2, Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1})
	_ = binary.Write(&head, binary.LittleEndian, elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_X | elf.PF_R), Vaddr: text, Filesz: 1 << 20, Memsz: 1 << 20})
	before := append(append(head.Bytes(), make([]byte, table-head.Len())...), traced...)
	if layout == "in front" {
		before = append(append(before, addresses...), make([]byte, 8)...)
		addresses = nil
	}
	return kallsymsImage(symbols, 4, before, append(addresses, "behind"...))
}

// Functions without an entry in ftrace's table cannot be traced, wherever a
// version keeps the addresses; without addresses nothing is known.
func TestNoTrace(t *testing.T) {
	for _, layout := range []string{"in front", "behind", "relative", "none"} {
		b := tracedKernel(layout)
		if layout == "none" {
			b[18] = byte(elf.EM_AARCH64)
		}
		path := filepath.Join(t.TempDir(), "vmlinux")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		symbols, err := Symbols(path)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, s := range symbols {
			var i int
			if _, err := fmt.Sscanf(s.Name, "f%d", &i); err == nil {
				n++
				if want := layout != "none" && i%2 == 0; s.NoTrace != want {
					t.Fatalf("%s: %s: %v, want %v", layout, s.Name, s.NoTrace, want)
				}
			}
		}
		if n != 3000 {
			t.Errorf("%s: %d functions", layout, n)
		}
	}
}
