package shard

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// resultOf makes a result: its verdict, and tests such as "fail A". A "!" behind the
// verdict says that more than its tests is wrong.
func resultOf(verdict string, tests ...string) report.Result {
	k := report.Result{ID: "debian/6.1", Attempts: 1, Console: "results/debian/6.1.txt", Phases: map[string]int64{"vm": 1}}
	name, more := strings.CutSuffix(verdict, "!")
	if err := k.Verdict.UnmarshalText([]byte(name)); err != nil {
		panic(err)
	}
	if k.Verdict != report.Pass {
		k.Cause = &report.Cause{Title: "why"}
	}
	k.TestsOnly = k.Verdict == report.Fail && !more
	for _, s := range tests {
		v, name, _ := strings.Cut(s, " ")
		k.Tests = append(k.Tests, report.Test{Name: name, Verdict: v})
	}
	return k
}

func TestReruns(t *testing.T) {
	type runs []report.Result
	flaky := func(name string, failed, runs int) report.Flaky {
		return report.Flaky{Name: name, Failed: failed, Runs: runs}
	}
	first := func() report.Result { return resultOf("fail", "pass A", "fail B", "fail C", "skip D") }
	for _, tt := range []struct {
		name     string
		first    report.Result
		runs     runs
		expected string
		left     string // what would run again after all of them
		red      string // verdict and cause where flaky is a failure
		green    string // where it is ok
		flaky    []report.Flaky
		tests    string // where it is ok
	}{
		{
			name: "all pass again", first: first(), runs: runs{resultOf("pass", "pass B", "pass C")},
			red: "fail: flaky: B and 1 more failed, and passed when run again", green: "pass", flaky: []report.Flaky{flaky("B", 1, 2), flaky("C", 1, 2)}, tests: "pass A, pass B, pass C, skip D",
		},
		{
			name: "one passes", first: first(), runs: runs{resultOf("fail", "pass B", "fail C")}, left: "C",
			red: "fail: why", green: "fail: C failed", flaky: []report.Flaky{flaky("B", 1, 2)}, tests: "pass A, pass B, fail C, skip D",
		},
		{
			name: "the other one passes later", first: first(), runs: runs{resultOf("fail", "pass B", "fail C"), resultOf("pass", "pass C")},
			red: "fail: flaky: B and 1 more failed, and passed when run again", green: "pass", flaky: []report.Flaky{flaky("B", 1, 2), flaky("C", 2, 3)}, tests: "pass A, pass B, pass C, skip D",
		},
		{name: "none passes", first: first(), runs: runs{resultOf("fail", "fail B", "fail C")}, left: "B C", red: "fail: why", green: "fail: why", tests: "pass A, fail B, fail C, skip D"},
		{name: "they are skipped", first: first(), runs: runs{resultOf("fail!", "skip B", "skip C")}, left: "B C", red: "fail: why", green: "fail: why", tests: "pass A, fail B, fail C, skip D"},
		{name: "one is skipped", first: first(), runs: runs{resultOf("pass", "pass B", "skip C")}, left: "C", red: "fail: why", green: "fail: C failed", flaky: []report.Flaky{flaky("B", 1, 2)}, tests: "pass A, pass B, fail C, skip D"},
		{name: "one does not run", first: first(), runs: runs{resultOf("pass", "pass B")}, left: "C", red: "fail: why", green: "fail: C failed", flaky: []report.Flaky{flaky("B", 1, 2)}, tests: "pass A, pass B, fail C, skip D"},
		{name: "nothing runs", first: first(), runs: runs{resultOf("pass")}, left: "B C", red: "fail: why", green: "fail: why", tests: "pass A, fail B, fail C, skip D"},
		{name: "a rerun that is not whole", first: first(), runs: runs{resultOf("fail!", "pass B", "pass C")}, left: "B C", red: "fail: why", green: "fail: why", tests: "pass A, fail B, fail C, skip D"},
		{name: "a crash", first: first(), runs: runs{resultOf("crash", "pass B", "pass C")}, left: "B C", red: "crash: when its failed tests ran again: why", green: "crash: when its failed tests ran again: why", tests: "pass A, fail B, fail C, skip D"},
		{name: "a timeout", first: first(), runs: runs{resultOf("timeout", "pass B")}, left: "B C", red: "timeout: when its failed tests ran again: why", green: "timeout: when its failed tests ran again: why", tests: "pass A, fail B, fail C, skip D"},
		{
			name: "a crash after a pass", first: first(), runs: runs{resultOf("fail", "pass B", "fail C"), resultOf("crash", "pass C")}, left: "C",
			red: "crash: when its failed tests ran again: why", green: "crash: when its failed tests ran again: why", flaky: []report.Flaky{flaky("B", 1, 2)}, tests: "pass A, fail B, fail C, skip D",
		},
		{name: "not tested", first: first(), runs: runs{resultOf("infra")}, left: "B C", red: "fail: why", green: "fail: why", tests: "pass A, fail B, fail C, skip D"},
		{name: "no boot", first: first(), runs: runs{resultOf("no-boot")}, left: "B C", red: "fail: why", green: "fail: why", tests: "pass A, fail B, fail C, skip D"},
		{
			name: "another one fails", first: first(), runs: runs{resultOf("fail", "fail A", "pass B", "pass C", "fail E")}, left: "A E",
			red: "fail: why", green: "fail: A failed (and 1 more)", flaky: []report.Flaky{flaky("B", 1, 2), flaky("C", 1, 2), flaky("A", 1, 2)}, tests: "fail A, pass B, pass C, skip D, fail E",
		},
		{
			name: "another one fails, and passes later", first: first(), runs: runs{resultOf("fail", "fail A", "pass B", "pass C"), resultOf("pass", "pass A")},
			red: "fail: flaky: B and 2 more failed, and passed when run again", green: "pass", flaky: []report.Flaky{flaky("B", 1, 2), flaky("C", 1, 2), flaky("A", 1, 3)}, tests: "pass A, pass B, pass C, skip D",
		},
		{
			name: "a pass, then a failure", first: first(), runs: runs{resultOf("fail", "pass B", "fail C"), resultOf("fail", "fail B", "pass C")}, left: "B",
			red: "fail: why", green: "fail: B failed", flaky: []report.Flaky{flaky("B", 2, 3), flaky("C", 2, 3)}, tests: "pass A, fail B, pass C, skip D",
		},
		{
			name: "an expected failure", first: first(), runs: runs{resultOf("pass", "pass B", "pass C")}, expected: "C",
			red: "fail: why", green: "fail: C failed", flaky: []report.Flaky{flaky("B", 1, 2)}, tests: "pass A, pass B, fail C, skip D",
		},
	} {
		for _, ok := range []bool{false, true} {
			expected := map[string]bool{}
			if tt.expected != "" {
				expected[tt.expected] = true
			}
			again := newReruns(tt.first, expected)
			for i, k := range tt.runs {
				k.Console = vmPath(k.Console, i+2)
				again.add(i+1, nil, []report.Result{k})
			}
			if got := strings.Join(again.left(), " "); got != tt.left {
				t.Errorf("%s: %q would run again, want %q", tt.name, got, tt.left)
			}
			k := again.settle(ok)
			got, want := k.Verdict.String(), tt.red
			if k.Cause != nil {
				got += ": " + k.Cause.Title
			}
			var tests []string
			for _, x := range k.Tests {
				tests = append(tests, x.Verdict+" "+x.Name)
			}
			if ok {
				want = tt.green
				if d := cmp.Diff(tt.tests, strings.Join(tests, ", ")); d != "" {
					t.Errorf("%s: %s", tt.name, d)
				}
			}
			if got != want {
				t.Errorf("%s: %s, want %s", tt.name, got, want)
			}
			if d := cmp.Diff(tt.flaky, k.Flaky); d != "" {
				t.Errorf("%s: %s", tt.name, d)
			}
			if err := k.Check(); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			if k.Reusable() == nil {
				t.Errorf("%s: it is kept for reuse", tt.name)
			}
			if len(k.History) != len(tt.runs) || k.Phases["vm"] != int64(1+len(tt.runs)) {
				t.Errorf("%s: %+v, %v", tt.name, k.History, k.Phases)
			}
		}
	}
}

