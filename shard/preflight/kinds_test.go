package preflight

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// facts is what the kernel of a test has.
type facts struct {
	types   []btf.Type
	symbols []string
	config  image.Config
	modules []string
	release string
	id      string
	unknown bool // what its modules define
	alone   bool // it loads none
}

func fixed(members ...string) btf.Type {
	s := &btf.Struct{Name: "fixed", Size: uint32(4 * len(members))}
	for i, m := range members {
		s.Members = append(s.Members, btf.Member{Name: m, Type: integer(4), Offset: btf.Bits(32 * i)})
	}
	return &btf.Pointer{Target: s}
}

func kfunc(name string) btf.Type {
	void := &btf.Pointer{Target: (*btf.Void)(nil)}
	return &btf.Func{Name: name, Linkage: btf.GlobalFunc, Type: &btf.FuncProto{Return: void, Params: []btf.FuncParam{{Name: "p", Type: void}}}}
}

func kindsFacts() facts {
	return facts{
		types: append(baseTypes(), enum("bpf_func_id", map[string]uint64{"BPF_FUNC_strncmp": 182}),
			function("do_unlinkat", ptr("task"), fixed("a", "b")), function("do_exit", integer(8)), kfunc("bpf_task_acquire"),
			tracepoint("sched_process_exec", integer(4)),
			&btf.Struct{Name: "trace_event_raw_sched_process_exec", Size: 20, Members: []btf.Member{{Name: "pid", Type: integer(4), Offset: 128}}},
			&btf.Struct{Name: "not_used", Size: 4, Members: []btf.Member{{Name: "x", Type: integer(4)}}}),
		symbols: []string{"do_unlinkat T", "do_exit T", "bpf_task_acquire T", kfuncs + "bpf_task_acquire r", "__BTF_ID__set8__x r", "str__sched__trace_system_name d", "event_sched_process_exec d", "other T"},
		config:  image.Config{"BPF_LSM": "y", "MODULES": "y", "KPROBES": "y", "BPF_EVENTS": "y", "BPF_JIT": "y", "DYNAMIC_FTRACE_WITH_DIRECT_CALLS": "y", "HZ": "250"},
		modules: []string{"ovl_open f overlay 1234", "other t overlay 1"},
		release: "6.1.0-9-amd64", id: "debian/6.1.0-9-amd64__6.1.9-1",
	}
}

func (f facts) kind(t *testing.T) string {
	t.Helper()
	kind, _ := f.kindOr(t)
	return kind
}

func (f facts) kindOr(t *testing.T) (kind, lacks string) {
	t.Helper()
	k := testKernel(t, f.types, f.symbols...)
	k.ID, k.Release, k.config = f.id, f.release, f.config
	k.readModules = func() (moduleIndex, error) {
		if f.unknown {
			return moduleIndex{}, errors.New("cannot be read")
		}
		return moduleIndex{Lines: sorted(slices.Clone(f.modules)), All: true}, nil
	}
	if f.alone {
		k.LoadOnly(nil)
	}
	o := readTestObject(t, "kinds/kinds")
	o.programs = slices.DeleteFunc(o.programs, func(p *program) bool { return strings.HasSuffix(p.name, "/patch") })
	objects := []*Object{o}
	return Kind(objects, k, CheckAll(objects, k, nil, true))
}

func change(list []string, from, to string) []string {
	list = slices.Clone(list)
	list[slices.Index(list, from)] = to
	return list
}

// replaceType puts a type in the place of the one of its name.
func (f *facts) replaceType(t btf.Type) {
	i := slices.IndexFunc(f.types, func(u btf.Type) bool { return u.TypeName() == t.TypeName() })
	f.types[i] = t
}

