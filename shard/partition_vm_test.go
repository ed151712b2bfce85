package shard

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// Three shards of two real kernels, by themselves and by plan: each kernel
// passes in one of them, and the empty shard succeeds.
func TestShardsOfRealKernels(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	im, err := l.entry.Source.Open(t.Context(), l.entry.Ref)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"one/vmlinuz-1", "two/vmlinuz-2"} {
		copyTo(t, filepath.Join(dir, name), im.Kernel)
	}
	src, err := source.Parse(dir, l.cache)
	if err != nil {
		t.Fatal(err)
	}
	list := newPlan(t, src)
	cut := list.Partition(plan.Rendezvous, 3)
	shards, err := plan.Pinned(t.Context(), list.File("test", cut), []kernel.Source{src}, nil)
	if err != nil {
		t.Fatal(err)
	}
	shards[0] = cut[0] // one that computed the same by itself
	l.slots <- struct{}{}
	defer func() { <-l.slots }()
	out := t.TempDir()
	var passed []string
	for _, s := range shards {
		r := l.runner(t, l.passPayload(t))
		r.Out = out
		results, err := r.Run(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if code := report.RunOutcome(len(s.Entries), results, false).ExitCode(); code != report.ExitPass {
			t.Errorf("shard %d: exit code %d, %+v", s.Part.Shard, code, results)
		}
		for _, k := range results {
			passed = append(passed, k.ID)
			if _, err := os.Stat(filepath.Join(out, k.Console)); err != nil {
				t.Error(err)
			}
		}
	}
	if slices.Sort(passed); !slices.Equal(passed, list.IDs()) {
		t.Errorf("%q passed, want %q", passed, list.IDs())
	}
	files, err := filepath.Glob(filepath.Join(out, "shard-*-of-003.attempt-1.ndjson"))
	if err != nil || len(files) != 3 {
		t.Fatalf("shard files %q, %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), `"list_digest":"`+list.Digest()+`"`) || !strings.Contains(string(b), `"type":"end"`) {
			t.Errorf("%s has another list or no end:\n%s", f, b)
		}
	}
}

func copyTo(t *testing.T, path, from string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}
