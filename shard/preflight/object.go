package preflight

import (
	"bytes"
	"cmp"
	"debug/elf"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

const (
	maxObject   = 64 << 20 // bytes of an object
	maxPrograms = 2000     // of an object
	maxDeps     = 20_000   // of an object
	linkFlag    = 1 << 13  // BPF_F_LINK

	sleepableFlag = 1 << 4 // BPF_F_SLEEPABLE
	fragmentsFlag = 1 << 5 // BPF_F_XDP_HAS_FRAGS
)

// Object is what a BPF object depends on.
type Object struct {
	Name string
	Deps []*Dep // by kind and name

	arch     string
	types    *btf.Spec
	programs []*program
	contents map[string][]byte // of maps that do not change
}

// program is one of an object's programs, or one of its maps that none of them
// uses.
type program struct {
	name   string // "object/program"
	target target
	layout layout
	skip   string // why nobody loads it as it is
	insns  asm.Instructions

	needs   []*Dep        // that it needs whatever it executes
	attach  *Dep          // what it attaches to, nil: nothing
	at      []*Dep        // what an instruction asks for, by instruction; nil: nothing
	need    []bool        // the instruction cannot do without
	tests   map[*Dep]bool // what it asks for before it needs it
	typeAt  []int         // by instruction: of Deps, the field that a relocated offset is of; -1: none
	frozen  bool          // it reads memory that does not change
	kconfig []string      // by instruction: the name that libbpf's kconfig has a value for
	version bool          // it reads LINUX_KERNEL_VERSION
	global  []bool        // by instruction: a function starts that the verifier may look into on its own
}

// Read takes a BPF object apart. name is the first part of its programs' names;
// arch, as in GOARCH, is that of the kernels: it says where a probe finds
// arguments. An object that cannot be read is an *ObjectError.
func Read(name string, b []byte, arch string) (o *Object, err error) {
	if len(b) > maxObject {
		return nil, &ObjectError{name, fmt.Sprintf("it has more than %d MiB", maxObject>>20)}
	}
	// The library is made for objects that one trusts.
	defer func() {
		if r := recover(); r != nil {
			o, err = nil, &ObjectError{name, "it is malformed"}
		}
	}()
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(b))
	if err != nil {
		return nil, &ObjectError{name, strings.ReplaceAll(err.Error(), "\n", " ")}
	}
	if spec.ByteOrder != nil && spec.ByteOrder.String() != "LittleEndian" {
		return nil, &ObjectError{name, "it is big-endian, and the kernels are little-endian"}
	}
	if len(spec.Programs) > maxPrograms {
		return nil, &ObjectError{name, fmt.Sprintf("it has more than %d programs", maxPrograms)}
	}
	for _, n := range slices.Concat(slices.Collect(maps.Keys(spec.Programs)), slices.Collect(maps.Keys(spec.Maps))) {
		if !plain(n) {
			return nil, &ObjectError{name, fmt.Sprintf("its program or map %.50q has a name that C does not", n)}
		}
	}
	r := reader{Object: &Object{Name: name, arch: arch, types: spec.Types, contents: map[string][]byte{}}, spec: spec, weak: weakSymbols(b), kconfig: kconfigLoads(b), index: map[string]*Dep{}}
	r.frozen()
	used := map[string]bool{}
	for _, prog := range slices.Sorted(maps.Keys(spec.Programs)) {
		r.program(spec.Programs[prog], prog, used)
		if len(r.Deps) > maxDeps {
			return nil, &ObjectError{name, fmt.Sprintf("it depends on more than %d things", maxDeps)}
		}
	}
	for _, m := range slices.Sorted(maps.Keys(spec.Maps)) {
		if used[m] || strings.HasPrefix(m, ".") {
			continue
		}
		p := r.add(name + "/map:" + m)
		r.mapNeeds(p, spec.Maps[m])
	}
	r.sort()
	return r.Object, nil
}

