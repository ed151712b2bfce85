package coverage

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/cover"

	"github.com/elastic/bpf-kernel-check/report"
)

// set makes kernels k/0, k/1 and so on of their profiles; "" has none.
func set(profiles ...string) (fstest.MapFS, []report.Result) {
	fsys := fstest.MapFS{}
	var kernels []report.Result
	for i, p := range profiles {
		k := report.Result{ID: fmt.Sprintf("k/%d", i), Verdict: report.Pass}
		if p != "" {
			k.Files = []string{"results/" + k.ID + "/files/coverage.out"}
			fsys[k.Files[0]] = &fstest.MapFile{Data: []byte(p)}
		}
		kernels = append(kernels, k)
	}
	return fsys, kernels
}

func show(s string) string { return s }

func TestMerge(t *testing.T) {
	const (
		both  = "mode: set\na.go:1.1,2.2 2 1\na.go:3.1,4.2 3 0\na.go:5.1,6.2 5 0\nb.go:1.1,1.9 1 0\n"
		other = "mode: set\na.go:1.1,2.2 2 1\na.go:3.1,4.2 3 1\na.go:5.1,6.2 5 1\nb.go:1.1,1.9 1 0\n"
	)
	tests := []struct {
		name     string
		profiles []string
		merged   string
		words    string
	}{
		{"nothing was asked for", []string{"", ""}, "", ""},
		{"the same", []string{both, both}, both, "18.2 % of 11 statements, on 2 of 2 kernels"},
		{
			"one covers more",
			[]string{both, other, both, ""},
			other,
			"90.9 % of 11 statements, on 3 of 4 kernels; 8 statements covered on some of them only: 8 in a.go:3-6 (only on k/1)",
		},
		{
			"one covers less",
			[]string{other, both, other},
			other,
			"90.9 % of 11 statements, on 3 of 3 kernels; 8 statements covered on some of them only: 8 in a.go:3-6 (not on k/1)",
		},
		{
			"counts are summed",
			[]string{"mode: atomic\na.go:1.1,2.2 2 1\n", "mode: atomic\na.go:1.1,2.2 2 41\n"},
			"mode: atomic\na.go:1.1,2.2 2 42\n",
			"100.0 % of 2 statements, on 2 of 2 kernels",
		},
		{
			"and do not overflow",
			[]string{"mode: count\na.go:1.1,2.2 2 9223372036854775807\n", "mode: count\na.go:1.1,2.2 2 9223372036854775807\n"},
			"mode: count\na.go:1.1,2.2 2 2147483647\n", "100.0 % of 2 statements, on 2 of 2 kernels",
		},
		{
			"nor in one kernel's",
			[]string{"mode: count\n" + strings.Repeat("a.go:1.1,2.2 2 9223372036854775807\n", 2)},
			"mode: count\na.go:1.1,2.2 2 2147483647\n", "100.0 % of 2 statements, on 1 of 1 kernel",
		},
		{
			"modes differ",
			[]string{"mode: set\na.go:1.1,2.2 2 1\n", "mode: count\na.go:1.1,2.2 2 7\n"},
			"mode: set\na.go:1.1,2.2 2 1\n",
			"100.0 % of 2 statements, on 1 of 2 kernels; the profile of k/1 is left out: its mode is count, and that of others is set: build all with one -covermode",
		},
		{
			"another build",
			[]string{"mode: set\na.go:1.1,2.2 2 1\n", "mode: set\na.go:1.1,2.2 3 1\n"},
			"mode: set\na.go:1.1,2.2 2 1\n",
			"100.0 % of 2 statements, on 1 of 2 kernels; the profile of k/1 is left out: a.go:1 has 3 statements, and 2 on others: it is another build",
		},
		{"no profile", []string{"hello\n"}, "", "no profile came of 1 kernel; the profile of k/0 is left out: bad mode line: hello"},
		{"a mode of its own", []string{"mode: x\na.go:1.1,2.2 2 1\n"}, "", `no profile came of 1 kernel; the profile of k/0 is left out: its mode is "x": want set, count or atomic`},
		{"an empty one", []string{"mode: set\n"}, "", "no profile came of 1 kernel; the profile of k/0 is left out: it is empty"},
		{"a name that is none", []string{"mode: set\n\x1b[31ma.go:1.1,2.2 2 1\n"}, "", `no profile came of 1 kernel; the profile of k/0 is left out: the file's name "\x1b[31ma.go" is none`},
		{"a number that is none", []string{"mode: set\na.go:1.1,2.2 2000000 1\n"}, "", `no profile came of 1 kernel; the profile of k/0 is left out: a.go: a block that ends at 2.2 and has 2000000 statements is none`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, profile := Merge(set(tt.profiles...))
			if d := cmp.Diff(tt.merged, string(profile)); d != "" {
				t.Error(d)
			}
			words := ""
			if c != nil {
				words = c.Words(5, show)
			}
			if d := cmp.Diff(tt.words, words); d != "" {
				t.Error(d)
			}
		})
	}
}

// A kernel that was to leave a profile and did not is told of.
// The profiles of a kernel's programs are one kernel's.
func TestMergePrograms(t *testing.T) {
	const one, other = "mode: set\na.go:1.1,2.2 2 1\na.go:3.1,4.2 3 0\n", "mode: set\na.go:1.1,2.2 2 0\na.go:3.1,4.2 3 1\n"
	fsys, kernels := set(one, "")
	k := &kernels[1]
	k.Programs = []report.Program{{Name: "p"}, {Name: "q"}}
	for name, profile := range map[string]string{"p/coverage.out": one, "q/coverage.out": other, "q/tmp/coverage.out": "not a profile"} {
		file := "results/k/1/files/" + name
		k.Files = append(k.Files, file)
		fsys[file] = &fstest.MapFile{Data: []byte(profile)}
	}
	c, _ := Merge(fsys, kernels)
	if c == nil || c.Kernels != 2 || c.Covered != 5 || c.Some != 3 || len(c.Problems) > 0 {
		t.Errorf("%+v", c)
	}
	k.Programs = nil // then they are files of the user's
	if c, _ := Merge(fsys, kernels); c == nil || c.Kernels != 1 || c.Covered != 2 {
		t.Errorf("%+v", c)
	}
}

