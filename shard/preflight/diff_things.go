package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// Kinds of what a kernel has, besides those of dependencies.
const (
	kindLSM        = "LSM hook"
	kindTracepoint = "tracepoint"
	kindFunction   = "function"
	kindSyscall    = "system call"
	kindStruct     = "struct"
	kindUnion      = "union"
	kindEnum       = "enum"
	kindTypedef    = "typedef"
	kindOption     = "build option"
)

// thingKinds are in the order that they are shown in.
var thingKinds = []string{
	kindProgram, kindMap, kindAttach, kindHelper, kindKfunc, kindLSM, kindTracepoint,
	kindFunction, kindSyscall, kindStruct, kindUnion, kindEnum, kindTypedef, kindOption,
}

// numbered are the enums of the kernel's interface, and what their names start
// with.
var numbered = map[string][2]string{
	kindProgram: {"bpf_prog_type", "BPF_PROG_TYPE_"},
	kindMap:     {"bpf_map_type", "BPF_MAP_TYPE_"},
	kindAttach:  {"bpf_attach_type", "BPF_"},
	kindHelper:  {"bpf_func_id", "BPF_FUNC_"},
}

// generated are what macros make of tracepoints and system calls, and the
// compiler of functions: what they are made of is shown itself.
var generated = []string{
	"__bpf_trace_", "trace_event_raw_event_", "perf_trace_", "__traceiter_", "trace_raw_output_", "trace_event_define_fields_",
	"trace_event_get_offsets_", "trace_event_data_offsets_", "__probestub_", "__pfx_", "__cfi_", "__SCT__", "__initcall",
	"__ia32_", "__do_sys_", "__se_sys_", "__do_compat_sys_", "__se_compat_sys_", "__x64_", "__arm64_",
}

// variant is a thing as a kernel has it. Of one name it may have several.
type variant struct {
	head  string // in C
	note  string // what else is to be said
	key   string // what counts of it
	parts []part
}

// part is a field or a value.
type part struct {
	name string
	text string // in C
	at   int    // of a field: its place in bits
}

func (v variant) String() string {
	if v.note == "" {
		return v.head
	}
	return v.head + " // " + v.note
}

func (p part) String() string {
	if p.at < 0 {
		return p.text
	}
	return p.text + "; // at " + byteAt(p.at)
}

// byteAt writes where a field is, in bytes.
func byteAt(bits int) string {
	if bits%8 == 0 {
		return fmt.Sprint(bits / 8)
	}
	return fmt.Sprintf("%d, bit %d", bits/8, bits%8)
}

// names lists what a kernel has, by kind. A name may stand there twice.
func (k *Kernel) names() map[string][]string {
	names := map[string][]string{}
	add := func(kind, name string) {
		if !slices.ContainsFunc(generated, func(g string) bool { return strings.HasPrefix(name, g) }) && plain(name) {
			names[kind] = append(names[kind], name)
		}
	}
	function := func(name string) {
		if hook, ok := strings.CutPrefix(name, "bpf_lsm_"); ok {
			add(kindLSM, hook)
		} else {
			add(kindFunction, name)
		}
	}
	if k.types != nil {
		for t, err := range k.types.All() {
			if err != nil {
				break // what is malformed is not there
			}
			switch t := t.(type) {
			case *btf.Func:
				function(t.Name)
			case *btf.Struct:
				add(kindStruct, t.Name)
			case *btf.Union:
				add(kindUnion, t.Name)
			case *btf.Enum:
				add(kindEnum, t.Name)
			case *btf.Typedef:
				if name, ok := strings.CutPrefix(t.Name, "btf_trace_"); ok {
					add(kindTracepoint, name)
				} else {
					add(kindTypedef, t.Name)
				}
			}
		}
	}
	for kind, enum := range numbered {
		for _, v := range k.enumValues(enum[0]) {
			if strings.HasPrefix(v.name, enum[1]) {
				add(kind, v.name)
			}
		}
	}
	k.symbols.each("", func(name string, typ byte) bool {
		if kfunc, ok := strings.CutPrefix(name, kfuncs); ok {
			add(kindKfunc, kfunc)
		} else if tp, ok := strings.CutPrefix(name, "__tracepoint_"); ok {
			add(kindTracepoint, tp)
		} else if call, ok := strings.CutPrefix(name, k.syscallPrefix()); ok && isText(typ) {
			add(kindSyscall, call)
		} else if isText(typ) && typ != notTraced && !strings.ContainsAny(name, ".:") { // what is notrace and not in BTF nothing attaches to
			function(name)
		}
		return true
	})
	for option := range k.config {
		add(kindOption, option)
	}
	return names
}

