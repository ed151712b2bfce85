package preflight

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// modulesName is what the index of a kernel's modules is called beside it in
// the cache. It is only made for kernels that lack something, as it takes a
// pass over all modules: 3 to 10 s.
const modulesName = "preflight-modules-1.zst"

const (
	maxDefined = 4 << 20 // names that all modules define
	shownFew   = 3       // modules that are named
)

// Kinds of what a module defines.
const (
	definesFunction = 'f'
	definesType     = 't'
)

// moduleIndex is what a kernel's modules define: lines of a name, a kind and
// the module, sorted.
type moduleIndex struct {
	lines symbols
	all   bool // these are all modules that there are
}

// look says which modules define a name, at most shownFew.
func (m moduleIndex) look(name string, kind byte) (found []string) {
	prefix := name + " " + string(kind) + " "
	for at := m.lines.from(prefix); at < len(m.lines) && len(found) < shownFew; {
		n := bytes.IndexByte(m.lines[at:], '\n')
		if n < 0 {
			break
		}
		module, ok := strings.CutPrefix(string(m.lines[at:at+n]), prefix)
		if !ok {
			break
		}
		found = append(found, module)
		at += n + 1
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
	return found, len(found) > 0 || k.modules.all
}

// loadModules returns the index of a kernel's modules.
func loadModules(ctx context.Context, im *kernel.Image, c *kernel.Cache, k *Kernel) (moduleIndex, error) {
	if !im.HasModules() {
		return moduleIndex{}, nil
	}
	path, err := im.Derived(ctx, c, modulesName, func(w io.Writer) error { return indexModules(ctx, im, w, k.strings) })
	if err != nil {
		return moduleIndex{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return moduleIndex{}, err
	}
	defer f.Close()
	zr, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxIndex))
	if err != nil {
		return moduleIndex{}, err
	}
	defer zr.Close()
	br := bufio.NewReader(zr)
	head, err := br.ReadString('\n')
	if err != nil {
		return moduleIndex{}, err
	}
	m := moduleIndex{all: head == allModules}
	b, err := io.ReadAll(io.LimitReader(br, maxIndex))
	m.lines = b
	return m, err
}

const (
	allModules  = "all\n"
	someModules = "some\n"
)

func indexModules(ctx context.Context, im *kernel.Image, w io.Writer, baseStrings int) error {
	var lines []string
	all, err := im.EachModule(ctx, func(m image.Module) error {
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
		return err
	}
	slices.Sort(lines)
	zw, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	bw := bufio.NewWriter(zw)
	head := someModules
	if all {
		head = allModules
	}
	_, _ = bw.WriteString(head)
	for _, l := range lines {
		_, _ = bw.WriteString(l + "\n")
	}
	return errors.Join(bw.Flush(), zw.Close())
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
	for _, n := range splitTypes(raw, baseStrings) {
		names = append(names, n+" "+string(definesType))
	}
	return names
}

func plain(name string) bool {
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' })
}

// splitTypes are the names of the types in the BTF of a module, which continues
// the kernel's: offsets of names count from the kernel's strings on.
func splitTypes(raw []byte, baseStrings int) (names []string) {
	if len(raw) < 24 || binary.LittleEndian.Uint16(raw) != 0xeb9f {
		return nil
	}
	u32 := func(b []byte, at int) uint64 { return uint64(binary.LittleEndian.Uint32(b[at:])) }
	header := u32(raw, 4)
	types, typesLen, strs, strsLen := header+u32(raw, 8), u32(raw, 12), header+u32(raw, 16), u32(raw, 20)
	if types+typesLen > uint64(len(raw)) || strs+strsLen > uint64(len(raw)) {
		return nil
	}
	texts := raw[strs : strs+strsLen]
	for b := raw[types : types+typesLen]; len(b) >= 12; {
		name, info := int64(u32(b, 0))-int64(baseStrings), u32(b, 4)
		kind, n := info>>24&0x1f, info&0xffff
		// include/uapi/linux/btf.h
		more := uint64(0)
		named := false
		switch kind {
		case 1, 14, 17: // int, var, decl_tag
			more = 4
		case 3: // array
			more = 12
		case 4, 5, 19: // struct, union, enum64
			more, named = 12*n, true
		case 6: // enum
			more, named = 8*n, true
		case 8: // typedef
			named = true
		case 13: // function prototype
			more = 8 * n
		case 15: // data section
			more = 12 * n
		}
		if named && name >= 0 && name < int64(len(texts)) {
			if end := bytes.IndexByte(texts[name:], 0); end > 0 && plain(string(texts[name:name+int64(end)])) {
				names = append(names, string(texts[name:name+int64(end)]))
			}
		}
		if 12+more > uint64(len(b)) {
			return names
		}
		b = b[12+more:]
	}
	return names
}

// LoadOnly tells that no other modules are loaded than those named and what
// they depend on: what vmlinux lacks is then absent when there are none.
func (k *Kernel) LoadOnly(modules []string) {
	k.modules = &moduleIndex{all: len(modules) == 0}
	k.readModules = func() (moduleIndex, error) { return *k.modules, nil }
}
