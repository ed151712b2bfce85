package preflight

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// libbpfKernel has what testdata/libbpf/opened.bpf.c depends on, but for what it
// is there to lack.
func libbpfKernel(t *testing.T) *Kernel {
	t.Helper()
	task := &btf.Struct{Name: "task_struct", Size: 4, Members: []btf.Member{{Name: "tgid", Type: integer(4)}}}
	acquire, release := function("bpf_task_acquire", &btf.Pointer{Target: task}), function("bpf_task_release", &btf.Pointer{Target: task})
	acquire.Type.(*btf.FuncProto).Return, release.Type.(*btf.FuncProto).Return = &btf.Pointer{Target: task}, (*btf.Void)(nil)
	ops := &btf.Struct{Name: "test_ops", Size: 16, Members: []btf.Member{{Name: "start", Type: &btf.Pointer{Target: function("x").Type}}}}
	types := baseTypes()
	types[3].(*btf.Enum).Values = types[3].(*btf.Enum).Values[:42] // up to kprobe.multi
	types = append(
		types, acquire, release, ops, &btf.Struct{Name: "bpf_struct_ops_test_ops", Size: 16, Members: []btf.Member{{Name: "data", Type: ops}}},
		tracepoint("sched_process_exit", &btf.Pointer{Target: task}), function("vfs_x"), &btf.Var{Name: "bpf_prog_active", Type: integer(4), Linkage: btf.GlobalVar},
	)
	k := testKernel(t, types, "do_exit T", "vfs_x x", "event_enter__open d", "init_pid_ns D", "bpf_prog_active d", "__BTF_ID__set8__x r", kfuncs+"bpf_task_acquire r", kfuncs+"bpf_task_release r")
	k.config = map[string]string{"IKCONFIG_PROC": "y", "BPF_EVENTS": "y", "KPROBES": "y", "FPROBE": "y", "FTRACE_SYSCALLS": "y", "BPF_JIT": "y", "BPF_JIT_DEFAULT_ON": "y", "MODULES": "y", "DYNAMIC_FTRACE_WITH_DIRECT_CALLS": "y"}
	return k
}

func openedBy(t *testing.T, k *Kernel, loader string, set wire.ObjectSettings) map[string]Program {
	t.Helper()
	o := readTestObject(t, "libbpf/opened")
	o.Name, o.Loader = "opened", loader
	if err := o.Apply(set); err != nil {
		t.Fatal(err)
	}
	programs := map[string]Program{}
	for _, p := range CheckAll([]*Object{o}, k, set.Alternatives, false)[0].Programs {
		programs[strings.TrimPrefix(p.Name, "opened/")] = p
	}
	return programs
}

// What libbpf opens is read, loading and attaching are two things, and each
// loader makes something else of a map.
func TestLibbpf(t *testing.T) {
	k := libbpfKernel(t)
	inner := []wire.MapSetting{{Name: "opened/bare", Inner: "maybe"}}
	tests := []struct {
		loader, program string
		set             []wire.MapSetting
		loads, attaches Loads
	}{
		{wire.LoaderGo, "flavours", nil, WillLoad, WillLoad},
		{wire.LoaderGo, "later", nil, WillLoad, WillLoad},
		{wire.LoaderGo, "ring", nil, WillNot, WillNot},
		{wire.LoaderGo, "ring", []wire.MapSetting{{Name: "odd_ring", MaxEntries: 8192}}, WillLoad, WillLoad},
		{wire.LoaderGo, "inner", nil, WillNot, WillNot},
		{wire.LoaderGo, "inner", inner, WillLoad, WillLoad},
		{wire.LoaderGo, "inner", []wire.MapSetting{{Name: "other/bare", Inner: "maybe"}}, WillNot, WillNot},
		{wire.LoaderGo, "inner", []wire.MapSetting{{Name: "bare", Type: "lru_hash"}}, WillLoad, WillLoad},
		{wire.LoaderGo, "loose", nil, MayLoad, MayLoad},
		{wire.LoaderLibbpf, "later", nil, WillNot, WillNot}, // as every program: the map of maps is created, too
		{wire.LoaderLibbpf, "later", inner, WillLoad, WillLoad},
		{wire.LoaderLibbpf, "ring", inner, WillLoad, WillLoad},
		{wire.LoaderLibbpf, "variables", inner, WillLoad, WillLoad},
		{wire.LoaderLibbpf, "in_arena", inner, WillLoad, WillLoad},
		{wire.LoaderLibbpf, "no_target", inner, WillNot, WillNot},
		{wire.LoaderLibbpf, "many_uprobes", inner, WillLoad, WillNot},
		{wire.LoaderLibbpf, "many_kprobes", inner, WillLoad, WillNot},
		{wire.LoaderLibbpf, "untraced", inner, WillLoad, WillNot},
		{wire.LoaderLibbpf, "untraced_kprobe", inner, WillLoad, WillLoad},
		{wire.LoaderLibbpf, "open_event", inner, WillLoad, WillLoad},
		{wire.LoaderLibbpf, "loose", inner, WillNot, WillNot},
		{wire.LoaderLibbpf, "started", inner, WillLoad, WillLoad},
	}
	for _, tt := range tests {
		p := openedBy(t, k, tt.loader, wire.ObjectSettings{Maps: tt.set})[tt.program]
		if p.Loads != tt.loads || p.Attaches != tt.attaches || p.Skip != "" {
			t.Errorf("%s by %s: loads %v, attaches %v, %q; want %v, %v", tt.program, tt.loader, p.Loads, p.Attaches, p.Skip, tt.loads, tt.attaches)
		}
	}
	if p := openedBy(t, k, "", wire.ObjectSettings{})["on_demand"]; p.Skip == "" {
		t.Error("an optional program is loaded")
	}
	k.Arch = "arm64"
	if p := openedBy(t, k, "", wire.ObjectSettings{Maps: inner})["open_event"]; p.Loads != WillLoad || p.Attaches != WillNot {
		t.Errorf("an event of a system call that arm64 has not: loads %v, attaches %v", p.Loads, p.Attaches)
	}
	k.config["IKCONFIG_PROC"] = ""
	if p := openedBy(t, k, "", wire.ObjectSettings{Maps: inner})["later"]; p.Loads != MayLoad {
		t.Errorf("libbpf wants options, and may not find them: %v", p.Loads)
	}
}

