package preflight

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/guest/sections"
	"github.com/elastic/bpf-kernel-check/guest/variable"
)

// The library reads what its own loader can load. Here everything is read that
// libbpf opens: what a kernel or a loader makes of it is said per program.

const (
	maxInsns = 4 << 20 // of all programs of an object, with the functions that they call
	linkFlag = 1 << 13 // BPF_F_LINK

	textSection  = ".text" // functions that programs of other sections call
	arenaSection = ".addr_space.1"
)

// spec is what stands in an object file.
type spec struct {
	order    binary.ByteOrder
	types    *btf.Spec // nil: none
	programs map[string]*ebpf.ProgramSpec
	maps     map[string]*ebpf.MapSpec // those of variables start with a dot
	weak     map[string]bool          // names that are found elsewhere, if anywhere
	vars     map[string]elf.Symbol
	sections []string        // their names
	optional map[string]bool // struct_ops maps that nobody creates unless asked to
	unopened string          // why libbpf does not open it

	variables map[string]map[string]btf.Type // by section and name, of those that were asked for
}

// place is a byte of a section.
type place struct {
	section elf.SectionIndex
	offset  uint64
}

// code is a function.
type code struct {
	name  string
	at    place
	insns asm.Instructions
	calls []*code // or takes the address of
}

// objectReader reads an object file.
type objectReader struct {
	*spec
	file    *elf.File
	symbols []elf.Symbol
	relocs  map[place]elf.Symbol
	code    map[place]*code
}

func readSpec(b []byte, kernels goarch.Arch) (*spec, error) {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	if f.Machine != elf.EM_BPF && f.Machine != elf.EM_NONE || f.Class != elf.ELFCLASS64 || f.Type != elf.ET_REL {
		return nil, errors.New("it is no BPF object")
	}
	if f.Data != kernels.Data {
		return nil, fmt.Errorf("it has another order of bytes than kernels for %s", kernels.Name)
	}
	r := objectReader{
		spec: &spec{
			order:    f.ByteOrder,
			programs: map[string]*ebpf.ProgramSpec{}, maps: map[string]*ebpf.MapSpec{}, weak: map[string]bool{},
			vars: map[string]elf.Symbol{}, optional: map[string]bool{}, variables: map[string]map[string]btf.Type{},
		},
		file: f, relocs: map[place]elf.Symbol{}, code: map[place]*code{},
	}
	for _, s := range f.Sections { // which would keep the whole file
		r.sections = append(r.sections, s.Name)
	}
	if r.symbols, err = f.Symbols(); err != nil {
		return nil, fmt.Errorf("symbols: %w", err)
	}
	var ext *btf.ExtInfos
	for _, s := range f.Sections {
		if s.Name != ".BTF" {
			continue
		}
		raw, err := sectionData(s)
		if err != nil {
			return nil, err
		}
		// Without the file around it, as in the file the library wants sections
		// and symbols to be as its loader needs them.
		if r.types, err = btf.LoadSpecFromReader(bytes.NewReader(raw)); err != nil {
			return nil, fmt.Errorf("BTF: %w", err)
		}
		if _, ext, err = btf.LoadSpecAndExtInfosFromReader(bytes.NewReader(b)); err != nil {
			return nil, fmt.Errorf("BTF: %w", err)
		}
	}
	if err := r.readRelocations(); err != nil {
		return nil, err
	}
	functions, err := r.readCode(ext)
	if err != nil {
		return nil, err
	}
	if err := r.readMaps(); err != nil {
		return nil, err
	}
	return r.spec, r.makePrograms(functions)
}

// sectionData are a section's bytes. Those of a compressed one could be any
// number.
func sectionData(s *elf.Section) ([]byte, error) {
	if s.Flags&elf.SHF_COMPRESSED != 0 {
		return nil, fmt.Errorf("section %s is compressed", s.Name)
	}
	if s.Type == elf.SHT_NOBITS {
		return nil, nil
	}
	b, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("section %s: %w", s.Name, err)
	}
	return b, nil
}

// section is the one that a symbol is in, nil: it is elsewhere.
func (r *objectReader) section(s elf.Symbol) *elf.Section {
	if s.Section == elf.SHN_UNDEF || int(s.Section) >= len(r.file.Sections) {
		return nil
	}
	return r.file.Sections[s.Section]
}

