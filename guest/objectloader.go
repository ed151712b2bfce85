package guest

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/contents"
	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/guest/sections"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// ChooseLoader completes an object: the loader where that is to be chosen, why
// that loader cannot load it, and what its passes may hide.
func ChooseLoader(o wire.Object, f ObjectFile, arch string) wire.Object {
	file, err := elf.NewFile(bytes.NewReader(f.Data))
	if err != nil { // ReadObjects has opened it
		o.Broken = "is no ELF object: " + err.Error()
		return o
	}
	defer file.Close()
	auto := o.Loader == wire.LoaderAuto
	if auto {
		o.Loader = loaderFor(f.Path, file)
	}
	if o.Loader == wire.LoaderGo {
		// Only where it is the one loader: with both, libbpf's half still tells.
		if _, err := contents.Guard(func() (*ebpf.CollectionSpec, error) {
			return ebpf.LoadCollectionSpecFromReader(bytes.NewReader(f.Data))
		}); err != nil {
			hint := ""
			if strings.Contains(err.Error(), "missing BTF") {
				hint = ": build it with -g, and do not strip .BTF"
			}
			o.Broken = fmt.Sprintf("cannot be read by %s: %s%s", wire.GoVersion(), strings.ReplaceAll(err.Error(), "\n", " "), hint)
		}
	}
	switch {
	case bpf2goName.MatchString(filepath.Base(f.Path)): // libbpf is not what ships it
	case o.Loader != wire.LoaderLibbpf:
		o.Warnings = refusedByLibbpf(file, "")
	case auto:
		o.Warnings = refusedByLibbpf(file, "; if ebpf-go loads it, give --loader ebpf-go")
	}
	if w := otherArch(f, file, arch); w != "" {
		o.Warnings = slices.Insert(o.Warnings, 0, w)
	}
	return o
}

// bpf2go names the object x_bpfel.o, or x_arm64_bpfel.o for one architecture;
// its old versions x_bpfel_arm64.o.
var bpf2goName = regexp.MustCompile(`_(?:([a-z0-9]+)_)?bpf(e[lb])(?:_([a-z0-9]+))?\.o$`)

// builtFor splits a file name of bpf2go's: what comes before the architecture, the
// architecture (libbpf's name; "": all) and the byte order. ok is false for other names.
func builtFor(path string) (stem, arch string, order elf.Data, ok bool) {
	m := bpf2goName.FindStringSubmatch(filepath.Base(path))
	if m == nil {
		return "", "", 0, false
	}
	order = elf.ELFDATA2LSB
	if m[2] == "eb" {
		order = elf.ELFDATA2MSB
	}
	// What stands in front of bpfel may be a part of the object's name.
	for _, known := range []string{"x86", "arm64", "arm", "loongarch", "mips", "powerpc", "riscv", "s390"} {
		if m[1]+m[3] == known {
			return strings.TrimSuffix(path, m[0]), known, order, true
		}
	}
	return path[:strings.LastIndex(path, "_bpfe")], "", order, true
}

// forArch leaves out bpf2go's objects for other architectures if there is one of the
// same name for arch.
func forArch(paths []string, arch string) []string {
	a := goarch.Lookup(arch)
	fits := func(path string) (stem string, ok bool) {
		stem, named, order, made := builtFor(path)
		return stem, made && order == a.Data && (named == "" || named == a.BPF)
	}
	has := map[string]bool{}
	for _, p := range paths {
		if stem, ok := fits(p); ok {
			has[stem] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(paths), func(p string) bool {
		stem, ok := fits(p)
		return !ok && has[stem]
	})
}

// loaderFor chooses the loader from what an object says about itself. An object
// of bpf2go is for ebpf-go, by its name: clang leaves nothing of bpf2go in the
// file. So is one with a "maps" section, which libbpf 1.0 and later refuse.
// Everything else is libbpf's, whose marks (.bpf.o, .struct_ops, USDT's maps) tell
// nothing that would change this.
func loaderFor(path string, file *elf.File) string {
	if bpf2goName.MatchString(filepath.Base(path)) || file.Section("maps") != nil {
		return wire.LoaderGo
	}
	return wire.LoaderLibbpf
}

// loadersNote says which objects each loader loads.
func loadersNote(objects []wire.Object) string {
	var parts []string
	for _, by := range []struct{ loader, name string }{
		{wire.LoaderLibbpf, wire.LibbpfVersion},
		{wire.LoaderGo, wire.GoVersion()},
		{wire.LoaderBoth, wire.LibbpfVersion + " and " + wire.GoVersion()},
	} {
		var names []string
		for _, o := range objects {
			if o.Loader == by.loader {
				names = append(names, o.Name)
			}
		}
		if len(names) == 0 {
			continue
		}
		parts = append(parts, fmt.Sprintf("%d with %s (%s)", len(names), by.name, some(names)))
	}
	if parts == nil {
		return "no object is loaded"
	}
	return "loads BPF objects: " + strings.Join(parts, ", ")
}

// function is one in an executable section of an object.
type function struct {
	elf.Symbol
	section *elf.Section
}

// programsOf are the functions of an object that stand in a section of their own
// name: the others are called by them.
func programsOf(file *elf.File) []function {
	symbols, _ := file.Symbols() // an object without them has no programs
	var found []function
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || int(s.Section) >= len(file.Sections) {
			continue
		}
		if section := file.Sections[s.Section]; section.Flags&elf.SHF_EXECINSTR != 0 && section.Name != ".text" {
			found = append(found, function{s, section})
		}
	}
	slices.SortFunc(found, func(a, b function) int { return cmp.Compare(a.Name, b.Name) })
	return found
}

