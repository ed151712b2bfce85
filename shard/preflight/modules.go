package preflight

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

const (
	maxBTF     = 128 << 20
	maxDefined = 4 << 20 // names that all modules define
	shownFew   = 3       // modules that are named
)

// Kinds of what a module defines.
const (
	definesFunction = 'f'
	definesType     = 't'
)

// moduleIndex is what a kernel's modules define.
type moduleIndex struct {
	Lines symbols // of a name, a kind, the module and 8 digits of the definition, sorted
	All   bool    // these are all modules that there are
}

// look says which modules define a name, at most shownFew.
func (m moduleIndex) look(name string, kind byte) (found []string) {
	prefix := name + " " + string(kind) + " "
	for line := range m.Lines.lines(prefix) {
		if len(found) == shownFew {
			break
		}
		module, _, _ := strings.Cut(line[len(prefix):], " ")
		found = append(found, module)
	}
	return found
}

// lookModules returns the modules of a kernel that define a name. known is
// false when nothing follows from there being none.
func (k *Kernel) lookModules(name string, kind byte) (found []string, known bool) {
	if k.off("MODULES") {
		return nil, true
	}
	if k.readModules == nil {
		return nil, false
	}
	if k.modules == nil {
		m, err := k.readModules()
		if err != nil {
			m = moduleIndex{}
		}
		k.modules = &m
	}
	found = k.modules.look(name, kind)
	return found, len(found) > 0 || k.modules.All
}

// indexModules reads what a kernel's modules define, of a kernel with this BTF.
func indexModules(ctx context.Context, im *kernel.Image, raw []byte) (*index.Facts, error) {
	base := image.ReadBTFTypes(raw, nil)
	var lines []string
	all, err := im.EachModule(ctx, func(m image.Module) error {
		if !plain(m.Name) {
			return nil
		}
		for name, definition := range defined(m.Data, base) {
			lines = append(lines, fmt.Sprintf("%s %s %08x", name, m.Name, uint32(definition^definition>>32)))
		}
		if len(lines) > maxDefined {
			return fmt.Errorf("modules of %s define more than %d names", im.ID(), maxDefined)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &index.Facts{Modules: string(sorted(lines)), AllModules: all}, nil
}

// defined are the functions and types that a module defines, each a name and a
// kind, with a digest of their definitions; it is 0 where that is not known. Of a
// module that cannot be read there are none. base is the kernel's BTF.
func defined(module []byte, base *image.BTFTypes) map[string]uint64 {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil
	}
	defer f.Close()
	all := map[string]uint64{}
	list, _ := f.Symbols()
	for _, s := range list {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Section != elf.SHN_UNDEF && plain(s.Name) {
			all[s.Name+" "+string(definesFunction)] = 0
		}
	}
	section := f.Section(".BTF")
	if section == nil || section.Type == elf.SHT_NOBITS || section.Size > maxBTF {
		return all
	}
	raw, err := section.Data()
	if err != nil {
		return all
	}
	functions, types := image.ReadBTFTypes(image.BTFInOrder(raw, binary.LittleEndian), base).Defined()
	for name, definition := range functions {
		name += " " + string(definesFunction)
		if _, ok := all[name]; ok {
			all[name] = definition
		}
	}
	for name, definition := range types {
		if plain(name) {
			all[name+" "+string(definesType)] = definition
		}
	}
	return all
}

func plain(name string) bool {
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' })
}

// LoadOnly tells that no other modules are loaded than those named and what
// they depend on: what vmlinux lacks is then absent when there are none.
func (k *Kernel) LoadOnly(modules []string) {
	k.noModules, k.allModules = len(modules) == 0, k.readModules
	k.modules = &moduleIndex{All: len(modules) == 0}
	k.readModules = func() (moduleIndex, error) { return *k.modules, nil }
}
