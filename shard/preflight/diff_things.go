package preflight

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// Kinds of what a kernel has, besides those of dependencies.
const (
	kindLSM        = "LSM hook"
	kindTracepoint = "tracepoint"
	kindFunction   = "function"
	kindStruct     = "struct" // unions, too
	kindEnum       = "enum"
	kindOption     = "build option"
)

// thingKinds are in the order that they are shown in.
var thingKinds = []string{
	kindProgram, kindMap, kindAttach, kindHelper, kindKfunc, kindLSM, kindTracepoint, kindFunction, kindStruct, kindEnum, kindOption,
}

// numbered are the enums of the kernel's interface, and what their names start
// with.
var numbered = map[string]struct{ enum, prefix string }{
	kindProgram: {"bpf_prog_type", "BPF_PROG_TYPE_"},
	kindMap:     {"bpf_map_type", "BPF_MAP_TYPE_"},
	kindAttach:  {"bpf_attach_type", "BPF_"},
	kindHelper:  {"bpf_func_id", "BPF_FUNC_"},
}

// generated is what macros make of tracepoints and system calls, the compiler of
// functions, and options that say what the compiler or the architecture can.
var generated = []string{
	"__bpf_trace_", "trace_event_raw_event_", "perf_trace_", "__traceiter_", "trace_raw_output_", "trace_event_define_fields_",
	"trace_event_get_offsets_", "trace_event_data_offsets_", "__probestub_", "__pfx_", "__cfi_", "__SCT__", "__initcall",
	"__ia32_", "__do_sys_", "__se_sys_", "__do_compat_sys_", "__se_compat_sys_",
	"ARCH_", "AS_", "BINDGEN_", "CC_", "CLANG_", "HAVE_", "LD_", "RUSTC_", "TOOLS_",
}

// thing is what a kernel has of a name. Of one name it may have several.
type thing struct {
	text  string // in C
	shape string // what counts of text; "": all of it
	note  string // what else is to be said
	parts []part // fields or values
}

// part is a field or a value.
type part struct {
	name string
	text string // in C
	at   string // of a field: its place in bytes
}

func same(a, b thing) bool {
	return cmp.Or(a.shape, a.text) == cmp.Or(b.shape, b.text) && a.note == b.note && slices.Equal(a.parts, b.parts)
}

func (t thing) String() string {
	if t.note == "" {
		return t.text
	}
	return t.text + " // " + t.note
}

func (p part) String() string {
	if p.at == "" {
		return p.text
	}
	return p.text + "; // at " + p.at
}

// tells says whether what is not found of a kind is not there.
func (k *Kernel) tells(kind string) bool {
	switch kind {
	case kindFunction:
		return len(k.symbols) > 0 && k.types != nil
	case kindKfunc, kindLSM: // sets of them are symbols, where the kernel names these
		return k.symbols.any("__BTF_ID__set") && k.types != nil
	case kindOption:
		return k.config != nil
	case kindProgram, kindMap, kindAttach, kindHelper:
		return len(k.lookup(numbered[kind].enum)) > 0
	}
	return k.types != nil
}

// names lists by kind what a kernel has, some twice. takers counts the functions
// that take a pointer to a struct.
func (k *Kernel) names() (names map[string][]string, takers map[string]int) {
	names, takers = map[string][]string{}, map[string]int{}
	add := func(kind, name string) {
		if hook, ok := strings.CutPrefix(name, "bpf_lsm_"); ok && kind == kindFunction {
			kind, name = kindLSM, hook
		}
		if plain(name) && !slices.ContainsFunc(generated, func(g string) bool { return strings.HasPrefix(name, g) }) {
			names[kind] = append(names[kind], name)
		}
	}
	var enums []string
	for kind, n := range numbered {
		enums = append(enums, n.enum)
		for _, v := range k.numbers(kind) {
			add(kind, v.name)
		}
	}
	if k.types != nil {
		for t, err := range k.types.All() {
			if err != nil {
				break // what is malformed is not there
			}
			switch t := t.(type) {
			case *btf.Func:
				add(kindFunction, t.Name)
				if p, ok := t.Type.(*btf.FuncProto); ok {
					for _, param := range p.Params {
						takers[pointee(param.Type)]++
					}
				}
			case *btf.Struct, *btf.Union:
				add(kindStruct, t.TypeName())
			case *btf.Enum:
				if !slices.Contains(enums, t.Name) {
					add(kindEnum, t.Name)
				}
			case *btf.Typedef:
				if name, ok := strings.CutPrefix(t.Name, "btf_trace_"); ok {
					add(kindTracepoint, name)
				}
			}
		}
	}
	k.symbols.each("", func(name string, typ byte) bool {
		if kfunc, ok := strings.CutPrefix(name, kfuncs); ok {
			add(kindKfunc, kfunc)
		} else if tp, ok := strings.CutPrefix(name, "__tracepoint_"); ok {
			add(kindTracepoint, tp)
		} else if isText(typ) && typ != notTraced && !strings.ContainsAny(name, ".:") { // what is notrace and not in BTF nothing attaches to
			add(kindFunction, name)
		}
		return true
	})
	for option := range k.config {
		add(kindOption, option)
	}
	return names, takers
}

