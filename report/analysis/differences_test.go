package analysis

import (
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
)

const (
	unlinkThree = "int vfs_unlink(struct inode *dir, struct dentry *dentry, struct inode **delegated_inode)"
	unlinkUser  = "int vfs_unlink(struct user_namespace *mnt_userns, struct inode *dir, struct dentry *dentry, struct inode **delegated_inode)"
	unlinkIdmap = "int vfs_unlink(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, struct inode **delegated_inode)"
)

// boundaryKernels are two kernels between which a test begins to fail, or, for
// first, stops failing.
func boundaryKernels(first bool, test string, before, after []report.Dep) *report.Merged {
	m := &report.Merged{}
	for i, name := range []string{"debian/5.10.0-46-amd64__1", "debian/6.1.0-56-amd64__1"} {
		k := report.Result{ID: name, Verdict: report.Pass, Tests: []report.Test{{Name: test, Verdict: "pass"}}, Facts: &report.Facts{Deps: [][]report.Dep{before, after}[i]}}
		if (i == 0) == first {
			k.Verdict, k.Tests[0].Verdict, k.Tests[0].Output = report.Fail, "fail", "it failed"
			k.Cause = &report.Cause{Title: test + ": it failed"}
		}
		m.Kernels = append(m.Kernels, k)
	}
	return m
}

