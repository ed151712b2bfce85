package preflight

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

func TestQuery(t *testing.T) {
	var all bytes.Buffer
	for _, query := range []string{
		"struct task_struct.state", "task_struct.rcu_users", "struct task_struct.seccomp.mode", "struct task_struct.in_iowait", "struct only_larger",
		"enum zone_type", "union only_larger", "vfs_unlink", "fentry vfs_open", "function ext4_sync", "kprobe vfs_write", "sched/sched_switch", "sched:sched_switch", "tracepoint syscalls/sys_enter_openat", "sys_exit_openat", "tracepoint ext4/ext4_event", "tracepoint sched_switch", "tp_btf block_old",
		"kfunc bpf_kfunc_b", "helper bpf_loop", "helper 181", "map type RHash", "BPF_MAP_TYPE_RHASH", "lsm file_open", "__x64_sys_new", "CONFIG_HZ", "CONFIG_XFS_FS", "config KPROBES", "struct gone_struct.x",
	} {
		q, err := ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		f := NewFindings(q)
		f.Add("debian/6.12.118+deb13-cloud-amd64__6.12.118-1", newerKernel(t), nil)
		f.Add("debian/6.1.0-56-cloud-amd64__6.1.190-1", olderKernel(t), nil)
		if f.Empty() {
			t.Errorf("%s: nothing found", query)
		}
		all.WriteString("> " + query + "\n")
		if err := f.Text(&all, 3); err != nil {
			t.Fatal(err)
		}
	}
	reporttest.Golden(t, "query.txt", all.String())
}

func TestQueryOfNothing(t *testing.T) {
	for query, near := range map[string]string{
		"vfs_unlnik": "vfs_unlink", "struct task_strcut": "task_struct", "struct task_struct.flgs": "task_struct.flags", "CONFIG_BPF_LSN": "BPF_LSM", "nothing_like_it": "",
		"struct vfs_unlink": "", "struct task_struct.nothing_like_it": "", "not_in_btf.x": "",
		"task_struct.seccomp.moed": "task_struct.seccomp.mode", "tracepoint syscalls/sys_enter_opnat": "syscalls/sys_enter_openat", "sched:sched_swich": "sched_switch",
		"vm_area.mm.pgd":                   ": vm_area.mm is a pointer, and none is followed: ask for struct mm_struct.pgd",
		"vm_area.mm.context.lock":          ": vm_area.mm is a pointer, and none is followed: ask for struct mm_struct.context.lock",
		"tracepoint syscalls/sched_switch": ": the event is there, its category is not",
	} {
		q, err := ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		k := newerKernel(t)
		f := NewFindings(q)
		f.Add("debian/1", k, nil)
		want := ""
		if strings.HasPrefix(near, ":") {
			want = near
		} else if near != "" {
			want = `, did you mean "` + near + `"?`
		}
		if got := f.Near(k); !f.Empty() || got != want {
			t.Errorf("%s: empty %v, near %q; want %q", query, f.Empty(), got, want)
		}
	}
}

// What a kernel does not tell is not absent.
func TestQueryOfUnknown(t *testing.T) {
	unknown := regexp.MustCompile(`\n      not known(: .*symbols are not known\n)? +debian/2\n`)
	bare := func(t *testing.T) *Kernel { return &Kernel{ID: "debian/2", Release: "6.1.0", Arch: "amd64"} }
	for _, query := range []string{"struct task_struct", "struct task_struct.flags", "function vfs_unlink", "tracepoint sched_switch", "sched/sched_switch", "syscalls/sys_enter_openat", "kfunc bpf_kfunc_b", "enum zone_type", "CONFIG_HZ", "map type hash", "lsm file_open"} {
		q, err := ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		f := NewFindings(q)
		f.Add("debian/1", newerKernel(t), nil)
		f.Add("debian/2", bare(t), nil)
		f.Add("debian/3", nil, errors.New("no such file"))
		var b bytes.Buffer
		if err := f.Text(&b, 0); err != nil {
			t.Fatal(err)
		}
		if s := b.String(); strings.Contains(s, "absent") || !unknown.MatchString(s) || !strings.Contains(s, "debian/3: unknown: no such file\n") {
			t.Errorf("%s:\n%s", query, s)
		}
	}
	// A module's list names types, not fields.
	k := newerKernel(t)
	k.readModules = func() (moduleIndex, error) {
		return moduleIndex{Lines: sorted([]string{"ovl_thing t overlay"}), All: true}, nil
	}
	for query, want := range map[string]found{
		"struct ovl_thing.field": {words: "not known: the name is in module overlay"},
		"enum ovl_thing":         {words: "not known: the name is in module overlay"},
		"struct ovl_thing":       {words: "in module overlay", is: true},
	} {
		q, err := ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if got := q.ask(k, q.kinds[0]); got.is != want.is || got.words != want.words {
			t.Errorf("%s: %+v, want %+v", query, got, want)
		}
	}
	// Sets of kfuncs are symbols that not all kernels name.
	k = newerKernel(t)
	k.symbols = symbols(strings.Replace(string(k.symbols), "__BTF_ID__set8__kfuncs r\n", "", 1))
	q, _ := ParseQuery("kfunc bpf_kfunc_c")
	if got := q.ask(k, kindKfunc); got.words != "not known" {
		t.Errorf("a kfunc of a kernel without their sets: %+v", got)
	}
	// A kfunc is there without a prototype, too.
	k = newerKernel(t)
	k.types = nil
	q, _ = ParseQuery("kfunc bpf_kfunc_b")
	if got := q.ask(k, kindKfunc); !got.is {
		t.Errorf("a kfunc of a kernel without BTF: %+v", got)
	}
}

func TestParseQueryErrors(t *testing.T) {
	for query, want := range map[string]string{
		"": "empty", "strcut file": `did you mean "struct"?`, "struct file.": "between the dots", "struct .x": "between the dots", "func\x00tion": "printable", "struct file x": `"struct file" is no kind`,
		strings.Repeat("x", 300): "256",
	} {
		if _, err := ParseQuery(query); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", query, err, want)
		}
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"struct task_struct.state", "map type ringbuf", "CONFIG_X", "a/b", "a.b.c", "helper 1", "enum value X", ". .", "CONFIG_", "tp_btf /", "struct a/b.c"} {
		f.Add(s)
	}
	t := &testing.T{}
	k := newerKernel(t)
	f.Fuzz(func(t *testing.T, s string) {
		q, err := ParseQuery(s)
		if err != nil {
			return
		}
		found := NewFindings(q)
		found.Add("debian/1", k, nil)
		var b bytes.Buffer
		if err := found.Text(&b, 5); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(b.String(), func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) {
			t.Errorf("%q", b.String())
		}
		if found.Empty() != (b.Len() == 0) {
			t.Errorf("empty: %v, %q", found.Empty(), b.String())
		}
	})
}
