package preflight

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// ptr is a pointer to a struct of that name.
func ptr(name string) btf.Type {
	return &btf.Pointer{Target: &btf.Struct{Name: name, Size: 8, Members: []btf.Member{{Name: "x", Type: integer(4)}}}}
}

func integer(size uint32) *btf.Int {
	return &btf.Int{Name: map[uint32]string{4: "int", 8: "long int"}[size], Size: size, Encoding: btf.Signed}
}

func function(name string, params ...btf.Type) *btf.Func {
	p := &btf.FuncProto{Return: integer(4)}
	for i, t := range params {
		p.Params = append(p.Params, btf.FuncParam{Name: string(rune('a' + i)), Type: t})
	}
	return &btf.Func{Name: name, Type: p, Linkage: btf.GlobalFunc}
}

// tracepoint is the typedef that BTF has of one.
func tracepoint(name string, params ...btf.Type) *btf.Typedef {
	p := function(name, append([]btf.Type{&btf.Pointer{Target: (*btf.Void)(nil)}}, params...)...).Type
	return &btf.Typedef{Name: "btf_trace_" + name, Type: &btf.Pointer{Target: p}}
}

func enum(name string, values map[string]uint64) *btf.Enum {
	e := &btf.Enum{Name: name, Size: 4}
	for n, v := range values {
		e.Values = append(e.Values, btf.EnumValue{Name: n, Value: v})
	}
	slices.SortFunc(e.Values, func(a, b btf.EnumValue) int { return strings.Compare(a.Name, b.Name) })
	return e
}

// testKernel is a kernel with these types and, as "name t", symbols.
func testKernel(t *testing.T, types []btf.Type, list ...string) *Kernel {
	t.Helper()
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	k := &Kernel{ID: "test", Release: "6.1.0", Arch: "amd64", order: binary.LittleEndian, symbols: sorted(list)}
	k.readModules = func() (moduleIndex, error) {
		return moduleIndex{Lines: sorted([]string{"ovl_open f overlay 00000000", "ovl_thing t overlay 12345678"}), All: true}, nil
	}
	if err := k.setBTF(raw); err != nil {
		t.Fatal(err)
	}
	return k
}

// baseTypes are those of a kernel that has all that the test objects need of
// numbers.
func baseTypes() []btf.Type {
	numbers := func(prefix string, n int) map[string]uint64 {
		m := map[string]uint64{}
		for i := range n {
			m[prefix+string(rune('A'+i/26))+string(rune('A'+i%26))] = uint64(i)
		}
		return m
	}
	return []btf.Type{
		enum("bpf_func_id", numbers("BPF_FUNC_", 212)), enum("bpf_map_type", numbers("BPF_MAP_TYPE_", 33)),
		enum("bpf_prog_type", numbers("BPF_PROG_TYPE_", 33)), enum("bpf_attach_type", numbers("BPF_ATTACH_", 58)),
		&btf.Struct{Name: "qstr", Size: 16, Members: []btf.Member{{Name: "name", Type: &btf.Pointer{Target: integer(4)}}}},
		&btf.Struct{Name: "dentry", Size: 64, Members: []btf.Member{{Name: "d_name", Type: &btf.Struct{Name: "qstr", Size: 16, Members: []btf.Member{{Name: "name", Type: &btf.Pointer{Target: integer(4)}}}}, Offset: 256}}},
		&btf.Struct{Name: "task_struct", Size: 64, Members: []btf.Member{{Name: "__state", Type: &btf.Int{Name: "unsigned int", Size: 4}, Offset: 64}}},
	}
}

