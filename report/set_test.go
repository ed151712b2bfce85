package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"testing"
	"testing/fstest"
	"time"
)

// testSet is a run's shard files, to be changed and merged.
type testSet struct {
	plan  *PlanFile
	files []*testFile
}

// testFile is one shard file. It is sealed as a run seals it, so that a change
// of its records is one that somebody made who knows the format; raw changes
// its bytes afterwards.
type testFile struct {
	name   string
	plan   Plan
	lines  []line // kernels, and whatever else is put there
	sealed bool   // with an end record
	end    func(*End)
	raw    func([]byte) []byte
}

// newSet cuts kernels into shards and lets all of them pass.
func newSet(shards, kernels int) *testSet {
	s := &testSet{plan: &PlanFile{Schema: PlanSchema, Tool: "v1", Algorithm: "rendezvous", Arch: "amd64"}}
	for i := range kernels {
		id := fmt.Sprintf("debian/6.1.%03d", i)
		s.plan.Kernels = append(s.plan.Kernels, PlanKernel{ID: id, Digest: testDigest(id)})
	}
	s.plan.List = ListDigest(s.plan.Kernels)
	for i := range shards {
		ps := PlanShard{Shard: i + 1, Kernels: []string{}}
		for j := i; j < kernels; j += shards {
			ps.Kernels = append(ps.Kernels, s.plan.Kernels[j].ID)
		}
		s.plan.Shards = append(s.plan.Shards, ps)
	}
	for i := range shards {
		s.add(i+1, 1)
	}
	return s
}

func testDigest(id string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(id))) }

// add adds a shard's file of an attempt in which everything passed.
func (s *testSet) add(shard, attempt int) *testFile {
	f := &testFile{name: fmt.Sprintf("shard-%d-%d/x.ndjson", shard, attempt), sealed: true}
	f.plan = Plan{
		Schema: Schema, Tool: "v1", List: s.plan.List, Algorithm: "rendezvous", Shard: shard, Shards: len(s.plan.Shards),
		RunID: "1000", Attempt: attempt, HeadSHA: "abc", Arch: "amd64", Kernels: slices.Clone(s.plan.Shards[shard-1].Kernels),
	}
	for _, id := range f.plan.Kernels {
		f.lines = append(f.lines, line{Type: "kernel", Kernel: &Kernel{
			ID: id, Digest: testDigest(id), Verdict: Pass, Accel: "tcg", Attempts: 1, Console: "results/" + id + ".txt",
			Tests:  []Test{{Name: "FileCreate", Verdict: "pass", Duration: time.Millisecond}, {Name: "Other", Verdict: "skip"}},
			Phases: map[string]int64{"boot": 1e9, "vm": 2e9},
		}})
	}
	s.files = append(s.files, f)
	return f
}

func (s *testSet) file(shard int) *testFile { return s.files[shard-1] }

// kernel is the n-th result of a file.
func (f *testFile) kernel(n int) *Kernel { return f.lines[n].Kernel }

func (f *testFile) fail(n int) {
	k := f.kernel(n)
	k.Verdict, k.Cause = Fail, &Cause{Title: "FileCreate: no event"}
	k.Tests[0].Verdict = "fail"
}

func (f *testFile) bytes(t testing.TB) []byte {
	var b bytes.Buffer
	put := func(l line) {
		j, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(j, '\n'))
	}
	put(line{Type: "plan", Plan: &f.plan})
	end := End{Verdicts: map[string]int{}}
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
		put(line{Type: "end", End: &end})
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

func testOptions() MergeOptions {
	return MergeOptions{Tool: "v1", At: time.Date(2026, 7, 4, 5, 6, 7, 0, time.UTC)}
}

func (s *testSet) merge(t testing.TB, o MergeOptions) *Merged {
	m, _ := Merge(collectFS(s.fs(t)), o)
	return m
}
