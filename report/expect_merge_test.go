package report

import (
	"strings"
	"testing"
)

// A kernel's own console, and no other path, may be named by its history.
func TestExtraConsole(t *testing.T) {
	k := Kernel{ID: "a/1"}
	for p, want := range map[string]bool{
		"results/a/1.attempt-1.txt":                 true,
		"results/a/1.repeat-12.txt":                 true,
		"results/a/1.repeat-2.attempt-1.txt":        true,
		"results/a/1.txt":                           false,
		"results/a/1.repeat-.txt":                   false,
		"results/a/1.attempt-1.attempt-2.txt":       false,
		"results/a/1.attempt-1/../../../x.txt":      false,
		"results/a/2.attempt-1.txt":                 false,
		"results/a/1.repeat-1.repeat-2.txt":         false,
		"results/a/1.attempt-1000000.txt":           false,
		"/etc/passwd":                               false,
		"results/a/1.../x.txt":                      false,
		"results/a/1.repeat-1.attempt-1.evil.txt":   false,
		"results/a/1.repeat-1.attempt-1.txt/../b.t": false,
	} {
		if got := k.extraConsole(p); got != want {
			t.Errorf("%s: %v, want %v", p, got, want)
		}
	}
}

// What a shard file claims to be forgiven must add up.
func TestCheckHistoryAndExpected(t *testing.T) {
	good := func() Kernel {
		return Kernel{ID: "a/1", Verdict: Fail, Cause: &Cause{Title: "x"}, Attempts: 1, TestsOnly: true,
			Tests:    []Test{{Name: "A", Verdict: "fail"}},
			Expected: []Expected{{Test: "A", Reason: "r"}}}
	}
	k := good()
	if err := k.check(); err != nil || !k.Forgiven() {
		t.Fatalf("%v, forgiven %v", err, k.Forgiven())
	}
	for want, with := range map[string]func(*Kernel){
		"has no reason":     func(k *Kernel) { k.Expected[0].Reason = "" },
		"neither of a test": func(k *Kernel) { k.Expected[0].Test = "" },
		"is not where": func(k *Kernel) {
			k.History = []Attempt{{Attempt: 1, Verdict: Infra, Console: "results/b/1.attempt-1.txt"}}
		},
		"an attempt has no":  func(k *Kernel) { k.History = []Attempt{{Attempt: 1}} },
		"one of its runs is": func(k *Kernel) { *k = Kernel{ID: "a/1", Verdict: Pass, History: []Attempt{{Verdict: Fail}}} },
		"is flaky": func(k *Kernel) {
			*k = Kernel{ID: "a/1", Verdict: Pass, Flaky: []Flaky{{Name: "A", Failed: 1, Runs: 2}}}
		},
		"flaky test failed in 2": func(k *Kernel) { k.Flaky = []Flaky{{Name: "A", Failed: 2, Runs: 2}} },
		"repeats":                func(k *Kernel) { k.Repeats = -1 },
	} {
		k := good()
		with(&k)
		if err := k.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestMergeForgives(t *testing.T) {
	forgiven := Kernel{ID: "a/1", Verdict: Fail, Cause: &Cause{Title: "A: x"}, Attempts: 1, TestsOnly: true,
		Tests: []Test{{Name: "A", Verdict: "fail"}, {Name: "B", Verdict: "pass"}}, Expected: []Expected{{Test: "A", Reason: "known"}}}
	file := func(n int, k Kernel, expect string) *ShardFile {
		list := ListDigest([]PlanKernel{{ID: "a/1"}, {ID: "a/2"}})
		return &ShardFile{Plan: Plan{Schema: Schema, List: list, Algorithm: "x", Shard: n, Shards: 2, Attempt: 1, Kernels: []string{k.ID}, Expect: expect}, Kernels: []Kernel{k}}
	}
	pass := Kernel{ID: "a/2", Verdict: Pass, Attempts: 1}
	m, _ := Merge(&Collected{Files: []*ShardFile{file(1, forgiven, "e"), file(2, pass, "e")}}, MergeOptions{})
	if m.Verdict != Pass || m.Outcome().ExitCode() != ExitPass || m.Kernels[0].Verdict != Fail || len(Groups(m)) != 0 {
		t.Errorf("%v, %v, %+v", m.Verdict, m.Kernels[0].Verdict, m.Refusals)
	}
	var j, s strings.Builder
	if err := WriteJUnit(&j, m); err != nil || strings.Contains(j.String(), "<failure") || !strings.Contains(j.String(), `<skipped message="expected failure: known"`) {
		t.Errorf("%v\n%s", err, j.String())
	}
	if err := WriteSummary(&s, m.At, m.Kernels); err != nil || !strings.Contains(s.String(), "[FAIL] 1\n[PASS] 2\n\nexpected failures (1 kernel(s))\n[XFAIL] a/1  A: known\n") {
		t.Errorf("%v\n%s", err, s.String())
	}

	// Shards that were told to expect different things make no one result.
	m, _ = Merge(&Collected{Files: []*ShardFile{file(1, forgiven, "e"), file(2, pass, "f")}}, MergeOptions{})
	if m.Verdict != Missing || len(m.Refusals) == 0 || !strings.Contains(m.Refusals[0].Reason, "digest of expected failures") {
		t.Errorf("%v, %+v", m.Verdict, m.Refusals)
	}
	// What a damaged file says is forgiven is not believed.
	bad := file(1, forgiven, "e")
	bad.Problem, bad.Damaged = "x", true
	m, _ = Merge(&Collected{Files: []*ShardFile{bad, file(2, pass, "e")}}, MergeOptions{})
	if m.Kernels[0].Verdict != Missing || m.Verdict == Pass {
		t.Errorf("damaged: %v, %v", m.Kernels[0].Verdict, m.Verdict)
	}

	// What was expected before and fails now for more is newly failing.
	base, _ := Merge(&Collected{Files: []*ShardFile{file(1, forgiven, "e"), file(2, pass, "e")}}, MergeOptions{})
	worse := forgiven
	worse.Tests = []Test{{Name: "A", Verdict: "fail"}, {Name: "B", Verdict: "fail"}}
	m, _ = Merge(&Collected{Files: []*ShardFile{file(1, worse, "e"), file(2, pass, "e")}}, MergeOptions{Base: base})
	if len(m.Change.NewlyFail) != 1 || m.Verdict != Fail {
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
	if err := WriteMarkdown(&md, m, MarkdownOptions{}); err != nil {
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
