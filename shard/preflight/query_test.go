package preflight

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestQuery(t *testing.T) {
	var all bytes.Buffer
	for _, query := range []string{
		"struct task_struct.state", "task_struct.rcu_users", "struct task_struct.seccomp.mode", "struct task_struct.in_iowait", "struct only_larger",
		"enum zone_type", "ZONE_DMA32", "enum value ZONE_NORMAL", "vfs_unlink", "fentry vfs_open", "function ext4_sync", "kprobe vfs_write", "sched/sched_switch", "tp_btf block_old",
		"kfunc bpf_kfunc_b", "helper bpf_loop", "helper 181", "map type RHash", "BPF_MAP_TYPE_RHASH", "lsm file_open", "ksyscall new", "CONFIG_HZ", "CONFIG_XFS_FS", "config KPROBES", "struct gone_struct.x",
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
	golden(t, "query.txt", all.String())
}

func TestQueryOfNothing(t *testing.T) {
	for query, near := range map[string]string{
		"vfs_unlnik": "vfs_unlink", "struct task_strcut": "task_struct", "struct task_struct.flgs": "task_struct.flags", "CONFIG_BPF_LSN": "BPF_LSM", "nothing_like_it": "",
		"struct vfs_unlink": "", "struct task_struct.nothing_like_it": "", "not_in_btf.x": "",
	} {
		q, err := ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		k := newerKernel(t)
		f := NewFindings(q)
		f.Add("debian/1", k, nil)
		want := ""
		if near != "" {
			want = `, did you mean "` + near + `"?`
		}
		if got := q.Near(k); !f.Empty() || got != want {
			t.Errorf("%s: empty %v, near %q; want %q", query, f.Empty(), got, want)
		}
	}
}

// What a kernel does not tell is not absent.
func TestQueryOfUnknown(t *testing.T) {
	bare := func(t *testing.T) *Kernel { return &Kernel{ID: "debian/2", Release: "6.1.0", Arch: "amd64"} }
	for _, query := range []string{"struct task_struct", "struct task_struct.flags", "function vfs_unlink", "tracepoint sched_switch", "kfunc bpf_kfunc_b", "ksyscall new", "CONFIG_HZ", "map type hash", "lsm file_open"} {
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
		if s := b.String(); strings.Contains(s, "absent") || !strings.Contains(s, "      not known              debian/2\n") || !strings.Contains(s, "debian/3: unknown: no such file\n") {
			t.Errorf("%s:\n%s", query, s)
		}
	}
	// A module's list names types, not fields.
	k := newerKernel(t)
	k.readModules = func() (moduleIndex, error) {
		return moduleIndex{Lines: sorted([]string{"ovl_thing t overlay"}), All: true}, nil
	}
	q, _ := ParseQuery("struct ovl_thing.field")
	if got := q.missing(k, kindStruct); len(q.Ask(k)) > 0 || got != "not known: the type is in module overlay" {
		t.Errorf("field of a module's type: %q", got)
	}
	q, _ = ParseQuery("struct ovl_thing")
	if got := q.Ask(k); len(got) != 1 || got[0].Words != "in module overlay" {
		t.Errorf("a module's type: %+v", got)
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
		if found.Empty() && len(q.Ask(k)) > 0 {
			t.Error("found, and empty")
		}
	})
}
