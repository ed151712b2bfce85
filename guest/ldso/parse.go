package ldso

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"unicode"
)

// object is what the dynamic linker reads of a program or library.
type object struct {
	data                   []byte
	interp, soname         string
	needed, rpath, runpath []string
}

var errDamaged = errors.New("its dynamic section is damaged")

// parse reads an ELF file by its program headers: section headers, which
// debug/elf's own functions go by, may be stripped.
func parse(data []byte) (*object, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	o := &object{data: data}
	var dynamic []byte
	for _, p := range f.Progs {
		b, ok := part(data, p.Off, p.Filesz)
		switch {
		case p.Type != elf.PT_INTERP && p.Type != elf.PT_DYNAMIC:
		case !ok || f.Class != elf.ELFCLASS64:
			return nil, errDamaged
		case p.Type == elf.PT_DYNAMIC:
			dynamic = b
		default:
			if o.interp, ok = cString(b); !ok {
				return nil, errDamaged
			}
		}
	}
	type dynamicEntry struct {
		tag   elf.DynTag
		value uint64
	}
	var entries []dynamicEntry
	strtab := uint64(0)
	for ; len(dynamic) >= 16; dynamic = dynamic[16:] {
		tag, value := elf.DynTag(f.ByteOrder.Uint64(dynamic)), f.ByteOrder.Uint64(dynamic[8:])
		if tag == elf.DT_NULL {
			break
		}
		switch tag {
		case elf.DT_STRTAB:
			strtab = value
		case elf.DT_NEEDED, elf.DT_SONAME, elf.DT_RPATH, elf.DT_RUNPATH:
			entries = append(entries, dynamicEntry{tag, value})
		}
	}
	if len(entries) > maxObjects {
		return nil, errDamaged
	}
	names := loaded(f, data, strtab)
	for _, e := range entries {
		b, ok := part(names, e.value, 0)
		s, text := cString(b)
		switch {
		case !ok || !text:
			return nil, errDamaged
		case e.tag == elf.DT_NEEDED:
			o.needed = append(o.needed, s)
		case e.tag == elf.DT_SONAME:
			o.soname = s
		case e.tag == elf.DT_RPATH:
			o.rpath = list(s)
		default:
			o.runpath = list(s)
		}
	}
	return o, nil
}

// list splits a list of directories. It is not nil.
func list(s string) []string {
	return append([]string{}, strings.FieldsFunc(s, func(r rune) bool { return r == ':' })...)
}

// part returns size bytes of b, or with 0 all, from an offset.
func part(b []byte, off, size uint64) ([]byte, bool) {
	if off > uint64(len(b)) || size > uint64(len(b))-off {
		return nil, false
	}
	if size == 0 {
		return b[off:], true
	}
	return b[off : off+size], true
}

// loaded returns the bytes from an address on to the end of its segment.
func loaded(f *elf.File, data []byte, addr uint64) []byte {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			if b, ok := part(data, p.Off, p.Filesz); ok {
				return b[addr-p.Vaddr:]
			}
		}
	}
	return nil
}

// cString is the text before a NUL. It must be fit for a path and an error's
// line.
func cString(b []byte) (string, bool) {
	b, _, ok := bytes.Cut(b[:min(len(b), maxText)], []byte{0})
	return string(b), ok && bytes.IndexFunc(b, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// maxText bounds a path, or a list of them.
const maxText = 64 << 10

// maxCache bounds the cache, of which each library takes about 100 bytes.
const maxCache = 64 << 20

// readSmall reads a file of the system's up to a limit.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxCache))
}

// parseCache reads a cache that glibc's ldconfig wrote: the paths of each
// library, best first. Those for processors with something more than all have
// are left out: the guest's may lack it.
func parseCache(b []byte) map[string][]string {
	// struct cache_file_new and file_entry_new of glibc's dl-cache.h
	const magic, header, entry = "glibc-ld.so.cache1.1", 48, 24
	paths := map[string][]string{}
	// Caches of before glibc 2.32 begin with one for old programs.
	start := bytes.Index(b, []byte(magic))
	if start < 0 || len(b)-start < header {
		return paths
	}
	b = b[start:]
	n := uint64(binary.LittleEndian.Uint32(b[len(magic):]))
	entries, ok := part(b, header, n*entry)
	for ; ok && n > 0; n, entries = n-1, entries[entry:] {
		name, nok := part(b, uint64(binary.LittleEndian.Uint32(entries[4:])), 0)
		value, vok := part(b, uint64(binary.LittleEndian.Uint32(entries[8:])), 0)
		key, kok := cString(name)
		path, pok := cString(value)
		if nok && vok && kok && pok && strings.HasPrefix(path, "/") && binary.LittleEndian.Uint64(entries[16:]) == 0 {
			paths[key] = append(paths[key], path)
		}
	}
	return paths
}