func TestMergeWithoutAny(t *testing.T) {
	fsys, kernels := set("", "")
	kernels[1].Problems = []string{"coverage: the payload wrote no profile: no such file or directory"}
	c, profile := Merge(fsys, kernels)
	if c == nil || profile != nil || c.Words(5, show) != "no profile came of 2 kernels" {
		t.Errorf("%+v, %q", c, profile)
	}
	// What is in GOCOVERDIR is no profile, and none is missed.
	kernels[0].Files = []string{"results/k/0/files/covdata/covmeta.0"}
	kernels[1].Problems = []string{"coverage: the payload wrote no data: x"}
	if c, _ := Merge(fsys, kernels); c != nil {
		t.Errorf("%+v", c)
	}
	// Its file is gone, or was cut.
	fsys, kernels = set("x")
	delete(fsys, kernels[0].Files[0])
	if c, _ := Merge(fsys, kernels); c == nil || !strings.Contains(c.Words(5, show), "file does not exist") {
		t.Errorf("%+v", c)
	}
	fsys, kernels = set("mode: set\n" + strings.Repeat("a.go:1.1,2.2 2 1\n", maxProfile/17+1))
	if c, _ := Merge(fsys, kernels); c == nil || !strings.Contains(c.Words(5, show), "more than 64 MiB") {
		t.Errorf("%+v", c)
	}
}

// Kernels that write much, together, fill neither memory nor disk: what is over
// the limit is left out, and what is not new still counts.
func TestMergedProfileIsLimited(t *testing.T) {
	large := func(file string) string {
		var b strings.Builder
		b.WriteString("mode: set\n")
		for line := range maxProfile / (maxName + maxLine) * 2 / 3 {
			fmt.Fprintf(&b, "%s:%d.1,%d.9 1 1\n", file, line+1, line+1)
		}
		return b.String()
	}
	a, b := large(strings.Repeat("a", maxName)), large(strings.Repeat("b", maxName))
	c, profile := Merge(set(a, b, a))
	if len(profile) > maxProfile || len(profile) == 0 || c.Kernels != 2 || len(c.Problems) != 1 || !strings.HasSuffix(c.Problems[0], "all profiles together are too large") {
		t.Errorf("%d bytes of %d kernels, problems %q", len(profile), c.Kernels, c.Problems)
	}
}

// Words name few of many kernels and places.
func TestWordsAreShort(t *testing.T) {
	var profiles []string
	for i := range 130 {
		var b strings.Builder
		b.WriteString("mode: set\n")
		for line := range 300 {
			fmt.Fprintf(&b, "a.go:%d.1,%d.9 1 %d\n", 2*line+1, 2*line+1, (line+i)%2)
		}
		profiles = append(profiles, b.String())
	}
	c, _ := Merge(set(profiles...))
	if c.Some != 300 || len(c.Places) != maxPlaces || len(c.Places[0]) > 100 {
		t.Errorf("%d statements in %d places, the first %q", c.Some, len(c.Places), c.Places[0])
	}
	const want = "100.0 % of 300 statements, on 130 of 130 kernels; 300 statements covered on some of them only: " +
		"1 in a.go:1 (only on k/1, k/3, k/5 and 62 more), 1 in a.go:3 (only on k/0, k/2, k/4 and 62 more) and 98 more"
	if d := cmp.Diff(want, c.Words(2, show)); d != "" {
		t.Error(d)
	}
}

// Whatever guests write, the merged profile is one, and no kernel's statements are
// counted twice.
func FuzzMerge(f *testing.F) {
	f.Add([]byte("mode: set\na.go:1.1,2.2 2 1\n"), []byte("mode: set\na.go:1.1,2.2 2 0\na.go:2.1,2.2 2 1\n"))
	f.Add([]byte("mode: count\na.go:1.1,2.2 2 9223372036854775807\n"), []byte("mode: count\na.go:1.1,2.2 2 9223372036854775807\n"))
	f.Add([]byte("mode: set\n\x1b:1.1,2.2 2 1\n"), []byte("mode: atomic\na:b:1.1,2.2 0 1\n"))
	f.Add([]byte("mode: set\na.go:1.1,2.2 2 1\na.go:1.1,2.3 2 1\na.go:1.1,2.2 3 1\n"), []byte(""))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		fsys, kernels := set(string(a), string(b))
		c, profile := Merge(fsys, kernels)
		if c == nil {
			return
		}
		m := &report.Merged{Verdict: report.Pass, Kernels: kernels, Coverage: c}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		if words := c.Words(5, show); report.OneLine(words, len(words)) != words {
			t.Fatalf("the words %q are not one line", words)
		}
		if c.Covered > c.Statements || c.Some > c.Covered || len(profile) == 0 != (c.Kernels == 0) {
			t.Fatalf("%+v, %q", c, profile)
		}
		if profile == nil {
			return
		}
		again, err := cover.ParseProfilesFromReader(bytes.NewReader(profile))
		if err != nil {
			t.Fatalf("%v: %q", err, profile)
		}
		n := 0
		for _, p := range again {
			for _, b := range p.Blocks {
				n += b.NumStmt
			}
		}
		if n != c.Statements {
			t.Fatalf("%d statements, and %d are told of: %q", n, c.Statements, profile)
		}
	})
}
