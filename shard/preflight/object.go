package preflight

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/guest/sections"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

const (
	maxObject   = 64 << 20 // bytes of an object
	maxPrograms = 2000     // of an object, and maps
	maxDeps     = 20_000   // of an object
)

// Object is what a BPF object depends on.
type Object struct {
	Name   string
	Deps   []*Dep // by kind and name
	Broken string // what is wrong with it, as "is big-endian": nothing else is known of it
	Loader string // wire.LoaderGo; anything else: libbpf loads it, which wants all maps and names of the object for each program

	arch     string
	spec     *spec
	programs []*program
	shared   []*Dep              // what libbpf wants for any program
	contents map[string][]byte   // of maps that do not change
	variants []map[string][]byte // the same with each variant's values; none: contents alone counts
}

// program is one of an object's programs, or one of its maps that none of them
// uses.
type program struct {
	name   string // "object/program"
	target target
	layout layout
	skip   string // why nobody loads it as it is
	insns  asm.Instructions

	leftOut bool // by the settings

	needs       []*Dep // that it needs whatever it executes
	attach      *Dep   // what it attaches to, nil: nothing
	attachNeeds []*Dep // that it needs to be attached

	at      []*Dep         // what an instruction asks for, by instruction; nil: nothing
	need    []bool         // the instruction cannot do without
	tests   map[*Dep]bool  // what it asks for before it needs it
	frozen  bool           // it reads memory that does not change
	kconfig map[int]string // by instruction: the name that libbpf's kconfig has a value for
	few     bool           // it may call few kfuncs
	version bool           // it reads LINUX_KERNEL_VERSION
	global  []bool         // by instruction: a function starts that the verifier may look into on its own
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
	sp, err := readSpec(b, goarch.Lookup(arch))
	if err != nil {
		return nil, &ObjectError{name, strings.ReplaceAll(err.Error(), "\n", " ")}
	}
	if len(sp.programs) > maxPrograms || len(sp.maps) > maxPrograms {
		return nil, &ObjectError{name, fmt.Sprintf("it has more than %d programs or maps", maxPrograms)}
	}
	for _, n := range slices.Concat(slices.Collect(maps.Keys(sp.programs)), slices.Collect(maps.Keys(sp.maps))) {
		if !plain(n) {
			return nil, &ObjectError{name, fmt.Sprintf("its program or map %.50q has a name that C does not", n)}
		}
	}
	o = &Object{Name: name, arch: arch, spec: sp}
	return o, o.analyze(wire.ObjectSettings{})
}

// ReadOrBroken is Read for one of several objects: one that cannot be read fails
// alone.
func ReadOrBroken(name string, b []byte, arch string) *Object {
	o, err := Read(name, b, arch)
	var e *ObjectError
	if errors.As(err, &e) {
		return &Object{Name: name, Broken: "cannot be read: " + e.Reason}
	}
	return o
}

// analyze finds what the object depends on, as the application sets it.
func (o *Object) analyze(set wire.ObjectSettings) error {
	r := reader{Object: o, spec: o.spec, set: set, index: map[string]*Dep{}}
	o.Deps, o.programs, o.shared, o.contents = nil, nil, nil, map[string][]byte{}
	r.frozen()
	if err := r.variants(); err != nil {
		return err
	}
	used := map[string]bool{}
	for _, prog := range slices.Sorted(maps.Keys(r.spec.programs)) {
		if err := r.program(r.spec.programs[prog], prog, used); err != nil {
			return err
		}
		if len(r.Deps) > maxDeps {
			return &ObjectError{o.Name, fmt.Sprintf("it depends on more than %d things", maxDeps)}
		}
	}
	for _, m := range slices.Sorted(maps.Keys(r.spec.maps)) {
		if used[m] || strings.HasPrefix(m, ".") || r.spec.optional[m] {
			continue
		}
		p := r.add(o.Name + "/map:" + m)
		r.mapNeeds(p, m)
	}
	r.share()
	if len(r.programs) == 0 && r.spec.unopened != "" {
		r.add(o.Name) // nothing else says that it does not load
	}
	r.sort()
	return nil
}