func (r *objectReader) readRelocations() error {
	for _, s := range r.symbols {
		switch {
		case s.Section == elf.SHN_UNDEF:
			r.weak[s.Name] = elf.ST_BIND(s.Info) == elf.STB_WEAK
		case elf.ST_TYPE(s.Info) == elf.STT_OBJECT:
			r.vars[s.Name] = s
		}
	}
	for _, s := range r.file.Sections {
		if s.Type != elf.SHT_REL || int(s.Info) >= len(r.file.Sections) || strings.HasPrefix(s.Name, ".rel.debug") || strings.HasPrefix(s.Name, ".rel.BTF") {
			continue
		}
		data, err := sectionData(s)
		if err != nil {
			return err
		}
		for ; len(data) >= 16; data = data[16:] {
			at, n := r.order.Uint64(data), r.order.Uint64(data[8:])>>32
			if n == 0 || n > uint64(len(r.symbols)) {
				return fmt.Errorf("section %s: symbol %d is none", s.Name, n)
			}
			r.relocs[place{elf.SectionIndex(s.Info), at}] = r.symbols[n-1]
		}
	}
	return nil
}

// readCode returns the functions in the order of the file.
func (r *objectReader) readCode(ext *btf.ExtInfos) (functions []*code, err error) {
	names, text := map[string]int{}, map[elf.SectionIndex][]byte{}
	total := 0
	for _, s := range r.symbols {
		section := r.section(s)
		if section == nil || section.Flags&elf.SHF_EXECINSTR == 0 || section.Type != elf.SHT_PROGBITS || s.Size == 0 || s.Name == "" {
			continue
		}
		// Old compilers do not say what a symbol is; local ones are labels then.
		if t := elf.ST_TYPE(s.Info); t != elf.STT_FUNC && (t != elf.STT_NOTYPE || elf.ST_BIND(s.Info) == elf.STB_LOCAL) {
			continue
		}
		at := place{s.Section, s.Value}
		if r.code[at] != nil {
			continue
		}
		data, read := text[s.Section]
		if !read {
			if data, err = sectionData(section); err != nil {
				return nil, err
			}
			text[s.Section] = data
		}
		if s.Value > uint64(len(data)) || s.Size > uint64(len(data))-s.Value {
			return nil, fmt.Errorf("function %.50q is not in its section", s.Name)
		}
		if total += int(s.Size / asm.InstructionSize); total > maxInsns {
			return nil, fmt.Errorf("it has more than %d instructions", maxInsns)
		}
		fn := &code{name: s.Name, at: at}
		if names[s.Name]++; names[s.Name] > 1 { // static ones of several files
			fn.name = fmt.Sprintf("%s.%d", s.Name, names[s.Name])
		}
		if fn.insns, err = asm.AppendInstructions(nil, bytes.NewReader(data[s.Value:s.Value+s.Size]), r.file.ByteOrder, "linux"); err != nil {
			return nil, fmt.Errorf("function %.50q: %w", s.Name, err)
		}
		if len(fn.insns) == 0 {
			continue
		}
		fn.insns[0] = fn.insns[0].WithSymbol(fn.name)
		r.code[at], functions = fn, append(functions, fn)
	}
	slices.SortFunc(functions, func(a, b *code) int {
		return cmp.Or(cmp.Compare(a.at.section, b.at.section), cmp.Compare(a.at.offset, b.at.offset))
	})
	// What .BTF.ext knows of instructions, by section.
	relos, funcs := map[place]*btf.CORERelocation{}, map[place]*btf.Func{}
	for i, s := range r.file.Sections {
		fo, _, ro := ext.Section(s.Name)
		for _, o := range fo {
			funcs[place{elf.SectionIndex(i), o.Offset.Bytes()}] = o.Func
		}
		for _, o := range ro {
			relos[place{elf.SectionIndex(i), o.Offset.Bytes()}] = o.Relo
		}
	}
	for _, fn := range functions {
		at := fn.at
		for i := range fn.insns {
			ins := &fn.insns[i]
			if relo := relos[at]; relo != nil {
				*ins = btf.WithCORERelocationMetadata(*ins, relo)
			}
			if i == 0 && funcs[at] != nil {
				*ins = btf.WithFuncMetadata(*ins, funcs[at])
			}
			r.link(fn, ins, at)
			at.offset += ins.Size()
		}
	}
	return functions, nil
}