// things returns what the kernel has of a name, each once. What it has of an enum
// of its interface can be named without what all start with, or by number.
func (k *Kernel) things(kind, name string) (list []thing) {
	switch kind {
	case kindProgram, kindMap, kindAttach, kindHelper:
		full := numbered[kind].prefix + strings.TrimPrefix(name, "bpf_")
		for _, v := range k.numbers(kind) {
			if v.name == name || strings.EqualFold(v.name, full) || v.text == v.name+" = "+name {
				list = append(list, thing{text: v.text})
			}
		}
	case kindKfunc:
		if k.symbols.has(kfuncs + name) {
			list = k.function(name)
		}
	case kindLSM:
		list = k.function("bpf_lsm_" + name)
	case kindTracepoint:
		a, _ := (&checker{k: k}).rawTracepoint(&Dep{Kind: "raw_tp", Name: name})
		if a.Status == Present {
			list = []thing{{text: a.Signature, shape: a.shape}}
			if a.Signature == "" {
				list = []thing{{text: clean(name), note: "not in BTF"}}
			}
		}
	case kindFunction:
		list = k.function(name)
	case kindStruct:
		for _, t := range k.lookup(name) {
			switch t.(type) {
			case *btf.Struct, *btf.Union:
				size, _ := btf.Sizeof(t) // which the type itself says
				fields := appendFields(nil, "", 0, t, 0)
				note := counted(size, "byte") + ", " + counted(len(fields), "field")
				list = append(list, thing{text: declare(t, ""), note: note, parts: fields})
			}
		}
	case kindEnum:
		for _, t := range k.lookup(name) {
			if e, ok := t.(*btf.Enum); ok {
				list = append(list, thing{text: declare(t, ""), note: counted(len(e.Values), "value"), parts: values(e)})
			}
		}
	case kindField:
		typ, path, _ := strings.Cut(name, ".")
		fields, _ := k.fieldsOn(typ, strings.Split(path, "."))
		for _, m := range fields {
			f := fieldPart(m, m.Name, 0)
			list = append(list, thing{text: f.text, note: "at " + f.at})
		}
	case kindOption:
		if v := k.config[name]; v != "" && v != "n" {
			list = append(list, thing{text: "CONFIG_" + clean(name) + "=" + clean(v)})
		}
	}
	return without(list, nil)
}

// without returns those of a list that are not in another, each once.
func without(list, other []thing) (left []thing) {
	for _, t := range list {
		is := func(o thing) bool { return same(t, o) }
		if !slices.ContainsFunc(other, is) && !slices.ContainsFunc(left, is) {
			left = append(left, t)
		}
	}
	return left
}

