package merge

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
)

// testSet is a run's shard files, to be changed and merged.
type testSet struct {
	plan  *report.PlanFile
	files []*testFile
}

// testFile is one shard file. It is sealed as a run seals it, so that a change
// of its records is one that somebody made who knows the format; raw changes
// its bytes afterwards.
type testFile struct {
	name   string
	plan   report.Plan
	lines  []report.Record // kernels, and whatever else is put there
	sealed bool            // with an end record
	end    func(*report.End)
	raw    func([]byte) []byte
}

// newSet cuts kernels into shards and lets all of them pass.
func newSet(shards, kernels int) *testSet {
	s := &testSet{plan: newPlan(shards, kernels)}
	for i := range shards {
		s.add(i+1, 1)
	}
	return s
}

// add adds a shard's file of an attempt in which everything passed.
func (s *testSet) add(shard, attempt int) *testFile {
	f := &testFile{name: fmt.Sprintf("shard-%d-%d/x.ndjson", shard, attempt), sealed: true}
	f.plan = report.Plan{
		Schema: report.Schema, Tool: "v1", List: s.plan.List, Algorithm: "rendezvous", Shard: shard, Shards: len(s.plan.Shards),
		RunID: "1000", Attempt: attempt, HeadSHA: "abc", Arch: "amd64", Kernels: slices.Clone(s.plan.Shards[shard-1].Kernels),
	}
	for _, id := range f.plan.Kernels {
		f.lines = append(f.lines, report.Record{Type: "kernel", Kernel: &report.Result{
			ID: id, Digest: digestOf(id), Verdict: report.Pass, Accel: "tcg", Attempts: 1, Console: "results/" + id + ".txt",
			Tests:  []report.Test{{Name: "FileCreate", Verdict: "pass", Duration: time.Millisecond}, {Name: "Other", Verdict: "skip"}},
			Phases: map[string]int64{"boot": 1e9, "vm": 2e9},
		}})
	}
	s.files = append(s.files, f)
	return f
}

func (s *testSet) file(shard int) *testFile { return s.files[shard-1] }

// kernel is the n-th result of a file.
func (f *testFile) kernel(n int) *report.Result { return f.lines[n].Kernel }

func (f *testFile) fail(n int) {
	k := f.kernel(n)
	k.Verdict, k.Cause = report.Fail, &report.Cause{Title: "FileCreate: no event"}
	k.Tests[0].Verdict = "fail"
}

func (f *testFile) bytes(t testing.TB) []byte {
	var b bytes.Buffer
	put := func(l report.Record) {
		j, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(j, '\n'))
	}
	put(report.Record{Type: "plan", Plan: &f.plan})
	end := report.End{Verdicts: map[string]int{}}
	for _, l := range f.lines {
		put(l)
		if l.Kernel != nil {
			end.Kernels++
			end.Verdicts[l.Kernel.Verdict.String()]++
		}
	}
	if f.sealed {
		end.Digest = fmt.Sprintf("sha256:%x", sha256.Sum256(b.Bytes()))
		if f.end != nil {
			f.end(&end)
		}
		put(report.Record{Type: "end", End: &end})
	}
	if f.raw != nil {
		return f.raw(b.Bytes())
	}
	return b.Bytes()
}

func (s *testSet) fs(t testing.TB) fstest.MapFS {
	m := fstest.MapFS{}
	for _, f := range s.files {
		m[f.name] = &fstest.MapFile{Data: f.bytes(t)}
		for _, l := range f.lines {
			if l.Kernel != nil && l.Kernel.Console != "" && path.Clean(l.Kernel.Console) == l.Kernel.Console {
				m[path.Join(path.Dir(f.name), l.Kernel.Console)] = &fstest.MapFile{Data: []byte("console of " + l.Kernel.ID + "\n")}
			}
		}
	}
	return m
}

func collectFS(m fstest.MapFS) *Collected {
	c := &Collected{}
	w := walker{c: c, entries: maxEntries, bytes: maxShardBytes}
	w.walk(m, "artifacts", false)
	return c
}

func testOptions() Options {
	return Options{Tool: "v1", At: time.Date(2026, 7, 4, 5, 6, 7, 0, time.UTC)}
}

func (s *testSet) merge(t testing.TB, o Options) *report.Merged {
	m, _ := Merge(collectFS(s.fs(t)), o)
	return m
}

// newPlan cuts kernels into shards.
func newPlan(shards, kernels int) *report.PlanFile {
	p := &report.PlanFile{Schema: report.PlanSchema, Tool: "v1", Algorithm: "rendezvous", Arch: "amd64"}
	for i := range kernels {
		id := fmt.Sprintf("debian/6.1.%03d", i)
		p.Kernels = append(p.Kernels, report.PlanKernel{ID: id, Digest: digestOf(id)})
	}
	p.List = report.ListDigest(p.Kernels)
	for i := range shards {
		ps := report.PlanShard{Shard: i + 1, Kernels: []string{}}
		for j := i; j < kernels; j += shards {
			ps.Kernels = append(ps.Kernels, p.Kernels[j].ID)
		}
		p.Shards = append(p.Shards, ps)
	}
	return p
}

func digestOf(id string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(id))) }

// The test sets are sealed as the writer seals its files.
func TestSetIsLikeTheWriters(t *testing.T) {
	f := newSet(1, 3).file(1)
	dir := t.TempDir()
	w, err := report.CreateShardFile(dir, f.plan)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range f.lines {
		if err := w.Kernel(*l.Kernel); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(true); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, f.plan.ShardFileName()))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(f.bytes(t)), string(got)); d != "" {
		t.Error(d)
	}
}
