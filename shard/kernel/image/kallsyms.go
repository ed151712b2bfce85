package image

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Symbol is a symbol of a kernel. Names are not unique.
type Symbol struct {
	Name string
	Type byte   // as nm prints it: 't' a static function, 'T' a global one, 'd' data ...
	In   string // of "__BTF_ID__func__NAME__N": the set of functions that NAME is in; of a function: NoProbes

	NoTrace bool // it is a function that ftrace cannot trace; false where that is not known

	address uint64 // 0: not known
}

// NoProbes is what [Symbol.In] says of functions in the sections that nothing
// can be attached to: .noinstr.text and its like.
const NoProbes = "noinstr"

// ErrNoSymbols is returned by [Symbols] for a kernel whose symbols are not in
// the file, or in a form that is not known.
var ErrNoSymbols = errors.New("kernel has no symbols that can be read")

const (
	maxSymbols    = 2 << 20 // of a kernel; distributions' have 100,000 to 250,000
	maxSymbolName = 1024    // bytes; the kernel's own limit is 512
)

// Symbols returns the symbols of an unpacked kernel, sorted by name: those of
// its symbol table, or those that it carries for /proc/kallsyms. vmlinux is
// hostile input.
func Symbols(vmlinux string) ([]Symbol, error) {
	f, err := os.Open(vmlinux)
	if err != nil {
		return nil, fmt.Errorf("read the symbols of %q: %w", vmlinux, err)
	}
	defer f.Close()
	symbols := elfSymbols(f)
	if len(symbols) == 0 {
		if symbols, err = kallsyms(f); err != nil {
			return nil, fmt.Errorf("read the symbols of %q: %w", vmlinux, err)
		}
	}
	if len(symbols) == 0 {
		return nil, ErrNoSymbols
	}
	place(symbols)
	markNoTrace(f, symbols)
	slices.SortFunc(symbols, func(a, b Symbol) int { return strings.Compare(a.Name, b.Name) })
	return symbols, nil
}

// place says of symbols in the order of their addresses which are between the
// symbols that mark where a set (include/linux/btf_ids.h) or a section starts
// and ends.
func place(symbols []Symbol) {
	at := map[string]int{}
	set := ""
	for i := range symbols {
		s := &symbols[i]
		if name, ok := strings.CutPrefix(s.Name, "__BTF_ID__set__"); ok {
			set = name
		} else if name, ok := strings.CutPrefix(s.Name, "__BTF_ID__set8__"); ok {
			set = name
		} else if strings.HasPrefix(s.Name, "__BTF_ID__func__") {
			s.In = set
		} else if !strings.HasPrefix(s.Name, "__BTF_ID__") && s.Name != set {
			set = "" // the name of a list, or what is behind all of them
		}
		if strings.HasSuffix(s.Name, "_text_start") || strings.HasSuffix(s.Name, "_text_end") {
			at[s.Name] = i
		}
	}
	for _, section := range []string{"__noinstr", "__kprobes", "__entry"} {
		from, ok := at[section+"_text_start"]
		to, ok2 := at[section+"_text_end"]
		if !ok || !ok2 {
			continue
		}
		// Of symbols at one address the order says nothing: the end of an empty
		// section may come first.
		for i := from; i < to; i++ {
			if strings.IndexByte("tTwW", symbols[i].Type) >= 0 {
				symbols[i].In = NoProbes
			}
		}
	}
}

// elfSymbols reads the symbol table of a kernel that was not stripped, in the
// order of addresses.
func elfSymbols(r io.ReaderAt) []Symbol {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil
	}
	if table := f.SectionByType(elf.SHT_SYMTAB); table == nil || table.Size > maxSymbols*elf.Sym64Size {
		return nil
	}
	list, err := f.Symbols()
	if err != nil {
		return nil
	}
	slices.SortStableFunc(list, func(a, b elf.Symbol) int { return cmp.Compare(a.Value, b.Value) })
	var symbols []Symbol
	for _, s := range list {
		typ := byte('d')
		switch elf.ST_TYPE(s.Info) {
		case elf.STT_FUNC:
			typ = 't'
		case elf.STT_OBJECT, elf.STT_NOTYPE:
		default:
			continue
		}
		if elf.ST_BIND(s.Info) != elf.STB_LOCAL {
			typ -= 'a' - 'A'
		}
		if s.Section != elf.SHN_UNDEF && goodName(s.Name) {
			symbols = append(symbols, Symbol{Name: s.Name, Type: typ, address: s.Value})
		}
	}
	return symbols
}

