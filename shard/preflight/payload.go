package preflight

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

const (
	maxEmbedded   = 32       // objects in one program
	maxCandidates = 4096     // ELF headers of BPF objects that are tried
	maxTried      = 64 << 20 // bytes of them that are read, all in all
)

// Embedded finds the BPF objects that a program carries inside, as skeletons
// and bpf2go put them there. name is the first part of their programs' names.
// What cannot be read is left out.
func Embedded(name string, program []byte, arch string) (found []*Object) {
	// ELF, 64 bits, in the kernels' order of bytes; a relocatable file for BPF.
	magic := append([]byte("\x7fELF\x02"), byte(goarch.Lookup(arch).Data))
	order := goarch.Lookup(arch).Order()
	tried := 0
	for at, n := 0, 0; n < maxCandidates && len(found) < maxEmbedded; n++ {
		i := bytes.Index(program[at:], magic)
		if i < 0 {
			break
		}
		at += i
		b := program[at:]
		at += len(magic)
		size := objectSize(b, order)
		if size == 0 || tried+size > maxTried {
			continue
		}
		tried += size
		called := name
		if len(found) > 0 {
			called = fmt.Sprintf("%s-%d", name, len(found)+1)
		}
		if o, err := Read(called, b[:size], arch); err == nil && len(o.programs) > 0 {
			found = append(found, o)
			at += size - len(magic)
		}
	}
	return found
}

// objectSize is how many bytes the BPF object at the start of b takes: up to
// the end of its section table and of the last section. 0: it is none.
func objectSize(b []byte, order binary.ByteOrder) int {
	if len(b) < 64 || elf.Type(order.Uint16(b[16:])) != elf.ET_REL || elf.Machine(order.Uint16(b[18:])) != elf.EM_BPF {
		return 0
	}
	table, each, n := order.Uint64(b[40:]), order.Uint16(b[58:]), order.Uint16(b[60:])
	limit := uint64(min(len(b), maxObject))
	if each != 64 || n == 0 || table > limit || table+64*uint64(n) > limit {
		return 0
	}
	end := table + 64*uint64(n)
	for i := range uint64(n) {
		s := b[table+64*i:]
		typ, off, size := elf.SectionType(order.Uint32(s[4:])), order.Uint64(s[24:]), order.Uint64(s[32:])
		if typ == elf.SHT_NULL || typ == elf.SHT_NOBITS {
			continue
		}
		if off > limit || size > limit || off+size > limit {
			return 0
		}
		end = max(end, off+size)
	}
	return int(end)
}