// Settings decide what is loaded, and as what.
func TestApply(t *testing.T) {
	k := libbpfKernel(t)
	one := func(name, value string) wire.ObjectSettings {
		return wire.ObjectSettings{Variants: []wire.Variant{{{Name: name, Value: value}}}}
	}
	tests := []struct {
		set     wire.ObjectSettings
		program string
		want    Loads
		skip    bool
	}{
		{wire.ObjectSettings{}, "by_level", MayLoad, false}, // the author's loader may set it
		{one("level", "2"), "by_level", WillLoad, false},
		{one("opened/level", "0x4"), "by_level", WillNot, false},
		{one("other/level", "4"), "by_level", WillLoad, false},
		{one("chosen.list[2]", "-1"), "by_level", WillNot, false},
		{one("chosen.list[1]", "-1"), "by_level", WillLoad, false},
		{one("chosen.name", `"xyz"`), "by_level", WillNot, false},
		{one("chosen.name[0]", "'x'"), "by_level", WillNot, false},
		{wire.ObjectSettings{Variants: []wire.Variant{{{Name: "level", Value: "4"}}, {{Name: "level", Value: "1"}}}}, "by_level", WillNot, false},
		{wire.ObjectSettings{Programs: []string{"*ev*"}}, "later", MayLoad, true},
		{wire.ObjectSettings{Programs: []string{"*ate*"}}, "later", WillLoad, false},
		{wire.ObjectSettings{Programs: []string{"!opened/lat*"}}, "later", MayLoad, true},
		{wire.ObjectSettings{Programs: []string{"on_demand"}}, "on_demand", WillLoad, false},
		{wire.ObjectSettings{Targets: []wire.TargetOfProg{{Program: "no_target", Section: "fentry/vfs_x"}}}, "no_target", WillLoad, false},
		{wire.ObjectSettings{Targets: []wire.TargetOfProg{{Program: "later", Section: "fentry/no_such"}}}, "later", WillNot, false},
		{wire.ObjectSettings{Alternatives: [][]string{{"ring", "opened/later"}}}, "ring", WillNot, true},
		{wire.ObjectSettings{Alternatives: [][]string{{"ring", "inner"}}}, "ring", WillNot, false},
		{wire.ObjectSettings{Alternatives: [][]string{{"opened/on_demand", "ring"}}}, "on_demand", WillLoad, false},
		{wire.ObjectSettings{Targets: []wire.TargetOfProg{{Program: "on_demand", Section: "kprobe/do_exit"}}}, "on_demand", WillLoad, false},
	}
	for _, tt := range tests {
		p := openedBy(t, k, wire.LoaderGo, tt.set)[tt.program]
		if p.Loads != tt.want || p.Skip != "" != tt.skip {
			t.Errorf("%+v: %s: %v, skipped %q; want %v, %v", tt.set, tt.program, p.Loads, p.Skip, tt.want, tt.skip)
		}
	}
	o := readTestObject(t, "libbpf/opened")
	for _, set := range []wire.ObjectSettings{
		one("level", "x"), one("level", "0x100000000"), one("chosen.list[3]", "1"), one("chosen.none", "1"),
		one("chosen", "1"), one("chosen.name", `"12345"`),
		{Programs: []string{"["}},
	} {
		if err := o.Apply(set); err == nil {
			t.Errorf("%+v is no error", set)
		}
	}
}