// Each class of what an object depends on makes another kind, and nothing else
// does.
func TestKind(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*facts)
		same   bool
	}{
		"a field moved": {func(f *facts) {
			f.replaceType(&btf.Struct{Name: "task_struct", Size: 64, Members: []btf.Member{{Name: "__state", Type: &btf.Int{Name: "unsigned int", Size: 4}, Offset: 128}}})
		}, true},
		"a field has another size": {func(f *facts) {
			f.replaceType(&btf.Struct{Name: "task_struct", Size: 64, Members: []btf.Member{{Name: "__state", Type: &btf.Int{Name: "unsigned long", Size: 8}, Offset: 64}}})
		}, false},
		"a value changed": {func(f *facts) {
			for i, typ := range f.types {
				if e, ok := typ.(*btf.Enum); ok && e.Values[0].Name == "BPF_FUNC_strncmp" {
					f.types[i] = enum("bpf_func_id", map[string]uint64{"BPF_FUNC_strncmp": 183})
				}
			}
		}, false},
		"what nothing relocates moved":   {func(f *facts) { f.replaceType(function("do_unlinkat", ptr("task"), fixed("b", "a"))) }, false},
		"a prototype changed":            {func(f *facts) { f.replaceType(function("do_unlinkat", ptr("task"), fixed("a", "b"), integer(4))) }, false},
		"a type of an argument changed":  {func(f *facts) { f.replaceType(function("do_exit", ptr("task"))) }, false},
		"a function became notrace":      {func(f *facts) { f.symbols = change(f.symbols, "do_unlinkat T", "do_unlinkat x") }, false},
		"a function was inlined in part": {func(f *facts) { f.symbols = append(f.symbols, "do_exit.part.0 t") }, false},
		"a function is there twice":      {func(f *facts) { f.symbols = append(f.symbols, "do_exit t") }, false},
		"a probe is forbidden":           {func(f *facts) { f.symbols = append(f.symbols, "_kbl_addr_do_exit d") }, false},
		"a kfunc is gone":                {func(f *facts) { f.symbols = change(f.symbols, kfuncs+"bpf_task_acquire r", "x t") }, false},
		"an event is gone":               {func(f *facts) { f.symbols = change(f.symbols, "str__sched__trace_system_name d", "x t") }, false},
		"an event has another form": {func(f *facts) {
			f.replaceType(&btf.Struct{Name: "trace_event_raw_sched_process_exec", Size: 24, Members: []btf.Member{{Name: "pid", Type: integer(4), Offset: 160}}})
		}, false},
		"a build option is off": {func(f *facts) {
			f.config = image.Config{"MODULES": "y", "BPF_JIT": "y", "DYNAMIC_FTRACE_WITH_DIRECT_CALLS": "y"}
		}, false},
		"a module's function changed":         {func(f *facts) { f.modules = change(f.modules, "ovl_open f overlay 1234", "ovl_open f overlay 5678") }, false},
		"a module's function is gone":         {func(f *facts) { f.modules = f.modules[1:] }, false},
		"what a program makes of the version": {func(f *facts) { f.release = "5.7.0-9-amd64" }, false},
		"another release":                     {func(f *facts) { f.release, f.id = "6.1.0-11-amd64", "debian/6.1.0-11-amd64__6.1.11-1" }, true},
		"a package that does not tell it":     {func(f *facts) { f.id = "debian/6.1.0-9-amd64" }, true},
		"other types and other functions": {func(f *facts) {
			f.types, f.symbols = append(slices.Clone(f.types), function("more"), ptr("thing")), append(f.symbols, "more T", "init_task D")
		}, true},
		"types in another order":          {func(f *facts) { slices.Reverse(f.types) }, true},
		"another option":                  {func(f *facts) { f.config["HZ"] = "1000" }, true},
		"another module's other function": {func(f *facts) { f.modules = append(f.modules, "xfs_open f xfs 9") }, true},
		"a struct that nobody uses": {func(f *facts) {
			f.replaceType(&btf.Struct{Name: "not_used", Size: 8, Members: []btf.Member{{Name: "x", Type: integer(4), Offset: 32}}})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			was, now := kindsFacts(), kindsFacts()
			tt.change(&now)
			a, b := was.kind(t), now.kind(t)
			if a == "" || b == "" || (a == b) != tt.same {
				t.Errorf("%q and %q", a, b)
			}
		})
	}
}

