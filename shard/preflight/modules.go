package preflight

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

const (
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
	Lines symbols // of a name, a kind and the module, sorted
	All   bool    // these are all modules that there are
}

// look says which modules define a name, at most shownFew.
func (m moduleIndex) look(name string, kind byte) (found []string) {
	prefix := name + " " + string(kind) + " "
	for line := range m.Lines.lines(prefix) {
		if len(found) == shownFew {
			break
		}
		found = append(found, line[len(prefix):])
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

// loadModules returns the index of a kernel's modules.
func loadModules(ctx context.Context, im *kernel.Image, c *kernel.Cache, k *Kernel) (moduleIndex, error) {
	if !im.HasModules() {
		return moduleIndex{}, nil
	}
	path, err := im.Derived(ctx, c, modulesName, func(w io.Writer) error {
		m, err := indexModules(ctx, im, k.strings)
		if err != nil {
			return err
		}
		var all []byte // something, where these are all modules
		if m.All {
			all = []byte("all")
		}
		return writeIndex(w, all, m.Lines)
	})
	if err != nil {
		return moduleIndex{}, err
	}
	all, lines, err := readIndex(path)
	return moduleIndex{Lines: lines, All: len(all) > 0}, err
}

func indexModules(ctx context.Context, im *kernel.Image, baseStrings int) (x moduleIndex, err error) {
	var lines []string
	x.All, err = im.EachModule(ctx, func(m image.Module) error {
		if !plain(m.Name) {
			return nil
		}
		for _, n := range defined(m.Data, baseStrings) {
			lines = append(lines, n+" "+m.Name)
		}
		if len(lines) > maxDefined {
			return fmt.Errorf("modules of %s define more than %d names", im.ID(), maxDefined)
		}
		return nil
	})
	if err != nil {
		return x, err
	}
	x.Lines = sorted(lines)
	return x, nil
}

// defined are the functions and types that a module defines, each with its
// kind. Of a module that cannot be read there are none.
func defined(module []byte, baseStrings int) (names []string) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil
	}
	defer f.Close()
	list, _ := f.Symbols()
	for _, s := range list {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Section != elf.SHN_UNDEF && plain(s.Name) {
			names = append(names, s.Name+" "+string(definesFunction))
		}
	}
	section := f.Section(".BTF")
	if section == nil || section.Type == elf.SHT_NOBITS || section.Size > maxBTF {
		return names
	}
	raw, err := section.Data()
	if err != nil {
		return names
	}
	for _, n := range image.ModuleTypes(raw, baseStrings) {
		names = append(names, n+" "+string(definesType))
	}
	return names
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
