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
	slices.Sort(list)
	k := &Kernel{ID: "test", Release: "6.1.0", Arch: "amd64", order: binary.LittleEndian, symbols: symbols(strings.Join(append(list, ""), "\n"))}
	k.readModules = func() (moduleIndex, error) {
		return moduleIndex{lines: symbols("ovl_open f overlay\novl_thing t overlay\n"), all: true}, nil
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

func readTestObject(t testing.TB, name string) *Object {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".bpf.o"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := Read(name, b, "amd64")
	if err != nil {
		t.Fatal(err)
	}
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
		loads[strings.TrimPrefix(p.Name, "changed/")] = p.Loads
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
		{"vfs_*", "vfs_read", true}, {"vfs_*", "xvfs_read", false}, {"*read", "vfs_read", true}, {"*", "", true},
		{"vfs_?ead", "vfs_read", true}, {"vfs_?", "vfs_", false}, {"a*b*c", "aXbXbc", true}, {"a*b", "ac", false},
	} {
		if got := matches(tt.pattern, tt.name); got != tt.want {
			t.Errorf("matches(%q, %q) = %v", tt.pattern, tt.name, got)
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
		types := baseTypes()
		if i < 3 {
			types = append(types, function("do_unlinkat", integer(4)))
		}
		s.Kernels = append(s.Kernels, On{ID: id, Results: []Result{Check(o, testKernel(t, types, "x T"))}})
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

func FuzzRead(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.bpf.o")
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
		if err == nil {
			for _, a := range Check(o, k).Answers {
				if a.Status == Present {
					t.Error("present on a kernel of which nothing is known")
				}
			}
		}
		Embedded("p", b, "arm64")
		splitTypes(b, 100)
		defined(b, 10)
	})
}