// link notes what an instruction refers to.
func (r *objectReader) link(fn *code, ins *asm.Instruction, at place) {
	s, ok := r.relocs[at]
	section := r.section(s)
	target := place{s.Section, s.Value}
	call := ins.OpCode.JumpOp() == asm.Call && ins.OpCode.Class().IsJump()
	switch {
	case !ok && call && ins.Src == asm.PseudoCall:
		target = place{at.section, at.offset + uint64(ins.Constant+1)*asm.InstructionSize}
	case !ok:
		return
	case s.Section == elf.SHN_UNDEF:
		t := r.external(".ksyms", s.Name)
		if _, ok := t.(*btf.Func); ok && call {
			ins.Src, ins.Constant = asm.PseudoKfuncCall, -1
		}
		if t == nil && r.external(".kconfig", s.Name) == nil {
			r.unopened = clean(s.Name) + " is defined nowhere"
		}
		*ins = ins.WithReference(s.Name)
		return
	case section == nil:
		return
	case section.Flags&elf.SHF_EXECINSTR == 0:
		name := s.Name
		if ins.OpCode.IsDWordLoad() {
			ins.Src = asm.PseudoMapFD
			switch {
			case variable.InSection(section.Name) || section.Name == arenaSection:
				name = section.Name
				ins.Src, ins.Constant = asm.PseudoMapValue, int64((s.Value+uint64(ins.Constant))<<32)
			case section.Name != ".maps" && !strings.Contains(section.Name, ".struct_ops"):
				r.unopened = "section " + clean(section.Name) + " is not known: since 1.0 maps are in .maps"
			}
		}
		*ins = ins.WithReference(name)
		return
	case call:
		target.offset += uint64(ins.Constant+1) * asm.InstructionSize
	case ins.OpCode.IsDWordLoad():
		target.offset += uint64(ins.Constant)
		ins.Src = asm.PseudoFunc
	}
	if to := r.code[target]; to != nil {
		*ins = ins.WithReference(to.name)
		ins.Constant = -1
		fn.calls = append(fn.calls, to)
	}
}

// makePrograms makes programs of functions and of those that they call.
func (r *objectReader) makePrograms(functions []*code) error {
	total := 0
	for _, fn := range functions {
		section := r.file.Sections[fn.at.section].Name
		if section == textSection {
			continue
		}
		all := []*code{fn}
		have := map[*code]bool{fn: true}
		for i := 0; i < len(all); i++ {
			if total += len(all[i].insns); total > maxInsns {
				return fmt.Errorf("its programs have more than %d instructions", maxInsns)
			}
			for _, c := range all[i].calls {
				if !have[c] {
					have[c], all = true, append(all, c)
				}
			}
		}
		ps := sections.Program(section)
		ps.Name, ps.Instructions = fn.name, fn.insns
		for _, c := range all[1:] {
			ps.Instructions = append(ps.Instructions[:len(ps.Instructions):len(ps.Instructions)], c.insns...)
		}
		r.programs[fn.name] = ps
	}
	return r.readStructOps()
}

// external is what an object says of a name in a section, such as one that it
// finds elsewhere.
func (s *spec) external(section, name string) btf.Type {
	if s.variables[section] == nil {
		s.variables[section] = map[string]btf.Type{}
		for _, v := range s.datasec(section) {
			s.variables[section][v.Type.TypeName()] = v.Type
		}
	}
	return s.variables[section][name]
}

func (s *spec) datasec(name string) []btf.VarSecinfo {
	var ds *btf.Datasec
	if s.types == nil || s.types.TypeByName(name, &ds) != nil {
		return nil
	}
	return ds.Vars
}

func (r *objectReader) readMaps() error {
	for _, v := range r.datasec(".maps") {
		variable, ok := v.Type.(*btf.Var)
		if !ok {
			return fmt.Errorf("map %.50q is no variable", v.Type.TypeName())
		}
		def, ok := strip(variable.Type).(*btf.Struct)
		if !ok {
			return fmt.Errorf("map %.50q is no struct", v.Type.TypeName())
		}
		m := mapOf(def, 0)
		if m.Pinning > ebpf.PinByName {
			r.unopened = "map " + clean(v.Type.TypeName()) + " is pinned in a way that is not known"
		}
		r.maps[v.Type.TypeName()] = m
	}
	for _, s := range r.file.Sections {
		if variable.InSection(s.Name) && s.Size > 0 {
			m := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: uint32(s.Size), MaxEntries: 1}
			if strings.HasPrefix(s.Name, ".rodata") && s.Size <= 1<<20 {
				b, err := sectionData(s)
				if err != nil {
					return err
				}
				m.Contents = []ebpf.MapKV{{Key: uint32(0), Value: b}}
			}
			r.maps[s.Name] = m
		}
		if name := strings.TrimPrefix(s.Name, "?"); (name == ".maps" || name == ".struct_ops" || name == ".struct_ops.link") && s.Type == elf.SHT_PROGBITS && len(r.datasec(s.Name)) == 0 {
			r.unopened = "has no BTF for " + s.Name + ": build it with -g, and do not strip .BTF"
		}
	}
	for _, s := range r.symbols {
		section := r.section(s)
		if section == nil || !strings.HasPrefix(section.Name, "maps") || elf.ST_TYPE(s.Info) == elf.STT_SECTION || s.Name == "" {
			continue
		}
		b, err := sectionData(section)
		if err != nil {
			return err
		}
		if uint64(len(b)) < 20 || s.Value > uint64(len(b))-20 {
			return fmt.Errorf("map %.50q is cut", s.Name)
		}
		u32 := func(at uint64) uint32 { return r.order.Uint32(b[s.Value+at:]) }
		r.unopened = "maps are not in .maps"
		r.maps[s.Name] = &ebpf.MapSpec{Type: ebpf.MapType(u32(0)), KeySize: u32(4), ValueSize: u32(8), MaxEntries: u32(12), Flags: u32(16)}
	}
	return nil
}