// refusedByLibbpf are the warnings of what ebpf-go loads and libbpf does not; hint
// is what to do about it.
func refusedByLibbpf(file *elf.File, hint string) []string {
	var warnings []string
	if file.Section("maps") != nil {
		warnings = append(warnings, `libbpf 1.0 and later refuse the object: it defines maps in a section "maps", not ".maps"`)
	}
	for _, p := range programsOf(file) {
		if like := sections.Prefix(p.section.Name); like != "" {
			warnings = append(warnings, fmt.Sprintf("program %s: libbpf 1.x does not know its section %q, which ebpf-go takes for %q%s", p.Name, p.section.Name, like, hint))
		}
		if elf.ST_BIND(p.Info) == elf.STB_LOCAL {
			warnings = append(warnings, fmt.Sprintf("program %s: libbpf refuses the object: it is static in section %q%s", p.Name, p.section.Name, hint))
		}
	}
	const most = 20
	if more := len(warnings) - most; more > 0 {
		warnings = append(warnings[:most], fmt.Sprintf("%d more like these", more))
	}
	return warnings
}

// some are the first of a list.
func some(list []string) string {
	const most = 3
	more := ""
	if len(list) > most {
		more = fmt.Sprintf(" and %d more", len(list)-most)
	}
	return strings.Join(list[:min(most, len(list))], ", ") + more
}

// otherArch is the warning of an object whose programs read the registers of
// another architecture than arch: they load, and get wrong values. "" for none.
func otherArch(f ObjectFile, file *elf.File, arch string) string {
	defer func() { _ = recover() }() // the library is made for objects that one trusts
	// bpf2go's name for the architecture.
	if _, named, _, _ := builtFor(f.Path); named != "" && named != goarch.Lookup(arch).BPF {
		return fmt.Sprintf("bpf2go built it for %s, and the kernels are for %s", cmp.Or(goarch.OfBPF(named).Name, named), arch)
	}
	// A field that is relocated fails by itself where there is none.
	infos, err := contents.Guard(func() (*btf.ExtInfos, error) {
		_, infos, err := btf.LoadSpecAndExtInfosFromReader(bytes.NewReader(f.Data))
		return infos, err
	})
	if err != nil && file.Section(".BTF.ext") != nil {
		return ""
	}
	// All programs together: one alone may read a register that is not an
	// argument's.
	var reads []int
	first, finds := "", false
	sections := map[*elf.Section][]byte{}
	for _, p := range programsOf(file) {
		kind, _, _ := strings.Cut(strings.TrimPrefix(p.section.Name, "?"), "/")
		kind, _, _ = strings.Cut(kind, ".")
		if !slices.Contains([]string{"kprobe", "kretprobe", "uprobe", "uretprobe"}, kind) {
			continue
		}
		b, ok := sections[p.section]
		if !ok {
			b, _ = p.section.Data() // none has no instructions
			sections[p.section] = b
		}
		size := uint64(len(b))
		if p.Value > size || p.Size > size-p.Value {
			continue
		}
		relocated := map[int]bool{}
		_, _, relos := infos.Section(p.section.Name)
		for _, r := range relos {
			relocated[int(r.Offset)] = true
		}
		of := contextReads(b[p.Value:p.Value+p.Size], file.ByteOrder, func(insn int) bool {
			is := relocated[int(p.Value/8)+insn]
			finds = finds || is
			return is
		})
		if len(of) > 0 && first == "" {
			first = p.Name
		}
		reads = append(reads, of...)
	}
	// One that finds its registers in the kernel's types is for no architecture.
	if is := goarch.OfRegisters(reads, file.ByteOrder); len(is) > 0 && !slices.Contains(is, arch) && !finds {
		return fmt.Sprintf("program %s reads the registers of %s, and the kernels are for %s: build it with -D__TARGET_ARCH_%s", first, strings.Join(is, " or "), arch, goarch.Lookup(arch).BPF)
	}
	return ""
}

// contextReads are the offsets in its context that a program reads, but for
// those where skip says so. It follows the context through copies in the order
// of the instructions, as the macros of libbpf use it.
func contextReads(insns []byte, order binary.ByteOrder, skip func(insn int) bool) []int {
	const (
		load, size  = 0x61, 0x18 // BPF_LDX | BPF_MEM, and the bits of its size
		half, byte1 = 0x08, 0x10 // sizes that registers are not read with
		move, call  = 0xbf, 0x85 // of a whole register
	)
	var reads []int
	context := map[byte]bool{1: true}
	for i := 0; i*8+8 <= len(insns); i++ {
		insn := insns[i*8 : i*8+8]
		code, dst, src := insn[0], insn[1]&15, insn[1]>>4
		if order == binary.BigEndian {
			dst, src = src, dst
		}
		switch {
		case code&^size == load:
			if context[src] && code&size != half && code&size != byte1 && !skip(i) {
				reads = append(reads, int(int16(order.Uint16(insn[2:]))))
			}
			delete(context, dst)
		case code == move:
			if context[src] {
				context[dst] = true
			} else {
				delete(context, dst)
			}
		case code == call:
			for r := range byte(6) {
				delete(context, r)
			}
		case code&7 == 7 || code&7 == 4 || code&7 == 0: // arithmetic and constants
			delete(context, dst)
		}
	}
	return reads
}
