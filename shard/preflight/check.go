package preflight

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/guest/sections"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Result is what comes of an object on a kernel.
type Result struct {
	Answers  []Answer  // by Object.Deps
	Programs []Program // and, as "object/map:name", the maps that no program uses
	Err      string    // why nothing is known of the object
}

// CheckAll holds objects against a kernel. Of each group of alternatives, as
// NAME or OBJECT/NAME, the programs are skipped that do worse than the best one;
// attach says whether attaching counts.
func CheckAll(objects []*Object, k *Kernel, alternatives [][]string, attach bool) []Result {
	results := make([]Result, len(objects))
	for i, o := range objects {
		results[i] = Check(o, k)
	}
	for _, group := range alternatives {
		var in []*Program
		for i, o := range objects {
			for j := range results[i].Programs {
				p := &results[i].Programs[j]
				if p.Skip == "" && (slices.Contains(group, p.Name) || slices.Contains(group, strings.TrimPrefix(p.Name, o.Name+"/"))) {
					in = append(in, p)
				}
			}
		}
		badness := func(p *Program) int {
			l := p.Loads
			if attach {
				l = p.Attaches
			}
			return slices.Index([]Loads{WillLoad, MayLoad, WillNot}, l)
		}
		slices.SortStableFunc(in, func(p, q *Program) int { return badness(p) - badness(q) })
		for _, p := range in {
			if badness(p) > badness(in[0]) {
				p.Skip = "an alternative to " + in[0].Name
			}
		}
	}
	return results
}

// Check holds an object against a kernel.
func Check(o *Object, k *Kernel) (r Result) {
	if o.Broken != "" {
		return Result{Err: o.Broken}
	}
	c := &checker{o: o, k: k, answers: make([]Answer, len(o.Deps)), loads: make([]Loads, len(o.Deps)), contents: o.contents}
	for i, d := range o.Deps {
		c.answers[i], c.loads[i] = c.answer(d)
	}
	if len(o.variants) > 0 { // the object's own values are none
		c.contents = o.variants[0]
	}
	for _, p := range o.programs {
		if p.leftOut { // it says nothing of what others depend on
			r.Programs = append(r.Programs, Program{Name: p.name, Skip: p.skip})
			continue
		}
		r.Programs = append(r.Programs, c.program(p))
	}
	for _, c.contents = range o.variants[min(1, len(o.variants)):] {
		for i, p := range o.programs {
			if p.leftOut {
				continue
			}
			q := c.program(p)
			had := &r.Programs[i]
			had.Loads, had.Attaches = had.Loads.worse(q.Loads), had.Attaches.worse(q.Attaches)
			had.finds, had.ownKind = append(had.finds, q.finds...), had.ownKind || q.ownKind
		}
	}
	for i, d := range o.Deps {
		a := &c.answers[i]
		a.Breaks, a.Unsure = once(a.Breaks), once(a.Unsure)
		a.Unsure = slices.DeleteFunc(a.Unsure, func(p string) bool {
			_, broken := slices.BinarySearch(a.Breaks, p)
			return broken
		})
		if a.Status == Absent && len(a.Breaks) == 0 && len(a.Unsure) == 0 && (d.tested || d.weak) {
			a.Guarded = true
		}
	}
	r.Answers = c.answers
	return r
}