func mustRead(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".bpf.o"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readTestObject(t testing.TB, name string) *Object {
	t.Helper()
	o, err := Read(name, mustRead(t, name), "amd64")
	if err != nil {
		t.Fatal(err)
	}
	o.Loader = wire.LoaderGo // for which a program's own dependencies count
	return o
}

// on returns what a kernel has of a dependency of changed.bpf.o, and what comes
// of its programs.
func on(t *testing.T, k *Kernel, dep string) (Answer, map[string]Loads) {
	t.Helper()
	o := readTestObject(t, "changed")
	r := Check(o, k)
	loads := map[string]Loads{}
	for _, p := range r.Programs {
		loads[strings.TrimPrefix(p.Name, "changed/")] = p.Attaches
	}
	for i, d := range o.Deps {
		if d.String() == dep {
			return r.Answers[i], loads
		}
	}
	t.Fatalf("no dependency %q", dep)
	return Answer{}, nil
}

// What the kernel's types and symbols say of a function, and what that means
// for who attaches to it.
func TestFunctions(t *testing.T) {
	unlink := function("do_unlinkat", integer(4), ptr("filename"))
	with := func(more ...btf.Type) []btf.Type { return append(baseTypes(), more...) }
	tests := []struct {
		name    string
		types   []btf.Type
		symbols []string
		dep     string
		want    Status
		loads   Loads
		program string
	}{
		{"there", with(unlink), []string{"do_unlinkat T"}, "fentry do_unlinkat", Present, WillLoad, "unlinkat"},
		{"gone", with(), []string{"other T"}, "fentry do_unlinkat", Absent, WillNot, "unlinkat"},
		{"there, but not in BTF", with(), []string{"do_unlinkat t"}, "fentry do_unlinkat", Absent, WillNot, "unlinkat"},
		{"a copy", with(), []string{"do_unlinkat.isra.0 t"}, "fentry do_unlinkat", Transformed, WillNot, "unlinkat"},
		{"a copy, for kprobes", with(), []string{"do_unlinkat.constprop.0 t"}, "kprobe do_unlinkat", Transformed, WillNot, "unlinkat_kprobe"},
		{"a part", with(unlink), []string{"do_unlinkat t", "do_unlinkat.part.0 t"}, "fentry do_unlinkat", Inlined, WillLoad, "unlinkat"},
		{"cold code is no part", with(unlink), []string{"do_unlinkat T", "do_unlinkat.cold t"}, "fentry do_unlinkat", Present, WillLoad, "unlinkat"},
		{"two", with(unlink), []string{"do_unlinkat t", "do_unlinkat t"}, "kprobe do_unlinkat", Duplicated, MayLoad, "unlinkat_kprobe"},
		{"two, not in BTF", with(), []string{"do_unlinkat t", "do_unlinkat t"}, "fentry do_unlinkat", Duplicated, WillNot, "unlinkat"},
		{"data", with(), []string{"do_unlinkat d"}, "kprobe do_unlinkat", Absent, WillNot, "unlinkat_kprobe"},
		{"no symbols", with(), nil, "kprobe do_unlinkat", Unknown, MayLoad, "unlinkat_kprobe"},
		{"in a module", with(), []string{"other T"}, "kprobe ovl_open", Unknown, MayLoad, "in_module"},
		{"a longer name is another", with(), []string{"do_unlinkat2 T", "ado_unlinkat T"}, "kprobe do_unlinkat", Absent, WillNot, "unlinkat_kprobe"},
		{"system call", with(), []string{"__x64_sys_unlinkat T"}, "ksyscall unlinkat", Present, WillLoad, "syscall_name"},
		{"event of a system call", with(), []string{"event_enter__openat d"}, "tracepoint syscalls/sys_enter_unlinkat", Absent, WillNot, "syscall_event"},
		{"events are not known", with(), []string{"other T"}, "tracepoint syscalls/sys_enter_unlinkat", Unknown, MayLoad, "syscall_event"},
		{"three arguments", with(function("vfs_unlink", ptr("inode"), ptr("dentry"), ptr("x"))), []string{"vfs_unlink T"}, "fentry vfs_unlink", Changed, WillNot, "unlink_four"},
		{"three arguments, as wanted", with(function("vfs_unlink", ptr("inode"), ptr("dentry"), ptr("x"))), []string{"vfs_unlink T"}, "kprobe vfs_unlink", Present, WillLoad, "unlink_kprobe"},
		{"four arguments", with(function("vfs_unlink", ptr("mnt_idmap"), ptr("inode"), ptr("dentry"), ptr("x"))), []string{"vfs_unlink T"}, "kprobe vfs_unlink", Changed, WillLoad, "unlink_kprobe"},
		{"tracepoint with one argument", with(tracepoint("block_rq_issue", ptr("request"))), nil, "tp_btf block_rq_issue", Changed, WillNot, "rq_issue"},
		{"kfunc that is not there", with(), []string{"other T"}, "kfunc bpf_rcu_read_lock", Absent, WillNot, "kfunc"},
		{"kfunc with other arguments", with(function("bpf_rcu_read_lock", integer(4))), nil, "kfunc bpf_rcu_read_lock", Changed, WillNot, "kfunc"},
		{"ksym", with(), []string{"init_pid_ns D", "do_exit T"}, "ksym init_pid_ns", Present, WillLoad, "ksym"},
		{"field of old", with(), nil, "field struct task_struct.state", Absent, WillNot, "state_old"},
		{"field that is tested for", with(), nil, "field struct task_struct.__state", Present, MayLoad, "state_any"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, loads := on(t, testKernel(t, tt.types, tt.symbols...), tt.dep)
			if a.Status != tt.want {
				t.Errorf("%s is %v (%s), want %v", tt.dep, a.Status, a.Note, tt.want)
			}
			// Programs depend on more than that one thing: only what is worse counts.
			if got := loads[tt.program]; tt.loads == WillNot && got != WillNot || tt.loads != WillNot && got == WillNot {
				t.Errorf("%s loads: %v, want %v", tt.program, got, tt.loads)
			}
		})
	}
}