// weakSymbols are those that an object does without when the kernel lacks them.
func weakSymbols(b []byte) map[string]bool {
	weak := map[string]bool{}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return weak
	}
	symbols, _ := f.Symbols()
	for _, s := range symbols {
		if s.Section == elf.SHN_UNDEF && elf.ST_BIND(s.Info) == elf.STB_WEAK {
			weak[s.Name] = true
		}
	}
	return weak
}

// place is an instruction: its function, and how many bytes are before it.
type place struct {
	function string
	offset   uint64
}

// kconfigLoads finds the instructions that load the address of something that
// is in no section of the object, such as LINUX_KERNEL_VERSION. The library
// keeps to itself what they are.
func kconfigLoads(b []byte) map[place]string {
	loads := map[place]string{}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return loads
	}
	symbols, err := f.Symbols()
	if err != nil {
		return loads
	}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_REL || int(s.Info) >= len(f.Sections) || f.Sections[s.Info].Flags&elf.SHF_EXECINSTR == 0 {
			continue
		}
		data, err := s.Data()
		if err != nil {
			continue
		}
		for ; len(data) >= 16; data = data[16:] {
			at, n := f.ByteOrder.Uint64(data), f.ByteOrder.Uint64(data[8:])>>32
			if n == 0 || n > uint64(len(symbols)) || symbols[n-1].Section != elf.SHN_UNDEF {
				continue
			}
			for _, fn := range symbols {
				if elf.ST_TYPE(fn.Info) == elf.STT_FUNC && uint32(fn.Section) == s.Info && at >= fn.Value && at-fn.Value < fn.Size {
					loads[place{fn.Name, at - fn.Value}] = symbols[n-1].Name
				}
			}
		}
	}
	return loads
}

// reader is an object while it is read.
type reader struct {
	*Object
	spec    *ebpf.CollectionSpec
	weak    map[string]bool
	kconfig map[place]string
	index   map[string]*Dep
}

func (r *reader) add(name string) *program {
	p := &program{name: name, tests: map[*Dep]bool{}}
	r.programs = append(r.programs, p)
	return p
}

// dep returns a dependency, one for the same thing however often it is asked for.
func (r *reader) dep(p *program, d Dep) *Dep {
	key := d.Kind + "\x00" + d.Name + "\x00" + d.want
	have := r.index[key]
	if have == nil {
		have = &d
		r.index[key] = have
		r.Deps = append(r.Deps, have)
	}
	if n := len(have.Programs); n == 0 || have.Programs[n-1] != p.name {
		have.Programs = append(have.Programs, p.name)
	}
	return have
}

func (r *reader) needs(p *program, d Dep) { p.needs = append(p.needs, r.dep(p, d)) }

// frozen keeps the contents of maps that programs only read.
func (r *reader) frozen() {
	for name, m := range r.spec.Maps {
		if !strings.HasPrefix(name, ".rodata") || m.Type != ebpf.Array || len(m.Contents) != 1 {
			continue
		}
		if b, ok := m.Contents[0].Value.([]byte); ok && len(b) <= 1<<20 {
			r.contents[name] = b
		}
	}
}