func once(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

type checker struct {
	o        *Object
	k        *Kernel
	answers  []Answer
	loads    []Loads           // of a program that cannot do without the dependency
	contents map[string][]byte // of maps that do not change
}

// program says whether a program loads, and notes with each dependency what it
// does to it.
func (c *checker) program(p *program) (r Program) {
	r = Program{Name: p.name, Loads: WillLoad, Attaches: WillLoad, Skip: p.skip}
	wrong := func(dep *Dep) {
		if d := dep.String(); !slices.Contains(r.Mistaken, d) {
			r.Mistaken = append(r.Mistaken, d)
		}
	}
	note := func(dep *Dep, l Loads) {
		if dep.attaches {
			r.Attaches = r.Attaches.worse(l)
		} else {
			r.Loads = r.Loads.worse(l)
		}
		switch a := &c.answers[dep.n]; l {
		case WillNot:
			a.Breaks = append(a.Breaks, p.name)
		case MayLoad:
			a.Unsure = append(a.Unsure, p.name)
		}
	}
	defer func() { r.Attaches = r.Attaches.worse(r.Loads) }()
	if c.k.config["BPF_JIT"] == "y" && c.k.off("BPF_JIT_ALWAYS_ON") && c.k.off("BPF_JIT_DEFAULT_ON") {
		r.Loads = MayLoad // what the interpreter cannot run is refused, unless somebody turns the compiler on
	}
	needs := p.needs
	if c.o.Loader != wire.LoaderGo {
		needs = slices.Concat(needs, c.o.shared)
	} else if p.target.kind == "lsm_cgroup" {
		r.Loads = WillNot // it finds no hooks for cgroups
	}
	for _, d := range slices.Concat(needs, p.attachNeeds) {
		note(d, c.loads[d.n])
	}
	if p.attach != nil {
		note(p.attach, c.loads[p.attach.n])
		if a := &c.answers[p.attach.n]; a.unattachable {
			r.Attaches = WillNot
			a.Breaks = append(a.Breaks, p.name)
		} else if a.attachUnsure {
			r.Attaches = r.Attaches.worse(MayLoad)
		}
	}
	if len(p.insns) == 0 {
		return r
	}
	insns := p.insns
	if c.k.types == nil && slices.ContainsFunc(insns, func(ins asm.Instruction) bool { return btf.CORERelocationMetadata(&ins) != nil }) {
		r.Loads = WillNot // whatever it asks for, loaders look for the types first
	}
	if c.k.types != nil {
		var err error
		if insns, err = c.k.relocate(p.insns, c.o.Loader); err != nil {
			r.Loads = r.Loads.worse(MayLoad) // the library cannot make up its mind
			r.finds = c.finds(p, c.k.relocateEach(p.insns, c.o.Loader), flow{})
			return r
		}
	}
	insns = c.prepare(p, insns)
	follow := func(contents bool, patch int64) flow {
		return followProgram(insns, p.layout, p.typeAt, c.memory(p, contents, patch), c.enters(p))
	}
	code, exact := c.k.version()
	followWide := func(patch int64) (f, wide flow) { // wide: with other constants than the object's own
		f = follow(true, patch)
		if p.frozen && f.whole && len(c.o.variants) == 0 {
			return f, follow(false, patch)
		}
		return f, f
	}
	f, wide := followWide(code & 0xff)
	flows := []flow{f, wide} // that the kind is told by
	if p.version && !exact && f.whole {
		// Distributions' names of releases do not say it.
		last, lastWide := followWide(255)
		r.ownKind = !slices.Equal(f.reached, last.reached) || !slices.Equal(wide.reached, lastWide.reached)
		f.reached, wide.reached = slices.Clone(f.reached), slices.Clone(wide.reached)
		for i := range insns {
			f.reached[i] = f.reached[i] && last.reached[i]
			wide.reached[i] = wide.reached[i] || lastWide.reached[i]
		}
		f.whole, f.guessed = f.whole && last.whole, f.guessed || last.guessed
	}
	var poison bool // it will not load for a relocation
	for i := range insns {
		d := p.at[i]
		if d == nil || !p.need[i] || !wide.reached[i] {
			continue
		}
		l := c.loads[d.n]
		if sets := c.k.symbols; l == WillLoad && d.Kind == kindKfunc && p.few && !sets.setsLike("common", d.Name) && !sets.setsLike("kprobe", d.Name) {
			c.answers[d.n].Note = "kprobes and raw tracepoints may call few kfuncs"
			l = MayLoad
		}
		if rel := btf.CORERelocationMetadata(&p.insns[i]); rel != nil && c.k.types != nil {
			// The library's word counts: it is what loads the program.
			l = WillLoad
			if poisoned(&insns[i], &p.insns[i]) {
				l = WillNot
				if c.loads[d.n] == MayLoad {
					l = MayLoad // a module may have it
				}
			}
		}
		if l == WillNot && (!f.whole || !f.reached[i] || f.guessed) {
			l = MayLoad
		}
		if l == WillNot && p.tests[d] {
			// The program asks first. The verifier may know better than
			// followProgram where two ways have met.
			l = MayLoad
		}
		poison = poison || l == WillNot && btf.CORERelocationMetadata(&p.insns[i]) != nil
		note(d, l)
		if a := c.answers[d.n]; a.Status == Changed && a.Want != "" {
			wrong(d)
		}
	}
	if poison {
		flows = nil // what it would read where counts for nothing
	}
	r.finds = c.finds(p, insns, flows...)
	if p.attach != nil {
		loads, ok := c.arguments(p, f)
		note(p.attach, loads)
		if !ok {
			wrong(p.attach)
		}
	}
	slices.Sort(r.Mistaken)
	return r
}

// prepare makes of instructions that test for a symbol what the kernel has.
func (c *checker) prepare(p *program, insns asm.Instructions) asm.Instructions {
	insns = slices.Clone(insns)
	for i := range insns {
		d := p.at[i]
		if d == nil || !d.weak || d.Kind == kindConfig || !insns[i].OpCode.IsDWordLoad() {
			continue
		}
		if c.loads[d.n] != WillNot {
			insns[i] = asm.LoadMapPtr(insns[i].Dst, 1) // not a constant
		}
	}
	return insns
}

// enters says which functions the verifier looks into though nothing that it
// reaches calls them: before 6.8 all global ones.
func (c *checker) enters(p *program) []bool {
	if s := c.k.structOf("bpf_func_info_aux"); s != nil {
		if _, ok := member(s, "called", 0); ok {
			return nil
		}
	}
	return p.global
}

const versionName = "LINUX_KERNEL_VERSION"

// memory is what the object's programs can read and nobody changes.
func (c *checker) memory(p *program, contents bool, patch int64) memory {
	var names []string
	number := func(name string) int64 {
		n := slices.Index(names, name)
		if n < 0 {
			n, names = len(names), append(names, name)
		}
		return int64(n) << 32
	}
	return memory{
		load: func(i int, ins *asm.Instruction) (value, bool) {
			switch {
			case p.kconfig[i] != "":
				return value{kind: frozen, n: number(p.kconfig[i])}, true
			case contents && ins.IsLoadFromMap() && c.contents[ins.Reference()] != nil:
				return value{kind: frozen, n: number(ins.Reference()) | int64(uint32(uint64(ins.Constant)>>32))}, true
			case ins.IsLoadFromMap() || ins.IsLoadOfFunctionPointer() || ins.Reference() != "" && ins.Constant == -1:
				return value{kind: heap}, true
			}
			return value{}, false
		},
		read: func(at int64, offset int16, size int) (v int64, ok, guess bool) {
			n, from := at>>32, int64(uint32(at))+int64(offset)
			if n < 0 || n >= int64(len(names)) {
				return 0, false, false
			}
			b := c.contents[names[n]]
			if b == nil {
				v, ok := c.kconfig(names[n], size, patch)
				return v, ok && from == 0, !ok || from != 0
			}
			if from < 0 || from+int64(size) > int64(len(b)) {
				return 0, false, false
			}
			word, to := make([]byte, 8), 0
			if c.o.spec.order == binary.BigEndian {
				to = 8 - size
			}
			copy(word[to:], b[from:from+int64(size)])
			return int64(c.o.spec.order.Uint64(word)), true, false
		},
	}
}

// kconfig is the value that a loader gives to a name of libbpf's kconfig. ok is
// false where that is not known here.
func (c *checker) kconfig(name string, size int, patch int64) (v int64, ok bool) {
	if name == versionName {
		v, _ := versionCode(c.k.Release)
		return v&^0xff | patch, v != 0 && size == 4
	}
	// y is another value in a bool than in an enum of three.
	v, err := strconv.ParseInt(c.k.config[strings.TrimPrefix(name, "CONFIG_")], 0, 64)
	return v, err == nil && v >= 0 && v < 1<<min(8*size-1, 62)
}

// versionCode is LINUX_KERNEL_VERSION. exact is false where the last number may
// be another: in what distributions call a release it stays 0.
func versionCode(release string) (code int64, exact bool) {
	var major, minor, patch int64
	n, _ := fmt.Sscanf(release, "%d.%d.%d", &major, &minor, &patch)
	if n < 2 || major < 0 || minor < 0 || patch < 0 || major > 255 || minor > 255 {
		return 0, false
	}
	return major<<16 + minor<<8 + min(patch, 255), n == 3 && patch > 0
}

// version is LINUX_KERNEL_VERSION as a kernel's loaders have it. The last number of
// the mainline version that its package is of is the end of its id, where a release
// does not say it: debian/6.1.0-9-amd64__6.1.170-3.
func (k *Kernel) version() (code int64, exact bool) {
	code, exact = versionCode(k.Release)
	if i := strings.LastIndex(k.ID, "__"); i >= 0 && !exact {
		if mainline, ok := versionCode(k.ID[i+2:]); ok && mainline>>8 == code>>8 {
			return mainline, true
		}
	}
	return code, exact
}

// older says whether a kernel's release is below a mainline version, in which
// case it may still have been given what came with that.
func (k *Kernel) older(version string) bool {
	have, _ := versionCode(k.Release)
	want, _ := versionCode(version)
	return have < want
}

// arguments says whether a program can read those arguments of its target that
// it reads. ok is false when it takes one for what it is not.
func (c *checker) arguments(p *program, f flow) (loads Loads, ok bool) {
	ok = true
	fn := c.proto(p.target)
	if fn == nil || !f.whole {
		return WillLoad, true
	}
	a := &c.answers[p.attach.n]
	list := fn.Params
	if p.target.tracepoint() && len(list) > 0 {
		list = list[1:] // void *__data
	}
	readable := len(list)
	if p.target.kind == "fexit" || p.target.kind == "fmod_ret" || p.target.kind == "fsession" || strings.HasPrefix(p.target.kind, "lsm") {
		readable++ // what the function returned
	}
	loads = WillLoad
	probe := strings.Contains(p.target.kind, "kprobe") // registers can be read whatever is in them
	for _, n := range slices.Sorted(maps.Keys(f.reads)) {
		if n < readable {
			continue
		}
		ok = false
		c.changed(a, fmt.Sprintf("it takes %s, and %s reads number %d", counted(len(list), "argument"), p.name, n+1))
		if !probe {
			loads = WillNot
		}
	}
	for _, n := range slices.Sorted(maps.Keys(f.reads)) {
		if n >= len(list) || probe || p.target.kind == "raw_tp" || everReadable(list[n].Type) {
			continue
		}
		a.Note = join(a.Note, fmt.Sprintf("the verifier of some versions lets no program read argument %d, which %s reads", n+1, p.name))
		loads = loads.worse(MayLoad)
	}
	for _, n := range slices.Sorted(maps.Keys(f.used)) {
		types := f.used[n]
		if n >= len(list) {
			continue
		}
		is := pointee(list[n].Type)
		for _, t := range slices.Sorted(maps.Keys(types)) {
			direct := types[t]
			want := rootOf(c.o.Deps[t])
			if is == "" || is == want || want == "" {
				continue
			}
			ok = false
			c.changed(a, fmt.Sprintf("%s takes argument %d for a struct %s *", p.name, n+1, want))
			if direct && !probe && p.target.kind != "raw_tp" {
				// The verifier knows the type, and what may be read of it.
				loads = loads.worse(MayLoad)
			}
		}
	}
	return loads, ok
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// everReadable says whether the verifier of every version lets programs read an
// argument of a type: numbers, and pointers to structs or to nothing known.
func everReadable(t btf.Type) bool {
	switch t := strip(t).(type) {
	case *btf.Int, *btf.Enum:
		return true
	case *btf.Pointer:
		switch strip(t.Target).(type) {
		case *btf.Struct, *btf.Union, *btf.Void:
			return true
		}
	}
	return false
}

// rootOf is the type that a field's path starts at.
func rootOf(d *Dep) string {
	if d.local.typ == nil {
		return ""
	}
	return flavourless(d.local.typ.TypeName())
}

func (c *checker) changed(a *Answer, note string) {
	if a.Status == Present || a.Status == Inlined || a.Status == Duplicated {
		a.Status = Changed
	}
	if !strings.Contains(a.Note, note) && len(a.Note) < 1000 {
		a.Note = join(a.Note, note)
	}
}

func join(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return a + "; " + b
}

func (t target) tracepoint() bool { return t.kind == "tp_btf" || t.kind == "raw_tp" }

// proto is a target's prototype on the kernel, nil when it is not known.
func (c *checker) proto(t target) *btf.FuncProto {
	if t.tracepoint() {
		return c.k.typedefProto("btf_trace_" + t.name)
	}
	switch t.kind {
	case "kprobe", "kretprobe", "kprobe.session":
		return c.k.funcProto(t.symbol())
	case "fentry", "fexit", "fmod_ret", "fsession":
		return c.k.funcProto(t.name)
	case "lsm", "lsm_cgroup":
		return c.k.funcProto(t.function())
	}
	return nil
}

// lookup returns the kernel's types of a name.
func (k *Kernel) lookup(name string) []btf.Type {
	if k.types == nil {
		return nil
	}
	types, err := k.types.AnyTypesByName(name)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(types, func(t btf.Type) bool { return t.TypeName() != name })
}

// structOf returns a struct of the kernel's, nil when it has none of that name.
func (k *Kernel) structOf(name string) *btf.Struct {
	for _, t := range k.lookup(name) {
		if s, ok := t.(*btf.Struct); ok {
			return s
		}
	}
	return nil
}

func (k *Kernel) funcProto(name string) *btf.FuncProto {
	for _, t := range k.lookup(name) {
		if f, ok := t.(*btf.Func); ok {
			if p, ok := f.Type.(*btf.FuncProto); ok {
				return p
			}
		}
	}
	return nil
}

// typedefProto is what a typedef of a pointer to a function points to.
func (k *Kernel) typedefProto(name string) *btf.FuncProto {
	for _, t := range k.lookup(name) {
		td, ok := t.(*btf.Typedef)
		if !ok {
			continue
		}
		if p, ok := strip(td).(*btf.Pointer); ok {
			if f, ok := strip(p.Target).(*btf.FuncProto); ok {
				return f
			}
		}
	}
	return nil
}

// inEnum says whether one of the kernel's enums has a number. known is false when
// the kernel does not tell.
func (k *Kernel) inEnum(enum string, n int) (found, known bool) {
	for _, t := range k.lookup(enum) {
		if e, ok := t.(*btf.Enum); ok {
			return slices.ContainsFunc(e.Values, func(v btf.EnumValue) bool {
				return v.Value == uint64(n) && !strings.HasPrefix(v.Name, "__")
			}), true
		}
	}
	return false, false
}

// answer says what a kernel has of a dependency, and what that means for a
// program that cannot do without it.
func (c *checker) answer(d *Dep) (Answer, Loads) {
	switch d.Kind {
	case kindField, kindType, kindValue:
		return c.typeAnswer(d)
	case kindHelper:
		return c.number(d, "bpf_func_id", nil)
	case kindMap:
		return c.number(d, "bpf_map_type", mapOptions[ebpf.MapType(d.number)])
	case kindProgram:
		return c.number(d, "bpf_prog_type", programOptions[ebpf.ProgramType(d.number)])
	case kindAttach:
		return c.number(d, "bpf_attach_type", nil)
	case kindConfig:
		return c.option(d)
	case kindInstruction:
		return c.since(d)
	case kindFlag:
		return c.flag()
	case kindSleep:
		return c.sleepable(d)
	case kindKfunc, kindKsym:
		return c.symbolAnswer(d)
	case kindMember:
		return c.memberAnswer(d)
	case kindUnknown:
		return c.section(d)
	case kindObject:
		if c.o.Loader == wire.LoaderGo {
			return Answer{Status: Present, Note: "libbpf would not open it"}, WillLoad
		}
		return Answer{Status: Absent, Note: "libbpf does not open it"}, WillNot
	case kindMapSize:
		why, loads := odd(d.def, c.o.Loader)
		a := Answer{Status: Present, Note: why}
		if loads == WillNot {
			a.Status = Absent
		}
		return a, loads
	case "fentry", "fexit", "fmod_ret", "fsession", "lsm", "lsm_cgroup", "iter":
		return c.btfTarget(d)
	case "tp_btf", "raw_tp":
		return c.rawTracepoint(d)
	case "tracepoint":
		return c.tracepoint(d)
	}
	if strings.HasPrefix(d.Kind, "k") {
		return c.kprobe(d)
	}
	return Answer{}, MayLoad
}

// section is for sections that say no type of program.
func (c *checker) section(d *Dep) (Answer, Loads) {
	if like := sections.Prefix(d.Name); like != "" && c.o.Loader == wire.LoaderGo {
		return Answer{Status: Present, Note: "ebpf-go takes it for " + like + ", libbpf knows no such section"}, MayLoad
	}
	note := "no program type is known for this section"
	if strings.HasPrefix(strings.TrimPrefix(d.Name, "?"), "struct_ops") {
		note = "no struct_ops map of the object has it as a member"
	}
	return Answer{Status: Absent, Note: note}, WillNot
}

// programOptions are what the kernel has to be built with for programs of a type.
var programOptions = map[ebpf.ProgramType][]string{
	ebpf.Kprobe:                {"BPF_EVENTS", "KPROBES"},
	ebpf.TracePoint:            {"BPF_EVENTS"},
	ebpf.RawTracepoint:         {"BPF_EVENTS"},
	ebpf.RawTracepointWritable: {"BPF_EVENTS"},
	ebpf.PerfEvent:             {"BPF_EVENTS"},
	ebpf.Tracing:               {"BPF_EVENTS"},
	ebpf.LSM:                   {"BPF_LSM"},
	ebpf.CGroupDevice:          {"CGROUP_BPF"},
	ebpf.CGroupSKB:             {"CGROUP_BPF"},
	ebpf.CGroupSock:            {"CGROUP_BPF"},
	ebpf.CGroupSockAddr:        {"CGROUP_BPF"},
	ebpf.CGroupSockopt:         {"CGROUP_BPF"},
	ebpf.CGroupSysctl:          {"CGROUP_BPF"},
	ebpf.Netfilter:             {"NETFILTER_BPF_LINK"},
	ebpf.StructOps:             {"BPF_JIT"},
	ebpf.LircMode2:             {"BPF_LIRC_MODE2"},
	ebpf.SkSKB:                 {"NET_SOCK_MSG"},
	ebpf.SkMsg:                 {"NET_SOCK_MSG"},
}

// mapOptions are the same for types of maps.
var mapOptions = map[ebpf.MapType][]string{
	ebpf.XSKMap:              {"XDP_SOCKETS"},
	ebpf.SockMap:             {"NET_SOCK_MSG"},
	ebpf.SockHash:            {"NET_SOCK_MSG"},
	ebpf.CGroupArray:         {"CGROUPS"},
	ebpf.CGroupStorage:       {"CGROUP_BPF"},
	ebpf.PerCPUCGroupStorage: {"CGROUP_BPF"},
	ebpf.InodeStorage:        {"BPF_LSM"},
	ebpf.StructOpsMap:        {"BPF_JIT"},
}

// number is for what the kernel numbers in an enum of its interface, and can be
// built without.
func (c *checker) number(d *Dep, enum string, options []string) (Answer, Loads) {
	for _, o := range options {
		if c.k.off(o) {
			return Answer{Status: Absent, Note: "CONFIG_" + o + " is off"}, WillNot
		}
	}
	switch found, known := c.k.inEnum(enum, d.number); {
	case !known:
		return Answer{Note: c.k.why()}, MayLoad
	case !found && d.weak:
		return Answer{Status: Absent}, MayLoad
	case !found:
		return Answer{Status: Absent}, WillNot
	}
	return Answer{Status: Present}, WillLoad
}

// option is for build options that a program reads. Its loader finds them in
// /proc/config.gz or below /boot, where these are there.
func (c *checker) option(d *Dep) (Answer, Loads) {
	k := c.k
	name := strings.TrimPrefix(d.Name, "CONFIG_")
	switch {
	case k.config == nil:
		return Answer{Note: "the kernel's .config is not known"}, MayLoad
	case k.config[name] == "" && !d.weak:
		return Answer{Status: Absent}, WillNot
	}
	a, l := Answer{Status: Present, Signature: d.Name + "=" + clean(k.config[name])}, WillLoad
	if k.config[name] == "" {
		a = Answer{Status: Absent}
	}
	if k.off("IKCONFIG_PROC") { // without the file a weak option is an error, too
		a.Note, l = "CONFIG_IKCONFIG_PROC is off: loaders find it below /boot only", MayLoad
	}
	return a, l
}

// why says why types cannot be looked up.
func (k *Kernel) why() string {
	if k.types == nil || k.foreign {
		return "the kernel has no BTF"
	}
	return ""
}

func (c *checker) typeAnswer(d *Dep) (Answer, Loads) {
	k := c.k
	if k.types == nil {
		// Relocating needs the kernel's types.
		return Answer{Note: k.why()}, WillNot
	}
	known := d.local.typ != nil && k.hasType(d.local.typ)
	switch d.Kind {
	case kindField:
		fields, typeKnown := k.fieldsOn(flavourless(d.local.typ.TypeName()), d.local.path)
		if known = known || typeKnown; len(fields) == 0 {
			break
		}
		leaf := fields[0].Type // loaders take the first, too
		a := Answer{Status: Present, Signature: declare(leaf, d.local.path[len(d.local.path)-1])}
		class, size := shape(leaf)
		a.shape = fmt.Sprint(class, size, pointee(leaf)) // other names for the same are no change
		if d.local.leaf != nil && !alike(d.local.leaf, leaf) {
			a.Status, a.Want = Changed, d.want
		}
		return a, WillLoad
	case kindValue:
		v, typeKnown := k.valueOn(d.local)
		if known = known || typeKnown; v != "" {
			return Answer{Status: Present, Signature: d.Name + " = " + v}, WillLoad
		}
	default:
		if known {
			return Answer{Status: Present}, WillLoad
		}
	}
	if known {
		return Answer{Status: Absent}, WillNot
	}
	return c.perhapsInModule(flavourless(d.local.typ.TypeName()), true)
}

// hasType says whether the kernel has a type of that name and kind.
func (k *Kernel) hasType(want btf.Type) bool {
	types, err := k.types.AnyTypesByName(flavourless(want.TypeName()))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(types, func(t btf.Type) bool {
		switch want.(type) {
		case *btf.Typedef:
			_, ok := t.(*btf.Typedef)
			return ok
		case *btf.Enum:
			_, ok := t.(*btf.Enum)
			return ok
		case *btf.Struct, *btf.Union, *btf.Fwd:
			switch t.(type) {
			case *btf.Struct, *btf.Union:
				return true
			}
			return false
		}
		return true
	})
}

// perhapsInModule is the answer for what vmlinux does not have. Modules are not
// loaded in the VMs, but may be elsewhere.
func (c *checker) perhapsInModule(name string, typ bool) (Answer, Loads) {
	kind := byte(definesFunction)
	if typ {
		kind = definesType
	}
	modules, known := c.k.lookModules(name, kind)
	switch {
	case !known:
		return Answer{Note: "not in vmlinux; a module may have it", elsewhere: name}, MayLoad
	case len(modules) > 0:
		return Answer{Note: inModule + strings.Join(modules, ", "), elsewhere: name}, MayLoad
	}
	return Answer{Status: Absent, elsewhere: name}, WillNot
}

func (c *checker) symbolAnswer(d *Dep) (Answer, Loads) {
	k := c.k
	name := d.Name
	if d.Kind == kindKsym {
		if len(k.symbols) == 0 {
			return Answer{Note: "the kernel's symbols are not known"}, MayLoad
		}
		switch d.local.typ.(type) {
		case *btf.Func:
			return c.kernelFunction(d)
		case *btf.Var:
			if c.o.Loader != wire.LoaderGo {
				return c.kernelVariable(d)
			}
		}
		n, _ := k.symbols.named(name)
		switch {
		case n == 1:
			return Answer{Status: Present}, WillLoad
		case n > 1:
			return Answer{Status: Duplicated, Note: fmt.Sprintf("%d symbols have the name", n)}, MayLoad
		case k.off("KALLSYMS_ALL"):
			return Answer{Note: "CONFIG_KALLSYMS_ALL is off"}, MayLoad
		}
		return c.perhapsInModule(name, false)
	}
	a, l := c.kernelFunction(d)
	if l != WillLoad {
		return a, l
	}
	// Sets of functions are symbols; where there are none of their kind, neither
	// are kfuncs, or the kernel does not name them.
	if !k.symbols.has(kfuncs + name) {
		if k.symbols.any("__BTF_ID__set") {
			a.Status, a.Note = Absent, "the function is there, but programs may not call it"
			return a, WillNot
		}
		a.Note = "it is not known whether programs may call it"
		return a, MayLoad
	}
	return a, WillLoad
}

// kernelFunction is for functions of the kernel that the object has a prototype
// of.
func (c *checker) kernelFunction(d *Dep) (Answer, Loads) {
	k := c.k
	if k.types == nil || k.foreign {
		return Answer{Note: k.why()}, WillNot
	}
	p := k.funcProto(d.Name)
	if p == nil {
		return c.perhapsInModule(d.Name, false)
	}
	a := Answer{Status: Present}
	a.sign(d.Name, p)
	want, _ := d.local.typ.(*btf.Func)
	if want == nil {
		return a, MayLoad
	}
	if w, ok := want.Type.(*btf.FuncProto); ok {
		// As loaders compare them: numbers of another size are the same to them.
		if btf.CheckTypeCompatibility(w, p) != nil {
			a.Status, a.Want = Changed, d.want
			return a, WillNot
		}
		if !sameProto(w, p) {
			a.Status, a.Want = Changed, d.want
		}
	}
	return a, WillLoad
}

// kernelVariable is for variables of the kernel that the object gives a type:
// loaders find them in BTF, which has those of processors.
func (c *checker) kernelVariable(d *Dep) (Answer, Loads) {
	k := c.k
	if k.types == nil || k.foreign {
		return Answer{Note: k.why()}, WillNot
	}
	for _, t := range k.lookup(d.Name) {
		v, ok := t.(*btf.Var)
		if !ok {
			continue
		}
		a := Answer{Status: Present, Signature: declare(v.Type, d.Name)}
		if btf.CheckTypeCompatibility(d.local.typ.(*btf.Var).Type, strip(v.Type)) != nil {
			a.Status, a.Want = Changed, d.want
			return a, WillNot
		}
		return a, WillLoad
	}
	return c.perhapsInModule(d.Name, false)
}

// sameProto says whether a kfunc is what the object takes it for.
func sameProto(want, have *btf.FuncProto) bool {
	if len(want.Params) != len(have.Params) || !alike(want.Return, have.Return) {
		return false
	}
	for i := range want.Params {
		if !alike(want.Params[i].Type, have.Params[i].Type) {
			return false
		}
	}
	return true
}

func (c *checker) memberAnswer(d *Dep) (Answer, Loads) {
	k := c.k
	if k.types == nil || k.foreign {
		return Answer{Note: k.why()}, WillNot
	}
	st, name, _ := strings.Cut(d.Name, ".")
	s := k.structOf(st)
	if s == nil {
		return c.perhapsInModule(st, true)
	}
	m, ok := member(s, name, 0)
	if !ok {
		return Answer{Status: Absent}, WillNot
	}
	a, l := Answer{Status: Present, Signature: declare(m.Type, name)}, WillLoad
	if k.lookup("bpf_struct_ops_"+st) == nil { // what the kernel keeps of one that programs implement
		if a, l = c.perhapsInModule("bpf_struct_ops_"+st, true); l == WillNot {
			a.Note = "the struct is there, but not for programs to implement"
		}
	}
	return a, l
}

// btfTarget is for programs that attach to a function by BTF.
func (c *checker) btfTarget(d *Dep) (Answer, Loads) {
	k := c.k
	lsm := strings.HasPrefix(d.Kind, "lsm")
	switch {
	case d.Name == "":
		return Answer{Status: Absent, Note: "the section names no target: the application sets one"}, WillNot
	case lsm && k.off("BPF_LSM"):
		return Answer{Status: Absent, Note: "CONFIG_BPF_LSM is off"}, WillNot
	case k.types == nil || k.foreign:
		return Answer{Note: k.why()}, WillNot
	}
	name := target{kind: d.Kind, name: d.Name}.function()
	p := k.funcProto(name)
	if p == nil {
		if a, l, ok := c.notInBTF(name); ok {
			return a, l
		}
		if d.Kind != "fentry" && d.Kind != "fexit" && d.Kind != "fmod_ret" && d.Kind != "fsession" {
			return Answer{Status: Absent}, WillNot
		}
		return c.perhapsInModule(name, false)
	}
	a, l := c.symbolStatus(name)
	if n, _ := k.symbols.named(name); n == 0 && len(k.symbols) > 0 && l != MayLoad {
		// pahole writes the function down though only a copy of it is there.
		l = WillNot
		if a.Status != Transformed {
			a, l = Answer{Note: "it is in BTF, and no symbol has the name"}, MayLoad
		}
	}
	a.sign(d.Name, p)
	if why, loads := c.forbidden(d.Kind, name, p); why != "" {
		a.Note = join(why, a.Note)
		if loads == WillNot {
			a.Status = Absent
			return a, WillNot
		}
		l = l.worse(loads)
	}
	if d.Kind != "iter" && !lsm {
		if k.off("BPF_JIT") {
			return Answer{Status: Absent, Signature: a.Signature, Note: "CONFIG_BPF_JIT is off: there are no trampolines"}, WillNot
		}
		c.trampoline(name, len(p.Params), &a)
	}
	if lsms, ok := k.config["LSM"]; ok && strings.HasPrefix(d.Kind, "lsm") && !slices.Contains(strings.Split(lsms, ","), "bpf") {
		a.Note = "bpf is not in CONFIG_LSM: it only runs where the command line has lsm=...,bpf"
	}
	if d.Kind == "fmod_ret" && !strings.HasPrefix(name, "security_") {
		if can, known := c.injectable(name); !known {
			return Answer{Signature: a.Signature, Note: "it is not known whether errors may be injected"}, MayLoad
		} else if !can {
			return Answer{Status: Absent, Signature: a.Signature, Note: "the function is there, but errors may not be injected"}, WillNot
		}
	}
	return a, l
}

// trampoline says whether the kernel can attach to a function that programs are
// loaded for.
func (c *checker) trampoline(name string, arguments int, a *Answer) {
	k := c.k
	registers, since := 5, "" // that all architectures have; from when on more will do is not known
	switch k.Arch {
	case "amd64":
		registers, since = 6, "6.6"
	case "arm64":
		registers, since = 8, "6.17"
	}
	switch {
	case k.symbols.untraced(name):
		a.Status, a.unattachable = Absent, true
		a.Note = join("it exists, but is notrace", a.Note)
	case k.symbols.has(noProbes + name):
		a.attachUnsure = true
		a.Note = join("it is in a section that nothing can be attached to", a.Note)
	case arguments > registers && since == "":
		a.attachUnsure = true
		a.Note = join(fmt.Sprintf("it has more than %d arguments, and it is not known whether that will do on %s", registers, k.Arch), a.Note)
	case k.Arch == "s390x" && k.older("6.3"):
		a.attachUnsure = true
		a.Note = join("s390x has BPF trampolines since Linux 6.3", a.Note)
	case arguments > registers && k.older(since):
		a.attachUnsure = true
		a.Note = join(fmt.Sprintf("it has more than %d arguments, which came with Linux %s", registers, since), a.Note)
	case k.config != nil && k.off("DYNAMIC_FTRACE_WITH_DIRECT_CALLS"):
		a.attachUnsure = true
		a.Note = join("CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS is off", a.Note)
	}
}

// forbidden says why programs are not loaded for a function that is there, and
// whether that is for sure.
func (c *checker) forbidden(kind, name string, p *btf.FuncProto) (why string, loads Loads) {
	k := c.k
	has := k.symbols.has
	switch {
	case kind == "iter":
		return "", WillLoad
	case has(inSet + "bpf_lsm_disabled_hooks:" + name):
		return "the hook is there, but not for BPF", WillNot
	case has(inSet + "btf_id_deny:" + name):
		return "the function is there, but the kernel forbids it: programs would run into themselves", WillNot
	case kind != "fentry" && has(inSet+"noreturn_deny:"+name):
		return "the function is there, and never returns", WillNot
	}
	if n := len(p.Params); n > 0 && p.Params[n-1].Name == "" {
		if _, void := strip(p.Params[n-1].Type).(*btf.Void); void {
			if k.older("5.13") {
				return "its number of arguments is variable", MayLoad
			}
			return "its number of arguments is variable", WillNot
		}
	}
	if len(p.Params) > 12 {
		return "it has more than 12 arguments", WillNot
	}
	for _, param := range p.Params {
		switch strip(param.Type).(type) {
		case *btf.Struct, *btf.Union:
			return "it takes a struct by value", MayLoad
		}
	}
	return "", WillLoad
}

// injectable says whether errors may be injected into a function, which is what
// makes it one that fmod_ret and sleepable programs can have.
func (c *checker) injectable(name string) (can, known bool) {
	k := c.k
	if k.symbols.has("_eil_addr_" + name) {
		return true, true
	}
	if prefix := goarch.Lookup(k.Arch).Syscall; prefix != "" && strings.HasPrefix(name, prefix) || strings.HasPrefix(name, "__ia32_") {
		return false, false
	}
	for _, set := range []string{"fmodret", "modify_return"} {
		if k.symbols.setsLike(set, name) {
			return true, false
		}
	}
	return false, k.off("FUNCTION_ERROR_INJECTION") && k.symbols.any("__BTF_ID__set")
}

// since is for what no file of the kernel tells, but its version.
func (c *checker) since(d *Dep) (Answer, Loads) {
	if c.k.older(d.since) {
		return Answer{Note: "it came with Linux " + d.since}, MayLoad
	}
	return Answer{Status: Present}, WillLoad
}

// flag is for programs with BPF_F_XDP_HAS_FRAGS: what the kernel keeps of it is
// in its types.
func (c *checker) flag() (Answer, Loads) {
	aux := c.k.structOf("bpf_prog_aux")
	if aux == nil {
		return Answer{Note: c.k.why()}, MayLoad
	}
	if _, ok := member(aux, "xdp_has_frags", 0); !ok {
		return Answer{Status: Absent}, WillNot
	}
	return Answer{Status: Present}, WillLoad
}

// sleepable is for programs that may sleep, which few may.
func (c *checker) sleepable(d *Dep) (Answer, Loads) {
	kind, name, _ := strings.Cut(d.Name, "/")
	fn := target{kind: kind, name: name}.function()
	has := c.k.symbols.has
	switch kind {
	case "fentry", "fexit", "fmod_ret", "fsession":
		switch can, known := c.injectable(fn); {
		case has(inSet + "btf_non_sleepable_error_inject:" + fn):
			return Answer{Status: Absent, Note: "programs on it may not sleep"}, WillNot
		case !known:
			return Answer{Note: "it is not known whether programs on it may sleep"}, MayLoad
		case !can:
			return Answer{Status: Absent, Note: "programs on it may not sleep: errors may not be injected"}, WillNot
		}
		return Answer{Status: Present}, WillLoad
	case "lsm":
		switch {
		case has(inSet + "sleepable_lsm_hooks:" + fn):
			return Answer{Status: Present}, WillLoad
		case has(inSet + "sleepable_lsm_hooks:"):
			return Answer{Status: Absent, Note: "programs on it may not sleep"}, WillNot
		}
		return Answer{Note: "it is not known whether programs on it may sleep"}, MayLoad
	}
	return c.since(d)
}

// notInBTF is for functions that the kernel has, and leaves out of its BTF.
func (c *checker) notInBTF(name string) (Answer, Loads, bool) {
	n, typ := c.k.symbols.named(name)
	copies := c.k.symbols.copies(name)
	switch {
	case n > 1:
		return Answer{Status: Duplicated, Note: fmt.Sprintf("%d functions have the name, and BTF has none", n)}, WillNot, true
	case n == 1 && isText(typ):
		return Answer{Status: Absent, Note: "the function is there, but not in BTF"}, WillNot, true
	case len(copies) > 0:
		return Answer{Status: Transformed, Note: "only " + strings.Join(copies, ", ")}, WillNot, true
	}
	return Answer{}, MayLoad, false
}

// symbolStatus says what the compiler made of a function that is there.
func (c *checker) symbolStatus(name string) (Answer, Loads) {
	n, typ := c.k.symbols.named(name)
	copies := c.k.symbols.copies(name)
	part := slices.DeleteFunc(slices.Clone(copies), func(s string) bool { return !strings.Contains(s, ".part.") })
	other := slices.DeleteFunc(copies, func(s string) bool {
		return strings.Contains(s, ".part.") || strings.HasSuffix(s, ".cold") || strings.Contains(s, ".cold.")
	})
	note := ""
	if len(other) > 0 {
		note = "also " + strings.Join(other, ", ")
	}
	switch {
	case n > 1:
		return Answer{Status: Duplicated, Note: join(fmt.Sprintf("%d functions have the name", n), note)}, MayLoad
	case len(part) > 0:
		return Answer{Status: Inlined, Note: join("in part: "+strings.Join(part, ", "), note)}, WillLoad
	case len(other) > 0:
		return Answer{Status: Transformed, Note: note}, WillLoad
	case typ == 't':
		return Answer{Status: Present, Note: "static: some callers may have it inlined"}, WillLoad
	}
	return Answer{Status: Present}, WillLoad
}

func (c *checker) rawTracepoint(d *Dep) (Answer, Loads) {
	k := c.k
	if d.Name == "" {
		return Answer{Status: Absent, Note: "the section names no target: the application sets one"}, WillNot
	}
	if k.foreign && d.Kind == "tp_btf" {
		return Answer{Note: k.why()}, WillNot
	}
	if p := k.typedefProto("btf_trace_" + d.Name); p != nil {
		q := *p
		if len(q.Params) > 0 {
			q.Params = q.Params[1:]
		}
		a := Answer{Status: Present}
		a.sign(d.Name, &q)
		return a, WillLoad
	}
	if k.symbols.has("__tracepoint_" + d.Name) {
		if d.Kind == "raw_tp" {
			return Answer{Status: Present}, WillLoad
		}
		return Answer{Status: Absent, Note: "the tracepoint is there, but not in BTF"}, WillNot
	}
	if k.types == nil {
		if d.Kind == "tp_btf" {
			return Answer{Note: k.why()}, WillNot
		}
		return Answer{Note: k.why()}, MayLoad
	}
	return c.perhapsInModule("btf_trace_"+d.Name, true)
}

func (c *checker) tracepoint(d *Dep) (Answer, Loads) {
	k := c.k
	category, name, ok := strings.Cut(d.Name, "/")
	if !ok {
		return Answer{Note: "the section names no event"}, MayLoad
	}
	if len(k.symbols) == 0 {
		return Answer{Note: "the kernel's symbols are not known"}, MayLoad
	}
	has := k.symbols.has
	if category == "syscalls" {
		if k.off("FTRACE_SYSCALLS") {
			return Answer{Status: Absent, Note: "CONFIG_FTRACE_SYSCALLS is off"}, WillNot
		}
		for prefix, event := range map[string]string{"sys_enter_": "event_enter__", "sys_exit_": "event_exit__"} {
			call, ok := strings.CutPrefix(name, prefix)
			if !ok {
				continue
			}
			switch old := slices.Contains(strings.Fields(notOnARM64), call); {
			case k.Arch == "amd64":
			case k.Arch == "arm64" && old:
				return Answer{Status: Absent, Note: "arm64 has no such system call"}, WillNot
			case k.Arch != "arm64" && (old || call == "accept" || call == "renameat"):
				return Answer{Note: "not every architecture has this system call"}, MayLoad
			}
			if has(event + call) {
				return Answer{Status: Present}, WillLoad
			}
			if has(event+"openat") || has(event+"read") {
				return Answer{Status: Absent}, WillNot
			}
			return Answer{Note: "CONFIG_KALLSYMS_ALL is off"}, MayLoad
		}
	}
	event := k.typedefProto("btf_trace_"+name) != nil || has("__tracepoint_"+name) || has("event_"+name)
	system := has("str__" + category + "__trace_system_name")
	switch {
	case event && system:
		return Answer{Status: Present}, WillLoad
	case event && !has("str__sched__trace_system_name"):
		return Answer{Note: "CONFIG_KALLSYMS_ALL is off: the event's category is not known"}, MayLoad
	case event:
		return Answer{Note: otherCategory}, MayLoad
	case k.types == nil && k.off("KALLSYMS_ALL"):
		return Answer{Note: "CONFIG_KALLSYMS_ALL is off"}, MayLoad
	}
	return c.perhapsInModule("btf_trace_"+name, true)
}

// Notes that a query tells from others.
const (
	otherCategory = "the event is there, its category is not"
	inModule      = "in module " // and more
)

// notOnARM64 are system calls that an arm64 kernel is compiled with and has no
// number for, so that there are no events of them.
const notOnARM64 = "access alarm bdflush chmod chown creat dup2 epoll_create epoll_wait eventfd fork futimesat getdents " +
	"getpgrp inotify_init lchown link lstat mkdir mknod newlstat newstat nice oldumount open pause pipe poll readlink rename " +
	"rmdir select send recv signal signalfd stat stime symlink sysctl sysfs time umount_old uselib unlink ustat utime utimes vfork waitpid"

func (c *checker) kprobe(d *Dep) (Answer, Loads) {
	k := c.k
	if len(k.symbols) == 0 {
		// BTF's functions are not all that there are.
		name := target{kind: d.Kind, name: d.Name}.symbol()
		if p := k.funcProto(name); p != nil {
			a := Answer{Status: Present}
			a.sign(name, p)
			return a, WillLoad
		}
		return Answer{Note: "the kernel's symbols are not known"}, MayLoad
	}
	name := target{kind: d.Kind, name: d.Name}.symbol()
	prefix := goarch.Lookup(k.Arch).Syscall
	switch d.Kind {
	case "kprobe.multi", "kretprobe.multi", "kprobe.session":
		return c.multi(d.Name)
	case "ksyscall", "kretsyscall":
		name = cmp.Or(prefix, "__se_") + "sys_" + name // as libbpf calls it
	}
	n, typ := k.symbols.named(name)
	if n == 0 && strings.HasPrefix(name, "sys_") {
		name = prefix + name
		n, typ = k.symbols.named(name)
	}
	switch {
	case n == 0:
		if copies := k.symbols.copies(name); len(copies) > 0 {
			return Answer{Status: Transformed, Note: "only " + strings.Join(copies, ", ")}, WillNot
		}
		return c.perhapsInModule(name, false)
	case n == 1 && !isText(typ):
		return Answer{Status: Absent, Note: "the symbol is no function"}, WillNot
	}
	a, l := c.symbolStatus(name)
	if p := k.funcProto(name); p != nil {
		a.sign(name, p)
	}
	has := k.symbols.has
	switch {
	case has("_kbl_addr_"+name) && n == 1:
		a.Status, a.Note = Absent, "the function is there, but the kernel forbids probes of it"
		l = WillNot
	case has("_kbl_addr_" + name), has(noProbes + name):
		a.Note = join("it is in a section that nothing can be attached to", a.Note)
		l = l.worse(MayLoad)
	}
	return a, l
}

// multi is for probes on all functions that match a pattern.
func (c *checker) multi(pattern string) (Answer, Loads) {
	if c.k.off("FPROBE") {
		return Answer{Status: Absent, Note: "CONFIG_FPROBE is off"}, WillNot
	}
	first, n := "", 0
	prefix, _, _ := strings.Cut(pattern, "*")
	prefix, _, _ = strings.Cut(prefix, "?")
	matching := glob(pattern)
	c.k.symbols.each(prefix, func(name string, typ byte) bool {
		if isText(typ) && typ != notTraced && !strings.Contains(name, ":") && matching.MatchString(name) {
			if n++; n == 1 {
				first = name
			}
		}
		return true
	})
	switch {
	case n == 0 && strings.ContainsAny(pattern, "*?"):
		return Answer{Note: "no function of vmlinux matches; a module's may"}, MayLoad
	case n == 0 && c.k.symbols.untraced(pattern):
		return Answer{Status: Absent, Note: "it exists, but is notrace"}, WillNot
	case n == 0:
		return c.perhapsInModule(pattern, false)
	case strings.ContainsAny(pattern, "*?"):
		return Answer{Status: Present, Note: fmt.Sprintf("%d functions, %s first", n, first)}, WillLoad
	}
	return Answer{Status: Present}, WillLoad
}

// glob is a pattern of libbpf's, in which * and ? alone mean something. What is
// not UTF-8 names no function.
func glob(pattern string) *regexp.Regexp {
	pattern = regexp.QuoteMeta(strings.ToValidUTF8(pattern, "\x00"))
	return regexp.MustCompile("^" + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(pattern) + "$")
}
