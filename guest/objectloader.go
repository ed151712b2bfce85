package guest

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/sections"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// libbpfVersion is the libbpf that the guest's loader is built with.
const libbpfVersion = "libbpf 1.8"

// ebpfGoVersion is the version of ebpf-go, which the guest's loader shares with
// this program.
func ebpfGoVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/cilium/ebpf" {
				return "ebpf-go " + m.Version
			}
		}
	}
	return "ebpf-go"
}

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
		if err := readWithGo(f.Data); err != nil {
			hint := ""
			if strings.Contains(err.Error(), "missing BTF") {
				hint = ": build it with -g, and do not strip .BTF"
			}
			o.Broken = fmt.Sprintf("cannot be read by %s: %s%s", ebpfGoVersion(), strings.ReplaceAll(err.Error(), "\n", " "), hint)
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

// readWithGo says why ebpf-go cannot read an object.
func readWithGo(object []byte) (err error) {
	defer func() { // the library is made for objects that one trusts
		if recover() != nil {
			err = errors.New("it is malformed")
		}
	}()
	_, err = ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	return err
}

// bpf2go names the object x_bpfel.o, or x_arm64_bpfel.o for one architecture;
// its old versions x_bpfel_arm64.o.
var bpf2goName = regexp.MustCompile(`_(?:([a-z0-9]+)_)?bpfel(?:_([a-z0-9]+))?\.o$`)

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
		{wire.LoaderLibbpf, libbpfVersion},
		{wire.LoaderGo, ebpfGoVersion()},
		{wire.LoaderBoth, libbpfVersion + " and " + ebpfGoVersion()},
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
	if m := bpf2goName.FindStringSubmatch(filepath.Base(f.Path)); m != nil {
		named := strings.Replace(m[1]+m[2], "x86", "amd64", 1)
		if named != arch && slices.Contains([]string{"amd64", "arm64", "arm", "loongarch", "mips", "powerpc", "riscv", "s390"}, named) {
			return fmt.Sprintf("bpf2go built it for %s, and the kernels are for %s", named, arch)
		}
	}
	// A field that is relocated fails by itself where there is none.
	_, infos, err := btf.LoadSpecAndExtInfosFromReader(bytes.NewReader(f.Data))
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
		of := contextReads(b[p.Value:p.Value+p.Size], func(insn int) bool {
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
	if is := registersOf(reads); is != "" && is != arch && !finds {
		return fmt.Sprintf("program %s reads the registers of %s, and the kernels are for %s: build it with -D__TARGET_ARCH_%s", first, is, arch, strings.Replace(arch, "amd64", "x86", 1))
	}
	return ""
}

// contextReads are the offsets in its context that a program reads, but for
// those where skip says so. It follows the context through copies in the order
// of the instructions, as the macros of libbpf use it.
func contextReads(insns []byte, skip func(insn int) bool) []int {
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
		switch {
		case code&^size == load:
			if context[src] && code&size != half && code&size != byte1 && !skip(i) {
				reads = append(reads, int(int16(binary.LittleEndian.Uint16(insn[2:]))))
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

// registersOf tells the architecture by the offsets of the registers that a
// program reads. The arguments and the result of a function are at offsets 0 to
// 56 on arm64 and 64 to 112 on amd64, the stack and instruction pointers at 248
// and 256, and at 152 and 128. "" when both or none fit.
func registersOf(offsets []int) string {
	fits := func(registers ...int) bool {
		return len(offsets) > 0 && !slices.ContainsFunc(offsets, func(o int) bool { return !slices.Contains(registers, o) })
	}
	// 32 and 56 are also amd64's bp and r10; 64 is also arm64's x8. 0 alone says
	// nothing: BPF_PROG reads it on every architecture.
	amd64 := fits(32, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 152)
	arm64 := fits(0, 8, 16, 24, 32, 40, 48, 56, 64, 232, 240, 248, 256) && slices.Max(offsets) > 0
	switch {
	case amd64 && !arm64:
		return "amd64"
	case arm64 && !amd64:
		return "arm64"
	}
	return ""
}
