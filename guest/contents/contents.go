// Package contents reads the names in BPF objects. It needs none of a loader, so
// that it reads what one of them refuses.
package contents

import (
	"debug/elf"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/variable"
)

// Object are the names in a BPF object that settings may be about.
type Object struct {
	Programs []string
	Maps     []string
	// MapTypes are the types of maps (BPF_MAP_TYPE_*) by name, where the object's BTF
	// tells.
	MapTypes map[string]uint32
	// Variables are the types of global variables by name; nil where the object's BTF
	// does not tell.
	Variables map[string]btf.Type
}

// maxSymbols bounds the symbols of an object.
const maxSymbols = 1 << 20

// Read reads an object.
func Read(r io.ReaderAt) (c Object, err error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return c, fmt.Errorf("is no ELF object: %w", err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil || len(symbols) > maxSymbols {
		return c, fmt.Errorf("has no table of up to %d symbols: build it anew, and do not strip it", maxSymbols)
	}
	c.MapTypes, c.Variables = map[string]uint32{}, map[string]btf.Type{}
	for _, s := range symbols {
		if s.Section == elf.SHN_UNDEF || int(s.Section) >= len(f.Sections) || s.Name == "" {
			continue
		}
		section, typ := f.Sections[s.Section], elf.ST_TYPE(s.Info)
		switch {
		case typ == elf.STT_FUNC && section.Flags&elf.SHF_EXECINSTR != 0:
			if section.Name != ".text" { // subprograms
				c.Programs = append(c.Programs, s.Name)
			}
		case typ == elf.STT_SECTION || typ == elf.STT_FUNC:
		case section.Name == ".maps" || section.Name == "maps" || slices.Contains([]string{".struct_ops", ".struct_ops.link"}, strings.TrimPrefix(section.Name, "?")):
			c.Maps = append(c.Maps, s.Name)
		case typ == elf.STT_OBJECT && variable.InSection(section.Name):
			c.Variables[s.Name] = nil
		}
	}
	for _, section := range f.Sections { // which are maps to loaders
		if variable.InSection(section.Name) && section.Size > 0 {
			c.Maps = append(c.Maps, section.Name)
		}
	}
	slices.Sort(c.Programs)
	slices.Sort(c.Maps)
	c.Maps = slices.Compact(c.Maps)
	// Without types, values are checked where they are set.
	_, _ = Guard(func() (struct{}, error) { return struct{}{}, c.addTypes(r) })
	return c, nil
}

// addTypes adds the types of variables and maps, if the object's BTF can be read.
func (c *Object) addTypes(r io.ReaderAt) error {
	spec, err := btf.LoadSpecFromReader(r)
	if err != nil {
		return err
	}
	for t, err := range spec.All() {
		if err != nil {
			return err
		}
		section, ok := t.(*btf.Datasec)
		if !ok {
			continue
		}
		for _, v := range section.Vars {
			if v, ok := v.Type.(*btf.Var); ok {
				if n, ok := mapType(v.Type); ok && section.Name == ".maps" {
					c.MapTypes[v.Name] = n
				}
				if _, known := c.Variables[v.Name]; known {
					c.Variables[v.Name] = v.Type
				}
			}
		}
	}
	return nil
}

// mapType reads the struct that defines a map: its type is the number of elements of
// an array.
func mapType(t btf.Type) (n uint32, ok bool) {
	def, ok := btf.UnderlyingType(t).(*btf.Struct)
	if !ok {
		return 0, false
	}
	for _, m := range def.Members {
		if p, ok := btf.UnderlyingType(m.Type).(*btf.Pointer); ok && m.Name == "type" {
			if a, ok := btf.UnderlyingType(p.Target).(*btf.Array); ok {
				return a.Nelems, true
			}
		}
	}
	return 0, false
}

// Guard calls a function of ebpf-go that reads an object. That library is made for
// objects that one trusts: its panic is an error.
func Guard[T any](read func() (T, error)) (got T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot be read: %v", r)
		}
	}()
	return read()
}