func (r *reader) program(ps *ebpf.ProgramSpec, name string, used map[string]bool) {
	p := r.add(r.Name + "/" + name)
	p.insns, p.target = ps.Instructions, targetOf(ps)
	p.layout = layoutOf(ps, p.target, r.arch)
	switch {
	case p.target.optional || strings.HasPrefix(ps.SectionName, "?"):
		p.skip = "its section marks it as optional"
	case ps.Type == ebpf.LSM && ps.AttachType == ebpf.AttachLSMCgroup:
		p.skip = "the library that loads it finds no hooks for cgroups"
	case ps.Type == ebpf.Extension:
		p.skip = "it replaces a function of another program"
	case ps.Type == ebpf.StructOps && ps.AttachTo == "":
		p.skip = "no struct_ops map of the object has it as a member"
	}
	if ps.Type == ebpf.UnspecifiedProgram {
		r.needs(p, Dep{Kind: kindUnknown, Name: clean(ps.SectionName)})
	} else {
		r.needs(p, Dep{Kind: kindProgram, Name: ps.Type.String(), number: int(ps.Type)})
	}
	if ps.AttachType != ebpf.AttachNone {
		r.needs(p, Dep{Kind: kindAttach, Name: ps.AttachType.String(), number: int(ps.AttachType), weak: !attachCounts(ps.Type)})
	}
	if ps.Flags&sleepableFlag != 0 {
		r.sleepable(p, ps)
	}
	if ps.Flags&fragmentsFlag != 0 && ps.Type == ebpf.XDP {
		r.needs(p, Dep{Kind: kindFlag, Name: "BPF_F_XDP_HAS_FRAGS"})
	}
	if p.target.kind != "" && ps.Type != ebpf.Extension {
		p.attach = r.dep(p, Dep{Kind: p.target.kind, Name: clean(p.target.name)})
	}
	if ps.Type == ebpf.StructOps && ps.AttachTo != "" {
		if st, member, ok := strings.Cut(ps.AttachTo, ":"); ok {
			r.needs(p, Dep{Kind: kindMember, Name: clean(flavourless(st)) + "." + clean(member)})
		}
	}
	p.at, p.need = make([]*Dep, len(p.insns)), make([]bool, len(p.insns))
	p.kconfig, p.global = make([]string, len(p.insns)), make([]bool, len(p.insns))
	var in place
	for i := range p.insns {
		ins := &p.insns[i]
		if name := ins.Symbol(); name != "" {
			in = place{function: name}
			fn := btf.FuncMetadata(ins)
			p.global[i] = i > 0 && fn != nil && fn.Linkage == btf.GlobalFunc
		}
		name := r.kconfig[in]
		in.offset += uint64(ins.Width()) * asm.InstructionSize
		if d, ok := needsVersion(ins); ok {
			r.needs(p, d)
		}
		switch ref := ins.Reference(); {
		case ins.IsLoadFromMap() && ref != "":
			if m := r.spec.Maps[ref]; m != nil {
				used[ref] = true
				r.mapNeeds(p, m)
			}
			p.frozen = p.frozen || r.contents[ref] != nil
		case ins.OpCode.IsDWordLoad() && name != "" && r.external(".kconfig", name) != nil:
			p.kconfig[i] = name
			p.version = p.version || name == versionName
			if strings.HasPrefix(name, "CONFIG_") {
				p.at[i], p.need[i] = r.dep(p, Dep{Kind: kindConfig, Name: clean(name), weak: r.weak[name]}), true
			}
		case ins.IsKfuncCall():
			p.at[i], p.need[i] = r.dep(p, r.symbol(ref)), true
		case ins.OpCode.IsDWordLoad() && ref != "" && r.ksym(ref) != nil:
			d := r.symbol(ref)
			p.at[i] = r.dep(p, d)
			p.need[i] = !d.weak
		case ins.IsBuiltinCall():
			fn := asm.BuiltinFunc(ins.Constant)
			p.at[i], p.need[i] = r.dep(p, Dep{Kind: kindHelper, Name: helperName(fn), number: int(fn)}), true
		default:
			d, need, ok := relocationDep(ins, r.types)
			if !ok {
				break
			}
			dep := r.dep(p, d)
			if !need {
				dep.tested, p.tests[dep] = true, true
			}
			p.at[i], p.need[i] = dep, need
		}
	}
}

// attachCounts says whether a program of a type cannot do without the attach
// type of its section: of others loaders drop it where the kernel is too old.
func attachCounts(t ebpf.ProgramType) bool {
	switch t {
	case ebpf.Tracing, ebpf.LSM, ebpf.Kprobe, ebpf.SkLookup, ebpf.Netfilter, ebpf.StructOps, ebpf.CGroupSockAddr:
		return true
	}
	return false
}

