package analysis

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

// Each program's failure is an entry, and one that several programs have is one.
func TestGroupsOfPrograms(t *testing.T) {
	m := reporttest.Programs(12, 6)
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range Groups(m) {
		got = append(got, g.Text(func(s string) string { return s })+": "+g.Title)
	}
	if d := cmp.Diff([]string{
		"3 kernels fail probe/pkg01/TestB: maps_test.go:62: create map: invalid argument",
		"2 kernels fail probe/pkg02/TestB: maps_test.go:62: create map: invalid argument",
		"1 kernel crashes with probe/pkg03: BUG: kernel NULL pointer dereference, address: 0000000000000010 in do_probe",
		"1 kernel does not boot: no sign of init",
		"1 kernel was not reported for probe/pkg04: the kernel crashed in probe/pkg03",
	}, got); d != "" {
		t.Error(d)
	}
}

// A kernel that did not pass is in a group, whatever its programs say.
func TestGroupsWithoutAProgram(t *testing.T) {
	cause := &report.Cause{Title: "the payload forges results"}
	for want, k := range map[string]report.Result{
		"1 kernel fails":         {Verdict: report.Fail, Cause: cause, Programs: []report.Program{{Name: "a", Verdict: report.Pass}}},
		"1 kernel crashes":       {Verdict: report.Crash, Cause: cause, Programs: []report.Program{{Name: "a", Verdict: report.Pass}}},
		"1 kernel fails with a":  {Verdict: report.Fail, Cause: cause, Programs: []report.Program{{Name: "a", Verdict: report.Fail, Cause: cause}}},
		"1 kernel fails a/T":     {Verdict: report.Fail, Cause: cause, Tests: []report.Test{bad("a/T", "x")}, Programs: []report.Program{{Name: "a", Verdict: report.Fail, Cause: &report.Cause{Title: "a/T failed"}}}},
		"1 kernel fails a/T/sub": {Verdict: report.Fail, Cause: cause, Tests: []report.Test{bad("a/T", ""), bad("a/T/sub", "x")}, Programs: []report.Program{{Name: "a", Verdict: report.Fail}}},
	} {
		k.ID = "a/1"
		groups := Groups(&report.Merged{Kernels: []report.Result{k}})
		if len(groups) == 0 || groups[0].Text(func(s string) string { return s }) != want {
			t.Errorf("%+v, want %q", groups, want)
		}
	}
	// An expected failure beside another: only the other is a group of its own.
	m := reporttest.Programs(12, 6)
	for _, k := range m.Kernels {
		if len(k.Expected) > 0 && Numbers(Groups(m))[k.ID] != nil {
			t.Errorf("%s failed as expected and is in a group", k.ID)
		}
	}
}

// What ran when the kernel crashed as expected is no failure of its program's, and
// a crash that was expected of one program is none of another's.
func TestProgramGridExpected(t *testing.T) {
	crash := report.Program{Verdict: report.Crash, Cause: &report.Cause{Title: "BUG: x"}}
	for _, others := range []report.Verdict{report.Pass, report.Crash} {
		k := report.Result{
			ID: "a/1", Verdict: report.Crash, Cause: &report.Cause{Title: "a: BUG: x"}, Tests: []report.Test{bad("a/T", "")}, Running: []string{"a/T"},
			Expected: []report.Expected{{Verdict: report.Crash, Reason: "known"}}, Programs: []report.Program{crash, {Name: "b", Verdict: others}},
		}
		k.Programs[0].Name = "a"
		m := &report.Merged{Kernels: []report.Result{k}}
		places, _ := Places(m)
		g := NewProgramGrid(places)
		want := others == report.Pass
		if got := g.Cell(0, 0); got.Expected != want || k.FailedAsExpected() != want {
			t.Errorf("%v: %+v, and of the kernel %v", others, got, k.FailedAsExpected())
		}
		if groups := Groups(m); (len(groups) == 0) != want {
			t.Errorf("%v: %+v", others, groups)
		}
	}
}
