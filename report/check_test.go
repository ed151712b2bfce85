package report

import (
	"strings"
	"testing"
)

// A kernel's own console, and no other path, may be named by its history.
func TestExtraConsole(t *testing.T) {
	k := Result{ID: "a/1"}
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
	good := func() Result {
		return Result{
			ID: "a/1", Verdict: Fail, Cause: &Cause{Title: "x"}, Attempts: 1, TestsOnly: true,
			Tests:    []Test{{Name: "A", Verdict: "fail"}},
			Expected: []Expected{{Test: "A", Reason: "r"}},
		}
	}
	k := good()
	if err := k.Check(); err != nil || !k.FailedAsExpected() {
		t.Fatalf("%v, forgiven %v", err, k.FailedAsExpected())
	}
	for want, with := range map[string]func(*Result){
		"has no reason":     func(k *Result) { k.Expected[0].Reason = "" },
		"neither of a test": func(k *Result) { k.Expected[0].Test = "" },
		"is not where": func(k *Result) {
			k.History = []Attempt{{Attempt: 1, Verdict: Infra, Console: "results/b/1.attempt-1.txt"}}
		},
		"an attempt has no":  func(k *Result) { k.History = []Attempt{{Attempt: 1}} },
		"one of its runs is": func(k *Result) { *k = Result{ID: "a/1", Verdict: Pass, History: []Attempt{{Verdict: Fail}}} },
		"is flaky": func(k *Result) {
			*k = Result{ID: "a/1", Verdict: Pass, Flaky: []Flaky{{Name: "A", Failed: 1, Runs: 2}}}
		},
		"flaky test failed in 2": func(k *Result) { k.Flaky = []Flaky{{Name: "A", Failed: 2, Runs: 2}} },
		"repeats":                func(k *Result) { k.Repeats = -1 },
	} {
		k := good()
		with(&k)
		if err := k.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