// What a program would read at fixed offsets makes no kind where it cannot load.
func TestKindOfWhatCannotLoad(t *testing.T) {
	was := kindsFacts()
	was.replaceType(&btf.Struct{Name: "task_struct", Size: 64, Members: []btf.Member{{Name: "other", Type: integer(4)}}})
	now := was
	now.types = slices.Clone(was.types)
	now.replaceType(function("do_unlinkat", ptr("task"), fixed("b", "a")))
	if a, b := was.kind(t), now.kind(t); a == "" || a != b || a == kindsFacts().kind(t) {
		t.Errorf("%q and %q", a, b)
	}
}

// Where something is not known, neither is the kind.
func TestKindUnknown(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*facts)
		lacks  string
	}{
		"no symbols":                    {func(f *facts) { f.symbols = nil }, "symbols"},
		"no config, which is read":      {func(f *facts) { f.config = nil }, "build options"},
		"no modules, and it lacks some": {func(f *facts) { f.unknown = true }, "modules"},
		"no modules, and it loads none": {func(f *facts) { f.unknown, f.alone = true, true }, ""},
		"no modules, and it lacks none": {func(f *facts) { f.unknown, f.symbols = true, append(f.symbols, "ovl_open t") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := kindsFacts()
			tt.change(&f)
			if k, lacks := f.kindOr(t); lacks != tt.lacks || (k == "") != (lacks != "") {
				t.Errorf("%q lacks %q", k, lacks)
			}
		})
	}
	if k, lacks := Kind(nil, &Kernel{}, nil); k != KindSeries || lacks != "" {
		t.Errorf("without objects: %q lacks %q", k, lacks)
	}
}

// Of a program that asks for a patch release nobody knows what it finds on the
// kernels of a distribution that does not name them so.
func TestKindOfPatchReleases(t *testing.T) {
	o := []*Object{readTestObject(t, "kinds/kinds")}
	kind := func(id, release string) string {
		f := kindsFacts()
		k := testKernel(t, f.types, f.symbols...)
		k.ID, k.Release, k.config = id, release, f.config
		name, _ := Kind(o, k, CheckAll(o, k, nil, true))
		return name
	}
	if a, b := kind("a/1", "6.1.0-9-amd64"), kind("a/2", "6.1.0-9-amd64"); a == b {
		t.Error("kernels of unknown patch releases are of one kind")
	}
	const package5, package8, package9 = "a/6.1.0-1-amd64__6.1.5-1", "a/6.1.0-2-amd64__6.1.8-1", "a/6.1.0-3-amd64__6.1.9-2"
	if a, b, c := kind(package5, "6.1.0-1-amd64"), kind(package8, "6.1.0-2-amd64"), kind(package9, "6.1.0-3-amd64"); a == b || b != c {
		t.Errorf("by packages' versions: %q, %q, %q", a, b, c)
	}
	const package10, package11 = "a/6.1.0-4-amd64__6.1.10-1", "a/6.1.0-5-amd64__6.1.11-1"
	if a, b, c := kind(package9, "6.1.0-3-amd64"), kind(package10, "6.1.0-4-amd64"), kind(package11, "6.1.0-5-amd64"); a == b || a != c {
		t.Errorf("of one patch release, by packages' versions: %q, %q, %q", a, b, c)
	}
	if a, b := kind("a/6.1.0-1-amd64__6.2.5-1", "6.1.0-1-amd64"), kind("a/6.1.0-1-amd64__6.2.6-1", "6.1.0-1-amd64"); a == b {
		t.Error("a package's version is taken for that of another series")
	}
	if a, b := kind("a/1", "6.1.5"), kind("a/2", "6.1.9"); a == b {
		t.Error("kernels before and after the patch release are of one kind")
	}
	if a, b := kind("a/1", "6.1.8"), kind("a/2", "6.1.9"); a != b {
		t.Error("kernels after the patch release are of several kinds")
	}
	if strings.Contains(kind("a/1", "6.1.8"), " ") {
		t.Error("a kind is no word")
	}
}