// share notes what libbpf wants of the kernel before it loads any program: all
// maps, and all names that are not weak.
func (r *reader) share() {
	p := &program{name: r.Name}
	for _, m := range slices.Sorted(maps.Keys(r.spec.maps)) {
		if !r.spec.optional[m] {
			r.mapNeeds(p, m)
		}
	}
	for _, section := range []string{".kconfig", ".ksyms"} {
		for _, v := range r.spec.datasec(section) {
			name := v.Type.TypeName()
			_, used := r.spec.weak[name]
			switch d := r.address(name); {
			case !used:
			case section == ".ksyms" && !d.weak:
				r.needs(p, d)
			case strings.HasPrefix(name, "CONFIG_"):
				r.needs(p, r.option(name))
			}
		}
	}
	if r.spec.unopened != "" {
		r.needs(p, Dep{Kind: kindObject, Name: r.spec.unopened})
	}
	r.shared = p.needs
}

// reader is an object while it is read.
type reader struct {
	*Object
	spec  *spec
	set   wire.ObjectSettings
	index map[string]*Dep
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
	if n := len(have.Programs); p.name != r.Name && (n == 0 || have.Programs[n-1] != p.name) {
		have.Programs = append(have.Programs, p.name)
	}
	return have
}

// wants says, of each of Deps, whether it matters to more than programs that the
// settings leave out.
func (o *Object) wants() []bool {
	leftOut := map[string]bool{}
	for _, p := range o.programs {
		leftOut[p.name] = p.leftOut
	}
	wants := make([]bool, len(o.Deps))
	for i, d := range o.Deps {
		wants[i] = len(d.Programs) == 0 || slices.ContainsFunc(d.Programs, func(p string) bool { return !leftOut[p] })
	}
	if o.Loader != wire.LoaderGo {
		for _, d := range o.shared {
			wants[d.n] = true
		}
	}
	return wants
}

func (r *reader) needs(p *program, d Dep) {
	if have := r.dep(p, d); !slices.Contains(p.needs, have) {
		p.needs = append(p.needs, have)
	}
}

// frozen keeps the contents of maps that programs only read.
func (r *reader) frozen() {
	for name, m := range r.spec.maps {
		if strings.HasPrefix(name, ".rodata") && len(m.Contents) == 1 {
			if b, ok := m.Contents[0].Value.([]byte); ok {
				r.contents[name] = b
			}
		}
	}
}