// mapNeeds are the types that a map needs.
func (r *reader) mapNeeds(p *program, m *ebpf.MapSpec) {
	if m.Type == ebpf.StructOpsMap {
		if st, ok := strip(m.Value).(*btf.Struct); ok {
			r.needs(p, Dep{Kind: kindType, Name: "struct " + clean(flavourless(st.Name)), local: local{typ: st}})
		}
	}
	if m.Flags&linkFlag != 0 && m.Type == ebpf.StructOpsMap { // section .struct_ops.link
		r.needs(p, Dep{Kind: kindAttach, Name: ebpf.AttachStructOps.String(), number: int(ebpf.AttachStructOps)})
	}
	for range 4 { // maps of maps
		if m == nil {
			return
		}
		r.needs(p, Dep{Kind: kindMap, Name: m.Type.String(), number: int(m.Type)})
		m = m.InnerMap
	}
}

// ksym is what an object says of a symbol of the kernel's: a *btf.Func or a
// *btf.Var.
func (r *reader) ksym(name string) btf.Type { return r.external(".ksyms", name) }

// external is what an object says of a name that it finds elsewhere.
func (r *reader) external(section, name string) btf.Type {
	var ds *btf.Datasec
	if r.types == nil || r.types.TypeByName(section, &ds) != nil {
		return nil
	}
	for _, v := range ds.Vars {
		if v.Type.TypeName() == name {
			return v.Type
		}
	}
	return nil
}

func (r *reader) symbol(name string) Dep {
	d := Dep{Kind: kindKsym, Name: clean(flavourless(name)), weak: r.weak[name]}
	switch t := r.ksym(name).(type) {
	case *btf.Func:
		d.Kind = kindKfunc
		if proto, ok := t.Type.(*btf.FuncProto); ok {
			d.want = prototype(d.Name, proto)
			d.local = local{typ: t}
		}
	case *btf.Var:
		if _, void := strip(t.Type).(*btf.Void); !void {
			d.want = declare(t.Type, d.Name)
		}
	}
	return d
}

// sort brings the dependencies into the order that they are shown in.
func (r *reader) sort() {
	slices.SortStableFunc(r.Deps, func(a, b *Dep) int {
		return cmp.Or(kindRank(a.Kind)-kindRank(b.Kind), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	for i, d := range r.Deps {
		d.n = i
	}
	for _, p := range r.programs {
		p.typeAt = make([]int, len(p.at))
		for i, d := range p.at {
			if p.typeAt[i] = -1; d != nil && p.need[i] && d.Kind == kindField {
				p.typeAt[i] = d.n
			}
		}
	}
}

// kindRank puts what a program attaches to first and what most kernels have
// last.
func kindRank(kind string) int {
	switch kind {
	case kindKfunc, kindKsym, kindMember:
		return 1
	case kindType, kindField, kindValue:
		return 2
	case kindHelper, kindMap, kindProgram, kindAttach, kindFlag, kindInstruction, kindConfig:
		return 3
	}
	return 0
}

// layoutOf says where a program finds its target's arguments.
func layoutOf(ps *ebpf.ProgramSpec, t target, arch string) layout {
	l := layout{arguments: map[int16]int{}}
	switch t.kind {
	case "fentry", "fexit", "fmod_ret", "fsession", "tp_btf", "raw_tp", "lsm", "lsm_cgroup":
		for i := range 13 {
			l.arguments[int16(8*i)] = i
		}
	case "kprobe", "kprobe.multi", "kprobe.session":
		if strings.Contains(t.name, "+") {
			break // in the middle of the function registers hold anything
		}
		switch arch {
		case "amd64": // struct pt_regs: di, si, dx, cx, r8, r9
			for i, at := range []int16{112, 104, 96, 88, 72, 64} {
				l.arguments[at] = i
			}
		case "arm64":
			for i := range 8 {
				l.arguments[int16(8*i)] = i
			}
		}
	}
	return l
}

// helperName is a helper's name in C: FnGetPrandomU32 is bpf_get_prandom_u32.
func helperName(fn asm.BuiltinFunc) string {
	s, ok := strings.CutPrefix(fn.String(), "Fn")
	if !ok {
		return fmt.Sprintf("number %d", int(fn))
	}
	var b strings.Builder
	b.WriteString("bpf")
	for _, r := range s {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
