package merge

import (
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
	"github.com/elastic/bpf-kernel-check/report/junit"
	"github.com/elastic/bpf-kernel-check/report/markdown"
	"github.com/elastic/bpf-kernel-check/report/summary"
)

func TestMergeForgives(t *testing.T) {
	forgiven := report.Result{
		ID: "a/1", Verdict: report.Fail, Cause: &report.Cause{Title: "A: x"}, Attempts: 1, TestsOnly: true,
		Tests: []report.Test{{Name: "A", Verdict: "fail"}, {Name: "B", Verdict: "pass"}}, Expected: []report.Expected{{Test: "A", Reason: "known"}},
	}
	file := func(n int, k report.Result, expect string) *File {
		list := report.ListDigest([]report.PlanKernel{{ID: "a/1"}, {ID: "a/2"}})
		return &File{ShardFile: &report.ShardFile{Plan: report.Plan{Schema: report.Schema, List: list, Algorithm: "x", Shard: n, Shards: 2, Attempt: 1, Kernels: []string{k.ID}, Expect: expect}, Kernels: []report.Result{k}}}
	}
	pass := report.Result{ID: "a/2", Verdict: report.Pass, Attempts: 1}
	m, _ := Merge(&Collected{Files: []*File{file(1, forgiven, "e"), file(2, pass, "e")}}, Options{})
	if m.Verdict != report.Pass || m.Outcome().ExitCode() != report.ExitPass || m.Kernels[0].Verdict != report.Fail || len(analysis.Groups(m)) != 0 {
		t.Errorf("%v, %v, %+v", m.Verdict, m.Kernels[0].Verdict, m.Refusals)
	}
	var j, s strings.Builder
	if err := junit.Write(&j, m); err != nil || strings.Contains(j.String(), "<failure") || !strings.Contains(j.String(), `<skipped message="expected failure: known"`) {
		t.Errorf("%v\n%s", err, j.String())
	}
	if err := summary.Write(&s, m); err != nil || !strings.Contains(s.String(), "[FAIL] 1\n[PASS] 2\n\nexpected failures (1 kernel(s))\n[XFAIL] a/1  A: known\n") {
		t.Errorf("%v\n%s", err, s.String())
	}

	// Shards that were told to expect different things make no one result.
	m, _ = Merge(&Collected{Files: []*File{file(1, forgiven, "e"), file(2, pass, "f")}}, Options{})
	if m.Verdict != report.Missing || len(m.Refusals) == 0 || !strings.Contains(m.Refusals[0].Reason, "digest of expected failures") {
		t.Errorf("%v, %+v", m.Verdict, m.Refusals)
	}
	// What a damaged file says is forgiven is not believed.
	bad := file(1, forgiven, "e")
	bad.Problem, bad.Damaged = "x", true
	m, _ = Merge(&Collected{Files: []*File{bad, file(2, pass, "e")}}, Options{})
	if m.Kernels[0].Verdict != report.Missing || m.Verdict == report.Pass {
		t.Errorf("damaged: %v, %v", m.Kernels[0].Verdict, m.Verdict)
	}

	// What was expected before and fails now for more is newly failing.
	base, _ := Merge(&Collected{Files: []*File{file(1, forgiven, "e"), file(2, pass, "e")}}, Options{})
	worse := forgiven
	worse.Tests = []report.Test{{Name: "A", Verdict: "fail"}, {Name: "B", Verdict: "fail"}}
	m, _ = Merge(&Collected{Files: []*File{file(1, worse, "e"), file(2, pass, "e")}}, Options{Base: base})
	if len(m.Change.NewlyFail) != 1 || m.Verdict != report.Fail {
		t.Errorf("worse: %+v, %v", m.Change, m.Verdict)
	}
}

// What is only said of stale expectations is seen by who reads the report.
func TestNotesAreShown(t *testing.T) {
	s := newSet(3, 6)
	s.file(1).kernel(0).Problems = []string{"xf.yml:1: TestA was expected to fail, and passed: remove the entry (<b>)"}
	s.file(3).kernel(1).Problems = []string{"xf.yml:1: TestA was expected to fail, and passed: remove the entry (<b>)", "another"}
	m := s.merge(t, testOptions())
	var md strings.Builder
	if err := markdown.Write(&md, m, markdown.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- **Noted** on 2 kernels: `xf.yml:1: TestA was expected to fail, and passed: remove the entry (<b>)`\n",
		"- **Noted** on 1 kernel: `another`\n",
	} {
		if !strings.Contains(md.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, md.String())
		}
	}
}
