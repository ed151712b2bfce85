package analysis

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
)

func TestRepresent(t *testing.T) {
	k := func(id, kind, outcome string) Candidate {
		return Candidate{ID: "debian/" + id + "-cloud-amd64", Arch: "amd64", Kind: kind, Outcome: outcome}
	}
	for name, tt := range map[string]struct {
		kernels []Candidate
		want    map[string]string // without distribution and flavour
	}{
		"the newest stands for its kind": {[]Candidate{k("6.1.0-2", "a", ""), k("6.1.0-10", "a", ""), k("6.1.0-9", "b", "")}, map[string]string{"6.1.0-2": "6.1.0-10"}},
		"and the oldest of many is booted": {
			[]Candidate{k("6.1.0-1", "a", ""), k("6.1.0-2", "a", ""), k("6.1.0-3", "b", ""), k("6.1.0-4", "b", ""), k("6.1.0-5", "b", ""), k("6.1.0-6", "b", ""), k("6.1.0-7", "b", ""), k("6.1.0-8", "b", ""), k("6.1.0-9", "b", ""), k("6.1.0-10", "a", "")},
			map[string]string{"6.1.0-2": "6.1.0-10", "6.1.0-3": "6.1.0-9", "6.1.0-4": "6.1.0-9", "6.1.0-5": "6.1.0-9", "6.1.0-6": "6.1.0-9", "6.1.0-7": "6.1.0-9", "6.1.0-8": "6.1.0-9"},
		},
		"not that of a few":                       {[]Candidate{k("6.1.0-1", "a", ""), k("6.1.0-2", "a", "")}, map[string]string{"6.1.0-1": "6.1.0-2"}},
		"series stand for themselves":             {[]Candidate{k("6.1.0-1", "a", ""), k("6.12.0-1", "a", "")}, nil},
		"what is not known stands for nothing":    {[]Candidate{k("6.1.0-1", "", ""), k("6.1.0-2", "", "")}, nil},
		"nor do names without a version":          {[]Candidate{k("x", "a", ""), k("y", "a", "")}, nil},
		"other results are other kinds":           {[]Candidate{k("6.1.0-1", "a", "pass"), k("6.1.0-2", "a", "fail"), k("6.1.0-3", "a", "pass")}, map[string]string{"6.1.0-1": "6.1.0-3"}},
		"one without a result is like the newest": {[]Candidate{k("6.1.0-1", "a", "fail"), k("6.1.0-2", "a", "pass"), k("6.1.0-3", "a", "")}, map[string]string{"6.1.0-2": "6.1.0-3"}},
		"a second build is of the flavour": {
			[]Candidate{{ID: "debian/6.12.90+deb13-cloud-amd64__1", Kind: "a"}, {ID: "debian/6.12.90+deb13.1-cloud-amd64__2", Kind: "a"}},
			map[string]string{"6.12.90+deb13-cloud-amd64__1": "6.12.90+deb13.1-cloud-amd64__2"},
		},
		"architectures stand for themselves": {[]Candidate{k("6.1.0-1", "a", ""), {ID: "debian/6.1.0-2-cloud-amd64", Arch: "arm64", Kind: "a"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var want []report.Represented
			for _, c := range tt.kernels { // in order of the ids
				for id, by := range tt.want {
					for _, suffix := range []string{"", "-cloud-amd64"} {
						if c.ID == "debian/"+id+suffix {
							want = append(want, report.Represented{ID: c.ID, By: "debian/" + by + suffix, Kind: c.Kind})
						}
					}
				}
			}
			if len(want) != len(tt.want) {
				t.Fatalf("%v of %v", want, tt.want)
			}
			if d := cmp.Diff(want, Represent(tt.kernels)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestOutcome(t *testing.T) {
	result := func(v report.Verdict, tests ...report.Test) *report.Result {
		return &report.Result{Verdict: v, Tests: tests}
	}
	fails := func(name string) report.Test { return report.Test{Name: name, Verdict: report.TestFail} }
	all := map[string]bool{}
	for _, r := range []*report.Result{
		result(report.Pass), result(report.Crash), result(report.NoBoot), result(report.Fail, fails("a")), result(report.Fail, fails("b")), result(report.Fail, fails("a"), fails("b")),
		{Verdict: report.Fail, Programs: []report.Program{{Name: "a", Verdict: report.Fail}, {Name: "b", Verdict: report.Pass}}},
		{Verdict: report.Fail, Programs: []report.Program{{Name: "a", Verdict: report.Pass}, {Name: "b", Verdict: report.Fail}}},
		{Verdict: report.Fail, Programs: []report.Program{{Name: "a", Verdict: report.Crash}}},
	} {
		if o := Outcome(r); o == "" || all[o] {
			t.Errorf("%v %v: %q", r.Verdict, r.Tests, o)
		} else {
			all[o] = true
		}
	}
	if a, b := Outcome(result(report.Fail, fails("a"), fails("b"))), Outcome(result(report.Fail, fails("b"), fails("a"), report.Test{Name: "c", Verdict: report.TestPass})); a != b {
		t.Errorf("%q and %q", a, b)
	}
	for _, r := range []*report.Result{
		{Verdict: report.Pass, StaleExpectations: []string{"x"}},
		{Verdict: report.Crash, Expected: []report.Expected{{Verdict: report.Crash, Reason: "x"}}},
	} {
		if o := Outcome(r); all[o] {
			t.Errorf("what was expected of %v is in no outcome: %q", r.Verdict, o)
		}
	}
	for _, v := range []report.Verdict{report.Unknown, report.Missing, report.Infra} {
		if o := Outcome(result(v)); o != "" {
			t.Errorf("%v: %q", v, o)
		}
	}
}