// Programs pass when their tests do.
func TestRerunsOfPrograms(t *testing.T) {
	first := resultOf("fail", "fail a/X", "fail b/X", "pass c/X")
	for _, p := range []string{"a", "b", "c"} {
		one := report.Program{Name: p, Verdict: report.Fail, TestsOnly: true, Cause: &report.Cause{Title: "why"}}
		if p == "c" {
			one = report.Program{Name: p, Verdict: report.Pass}
		}
		first.Programs = append(first.Programs, one)
	}
	again := newReruns(first, nil)
	vm := func(n int, k report.Result) report.Result {
		k.Console = vmPath(k.Console, n)
		return k
	}
	again.add(1, nil, []report.Result{vm(2, resultOf("fail", "pass a/X", "fail b/X"))})
	k := again.settle(true)
	var got []string
	for _, p := range k.Programs {
		got = append(got, p.Name+" "+p.Verdict.String())
	}
	if d := cmp.Diff([]string{"a pass", "b fail", "c pass"}, got); d != "" || k.Check() != nil {
		t.Errorf("%v\n%s", k.Check(), d)
	}
	again.add(2, nil, []report.Result{vm(3, resultOf("pass", "pass b/X"))})
	if k := again.settle(true); k.Verdict != report.Pass || k.Check() != nil {
		t.Errorf("%v, %v", k.Verdict, k.Check())
	}
	if first.Programs[0].Verdict != report.Fail || first.Tests[0].Verdict != wire.TestFail {
		t.Error("the first result was changed")
	}
}

