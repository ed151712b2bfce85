package report

import (
	"strings"
	"testing"
)

func TestProgramOf(t *testing.T) {
	k := Result{Programs: []Program{{Name: "a"}, {Name: "a/b"}, {Name: "ab"}}}
	for test, want := range map[string]int{"a/T": 0, "a": 0, "a/b": 1, "a/b/T/x": 1, "a/bc": 0, "ab/T": 2, "abc": -1, "T": -1, "": -1} {
		if got := k.ProgramOf(test); got != want {
			t.Errorf("%s: %d, want %d", test, got, want)
		}
	}
}

func TestCheckPrograms(t *testing.T) {
	cause := &Cause{Title: "x"}
	for want, programs := range map[string][]Program{
		"":                       {{Name: "a", Verdict: Pass}, {Name: "b", Verdict: Pass}},
		"two programs":           {{Name: "a", Verdict: Pass}, {Name: "a", Verdict: Pass}},
		"did not: unknown":       {{Name: "a"}},
		"a cause not to":         {{Name: "a", Verdict: Pass, Cause: cause}},
		"program \"a\" did not":  {{Name: "a", Verdict: Missing, Cause: cause}},
		"name \"\" is no":        {{Verdict: Pass}},
		"name \"a\\nb\" is no":   {{Name: "a\nb", Verdict: Pass}},
		"a list of 1001":         make([]Program, 1001),
		"a text of 201 bytes":    {{Name: strings.Repeat("a", 201), Verdict: Pass}},
		"duration_ns: -1":        {{Name: "a", Verdict: Pass, Duration: -1}},
		"left: a list of 101":    {{Name: "a", Verdict: Pass, Left: make([]string, 101)}},
		"tests: 100001: want 0 ": {{Name: "a", Verdict: Pass, Tests: 100_001}},
	} {
		k := Result{ID: "a/1", Verdict: Pass, Attempts: 1, Programs: programs}
		if err := k.Check(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Failures of tests that were expected forgive nothing else of any program.
func TestForgivenPrograms(t *testing.T) {
	failed := Program{Name: "a", Verdict: Fail, Cause: &Cause{Title: "x"}, TestsOnly: true}
	for _, tt := range []struct {
		name     string
		kernel   Verdict
		other    Program
		forgiven bool
	}{
		{"another one passes", Fail, Program{Name: "b", Verdict: Pass}, true},
		{"another one's tests fail", Fail, Program{Name: "b", Verdict: Fail, TestsOnly: true}, true},
		{"another one exits with a status", Fail, Program{Name: "b", Verdict: Fail}, false},
		{"another one did not run", Fail, Program{Name: "b", Verdict: Missing}, false},
		{"another one was not tested", Fail, Program{Name: "b", Verdict: Infra}, false},
		{"an expected crash", Crash, Program{Name: "b", Verdict: Crash}, true},
		{"an expected crash, and a third one's time is up", Crash, Program{Name: "b", Verdict: Timeout}, false},
		{"an expected crash, and another one did not run", Crash, Program{Name: "b", Verdict: Missing}, false},
	} {
		k := Result{
			ID: "a/1", Verdict: tt.kernel, Cause: &Cause{Title: "x"}, Attempts: 1, TestsOnly: tt.kernel == Fail,
			Tests: []Test{{Name: "a/T", Verdict: TestFail}}, Programs: []Program{failed, tt.other},
			Expected: []Expected{{Test: "a/T", Reason: "r"}, {Verdict: Crash, Reason: "r"}},
		}
		if tt.other.TestsOnly { // a test of its own, without which nobody knows what failed
			k.Tests = append(k.Tests, Test{Name: "b/T", Verdict: TestFail})
			k.Expected = append(k.Expected, Expected{Test: "b/T", Reason: "r"})
		}
		if got := k.FailedAsExpected(); got != tt.forgiven {
			t.Errorf("%s: forgiven %v", tt.name, got)
		}
	}
	k := Result{Verdict: NoBoot, Expected: []Expected{{Verdict: NoBoot, Reason: "r"}}, Programs: []Program{{Name: "a", Verdict: NoBoot}}}
	if !k.FailedAsExpected() {
		t.Error("an expected no-boot is not forgiven")
	}
}