// function is one of the kernel's functions: its prototypes, and what counts for
// who attaches to it.
func (k *Kernel) function(name string) (list []thing) {
	n, typ := k.symbols.named(name)
	if !isText(typ) {
		n = 0
	}
	inPart := false
	var kinds []string // .isra, .constprop: the copies' numbers change from build to build
	for _, c := range k.symbols.copies(name) {
		c = uncounted.ReplaceAllString(strings.TrimPrefix(c, name), "")
		if strings.Contains(c, ".part") {
			inPart = true
		} else if c != "" {
			kinds = append(kinds, clean(c))
		}
	}
	copies := strings.Join(once(kinds), ", ")
	for _, t := range k.lookup(name) {
		if f, ok := t.(*btf.Func); ok {
			if p, ok := f.Type.(*btf.FuncProto); ok {
				var a Answer
				a.sign(name, p)
				list = append(list, thing{text: a.Signature, shape: a.shape})
			}
		}
	}
	inBTF := len(list) > 0
	if !inBTF && n == 0 && copies == "" && !inPart {
		return nil
	}
	if !inBTF {
		list = []thing{{text: clean(name), shape: clean(name)}}
	}
	var notes []string
	note := func(is bool, words string) {
		if is {
			notes = append(notes, words)
		}
	}
	has, known := k.symbols.has, len(k.symbols) > 0
	note(n > 0 && typ == notTraced, "notrace")
	note(n > 1, fmt.Sprintf("%d functions have the name", n))
	note(!inBTF && k.types != nil, "not in BTF")
	note(inPart, "partly inlined")
	note(n > 0 && copies != "", "with copies: "+copies)
	note(n == 0 && copies != "", "only copies: "+copies)
	note(n == 0 && copies == "" && known, "no symbol")
	note(has("_kbl_addr_"+name), "no kprobes")
	note(has(noProbes+name), "in a section that nothing can be attached to")
	note(has(inSet+"btf_id_deny:"+name), "no fentry")
	note(has(inSet+"noreturn_deny:"+name), "no fexit: it never returns")
	note(has(inSet+"bpf_lsm_disabled_hooks:"+name), "not for BPF")
	note(has(inSet+"sleepable_lsm_hooks:"+name), "programs may sleep")
	note(has("_eil_addr_"+name), "errors may be injected")
	for i := range list {
		if list[i].note = strings.Join(notes, ", "); typ == 't' {
			list[i].text, list[i].shape = "static "+list[i].text, "static "+list[i].shape
		}
	}
	return list
}

// uncounted matches what does not count of a copy's name.
var uncounted = regexp.MustCompile(`\.(cold|[0-9]+)\b`)

// numbers are the values of an enum of the kernel's interface, but for those that
// only bound it.
func (k *Kernel) numbers(kind string) (list []part) {
	for _, t := range k.lookup(numbered[kind].enum) {
		if e, ok := t.(*btf.Enum); ok {
			list = append(list, values(e)...)
		}
	}
	return slices.DeleteFunc(list, func(p part) bool { return strings.HasPrefix(p.name, "__") })
}

func values(e *btf.Enum) (list []part) {
	for _, v := range e.Values {
		p := part{name: clean(v.Name)}
		if p.text = fmt.Sprintf("%s = %d", p.name, v.Value); e.Signed {
			p.text = fmt.Sprintf("%s = %d", p.name, int64(v.Value))
		}
		list = append(list, p)
	}
	return list
}

// maxFields bounds the fields of a type; nameless parts of a hostile kernel's may
// multiply.
const maxFields = 4000

// appendFields appends fields, and those of types without a name in their place.
func appendFields(list []part, path string, at btf.Bits, t btf.Type, depth int) []part {
	for _, m := range membersOf(t) {
		if len(list) >= maxFields || depth > maxDepth {
			return list
		}
		name, inner := path+clean(m.Name), m.Type
		dims := ""
		for a, ok := inner.(*btf.Array); ok && len(dims) < maxDepth; a, ok = inner.(*btf.Array) {
			inner, dims = a.Type, dims+fmt.Sprintf("[%d]", a.Nelems)
		}
		_, isStruct := inner.(*btf.Struct)
		_, isUnion := inner.(*btf.Union)
		switch nameless := (isStruct || isUnion) && inner.TypeName() == ""; {
		case nameless && m.Name == "":
			list = appendFields(list, path, at+m.Offset, inner, depth+1)
		case nameless:
			list = appendFields(list, name+dims+".", at+m.Offset, inner, depth+1)
		default:
			list = append(list, fieldPart(m, name, at))
		}
	}
	return list
}

func fieldPart(m btf.Member, name string, base btf.Bits) part {
	p := part{name: name, text: declare(m.Type, clean(name))}
	if m.BitfieldSize > 0 {
		p.text += fmt.Sprintf(" : %d", m.BitfieldSize)
	}
	bits := base + m.Offset
	if p.at = fmt.Sprint(bits / 8); bits%8 != 0 {
		p.at += fmt.Sprintf(", bit %d", bits%8)
	}
	return p
}
