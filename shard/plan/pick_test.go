package plan

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
)

// pickedList lists kernels of two lines, of which the first wants one of each kind.
func pickedList(t *testing.T) Plan {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"a/debian/6.1.0-1-amd64__x", "a/debian/6.1.0-2-amd64__x", "a/debian/6.1.0-3-amd64__x", "b/debian/6.1.0-4-amd64__x", "b/debian/6.1.0-5-amd64__x"} {
		path := filepath.Join(dir, name+".tar")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 1024), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := New(t.Context(), listSources(t, dir, "a pick:kinds\nb\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPick(t *testing.T) {
	const one, two, three, four, five = "debian/6.1.0-1-amd64__x", "debian/6.1.0-2-amd64__x", "debian/6.1.0-3-amd64__x", "debian/6.1.0-4-amd64__x", "debian/6.1.0-5-amd64__x"
	all := pickedList(t)
	if d := cmp.Diff([]string{one, two, three, four, five}, all.IDs()); d != "" {
		t.Fatal(d)
	}
	kinds := map[string]string{one: "k", two: "k", three: "k", four: "k", five: "k"}
	failed := &report.Merged{Kernels: []report.Result{
		{ID: one, Digest: all.Entries[0].Ref.Digest, Verdict: report.Pass},
		{ID: two, Digest: all.Entries[1].Ref.Digest, Verdict: report.Fail},
		{ID: three, Digest: all.Entries[2].Ref.Digest, Verdict: report.Pass},
	}}
	other := &report.Merged{Kernels: []report.Result{{ID: three, Verdict: report.Pass}, {ID: two, Digest: "sha256:of other bytes", Verdict: report.Fail}}}
	for name, tt := range map[string]struct {
		picks Picks
		want  []string
	}{
		"the line's":              {Picks{Kinds: kinds}, []string{three, four, five}},
		"all":                     {Picks{All: true, Kinds: kinds}, []string{five}},
		"nothing is known":        {Picks{All: true}, all.IDs()},
		"one failed before":       {Picks{Kinds: kinds, Base: failed}, []string{two, three, four, five}},
		"and was of other bytes":  {Picks{Kinds: kinds, Base: other}, []string{three, four, five}},
		"one is of another kind":  {Picks{Kinds: map[string]string{one: "k", two: "l", three: "k"}}, []string{two, three, four, five}},
		"of one nothing is known": {Picks{Kinds: map[string]string{one: "k", three: "k"}}, []string{two, three, four, five}},
	} {
		t.Run(name, func(t *testing.T) {
			p := all.Pick(tt.picks)
			if d := cmp.Diff(tt.want, p.IDs()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if n := len(p.Entries) + len(p.Represented); n != 5 || len(all.Entries) != 5 {
				t.Errorf("%d kernels", n)
			}
			for _, s := range p.Partition(Rendezvous, 2) {
				if d := cmp.Diff(p.Represented, s.Represented); d != "" || s.Part.List != p.Digest() {
					t.Errorf("shard: %s", d)
				}
			}
		})
	}
}