func (k *Kernel) syscallPrefix() string {
	if k.Arch == "arm64" {
		return "__arm64_sys_"
	}
	return "__x64_sys_"
}

// things returns what the kernel has of a name, none if it has nothing.
func (k *Kernel) things(kind, name string) []variant {
	var list []variant
	one := func(head, note string) { list = append(list, variant{head: head, note: note, key: head + note}) }
	switch kind {
	case kindProgram, kindMap, kindAttach, kindHelper:
		for _, v := range k.enumValues(numbered[kind][0]) {
			if v.name == name {
				one(v.text, "")
			}
		}
	case kindKfunc:
		if k.symbols.has(kfuncs + name) {
			list = k.signatures(name, "")
		}
	case kindLSM:
		note := ""
		if k.symbols.has(inSet + "bpf_lsm_disabled_hooks:bpf_lsm_" + name) {
			note = "not for BPF"
		} else if k.symbols.has(inSet + "sleepable_lsm_hooks:bpf_lsm_" + name) {
			note = "programs may sleep"
		}
		list = k.signatures("bpf_lsm_"+name, note)
	case kindTracepoint:
		if p := k.typedefProto("btf_trace_" + name); p != nil {
			q := *p
			q.Params = q.Params[min(1, len(q.Params)):] // void *__data
			list = append(list, signature(name, &q, ""))
		} else if k.symbols.has("__tracepoint_" + name) {
			one(name, "not in BTF")
		}
	case kindFunction:
		list = k.function(name)
	case kindSyscall:
		if symbol := k.syscallPrefix() + name; k.symbols.has(symbol) {
			one(clean(symbol), "")
		}
	case kindStruct, kindUnion:
		for _, t := range k.lookup(name) {
			switch t := t.(type) {
			case *btf.Struct:
				if kind == kindStruct {
					list = append(list, composite("struct "+name, t.Size, t.Members))
				}
			case *btf.Union:
				if kind == kindUnion {
					list = append(list, composite("union "+name, t.Size, t.Members))
				}
			}
		}
	case kindEnum:
		for _, t := range k.lookup(name) {
			if e, ok := t.(*btf.Enum); ok {
				v := variant{head: "enum " + clean(name), note: counted(len(e.Values), "value"), parts: values(e)}
				list = append(list, v.sealed())
			}
		}
	case kindTypedef:
		for _, t := range k.lookup(name) {
			if d, ok := t.(*btf.Typedef); ok {
				one("typedef "+declare(d.Type, clean(name)), "")
			}
		}
	case kindOption:
		if v := k.config[name]; v != "" && v != "n" {
			one("CONFIG_"+clean(name)+"="+clean(v), "")
		}
	}
	return distinct(list)
}

// distinct leaves of what is there twice one.
func distinct(list []variant) []variant {
	slices.SortStableFunc(list, func(a, b variant) int { return strings.Compare(a.key, b.key) })
	return slices.CompactFunc(list, func(a, b variant) bool { return a.key == b.key })
}

// sealed is a variant with the key that its parts make.
func (v variant) sealed() variant {
	var b strings.Builder
	b.WriteString(v.note)
	for _, p := range v.parts {
		fmt.Fprintf(&b, "\n%s %d", p.text, p.at)
	}
	v.key = b.String()
	return v
}

// signature is a function's prototype. The names of its parameters do not count.
func signature(name string, p *btf.FuncProto, note string) variant {
	var a Answer
	a.sign(name, p)
	return variant{head: a.Signature, note: note, key: a.shape + note}
}

// signatures are the prototypes that BTF has for a function.
func (k *Kernel) signatures(name, note string) (list []variant) {
	for _, t := range k.lookup(name) {
		if f, ok := t.(*btf.Func); ok {
			if p, ok := f.Type.(*btf.FuncProto); ok {
				list = append(list, signature(name, p, note))
			}
		}
	}
	return list
}