// A helper that is only called where it is there keeps no program from loading.
func TestGuardedHelper(t *testing.T) {
	types := baseTypes()
	types[0] = enum("bpf_func_id", map[string]uint64{"BPF_FUNC_map_lookup_elem": 1, "BPF_FUNC_get_current_task": 35, "BPF_FUNC_probe_read_kernel": 113})
	k := testKernel(t, append(types, function("do_exit", integer(8))), "do_exit T")
	a, loads := on(t, k, "helper bpf_strncmp")
	if a.Status != Absent || len(a.Breaks) > 0 {
		t.Errorf("%v, breaks %v; want absent, and nothing broken", a.Status, a.Breaks)
	}
	if loads["helper_if_there"] != WillLoad {
		t.Errorf("helper_if_there: %v", loads["helper_if_there"])
	}
	if loads["enum_value"] != WillNot {
		t.Errorf("enum_value: %v", loads["enum_value"])
	}
}

// A kernel of which nothing is known has nothing that counts as present.
func TestUnknownIsNotPresent(t *testing.T) {
	k := &Kernel{ID: "test", Arch: "amd64", order: binary.LittleEndian}
	for _, name := range []string{"changed", "filelife"} {
		o := readTestObject(t, name)
		r := Check(o, k)
		for i, a := range r.Answers {
			if a.Status != Unknown {
				t.Errorf("%s: %v is %v", name, o.Deps[i], a.Status)
			}
		}
		for _, p := range r.Programs {
			if p.Loads == WillLoad {
				t.Errorf("%s loads", p.Name)
			}
		}
	}
}

// Objects are found inside of programs, wherever they are.
func TestEmbedded(t *testing.T) {
	var program []byte
	program = append(program, "\x7fELF\x02\x01\x01 some program\x7fELF\x02\x01"...)
	for _, name := range []string{"changed", "filelife"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".bpf.o"))
		if err != nil {
			t.Fatal(err)
		}
		program = append(append(program, b...), "and more"...)
		program = append(program, b[:len(b)/2]...) // cut, so none
	}
	var got []string
	for _, o := range Embedded("tracer", program, "amd64") {
		got = append(got, o.Name)
	}
	if !slices.Equal(got, []string{"tracer", "tracer-2"}) {
		t.Errorf("found %v", got)
	}
}

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"vfs_*", "vfs_read", true},
		{"vfs_*", "xvfs_read", false},
		{"*read", "vfs_read", true},
		{"*", "", true},
		{"vfs_?ead", "vfs_read", true},
		{"vfs_?", "vfs_", false},
		{"a*b*c", "aXbXbc", true},
		{"a*b", "ac", false},
		{"vfs_\xff*", "vfs_read", false},
	} {
		if got := glob(tt.pattern).MatchString(tt.name); got != tt.want {
			t.Errorf("%q matches %q: %v", tt.pattern, tt.name, got)
		}
	}
}