// mapOf reads the struct that defines a map: each number is that of an array's
// elements, or of an enum.
func mapOf(def *btf.Struct, depth int) *ebpf.MapSpec {
	m := &ebpf.MapSpec{}
	number := func(t btf.Type) uint32 {
		if e, ok := strip(t).(*btf.Enum); ok && len(e.Values) > 0 {
			return uint32(e.Values[0].Value)
		}
		if p, ok := strip(t).(*btf.Pointer); ok {
			if a, ok := strip(p.Target).(*btf.Array); ok {
				return a.Nelems
			}
		}
		return 0
	}
	size := func(t btf.Type) (btf.Type, uint32) {
		p, ok := strip(t).(*btf.Pointer)
		if !ok {
			return nil, 0
		}
		n, _ := btf.Sizeof(p.Target) // a type that has none gives 0
		return p.Target, uint32(n)
	}
	for _, x := range def.Members {
		switch x.Name {
		case "type":
			m.Type = ebpf.MapType(number(x.Type))
		case "max_entries":
			m.MaxEntries = number(x.Type)
		case "map_flags":
			m.Flags = number(x.Type)
		case "pinning":
			m.Pinning = ebpf.PinType(number(x.Type))
		case "key_size":
			m.KeySize = number(x.Type)
		case "value_size":
			m.ValueSize = number(x.Type)
		case "key":
			m.Key, m.KeySize = size(x.Type)
		case "value":
			m.Value, m.ValueSize = size(x.Type)
		case "values": // an array of pointers to what the map holds
			a, ok := strip(x.Type).(*btf.Array)
			if !ok {
				continue
			}
			if p, ok := strip(a.Type).(*btf.Pointer); ok {
				if inner, ok := strip(p.Target).(*btf.Struct); ok && depth == 0 {
					m.InnerMap = mapOf(inner, depth+1)
				}
			}
		}
	}
	return m
}

// readStructOps reads the maps of struct_ops sections, and which programs are
// their members.
func (r *objectReader) readStructOps() error {
	for i, s := range r.file.Sections {
		name, optional := strings.CutPrefix(s.Name, "?")
		if name != ".struct_ops" && name != ".struct_ops.link" || s.Type != elf.SHT_PROGBITS {
			continue
		}
		for _, v := range r.datasec(s.Name) {
			variable, ok := v.Type.(*btf.Var)
			if !ok {
				continue
			}
			st, ok := strip(variable.Type).(*btf.Struct)
			symbol, ok2 := r.vars[variable.Name]
			if !ok || !ok2 {
				return fmt.Errorf("section %s: %.50q is no struct", s.Name, variable.Name)
			}
			m := &ebpf.MapSpec{Type: ebpf.StructOpsMap, MaxEntries: 1, Value: st}
			if name == ".struct_ops.link" {
				m.Flags = linkFlag
			}
			r.maps[variable.Name], r.optional[variable.Name] = m, optional
			for _, x := range st.Members {
				rel, ok := r.relocs[place{elf.SectionIndex(i), symbol.Value + uint64(x.Offset.Bytes())}]
				if !ok {
					continue
				}
				fn := r.code[place{rel.Section, rel.Value}]
				if fn == nil {
					continue
				}
				m.Contents = append(m.Contents, ebpf.MapKV{Key: x.Name, Value: fn.name})
				if ps := r.programs[fn.name]; ps != nil {
					ps.AttachTo = st.Name + ":" + x.Name
				}
			}
		}
	}
	return nil
}