// function is one of the kernel's functions: its prototypes, and what counts for
// who attaches to it.
func (k *Kernel) function(name string) []variant {
	n, typ := k.symbols.named(name)
	if n > 0 && !isText(typ) {
		n = 0
	}
	copies, inPart := suffixes(name, k.symbols.copies(name))
	list := k.signatures(name, "")
	if len(list) == 0 && n == 0 && copies == "" && !inPart {
		return nil
	}
	has := k.symbols.has
	var notes []string
	note := func(is bool, words string) {
		if is {
			notes = append(notes, words)
		}
	}
	note(typ == notTraced && n > 0, "notrace")
	note(n > 1, fmt.Sprintf("%d functions have the name", n))
	note(len(list) == 0 && k.types != nil, "not in BTF")
	note(inPart, "partly inlined")
	switch {
	case n > 0 || len(k.symbols) == 0:
		note(copies != "", "with copies: "+copies)
	case copies != "":
		note(true, "only copies: "+copies)
	default:
		note(true, "no symbol")
	}
	note(has("_kbl_addr_"+name), "no kprobes")
	note(has(noProbes+name), "in a section that nothing can be attached to")
	note(has(inSet+"btf_id_deny:"+name), "no fentry")
	note(has(inSet+"noreturn_deny:"+name), "no fexit: it never returns")
	note(has("_eil_addr_"+name), "errors may be injected")
	if len(list) == 0 {
		list = []variant{{head: clean(name), key: name}}
	}
	for i := range list {
		v := &list[i]
		if typ == 't' {
			v.head, v.key = "static "+v.head, "static "+v.key
		}
		v.note = strings.Join(notes, ", ")
		v.key += v.note
	}
	return list
}

// suffixes says of what kinds the copies of a function are: .isra, .constprop.
// Their numbers change from build to build. inPart says whether there is a
// .part.
func suffixes(name string, copies []string) (list string, inPart bool) {
	var kinds []string
	for _, c := range copies {
		kind := ""
		for _, word := range strings.Split(strings.TrimPrefix(c, name+"."), ".") {
			switch {
			case word == "cold" || strings.Trim(word, "0123456789") == "":
			case word == "part":
				inPart = true
			default:
				kind += "." + clean(word)
			}
		}
		if kind != "" {
			kinds = append(kinds, kind)
		}
	}
	return strings.Join(once(kinds), ", "), inPart
}

// enumValues are those of an enum of the kernel's interface.
func (k *Kernel) enumValues(name string) []part {
	for _, t := range k.lookup(name) {
		if e, ok := t.(*btf.Enum); ok {
			return slices.DeleteFunc(values(e), func(p part) bool { return strings.HasPrefix(p.name, "__") })
		}
	}
	return nil
}

func values(e *btf.Enum) []part {
	list := make([]part, len(e.Values))
	for i, v := range e.Values {
		list[i] = part{name: clean(v.Name), at: -1}
		if e.Signed {
			list[i].text = fmt.Sprintf("%s = %d", list[i].name, int64(v.Value))
		} else {
			list[i].text = fmt.Sprintf("%s = %d", list[i].name, v.Value)
		}
	}
	return list
}

// maxFields bounds the fields of a type; nameless parts of a hostile kernel's may
// multiply.
const maxFields = 4000

func composite(head string, size uint32, members []btf.Member) variant {
	v := variant{head: clean(head), parts: appendFields(nil, "", 0, members, 0)}
	v.note = fmt.Sprintf("%s, %s", counted(int(size), "byte"), counted(len(v.parts), "field"))
	return v.sealed()
}

// appendFields appends fields, and those of types without a name in their place.
func appendFields(list []part, path string, at int, members []btf.Member, depth int) []part {
	for _, m := range members {
		if len(list) >= maxFields || depth > maxDepth {
			return list
		}
		name, here := path+clean(m.Name), at+int(m.Offset)
		var inner []btf.Member
		t, dims := m.Type, ""
		for a, ok := t.(*btf.Array); ok && len(dims) < maxDepth; a, ok = t.(*btf.Array) {
			t, dims = a.Type, dims+fmt.Sprintf("[%d]", a.Nelems)
		}
		switch t := t.(type) {
		case *btf.Struct:
			if t.Name == "" {
				inner = t.Members
			}
		case *btf.Union:
			if t.Name == "" {
				inner = t.Members
			}
		}
		switch {
		case inner != nil && m.Name == "":
			list = appendFields(list, path, here, inner, depth+1)
		case inner != nil:
			list = appendFields(list, name+dims+".", here, inner, depth+1)
		default:
			p := part{name: name, text: declare(m.Type, name), at: here}
			if m.BitfieldSize > 0 {
				p.text += fmt.Sprintf(" : %d", m.BitfieldSize)
			}
			list = append(list, p)
		}
	}
	return list
}