func TestDeclare(t *testing.T) {
	s := &btf.Struct{Name: "s"}
	fn := &btf.FuncProto{Return: integer(4), Params: []btf.FuncParam{{Name: "a", Type: &btf.Pointer{Target: s}}}}
	circle := &btf.Pointer{}
	circle.Target = circle
	for want, typ := range map[string]btf.Type{
		"struct s *x":           &btf.Pointer{Target: s},
		"const struct s *x":     &btf.Pointer{Target: &btf.Const{Type: s}},
		"struct s *const x":     &btf.Const{Type: &btf.Pointer{Target: s}},
		"int x[3]":              &btf.Array{Type: integer(4), Nelems: 3},
		"int (*x)(struct s *a)": &btf.Pointer{Target: fn},
		"int x(struct s *a)":    fn,
		"struct {...} x":        &btf.Struct{},
		"volatile long int x":   &btf.Volatile{Type: integer(8)},
		"void *x":               &btf.Pointer{Target: &btf.Void{}},
	} {
		if got := declare(typ, "x"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := declare(circle, "x"); len(got) > 2*maxC {
		t.Errorf("a type that is its own: %d bytes", len(got))
	}
}

// The text of a survey names ranges of kernels, and JSON has every kernel.
func TestSurveyText(t *testing.T) {
	o := readTestObject(t, "changed")
	s := &Survey{Objects: []*Object{o}}
	for i, id := range []string{"debian/5.10.0-1-amd64__1", "debian/6.1.0-2-amd64__1", "debian/6.1.0-10-amd64__1", "debian/7.2.0-1-amd64__1"} {
		types, symbols := baseTypes(), []string{"x T"}
		if i < 3 {
			types, symbols = append(types, function("do_unlinkat", integer(4))), append(symbols, "do_unlinkat T")
		}
		s.Kernels = append(s.Kernels, On{ID: id, Results: []Result{Check(o, testKernel(t, types, symbols...))}})
	}
	s.Kernels = append(s.Kernels, On{ID: "debian/9.9.9__1", Err: "it is broken"})
	slices.Reverse(s.Kernels)
	s.Finish()
	var b, j bytes.Buffer
	if err := s.Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"debian/9.9.9: unknown: it is broken\n",
		"    fentry do_unlinkat\n      present                debian/5.10.0-1-amd64 to debian/6.1.0-10-amd64 (3)\n                             int do_unlinkat(int a)\n      absent: will not load  debian/7.2.0-1-amd64\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
	if s.Loads() != WillNot {
		t.Errorf("loads: %v", s.Loads())
	}
	if err := s.JSON(&j); err != nil || strings.Count(j.String(), `"id": "debian/`) != 5 {
		t.Errorf("JSON: %v, %.300s", err, j.String())
	}
}

// checkTest holds one of the test objects against a kernel: what comes of its
// dependencies and of its programs.
func checkTest(t *testing.T, object string, k *Kernel) (map[string]Answer, map[string]Program) {
	t.Helper()
	o := readTestObject(t, object)
	r := Check(o, k)
	answers, programs := map[string]Answer{}, map[string]Program{}
	for i, d := range o.Deps {
		answers[d.String()] = r.Answers[i]
	}
	for _, p := range r.Programs {
		programs[strings.TrimPrefix(p.Name, object+"/")] = p
	}
	return answers, programs
}

// Functions that are there and that programs cannot have: the kernel's own sets
// of functions say so, its sections, and the prototype.
func TestForbidden(t *testing.T) {
	void := (*btf.Void)(nil)
	variadic := function("_printk", ptr("a"))
	variadic.Type.(*btf.FuncProto).Params = append(variadic.Type.(*btf.FuncProto).Params, btf.FuncParam{Type: void})
	many := make([]btf.Type, 10)
	for i := range many {
		many[i] = integer(8)
	}
	types := append(baseTypes(), variadic, function("ip_make_skb", many...), function("drop_buffers", ptr("folio")),
		function("vfs_open", ptr("path"), ptr("file")), function("__x64_sys_close", ptr("pt_regs")), function("migrate_disable"), function("do_exit", integer(8)),
		function("bpf_lsm_getprocattr", ptr("task_struct")), function("bpf_lsm_file_open", ptr("file")), function("bpf_lsm_task_free", ptr("task_struct")),
		function("exc_page_fault", ptr("pt_regs")), function("notifier_call_chain", ptr("x")), function("security_file_open", ptr("file")))
	list := []string{
		"_printk T", "ip_make_skb T", "drop_buffers.isra.0 t", "vfs_open T", "__x64_sys_close T", "migrate_disable T", "do_exit T", "bpf_lsm_getprocattr T",
		"bpf_lsm_file_open T", "bpf_lsm_task_free T", "exc_page_fault T", "notifier_call_chain t", "security_file_open T", "_kbl_addr_notifier_call_chain d",
		"__BTF_ID__set__btf_id_deny r", noProbes + "exc_page_fault r", inSet + "bpf_lsm_disabled_hooks:bpf_lsm_getprocattr r", inSet + "btf_id_deny:migrate_disable r",
		inSet + "noreturn_deny:do_exit r", inSet + "sleepable_lsm_hooks: r", inSet + "sleepable_lsm_hooks:bpf_lsm_file_open r",
	}
	with := func(release, config string) *Kernel {
		k := testKernel(t, types, list...)
		k.Release, k.config = release, map[string]string{"BPF_LSM": "y", "FUNCTION_ERROR_INJECTION": config, "DYNAMIC_FTRACE_WITH_DIRECT_CALLS": "y", "BPF_EVENTS": "y", "KPROBES": "y", "MODULES": "y", "BPF_JIT": "y", "BPF_JIT_DEFAULT_ON": "y"}
		return k
	}
	option := func(name, value string) *Kernel {
		k := with("6.6.0", "n")
		k.config[name] = value
		return k
	}
	on := func(arch, release string) *Kernel {
		k := with(release, "n")
		k.Arch = arch
		return k
	}
	tests := []struct {
		program string
		k       *Kernel
		want    Loads
	}{
		{"many_arguments", with("6.1.0", "n"), MayLoad}, // RHEL may have it
		{"many_arguments", with("6.6.0", "n"), WillLoad},
		{"variadic", with("6.1.0", "n"), WillNot},
		{"only_copy", with("6.12.1", "n"), WillNot},
		{"only_copy_kprobe", with("6.12.1", "n"), WillNot},
		{"sleepable", with("6.1.0", "n"), WillNot},
		{"sleepable", with("6.1.0", "y"), MayLoad},
		{"sleepable_syscall", with("6.1.0", "n"), MayLoad},
		{"sleepable_hook", with("6.1.0", "n"), WillLoad},
		{"sleepable_hook_never", with("6.1.0", "n"), WillNot},
		{"modify", with("6.1.0", "n"), WillNot},
		{"modify", with("6.1.0", "y"), MayLoad},
		{"modify_hook", with("6.1.0", "n"), WillLoad},
		{"forbidden", with("6.1.0", "n"), WillNot},
		{"no_instrumentation", with("6.1.0", "n"), MayLoad},
		{"no_instrumentation_fentry", with("6.1.0", "n"), MayLoad},
		{"recursive", with("6.1.0", "n"), WillNot},
		{"never_returns", with("6.1.0", "n"), WillNot},
		{"disabled_hook", with("6.1.0", "n"), WillNot},
		{"user_sleepable", with("5.10.0", "n"), MayLoad},
		{"user_sleepable", with("6.0.0", "n"), WillLoad},
		{"pattern", with("6.1.0", "n"), WillNot}, // CONFIG_FPROBE is not set
		{"many_arguments", option("BPF_JIT_DEFAULT_ON", "n"), MayLoad},
		{"many_arguments", option("BPF_JIT", "n"), WillNot},
		{"many_arguments", on("s390x", "6.6.0"), MayLoad}, // nobody knows
		{"modify_hook", on("s390x", "6.3.0"), WillLoad},
		{"modify_hook", on("s390x", "6.2.0"), MayLoad},
	}
	for _, tt := range tests {
		if _, programs := checkTest(t, "targets", tt.k); programs[tt.program].Attaches != tt.want {
			t.Errorf("%s on %s: %v, want %v", tt.program, tt.k.Release, programs[tt.program].Attaches, tt.want)
		}
	}
	if _, programs := checkTest(t, "targets", with("6.1.0", "n")); programs["cgroup_hook"].Loads != WillNot {
		t.Error("an LSM program for cgroups is loaded, and the library cannot")
	}
}

// Kfuncs are compared as loaders do, and a function is not one for being there.
func TestKfuncs(t *testing.T) {
	cpumask := &btf.Struct{Name: "bpf_cpumask", Size: 4, Members: []btf.Member{{Name: "cpumask", Type: integer(4)}}}
	create := function("bpf_cpumask_create")
	create.Type.(*btf.FuncProto).Return = &btf.Pointer{Target: cpumask}
	release := function("bpf_cpumask_release", &btf.Pointer{Target: cpumask})
	set := function("bpf_cpumask_set_cpu", &btf.Int{Name: "unsigned int", Size: 4}, &btf.Pointer{Target: cpumask})
	schedule := function("schedule")
	for _, f := range []*btf.Func{release, set, schedule} {
		f.Type.(*btf.FuncProto).Return = (*btf.Void)(nil)
	}
	types := append(baseTypes(), create, release, set, schedule, tracepoint("sched_process_exit", ptr("task_struct")))
	list := []string{"schedule T", "__BTF_ID__set8__x r", kfuncs + "bpf_cpumask_create r", kfuncs + "bpf_cpumask_release r", kfuncs + "bpf_cpumask_set_cpu r"}
	answers, programs := checkTest(t, "versions", testKernel(t, types, list...))
	if a := answers["kfunc bpf_cpumask_set_cpu"]; a.Status != Changed || programs["kfunc_wider"].Loads != WillLoad || len(programs["kfunc_wider"].Mistaken) != 1 {
		t.Errorf("a wider argument: %+v, %+v", a, programs["kfunc_wider"])
	}
	if a := answers["kfunc schedule"]; a.Status != Absent || programs["no_kfunc"].Loads != WillNot {
		t.Errorf("a function that is no kfunc: %+v, %v", a, programs["no_kfunc"].Loads)
	}
	_, programs = checkTest(t, "versions", testKernel(t, types, "schedule T"))
	if l := programs["no_kfunc"].Loads; l != MayLoad {
		t.Errorf("sets are not known: %v", l)
	}
	for program, want := range map[string]Loads{"weak_kfunc": WillLoad, "weak_kfunc_if_there": WillLoad, "weak_kfunc_unasked": WillNot} {
		if programs[program].Loads != want {
			t.Errorf("%s: %v, want %v", program, programs[program].Loads, want)
		}
	}
}

// What is not reached on a kernel is not missed, whatever decides it: types,
// constants, the version, options; and what is looked into all the same is.
func TestGuards(t *testing.T) {
	aux := func(members ...string) *btf.Struct {
		s := &btf.Struct{Name: "bpf_func_info_aux", Size: 8}
		for i, m := range members {
			s.Members = append(s.Members, btf.Member{Name: m, Type: integer(4), Offset: btf.Bits(32 * i)})
		}
		return s
	}
	kernel := func(release string, types ...btf.Type) *Kernel {
		k := testKernel(t, append(append(baseTypes(), function("do_exit", integer(8))), types...), "do_exit T")
		k.Release = release
		return k
	}
	tests := []struct {
		object, program string
		k               *Kernel
		want            Loads
	}{
		{"relocations", "bits_if_there", kernel("6.1.0"), WillLoad},
		{"relocations", "no_bits", kernel("6.1.0"), WillNot},
		{"relocations", "types", kernel("6.1.0"), WillLoad},
		{"relocations", "size", kernel("6.1.0"), WillNot},
		{"relocations", "value_if_there", kernel("6.1.0"), WillLoad},
		{"relocations", "never_read", kernel("6.1.0"), MayLoad}, // the author's loader may set it
		{"relocations", "always_read", kernel("6.1.0"), WillNot},
		{"relocations", "by_version", kernel("6.1.0"), WillLoad},
		{"relocations", "by_version", kernel("5.3.18"), WillNot},
		{"relocations", "by_patch", kernel("6.1.0-56-amd64"), MayLoad}, // really 6.1.192
		{"relocations", "by_patch", kernel("6.1.1"), WillNot},
		{"relocations", "by_patch", kernel("6.1.2"), WillLoad},
		{"relocations", "by_loop", kernel("6.1.0"), MayLoad}, // the verifier knows what comes of it
		{"relocations", "behind_loop", kernel("6.1.0"), WillNot},
		{"relocations", "global_if_there", kernel("6.1.0", aux("linkage", "unreliable")), WillNot},
		{"relocations", "global_if_there", kernel("6.8.0", aux("linkage", "unreliable", "called")), WillLoad},
		{"relocations", "static_if_there", kernel("6.1.0", aux("linkage", "unreliable")), WillLoad},
		{"relocations", "in_static", kernel("6.8.0", aux("called")), WillNot},
		{"relocations", "in_global", kernel("6.8.0", aux("called")), WillNot},
		{"config", "by_config", kernel("6.1.0"), MayLoad},
		{"instructions.v3", "add", kernel("5.10.0"), WillLoad},
		{"instructions.v3", "fetch", kernel("5.10.0"), MayLoad},
		{"instructions.v3", "fetch", kernel("5.12.0"), WillLoad},
		{"instructions.v3", "exchange", kernel("5.10.0"), MayLoad},
	}
	for _, tt := range tests {
		if _, programs := checkTest(t, tt.object, tt.k); programs[tt.program].Loads != tt.want {
			t.Errorf("%s on %s: %v, want %v", tt.program, tt.k.Release, programs[tt.program].Loads, tt.want)
		}
	}
	for hz, want := range map[string]Loads{"250": MayLoad, "12345": WillNot} { // MayLoad: found below /boot only
		k := kernel("6.1.0")
		k.config = map[string]string{"HZ": hz, "BPF_EVENTS": "y", "KPROBES": "y", "MODULES": "y"}
		answers, programs := checkTest(t, "config", k)
		if programs["by_config"].Loads != want || len(answers["field struct no_such_struct.member"].Breaks) > 0 != (want == WillNot) {
			t.Errorf("CONFIG_HZ=%s: %v, want %v", hz, programs["by_config"].Loads, want)
		}
	}
}

// Without types nothing is relocated, not even a question.
func TestNoTypes(t *testing.T) {
	k := testKernel(t, baseTypes(), "do_exit T")
	k.types, k.noTypes = nil, true
	_, programs := checkTest(t, "relocations", k)
	for _, p := range []string{"types", "value_if_there", "bits"} {
		if programs[p].Loads != WillNot {
			t.Errorf("%s: %v", p, programs[p].Loads)
		}
	}
}

// The index that is kept of a kernel gives back what was written, duplicates
// and all, and what the places of symbols say.
func TestSymbolLines(t *testing.T) {
	s := symbolLines([]image.Symbol{
		{Name: "two", Type: 't'},
		{Name: "two", Type: 't'},
		{Name: "one", Type: 'T', In: image.NoProbes},
		{Name: "__BTF_ID__set8__a_kfuncs", Type: 'r'},
		{Name: "__BTF_ID__func__f_x__12", Type: 'r', In: "a_kfuncs"},
		{Name: "__BTF_ID__set__deny", Type: 'r'},
		{Name: "__BTF_ID__func__g__3", Type: 'r', In: "deny"},
	})
	for name, want := range map[string]int{
		"two": 2, "one": 1, noProbes + "one": 1, noProbes + "two": 0, kfuncs + "f_x": 1, kfuncs + "g": 0, inSet + "deny:g": 1, inSet + "deny:": 1, inSet + "deny:f_x": 0, inSet + "a_kfuncs:f_x": 1,
	} {
		if n, _ := s.named(name); n != want {
			t.Errorf("%d of %q, want %d", n, name, want)
		}
	}
}

// An index is a file like others: cut or made up, it gives an error or a kernel.
func FuzzIndex(f *testing.F) {
	b, err := btf.NewBuilder(baseTypes(), nil)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, "do_exit T\n"+noProbes+"do_exit r\n")
	f.Add([]byte{}, "x")
	f.Add(raw[:40], "\n\n a\nb")
	objects := []*Object{readTestObject(f, "changed"), readTestObject(f, "targets")}
	f.Fuzz(func(t *testing.T, raw []byte, text string) {
		k := &Kernel{ID: "fuzz", Release: "6.1.0", Arch: "amd64", order: binary.LittleEndian, symbols: symbols(text)}
		if k.setBTF(raw) == nil {
			for _, o := range objects {
				Check(o, k)
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.bpf.o")
	files = append(files, "testdata/libbpf/opened.bpf.o")
	more, _ := filepath.Glob("../../guest/loader/testdata/*.bpf.o")
	for _, path := range append(files, more...) {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	k := &Kernel{ID: "fuzz", Arch: "amd64", order: binary.LittleEndian}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := Read("o", b, "amd64")
		if err == nil && o.Apply(wire.ObjectSettings{Variants: []wire.Variant{{{Name: "level", Value: "2"}}}}) == nil {
			for i, a := range Check(o, k).Answers {
				if a.Status == Present && o.Deps[i].Kind != kindMapSize { // which is the object's
					t.Error("present on a kernel of which nothing is known")
				}
			}
		}
		Embedded("p", b, "arm64")
		defined(b, image.ReadBTFTypes(b, nil))
	})
}
