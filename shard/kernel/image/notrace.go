package image

import (
	"debug/elf"
	"encoding/binary"
	"io"
	"slices"
	"strings"
)

// textStart is the address that an x86 kernel's code starts at, 0 where the file
// does not tell.
func textStart(r io.ReaderAt) uint64 {
	f, err := elf.NewFile(r)
	if err != nil || f.Machine != elf.EM_X86_64 {
		return 0
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			return p.Vaddr
		}
	}
	return 0
}

// setAddresses reads the addresses of symbols, 32 bits each. They stand in front
// of the number of symbols, which is at number, with their base between them;
// since 6.4 they are behind the tokens' index, which ends at end. Numbers that do
// not ascend are none.
func setAddresses(symbols []Symbol, b []byte, number, end int, text uint64) {
	start := slices.IndexFunc(symbols, func(s Symbol) bool { return s.Name == "_text" })
	if text == 0 || start < 0 {
		return
	}
	size := 4 * len(symbols)
	list := make([]int64, len(symbols))
	for _, at := range []int{(end + 3) &^ 3, (end + 7) &^ 7, number&^7 - 8 - (size+7)&^7, number&^7 - (size+7)&^7} {
		if at < 0 || at+size > len(b) {
			continue
		}
		for _, of := range []func(i int, n int32) int64{
			func(_ int, n int32) int64 { // from a base: below 0 downwards, so that processors' variables can be above
				if n < 0 {
					return -1 - int64(n) + 1<<32
				}
				return int64(n)
			},
			func(i int, n int32) int64 { return int64(n) + 4*int64(i) }, // from where they stand, as in 7.x
		} {
			for i := range list {
				list[i] = of(i, int32(binary.LittleEndian.Uint32(b[at+4*i:])))
			}
			if !slices.IsSorted(list) {
				continue
			}
			for i := range symbols {
				if list[i] >= list[start] {
					symbols[i].address = text + uint64(list[i]-list[start])
				}
			}
			return
		}
	}
}

const leastTraced = 1000 // functions in a kernel's table

// markNoTrace marks the functions without an entry in the table of what ftrace
// can trace (include/linux/ftrace.h). symbols are in the order of addresses.
func markNoTrace(r io.ReaderAt, symbols []Symbol) {
	var from, to uint64
	for _, s := range symbols {
		switch s.Name {
		case "__start_mcount_loc":
			from = s.address
		case "__stop_mcount_loc":
			to = s.address
		}
	}
	f, err := elf.NewFile(r)
	if err != nil || from == 0 || to <= from || to-from > 8*maxSymbols {
		return
	}
	table := make([]byte, to-from)
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Vaddr <= from && from-p.Vaddr < p.Filesz {
			if _, err := p.ReadAt(table, int64(from-p.Vaddr)); err != nil {
				return
			}
		}
	}
	var traced []uint64
	for ; len(table) >= 8; table = table[8:] {
		if at := binary.LittleEndian.Uint64(table); at != 0 {
			traced = append(traced, at)
		}
	}
	if slices.Sort(traced); len(traced) < leastTraced {
		return
	}
	var end, at uint64 // of the function that symbols are at
	for i := len(symbols) - 1; i >= 0; i-- {
		s := &symbols[i]
		if s.address != at {
			end, at = at, s.address
		}
		if at != 0 && end != 0 && strings.IndexByte("tTwW", s.Type) >= 0 {
			n, _ := slices.BinarySearch(traced, at)
			s.NoTrace = n == len(traced) || traced[n] >= end
		}
	}
}