// A rerun takes as many VMs as its programs need.
func TestRerunInSeveralVMs(t *testing.T) {
	for _, tt := range []struct {
		name string
		vms  []string
		more bool // others may follow
		want string
	}{
		{"it ends early", []string{"a=pass", "b=pass"}, true, "a pass, b pass, pass"},
		{"it ends early, and the rest fails", []string{"a=pass", "b=fail"}, true, "a pass, b fail, fail"},
		{"QEMU is killed", []string{"a=pass b=killed", "a=pass b=killed", "b=pass"}, true, "a pass, b pass, pass"},
		{"QEMU is killed at each attempt", []string{"a=killed", "a=killed", "b=pass"}, false, "a fail, b fail, fail"},
		{"a crash", []string{"a=crash", "b=pass"}, false, "a fail, b fail, crash"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, _ := standInRunner(t, qemu.TCG)
			a, b := wire.Program{Name: "a", Args: []string{"/a"}}, wire.Program{Name: "b", Args: []string{"/b"}}
			r.Payload.Job = wire.Job{Programs: []wire.Program{a, b, {Name: "c", Args: []string{"/c"}}}, Timeout: far}
			first := resultOf("fail", "fail a/T", "fail b/T", "pass c/T")
			for _, p := range []string{"a", "b"} {
				first.Programs = append(first.Programs, report.Program{Name: p, Verdict: report.Fail, TestsOnly: true, Cause: &report.Cause{Title: "why"}})
			}
			first.Programs = append(first.Programs, report.Program{Name: "c", Verdict: report.Pass})
			again := newReruns(first, nil)
			own := wire.Job{Programs: []wire.Program{a, b}, Timeout: far}
			vms, ok := r.bootVMs(t.Context(), script{"tcg": tt.vms}.job(t, r, "6.1"), &own, 0, 2)
			if more := again.add(1, own.Programs, vms); !ok || more != tt.more {
				t.Errorf("others may follow: %v", more)
			}
			k := again.settle(true)
			var got []string
			for _, p := range k.Programs[:2] {
				got = append(got, p.Name+" "+p.Verdict.String())
			}
			if d := cmp.Diff(tt.want, strings.Join(append(got, k.Verdict.String()), ", ")); d != "" || k.Check() != nil {
				t.Errorf("%v\n%s\n%+v", k.Check(), d, k)
			}
			for i, a := range k.History[len(k.History)-len(vms):] {
				if a.Rerun != 1 || len(tt.vms) == len(vms) && (a.VM != i+2 || a.Console != vmPath("results/debian/6.1.txt", i+2)) {
					t.Errorf("VM %d: %+v", i, a)
				}
			}
		})
	}
}
