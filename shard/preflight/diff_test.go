package preflight

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

func markdown(t *testing.T, d *Difference, most int) string {
	t.Helper()
	var b bytes.Buffer
	if err := d.Markdown(&b, most); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func unsigned(size uint32) *btf.Int {
	return &btf.Int{Name: map[uint32]string{1: "u8", 4: "u32", 8: "u64"}[size], Size: size}
}

func structOf(name string, size uint32, members ...btf.Member) *btf.Struct {
	return &btf.Struct{Name: name, Size: size, Members: members}
}

// olderKernel and newerKernel differ in each way that is told apart.
func olderKernel(t *testing.T) *Kernel {
	task := structOf(
		"task_struct", 64,
		btf.Member{Name: "state", Type: &btf.Volatile{Type: integer(8)}},
		btf.Member{Name: "flags", Type: unsigned(4), Offset: 64},
		btf.Member{Name: "on_rq", Type: integer(4), Offset: 96},
		btf.Member{Type: &btf.Union{Size: 8, Members: []btf.Member{
			{Name: "rcu_users", Type: integer(4)}, {Name: "rcu", Type: integer(8)},
		}}, Offset: 128},
		btf.Member{Name: "in_iowait", Type: unsigned(4), Offset: 192, BitfieldSize: 1},
		btf.Member{Name: "seccomp", Type: &btf.Struct{Size: 4, Members: []btf.Member{{Name: "mode", Type: integer(4)}}}, Offset: 256},
	)
	k := testKernel(t, []btf.Type{
		task,
		function("do_unlinkat", integer(4), ptr("filename")), function("vfs_unlink", ptr("inode"), ptr("dentry")),
		function("vfs_open", ptr("path")), function("vfs_read", ptr("file")), function("vfs_write", ptr("file")), function("vfs_stat", ptr("path")),
		function("ext4_sync", ptr("inode")), function("same", integer(4)), function("bpf_lsm_file_open", ptr("file")),
		function("__bpf_trace_sched_switch", integer(4)), function("bpf_kfunc_a", integer(4)),
		tracepoint("sched_switch", ptr("task_struct")), tracepoint("block_old", ptr("request")),
		enum("bpf_map_type", map[string]uint64{"BPF_MAP_TYPE_HASH": 1, "__MAX_BPF_MAP_TYPE": 2}),
		enum("bpf_func_id", map[string]uint64{"BPF_FUNC_loop": 181}), enum("bpf_prog_type", map[string]uint64{"BPF_PROG_TYPE_KPROBE": 2}), enum("bpf_attach_type", map[string]uint64{"BPF_LSM_MAC": 27}),
		enum("zone_type", map[string]uint64{"ZONE_DMA": 0, "ZONE_NORMAL": 1}),
		structOf("gone_struct", 8, btf.Member{Name: "x", Type: integer(8)}),
		structOf("vm_area", 8, btf.Member{Name: "mm", Type: ptr("mm_struct")}),
		structOf("only_larger", 8, btf.Member{Name: "x", Type: integer(8)}),
	}, "do_unlinkat T", "vfs_unlink T", "vfs_open T", "vfs_read T", "vfs_write T", "vfs_stat T", "vfs_stat.isra.0 t", "vfs_stat.isra.1 t", "vfs_stat.cold t", "vfs_read.part.0 t", "ext4_sync t", "same t",
		"bpf_lsm_file_open T", "__x64_sys_old T", "__BTF_ID__set8__kfuncs r", "kfunc:bpf_kfunc_a r", "bpf_kfunc_a T", "__tracepoint_sched_switch d", "__tracepoint_block_old d")
	k.ID = "debian/6.1.0-56-cloud-amd64__6.1.190-1"
	k.config = map[string]string{"BPF_LSM": "y", "XFS_FS": "m", "HZ": "250", "KPROBES": "n", "FTRACE_SYSCALLS": "y", "MODULES": "y"}
	k.readModules = func() (moduleIndex, error) { return moduleIndex{All: true}, nil }
	return k
}

func newerKernel(t *testing.T) *Kernel {
	task := structOf(
		"task_struct", 72,
		btf.Member{Name: "__state", Type: unsigned(4)},
		btf.Member{Name: "flags", Type: unsigned(8), Offset: 64},
		btf.Member{Name: "on_rq", Type: integer(4), Offset: 128},
		btf.Member{Type: &btf.Union{Size: 8, Members: []btf.Member{
			{Name: "rcu_users", Type: integer(8)}, {Name: "rcu", Type: integer(8)},
		}}, Offset: 192},
		btf.Member{Name: "in_iowait", Type: unsigned(4), Offset: 257, BitfieldSize: 1},
		btf.Member{Name: "seccomp", Type: &btf.Struct{Size: 4, Members: []btf.Member{{Name: "mode", Type: integer(4)}}}, Offset: 320},
	)
	k := testKernel(t, []btf.Type{
		task,
		function("vfs_unlink", ptr("mnt_idmap"), ptr("inode"), ptr("dentry")),
		function("vfs_open", ptr("path")), function("vfs_read", ptr("file")), function("vfs_write", ptr("file")), function("vfs_stat", ptr("path")),
		function("vfs_new", ptr("file")), function("same", integer(4)), function("bpf_lsm_file_open", ptr("file")),
		function("bpf_kfunc_a", integer(8)), function("bpf_kfunc_b", integer(4)),
		tracepoint("sched_switch", ptr("task_struct"), integer(4)),
		enum("bpf_map_type", map[string]uint64{"BPF_MAP_TYPE_HASH": 1, "BPF_MAP_TYPE_RHASH": 2, "__MAX_BPF_MAP_TYPE": 3}),
		enum("bpf_func_id", map[string]uint64{"BPF_FUNC_loop": 181}), enum("bpf_prog_type", map[string]uint64{"BPF_PROG_TYPE_KPROBE": 2}), enum("bpf_attach_type", map[string]uint64{"BPF_LSM_MAC": 27}),
		enum("zone_type", map[string]uint64{"ZONE_DMA": 0, "ZONE_DMA32": 1, "ZONE_NORMAL": 2}),
		structOf("vm_area", 8, btf.Member{Name: "mm", Type: ptr("mm_struct")}),
		structOf("only_larger", 16, btf.Member{Name: "x", Type: integer(8)}),
	}, "vfs_unlink T", "vfs_open t", "vfs_read x", "vfs_write T", "vfs_write T", "vfs_stat T", "vfs_stat.isra.7 t", "vfs_new T", "same t",
		"bpf_lsm_file_open T", "set:sleepable_lsm_hooks:bpf_lsm_file_open r", "__x64_sys_new T", "__BTF_ID__set8__kfuncs r",
		"kfunc:bpf_kfunc_a r", "kfunc:bpf_kfunc_b r", "bpf_kfunc_a T", "bpf_kfunc_b T", "__tracepoint_sched_switch d", "str__sched__trace_system_name d", "event_enter__openat d", "event_exit__openat d", "not_in_btf x")
	k.ID = "debian/6.12.118+deb13-cloud-amd64__6.12.118-1"
	k.config = map[string]string{"BPF_LSM": "y", "HZ": "1000", "KPROBES": "y", "FTRACE_SYSCALLS": "y", "MODULES": "y"}
	k.readModules = func() (moduleIndex, error) {
		return moduleIndex{Lines: sorted([]string{"ext4_sync f ext4", "btf_trace_ext4_event t ext4"}), All: true}, nil
	}
	return k
}

func TestDiff(t *testing.T) {
	d := Diff(olderKernel(t), newerKernel(t))
	reporttest.Golden(t, "diff.md", markdown(t, d, 0))
	reporttest.Golden(t, "diff-short.md", markdown(t, d, 1))
	reporttest.Golden(t, "diff.txt", strings.Join(d.Lines(100), "\n")+"\n")
	if got := d.Lines(3); len(got) != 3 || got[2] != "23 changes more" {
		t.Errorf("three lines: %q", got)
	}
}

// What is the same says nothing: not another number of a copy, nor another name
// of a parameter, nor what macros and the compiler make.
func TestDiffOfTheSame(t *testing.T) {
	a, b := olderKernel(t), olderKernel(t)
	b.symbols = symbols(strings.Replace(string(b.symbols), "vfs_stat.isra.0", "vfs_stat.isra.3", 1))
	if d := Diff(a, b); len(d.Changes) != 0 || !strings.Contains(markdown(t, d, 0), "\nNothing.\n") {
		t.Errorf("%+v", d.Changes)
	}
}

// What one of two kernels does not tell did not go.
func TestDiffOfUnknown(t *testing.T) {
	for what, lost := range map[string]string{
		"BTF":           "program type, map type, attach type, helper, kfunc, LSM hook, tracepoint, function, struct, enum",
		"symbols":       "kfunc, LSM hook, function",
		"build options": "build option",
	} {
		a, b := newerKernel(t), newerKernel(t)
		switch what {
		case "BTF":
			b.types, b.noTypes = nil, true
		case "symbols":
			b.symbols = ""
		case "build options":
			b.config = nil
		}
		for _, d := range []*Difference{Diff(a, b), Diff(b, a)} {
			if len(d.Changes) != 0 {
				t.Errorf("without %s: %+v", what, d.Changes)
			}
			if len(d.Unknown) != 1 || !strings.Contains(markdown(t, d, 0), "\n**Not compared:** "+lost+", which "+b.ID+" does not tell.\n") {
				t.Errorf("without %s: %q", what, d.Unknown)
			}
		}
	}
}

func TestDiffFor(t *testing.T) {
	base := baseTypes()
	a := testKernel(t, append(base, function("do_unlinkat", integer(4), ptr("filename")), function("vfs_unlink", ptr("inode"), ptr("dentry"), ptr("x"))), "do_unlinkat T", "vfs_unlink T")
	a.ID = "debian/1"
	moved := append(slices.Clone(base[:6]), &btf.Struct{Name: "task_struct", Size: 64, Members: []btf.Member{{Name: "__state", Type: &btf.Int{Name: "unsigned int", Size: 4}, Offset: 128}}})
	b := testKernel(t, append(moved, function("vfs_unlink", ptr("mnt_idmap"), ptr("inode"), ptr("dentry"), ptr("x"))), "vfs_unlink T")
	b.ID = "debian/2"
	broken := &Object{Name: "b", Broken: "cannot be read: it is malformed"}
	d := DiffFor([]*Object{readTestObject(t, "changed"), broken}, a, b)
	reporttest.Golden(t, "diff-for.md", markdown(t, d, 0))
	reporttest.Golden(t, "diff-for.txt", strings.Join(d.Lines(100), "\n")+"\n")
	if d := DiffFor([]*Object{readTestObject(t, "changed")}, a, a); len(d.Changes) != 0 {
		t.Errorf("one kernel: %+v", d.Changes)
	}
}

// What was not known and then is not there did not go.
func TestDiffForOfUnknown(t *testing.T) {
	a := testKernel(t, baseTypes(), "other T")
	a.readModules = nil
	b := testKernel(t, baseTypes(), "other T")
	for _, c := range DiffFor([]*Object{readTestObject(t, "changed")}, a, b).Changes {
		if c.State != Different {
			t.Errorf("%s: %v %q", c.Name, c.State, c.Lines)
		}
	}
}

// Names cannot end the block that they stand in.
func TestDiffOfHostileNames(t *testing.T) {
	evil := structOf("```\n# evil", 8, btf.Member{Name: "```", Type: integer(8)})
	a := testKernel(t, []btf.Type{function("f", &btf.Pointer{Target: evil}), structOf("s", 8, btf.Member{Name: "a", Type: integer(8)}), evil}, "f T", "``` T", "\x1b[31m T")
	b := testKernel(t, []btf.Type{structOf("s", 8, btf.Member{Name: "```", Type: integer(8)})}, "other T")
	a.ID, b.ID = "`a`\n# x", "b"
	a.config, b.config = map[string]string{"X": "y"}, map[string]string{"X": "```\n# evil"}
	s := markdown(t, Diff(a, b), 0)
	if n := strings.Count(s, "`"); n != 6*strings.Count(s, "```diff\n")+4 {
		t.Errorf("%d backticks in\n%s", n, s)
	}
	for _, line := range strings.Split(s, "\n") {
		if strings.HasPrefix(line, "# ") && line != "# What changed for BPF programs" || strings.Contains(line, "\x1b") {
			t.Errorf("line %q", line)
		}
	}
}

// A struct of a name that stands there twice is compared with all of that name.
func TestDiffOfTwins(t *testing.T) {
	one := func(size uint32) *btf.Struct {
		return structOf("twin", size, btf.Member{Name: "x", Type: integer(4), Offset: btf.Bits(8 * (size - 4))})
	}
	a := testKernel(t, []btf.Type{one(8), one(16)}, "f T")
	b := testKernel(t, []btf.Type{one(16), one(8)}, "f T")
	if d := Diff(a, b); len(d.Changes) != 0 {
		t.Errorf("in another order: %+v", d.Changes)
	}
	c := testKernel(t, []btf.Type{one(16)}, "f T")
	if d := Diff(a, c); len(d.Changes) != 1 || !slices.Equal(d.Changes[0].Lines, []string{"- struct twin // 8 bytes, 1 field"}) {
		t.Errorf("one less: %+v", d.Changes)
	}
	a = testKernel(t, []btf.Type{function("f", integer(4)), function("f", integer(8))}, "f t", "f t")
	b = testKernel(t, []btf.Type{function("f", integer(8)), function("f", ptr("file"))}, "f t", "f t")
	for _, c := range Diff(a, b).Changes {
		if c.Kind == kindFunction {
			t.Errorf("of two functions, BTF has another one: %+v", c)
		}
	}
}