func goodName(name string) bool {
	if name == "" || len(name) > maxSymbolName {
		return false
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return false
		}
	}
	return true
}

// kallsyms decodes the tables that scripts/kallsyms.c compiles into a kernel.
// They have no header: the table of tokens is found by the digits in it, which
// stand for themselves, and the names by the table of markers in front of the
// tokens, which holds the offset of every 256th name. The order of the other
// tables has changed (6.4), of these it has not: the number of symbols, their
// names, markers, [since 6.2 their sequence,] tokens, the tokens' index.
//
// No more of the file is held in memory than the tables can be in: most of a
// kernel is something else. First a little is looked at, which is enough for
// all distributions' kernels.
func kallsyms(r io.ReaderAt) ([]Symbol, error) {
	const step = 1 << 20
	digits := []byte("0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00")
	chunk := make([]byte, step+len(digits))
	for off, tables := int64(0), 0; off < MaxVmlinux; off += step {
		n, err := r.ReadAt(chunk, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		for at := 0; ; at += len(digits) {
			i := bytes.Index(chunk[at:n], digits)
			if i < 0 || at+i >= step { // the next chunk begins with it
				break
			}
			at += i
			if tables++; tables > maxTables {
				return nil, nil
			}
			for _, reach := range []int64{8 << 20, maxNames} {
				symbols, err := kallsymsAround(r, off+int64(at), reach)
				if symbols != nil || err != nil {
					return symbols, err
				}
			}
		}
		if n < len(chunk) {
			return nil, nil
		}
	}
	return nil, nil
}

// symbolTypes are the letters that a symbol's name begins with in the tables.
const symbolTypes = "aAbBcCdDgGiInNpPrRsStTuUvVwW-?"

const (
	maxTables = 100      // places that look like a kernel's tables and are looked at; it has one
	maxNames  = 32 << 20 // bytes of the names and of what stands between them and the tokens
	maxTokens = 1 << 20  // bytes of the tokens and their index
)

// kallsymsAround decodes the tables whose token for '0' is at zero, out of so
// many bytes in front of the tokens.
func kallsymsAround(r io.ReaderAt, zero, reach int64) ([]Symbol, error) {
	// What is aligned in memory is aligned as far in the file.
	from := max(0, zero-reach-maxTokens) &^ 4095
	b := make([]byte, zero+maxTokens-from)
	n, err := r.ReadAt(b, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	tokens, start, end, order := tokenTable(b[:n], int(zero-from))
	if tokens == nil {
		return nil, nil
	}
	symbols, at := symbolNames(b[:start], tokens, order)
	setAddresses(symbols, b[:n], at, end, textStart(r))
	return symbols, nil
}

// tokenTable reads the table whose token for '0' is at zero, and where it
// starts and its index ends. What is before the table may run into its first token, so the index
// behind the table, which is aligned, says where that is, and in which order the
// kernel has its bytes.
func tokenTable(b []byte, zero int) (tokens []string, start, end int, order binary.ByteOrder) {
	read := func(at, n int) (list []string, end int) {
		for range n {
			l := bytes.IndexByte(b[at:min(len(b), at+maxSymbolName)], 0)
			if l < 0 {
				return nil, 0
			}
			list = append(list, string(b[at:at+l]))
			at += l + 1
		}
		return list, at
	}
	tokenEnd := func() int { _, end := read(zero, 256-'0'); return end }()
	if tokenEnd == 0 {
		return nil, 0, 0, nil
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
	next:
		for index := tokenEnd; index < tokenEnd+16 && index+512 <= len(b); index++ {
			start := zero - int(order.Uint16(b[index+2*'0':]))
			if start < 0 || start == zero {
				continue
			}
			tokens, end := read(start, 256)
			if end != tokenEnd {
				continue
			}
			at := 0
			for i, t := range tokens {
				if int(order.Uint16(b[index+2*i:])) != at {
					continue next
				}
				at += len(t) + 1
			}
			return tokens, start, index + 512, order
		}
	}
	return nil, 0, 0, nil
}

// symbolNames finds the names in front of the tokens, and decodes them. Their
// number stands at at.
func symbolNames(b []byte, tokens []string, order binary.ByteOrder) (symbols []Symbol, at int) {
	const least = 1024       // a kernel has more symbols
	budget := 4 * maxSymbols // names that are decoded in all, for a file that is made to cost
	for at = (len(b) - 16) &^ 3; at >= 0 && len(b)-at < maxNames && budget > 0; at -= 4 {
		n := order.Uint32(b[at:])
		if n < least || n > maxSymbols {
			continue
		}
		// An int, and up to 6.x what follows it is aligned as a pointer is.
		names := b[at+4:]
		if order.Uint32(names) == 0 {
			names = names[4:]
		}
		if symbols := decodeNames(names, int(n), tokens, order, &budget); symbols != nil {
			return symbols, at
		}
	}
	return nil, 0
}

// decodeNames decodes n names, each a length and so many tokens. nil when they
// are none, or are not followed by their markers: that is looked at first, since
// most places that could be names are none.
func decodeNames(b []byte, n int, tokens []string, order binary.ByteOrder, budget *int) []Symbol {
	var markers []int
	at := 0
	for i := range n {
		if *budget--; *budget < 0 {
			return nil
		}
		if i%256 == 0 {
			markers = append(markers, at)
		}
		start, length := nameAt(b, at)
		if length == 0 {
			return nil
		}
		// Other bytes go on as names for long, but for this.
		if t := tokens[b[start]]; t == "" || strings.IndexByte(symbolTypes, t[0]) < 0 {
			return nil
		}
		at = start + length
	}
	if !haveMarkers(b, at, markers, order) {
		return nil
	}
	symbols := make([]Symbol, 0, n)
	var name []byte
	for at = 0; len(symbols) < n; {
		start, length := nameAt(b, at)
		at = start + length
		name = name[:0]
		for _, t := range b[start:at] {
			name = append(name, tokens[t]...)
		}
		if len(name) < 2 || len(name) > maxSymbolName || strings.IndexByte(symbolTypes, name[0]) < 0 {
			return nil
		}
		s := Symbol{Name: string(name[1:]), Type: name[0]}
		if !goodName(s.Name) {
			return nil
		}
		symbols = append(symbols, s)
	}
	return symbols
}

// nameAt returns where the tokens of a name are, and how many; 0: it is none.
func nameAt(b []byte, at int) (start, length int) {
	if at >= len(b) {
		return 0, 0
	}
	length = int(b[at])
	at++
	if length&0x80 != 0 { // since 6.1
		if at >= len(b) {
			return 0, 0
		}
		length = length&0x7f | int(b[at])<<7
		at++
	}
	if length > maxSymbolName || at+length > len(b) {
		return 0, 0
	}
	return at, length
}

// haveMarkers says whether the markers follow the names, which end at at. They
// are 32 bits wide each; up to 5.0 they were longs.
func haveMarkers(b []byte, at int, markers []int, order binary.ByteOrder) bool {
	for _, width := range []int{4, 8} {
		for pad := range 8 {
			if markersAt(b, at+pad, width, markers, order) {
				return true
			}
		}
	}
	return false
}

func markersAt(b []byte, at, width int, markers []int, order binary.ByteOrder) bool {
	if at+width*len(markers) > len(b) {
		return false
	}
	for i, m := range markers {
		n := uint64(order.Uint32(b[at+i*width:]))
		if width == 8 {
			n = order.Uint64(b[at+i*width:])
		}
		if n != uint64(m) {
			return false
		}
	}
	return true
}