// Each boundary says what differs, and nothing that does not concern the
// failing program.
func TestDifferences(t *testing.T) {
	of := func(list ...string) []string { return list }
	unlink := func(status, signature string, breaks ...string) report.Dep {
		return report.Dep{Kind: "fentry", Name: "vfs_unlink", Status: status, Signature: signature, Programs: of("o/unlink"), Breaks: breaks}
	}
	gone := func(status, signature, note string, breaks ...string) report.Dep {
		return report.Dep{Kind: "fentry", Name: "do_unlinkat", Status: status, Signature: signature, Note: note, Programs: of("o/gone"), Breaks: breaks}
	}
	tests := []struct {
		name          string
		first         bool
		test          string
		before, after []report.Dep
		want          string // "": nothing is said
	}{
		{
			"an argument more", false, "o/unlink",
			[]report.Dep{unlink("present", unlinkThree)},
			[]report.Dep{unlink("changed", unlinkUser)},
			"`fentry vfs_unlink` is `" + unlinkUser + "` from `6.1.0-56-amd64` (was `" + unlinkThree + "`)",
		},
		{
			"another type", false, "o/unlink",
			[]report.Dep{unlink("present", unlinkUser)},
			[]report.Dep{unlink("changed", unlinkIdmap)},
			"`fentry vfs_unlink` is `" + unlinkIdmap + "` from `6.1.0-56-amd64` (was `" + unlinkUser + "`)",
		},
		{
			"gone", false, "o/gone",
			[]report.Dep{gone("present", "long do_unlinkat(int dfd)", "")},
			[]report.Dep{gone("absent", "", "", "o/gone")},
			"`fentry do_unlinkat` is not in `6.1.0-56-amd64`, it is in `5.10.0-46-amd64`: `long do_unlinkat(int dfd)`",
		},
		{
			"came", true, "o/gone",
			[]report.Dep{gone("absent", "", "CONFIG_BPF_LSM is off", "o/gone")},
			[]report.Dep{gone("present", "", "")},
			"`fentry do_unlinkat` is not in `5.10.0-46-amd64` (`CONFIG_BPF_LSM is off`), it is in `6.1.0-56-amd64`",
		},
		{
			"another program's", false, "o/other",
			[]report.Dep{gone("present", "", ""), {Kind: "helper", Name: "h", Status: "present", Programs: of("o/other")}},
			[]report.Dep{gone("absent", "", "", "o/gone"), {Kind: "helper", Name: "h", Status: "present", Programs: of("o/other")}},
			"",
		},
		{"only a parameter's name", false, "o/unlink", []report.Dep{unlink("present", "int vfs_unlink(struct inode *a)")}, []report.Dep{unlink("present", "int vfs_unlink(struct inode *b)")}, ""},
		{
			"what does not load comes alone", false, "o/gone",
			[]report.Dep{gone("present", "", ""), {Kind: "field", Name: "struct f.x", Status: "present", Signature: "int x", Programs: of("o/gone")}},
			[]report.Dep{gone("absent", "", "", "o/gone"), {Kind: "field", Name: "struct f.x", Status: "changed", Signature: "long x", Programs: of("o/gone")}},
			"`fentry do_unlinkat` is not in `6.1.0-56-amd64`, it is in `5.10.0-46-amd64`",
		},
		{
			"tests that are no programs", false, "TestUnlink",
			[]report.Dep{gone("present", "", ""), unlink("present", unlinkThree)},
			[]report.Dep{gone("absent", "", "", "o/gone"), unlink("changed", unlinkUser)},
			"`fentry do_unlinkat` is not in `6.1.0-56-amd64`, it is in `5.10.0-46-amd64`",
		},
		{"nothing known", false, "o/gone", nil, []report.Dep{gone("absent", "", "", "o/gone")}, ""},
		{"the same on both sides", false, "o/gone", []report.Dep{gone("absent", "", "", "o/gone")}, []report.Dep{gone("absent", "", "", "o/gone")}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			groups := Groups(boundaryKernels(tt.first, tt.test, tt.before, tt.after))
			if len(groups) != 1 || len(groups[0].Boundaries) != 1 {
				t.Fatalf("groups: %+v", groups)
			}
			shown, folded := groups[0].Boundaries[0].Reasons(func(s string) string { return "`" + s + "`" })
			if len(folded) > 0 {
				t.Errorf("folded: %q", folded)
			}
			got := strings.Join(shown, "\n")
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// What the failure's own words name comes first, the rest is folded.
func TestNamedDifferences(t *testing.T) {
	field := func(name, status string, breaks ...string) report.Dep {
		return report.Dep{Kind: "field", Name: name, Status: status, Programs: []string{"p"}, Breaks: breaks}
	}
	names := []string{"struct a.x", "struct a.y", "struct b.x", "struct b.y", "struct c.x", "struct kernfs_node.parent", "struct kernfs_node.id"}
	deps := func(status string, breaks ...string) (all []report.Dep) {
		for _, n := range names {
			all = append(all, field(n, status, breaks...))
		}
		return all
	}
	for _, tt := range []struct {
		name, output  string
		first         string
		shown, folded int
	}{
		{"by CO-RE", "CO-RE: struct kernfs_node has no parent on this kernel", "struct kernfs_node.parent", 1, 6},
		{"by libbpf, in its log", "exit status 1\nlibbpf: prog 'x': relo #4: <byte_off> [12] struct kernfs_node.parent (0:1 @ offset 8)\nlibbpf: failed to load", "struct kernfs_node.parent", 1, 6},
		{"two, the title's first", "CO-RE: struct kernfs_node has no id on this kernel\nkernfs_node parent", "struct kernfs_node.id", 2, 5},
		{"none", "it failed", "struct a.x", 4, 3},
		{"a part of a name is none", "the parent died, kernfs_node_x", "struct a.x", 4, 3},
	} {
		for _, test := range []string{"p", "TestX"} { // a program, and a test that is none
			m := boundaryKernels(false, test, deps("present"), deps("absent", "p"))
			m.Kernels[1].Tests[0].Output = tt.output
			b := Groups(m)[0].Boundaries[0]
			shown, folded := b.Reasons(func(s string) string { return s })
			if len(shown) != tt.shown || len(folded) != tt.folded || !strings.Contains(shown[0], " "+tt.first+" ") {
				t.Errorf("%s, %s: shown %q, folded %q; want %s first, %d and %d", tt.name, test, shown, folded, tt.first, tt.shown, tt.folded)
			}
		}
	}
	// What changed only, and breaks nothing that is known, is named all the same.
	m := boundaryKernels(false, "TestX", []report.Dep{field("struct kernfs_node.parent", "present")}, []report.Dep{field("struct kernfs_node.parent", "absent")})
	m.Kernels[1].Tests[0].Output = "kernfs_node has no parent"
	if b := Groups(m)[0].Boundaries[0]; b.Named != 1 || len(b.Differences) != 1 {
		t.Errorf("%+v", b)
	}
}

// Signatures come out of files of guests and jobs that nobody trusts.
func FuzzDifference(f *testing.F) {
	f.Add(unlinkThree, unlinkUser)
	f.Add("unsigned int __state", "volatile long state")
	f.Add("int f(int (*fn)(int, int), void *p)", "int f(void)")
	f.Add("f(", ")(,")
	f.Fuzz(func(t *testing.T, a, b string) {
		before := report.Dep{Kind: "fentry", Name: "f", Status: "present", Signature: a}.Fit()
		after := report.Dep{Kind: "fentry", Name: "f", Status: "changed", Signature: b}.Fit()
		d := Difference{Dep: "fentry f", Before: before, After: after}
		text := d.Text("1", "2", func(s string) string { return report.OneLine(s, 200) })
		if strings.Contains(text, "\n") {
			t.Errorf("more than one line: %q", text)
		}
		if sameSignature(a, b) != sameSignature(b, a) {
			t.Errorf("%q and %q: the order counts", a, b)
		}
	})
}