func (r *reader) program(ps *ebpf.ProgramSpec, name string, used map[string]bool) error {
	p := r.add(r.Name + "/" + name)
	chosen := r.set.Choose(r.Name, name)
	for _, t := range r.set.Targets {
		if r.is(t.Program, name) {
			moved := *sections.Program(t.Section)
			moved.Name, moved.Instructions, moved.AttachTo = ps.Name, ps.Instructions, ps.AttachTo
			ps = &moved
		}
	}
	p.insns, p.target = ps.Instructions, targetOf(ps)
	p.layout = layoutOf(ps, p.target, r.arch)
	p.few = ps.Type == ebpf.Kprobe || ps.Type == ebpf.RawTracepoint
	switch {
	case chosen == wire.LeftOut:
		p.skip, p.leftOut = "the settings leave it out", true
	case p.target.optional && chosen == wire.ByDefault && !slices.ContainsFunc(slices.Concat(r.set.Alternatives...), func(s string) bool { return r.is(s, name) }):
		p.skip = "its section marks it as optional"
	case ps.Type == ebpf.Extension:
		p.skip = "it replaces a function of another program"
	}
	if ps.Type == ebpf.UnspecifiedProgram || ps.Type == ebpf.StructOps && ps.AttachTo == "" { // or a member of no map
		r.needs(p, Dep{Kind: kindUnknown, Name: clean(ps.SectionName)})
	} else {
		r.needs(p, Dep{Kind: kindProgram, Name: ps.Type.String(), number: int(ps.Type)})
	}
	if ps.AttachType != ebpf.AttachNone {
		d := Dep{Kind: kindAttach, Name: ps.AttachType.String(), number: int(ps.AttachType)}
		if attachCounts(ps.Type) {
			r.needs(p, d)
		} else if ps.Type != ebpf.SkReuseport { // a socket does not ask for it
			d.attaches = true
			p.attachNeeds = append(p.attachNeeds, r.dep(p, d))
		}
	}
	if ps.Flags&sections.Sleepable != 0 {
		r.sleepable(p, ps)
	}
	if ps.Flags&sections.Fragments != 0 && ps.Type == ebpf.XDP {
		r.needs(p, Dep{Kind: kindFlag, Name: "BPF_F_XDP_HAS_FRAGS"})
	}
	if p.target.kind != "" && ps.Type != ebpf.Extension {
		d := Dep{Kind: p.target.kind, Name: clean(p.target.name), attaches: p.target.whenAttached()}
		p.attach = r.dep(p, d)
	}
	if ps.Type == ebpf.StructOps && ps.AttachTo != "" {
		if st, member, ok := strings.Cut(ps.AttachTo, ":"); ok {
			r.needs(p, Dep{Kind: kindMember, Name: clean(flavourless(st)) + "." + clean(member)})
		}
	}
	p.at, p.need = make([]*Dep, len(p.insns)), make([]bool, len(p.insns))
	p.kconfig, p.global = map[int]string{}, make([]bool, len(p.insns))
	for i := range p.insns {
		ins := &p.insns[i]
		if ins.Symbol() != "" {
			fn := btf.FuncMetadata(ins)
			p.global[i] = i > 0 && fn != nil && fn.Linkage == btf.GlobalFunc
		}
		if d, ok := needsVersion(ins); ok {
			r.needs(p, d)
		}
		switch ref := ins.Reference(); {
		case ins.IsLoadFromMap() && ref != "":
			if r.spec.maps[ref] != nil {
				used[ref] = true
				r.mapNeeds(p, ref)
			}
			p.frozen = p.frozen || r.contents[ref] != nil
		case ins.OpCode.IsDWordLoad() && ref != "" && r.spec.external(".kconfig", ref) != nil:
			p.kconfig[i] = ref
			p.version = p.version || ref == versionName
			if strings.HasPrefix(ref, "CONFIG_") {
				p.at[i], p.need[i] = r.dep(p, r.option(ref)), true
			}
		case ins.IsKfuncCall():
			p.at[i], p.need[i] = r.dep(p, r.symbol(ref)), true
		case ins.OpCode.IsDWordLoad() && ref != "" && r.spec.external(".ksyms", ref) != nil:
			if d := r.symbol(ref); d.weak { // the program asks before it calls
				p.tests[r.dep(p, d)] = true
			}
			d := r.address(ref)
			p.at[i], p.need[i] = r.dep(p, d), !d.weak
		case ins.IsBuiltinCall():
			fn := asm.BuiltinFunc(ins.Constant)
			p.at[i], p.need[i] = r.dep(p, Dep{Kind: kindHelper, Name: helperName(fn), number: int(fn)}), true
		default:
			d, need, ok := relocationDep(ins, r.spec.types)
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
	return nil
}

// option is what a program needs that reads a build option.
func (r *reader) option(name string) Dep {
	return Dep{Kind: kindConfig, Name: clean(name), weak: r.spec.weak[name]}
}

// attachCounts says whether the kernel looks at the attach type when it loads a
// program: of other types it does when the program is attached.
func attachCounts(t ebpf.ProgramType) bool {
	switch t {
	case ebpf.Tracing, ebpf.LSM, ebpf.SkLookup, ebpf.Netfilter, ebpf.CGroupSock, ebpf.CGroupSockAddr, ebpf.CGroupSKB, ebpf.CGroupSockopt:
		return true
	}
	return false
}

// mapNeeds are what a map needs: its types, and that the kernel creates it.
func (r *reader) mapNeeds(p *program, name string) {
	m := r.mapSetting(name)
	if m.Type == ebpf.StructOpsMap {
		st, _ := strip(m.Value).(*btf.Struct)
		if st == nil {
			return
		}
		r.needs(p, Dep{Kind: kindType, Name: "struct " + clean(flavourless(st.Name)), local: local{typ: st}})
		for _, member := range m.Contents { // that programs implement; loaded alone, one leaves out the others
			if p.name == r.Name {
				break
			}
			r.needs(p, Dep{Kind: kindMember, Name: clean(flavourless(st.Name)) + "." + clean(member.Key.(string))})
		}
		if m.Flags&linkFlag != 0 { // section .struct_ops.link
			r.needs(p, Dep{Kind: kindAttach, Name: ebpf.AttachStructOps.String(), number: int(ebpf.AttachStructOps)})
		}
	}
	if why, _ := odd(m, ""); why != "" {
		r.needs(p, Dep{Kind: kindMapSize, Name: clean(name), def: m})
	}
	for range 2 { // maps of maps
		if m == nil {
			return
		}
		r.needs(p, Dep{Kind: kindMap, Name: m.Type.String(), number: int(m.Type)})
		m = m.InnerMap
	}
}

// odd says what the kernel or the loader makes of a map as the object defines it.
func odd(m *ebpf.MapSpec, loader string) (why string, loads Loads) {
	ring := m.Type == ebpf.RingBuf || m.Type == ebpf.UserRingbuf
	hash := slices.Contains([]ebpf.MapType{ebpf.Hash, ebpf.PerCPUHash, ebpf.LRUHash, ebpf.LRUCPUHash}, m.Type)
	values := hash || m.Type == ebpf.BloomFilter || m.Type == ebpf.Array || m.Type == ebpf.PerCPUArray
	switch {
	case hash && m.KeySize == 0:
		return "its keys have 0 bytes: the application sets their size", WillNot
	case values && m.ValueSize == 0:
		return "its values have 0 bytes: the application sets their size", WillNot
	case (m.Type == ebpf.HashOfMaps || m.Type == ebpf.ArrayOfMaps) && m.InnerMap == nil:
		return "it says nothing of the maps in it: the application sets an inner map", WillNot
	case m.MaxEntries == 0 && slices.Contains(countless[:], m.Type):
	case m.MaxEntries == 0:
		return "it has 0 entries: the loader gives it a size, the application another one", WillLoad
	case ring && (m.MaxEntries%4096 != 0 || m.MaxEntries&(m.MaxEntries-1) != 0) && loader == wire.LoaderGo:
		return fmt.Sprintf("its %d bytes are not a power of two and of whole pages", m.MaxEntries), WillNot
	case ring && (m.MaxEntries%4096 != 0 || m.MaxEntries&(m.MaxEntries-1) != 0):
		return fmt.Sprintf("the loader rounds its %d bytes up", m.MaxEntries), WillLoad
	}
	return "", WillLoad
}

// countless are types of maps that have no number of entries of their own.
var countless = [...]ebpf.MapType{
	ebpf.PerfEventArray, ebpf.CGroupStorage, ebpf.PerCPUCGroupStorage, ebpf.SkStorage, ebpf.InodeStorage, ebpf.TaskStorage, ebpf.CgroupStorage, ebpf.StructOpsMap,
}

func (r *reader) symbol(name string) Dep {
	d := Dep{Kind: kindKsym, Name: clean(flavourless(name)), weak: r.spec.weak[name]}
	switch t := r.spec.external(".ksyms", name).(type) {
	case *btf.Func:
		d.Kind = kindKfunc
		if proto, ok := t.Type.(*btf.FuncProto); ok {
			d.want = prototype(d.Name, proto)
			d.local = local{typ: t}
		}
	case *btf.Var:
		if _, void := strip(t.Type).(*btf.Void); !void {
			d.want, d.local = declare(t.Type, d.Name), local{typ: t}
		}
	}
	return d
}

// address is what a program needs that wants a symbol's address: of a function
// it need not be one that programs may call.
func (r *reader) address(name string) Dep {
	d := r.symbol(name)
	if d.Kind == kindKfunc {
		d.Kind = kindKsym
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
}

// typeAt is the place in Deps of the field that a relocated offset is of; -1: none.
func (p *program) typeAt(insn int) int {
	if d := p.at[insn]; d != nil && p.need[insn] && d.Kind == kindField {
		return d.n
	}
	return -1
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
		for i, at := range goarch.Lookup(arch).Args {
			l.arguments[int16(at)] = i
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