// Of several variants only they count, not the object's own values.
func TestVariantsReplaceTheObjectsValues(t *testing.T) {
	k := libbpfKernel(t)
	o := readTestObject(t, "libbpf/opened")
	if err := o.Apply(wire.ObjectSettings{Variants: []wire.Variant{{{Name: "level", Value: "2"}}, {{Name: "level", Value: "3"}}}}); err != nil {
		t.Fatal(err)
	}
	o.contents = maps.Clone(o.contents)
	for section, b := range o.contents {
		o.contents[section] = bytes.Repeat([]byte{9}, len(b)) // with a level that the kernel has too little for
	}
	for _, p := range Check(o, k).Programs {
		if p.Name == "libbpf/opened/by_level" && p.Loads != WillLoad {
			t.Errorf("loads: %v", p.Loads)
		}
	}
}

// A group may have programs of several objects, and what cannot be attached is no
// alternative where that counts.
func TestCheckAll(t *testing.T) {
	k := libbpfKernel(t)
	objects := make([]*Object, 2)
	for i, name := range []string{"one", "two"} {
		objects[i] = readTestObject(t, "libbpf/opened")
		objects[i].Name, objects[i].Loader = name, wire.LoaderGo
		if err := objects[i].Apply(wire.ObjectSettings{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		group   []string
		attach  bool
		skipped []string
	}{
		{[]string{"one/ring", "two/later"}, false, []string{"one/ring"}},
		{[]string{"one/ring", "two/inner"}, false, nil}, // neither loads
		{[]string{"ring", "two/later"}, false, []string{"one/ring", "two/ring"}},
		{[]string{"one/many_kprobes", "two/later"}, false, nil},
		{[]string{"one/many_kprobes", "two/later"}, true, []string{"one/many_kprobes"}},
		{[]string{"three/ring", "none"}, true, nil},
	} {
		var skipped []string
		for _, r := range CheckAll(objects, k, [][]string{tt.group}, tt.attach) {
			for _, p := range r.Programs {
				if strings.HasPrefix(p.Skip, "an alternative to ") {
					skipped = append(skipped, p.Name)
				}
			}
		}
		if !slices.Equal(skipped, tt.skipped) {
			t.Errorf("%q: %q are skipped, want %q", tt.group, skipped, tt.skipped)
		}
	}
}

// An object that cannot be read fails alone, and is not known to load.
func TestBroken(t *testing.T) {
	s := &Survey{
		Objects: []*Object{ReadOrBroken("good", mustRead(t, "config"), "amd64"), ReadOrBroken("bad", []byte("\x7fELF"), "amd64")},
		Kernels: []On{{ID: "debian/6.1.0__1"}},
	}
	for _, o := range s.Objects {
		if err := o.Apply(wire.ObjectSettings{}); err != nil {
			t.Fatal(err)
		}
		s.Kernels[0].Results = append(s.Kernels[0].Results, Check(o, libbpfKernel(t)))
	}
	s.Finish()
	var text, j strings.Builder
	if err := s.Text(&text); err != nil || !strings.Contains(text.String(), "bad: cannot be read: ") || !strings.Contains(text.String(), "good: ") {
		t.Errorf("%v\n%s", err, &text)
	}
	if err := s.JSON(&j); err != nil || !strings.Contains(j.String(), `"error": "`) || strings.Contains(j.String(), "null") {
		t.Errorf("%v\n%s", err, &j)
	}
	if l := s.Kernels[0].Results[1].Loads(); l != MayLoad {
		t.Errorf("loads: %v", l)
	}
}

// What only programs need that the settings leave out is not listed, but for what
// libbpf wants for any program.
func TestLeftOut(t *testing.T) {
	all := []string{"fentry vfs_x", "kprobe.multi vfs_x", "map bare"}
	for _, tt := range []struct {
		loader   string
		programs []string
		listed   []string
	}{
		{wire.LoaderGo, nil, all},
		{wire.LoaderGo, []string{"!untraced"}, all[1:]},
		{wire.LoaderGo, []string{"later"}, nil},
		{wire.LoaderLibbpf, []string{"!untraced", "!many_kprobes", "!inner"}, all[2:]}, // it creates all maps
	} {
		o := readTestObject(t, "libbpf/opened")
		o.Loader = tt.loader
		if err := o.Apply(wire.ObjectSettings{Programs: tt.programs}); err != nil {
			t.Fatal(err)
		}
		s := &Survey{Objects: []*Object{o}, Kernels: []On{{ID: "debian/6.1.0__1", Results: []Result{Check(o, libbpfKernel(t))}}}}
		s.Finish()
		var text, j strings.Builder
		if err := errors.Join(s.Text(&text), s.JSON(&j)); err != nil {
			t.Fatal(err)
		}
		for _, dep := range all {
			want := slices.Contains(tt.listed, dep)
			kind, name, _ := strings.Cut(dep, " ")
			inText := strings.Contains(text.String(), "\n    "+dep+"\n")
			inJSON := strings.Contains(strings.Join(strings.Fields(j.String()), " "), fmt.Sprintf(`"kind": %q, "name": %q,`, kind, name))
			if inText != want || inJSON != want {
				t.Errorf("%s, %q: %s is listed: %v, in JSON %v; want %v", tt.loader, tt.programs, dep, inText, inJSON, want)
			}
		}
	}
}

// libbpf does not open an object whose maps no BTF describes.
func TestNoBTF(t *testing.T) {
	b := bytes.ReplaceAll(mustRead(t, "libbpf/opened"), []byte(".BTF\x00"), []byte(".XXX\x00"))
	o, err := Read("o", b, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	s := &Survey{Objects: []*Object{o}, Kernels: []On{{ID: "debian/6.1.0__1", Results: []Result{Check(o, libbpfKernel(t))}}}}
	s.Finish()
	for _, p := range s.Kernels[0].Results[0].Programs {
		if p.Loads != WillNot {
			t.Errorf("%s: %v", p.Name, p.Loads)
		}
	}
	var text strings.Builder
	if err := s.Text(&text); err != nil || !strings.Contains(text.String(), "build it with -g, and do not strip .BTF") || s.Loads() != WillNot {
		t.Errorf("%v: %v\n%s", err, s.Loads(), &text)
	}
}

// Of an object with neither programs nor maps nothing is claimed, and it decides
// nothing.
func TestNothingToCheck(t *testing.T) {
	o := &Object{Name: "none"}
	r := Check(o, libbpfKernel(t))
	s := &Survey{Objects: []*Object{o}, Kernels: []On{{ID: "debian/6.1.0__1", Results: []Result{r}}}}
	s.Finish()
	var text strings.Builder
	if err := s.Text(&text); err != nil || !strings.HasPrefix(text.String(), "none: nothing to check: ") || strings.Contains(text.String(), "nothing missing") {
		t.Errorf("%v\n%s", err, &text)
	}
	if r.Loads() != MayLoad || s.Loads() != WillLoad || s.Attaches() != WillLoad {
		t.Errorf("loads: %v, all: %v, %v", r.Loads(), s.Loads(), s.Attaches())
	}
}

// Types from elsewhere serve relocations, and nothing that the kernel needs types
// of its own for.
func TestForeignTypes(t *testing.T) {
	k := libbpfKernel(t)
	k.foreign = true
	programs := openedBy(t, k, wire.LoaderGo, wire.ObjectSettings{Targets: []wire.TargetOfProg{{Program: "later", Section: "fentry/vfs_x"}}})
	for program, want := range map[string]Loads{"variables": WillLoad, "later": WillNot, "flavours": WillNot, "untraced": WillNot} {
		if programs[program].Loads != want {
			t.Errorf("%s: %v, want %v", program, programs[program].Loads, want)
		}
	}
}

func TestOdd(t *testing.T) {
	for _, tt := range []struct {
		m    ebpf.MapSpec
		want Loads
	}{
		{ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 1}, WillLoad},
		{ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4}, WillLoad}, // the loader sets a size
		{ebpf.MapSpec{Type: ebpf.LRUHash, ValueSize: 4, MaxEntries: 1}, WillNot},
		{ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, MaxEntries: 1}, WillNot},
		{ebpf.MapSpec{Type: ebpf.BloomFilter, ValueSize: 4, MaxEntries: 1}, WillLoad},
		{ebpf.MapSpec{Type: ebpf.BloomFilter, MaxEntries: 1}, WillNot},
		{ebpf.MapSpec{Type: ebpf.StackTrace, KeySize: 4}, WillLoad},
		{ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 4096}, WillLoad},
	} {
		if _, got := odd(&tt.m, wire.LoaderLibbpf); got != tt.want {
			t.Errorf("%v: %v, want %v", &tt.m, got, tt.want)
		}
	}
}
