package report

import "testing"

// A result that passed with flaky tests says what allows it.
func TestFlakyOK(t *testing.T) {
	good := func() Result {
		return Result{
			ID: "debian/6.1", Verdict: Pass, Attempts: 1, FlakyOK: true, Tests: []Test{{Name: "A", Verdict: TestPass}},
			Flaky:   []Flaky{{Name: "A", Failed: 2, Runs: 3}},
			History: []Attempt{{VM: 2, Rerun: 1, Attempt: 1, Verdict: Fail}, {VM: 3, Rerun: 2, Attempt: 1, Verdict: Pass, Console: "results/debian/6.1.vm-3.txt"}},
		}
	}
	if k := good(); k.Check() != nil || k.Reusable() == nil {
		t.Errorf("%v; reusable: %v", k.Check(), k.Reusable())
	}
	for name, change := range map[string]func(*Result){
		"not allowed":         func(k *Result) { k.FlakyOK = false },
		"none is flaky":       func(k *Result) { k.Flaky = nil },
		"nothing ran again":   func(k *Result) { k.History = nil },
		"the rerun was none":  func(k *Result) { k.History = []Attempt{{Rerun: 1, Attempt: 1, Verdict: Infra}} },
		"a crash in a rerun":  func(k *Result) { k.History[0].Verdict = Crash },
		"a repeat that fails": func(k *Result) { k.History[0].Repeat = 1 },
		"a test that failed":  func(k *Result) { k.Tests[0].Verdict = TestFail },
		"a kernel that fails": func(k *Result) { k.Verdict, k.Cause = Fail, &Cause{Title: "x"} },
		"it never passed":     func(k *Result) { k.Flaky[0].Failed = 3 },
		"too many reruns":     func(k *Result) { k.History[0].Rerun = 11 },
	} {
		k := good()
		if change(&k); k.Check() == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	if got, want := (Attempt{VM: 2, Rerun: 1, Attempt: 1, Accel: "tcg", Verdict: Pass}).Words(), "rerun 1 of the failed tests, VM 2, attempt 1 on TCG: pass"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
