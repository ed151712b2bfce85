package analysis

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
)

// shape is a group in a few words: its tests, its kernels.
func shape(groups []Group) []string {
	var all []string
	for _, g := range groups {
		all = append(all, fmt.Sprintf("%v %s: %s", g.Verdict, strings.Join(g.Tests, ","), strings.Join(g.Kernels, " ")))
	}
	return all
}

func withTests(id string, tests ...report.Test) report.Result {
	k := report.Result{ID: id, Verdict: report.Pass, Tests: tests}
	for _, t := range tests {
		if t.Verdict == report.TestFail && k.Cause == nil {
			k.Verdict, k.Cause = report.Fail, &report.Cause{Title: t.Name + ": " + t.Output}
		}
	}
	return k
}

func bad(name, output string) report.Test {
	return report.Test{Name: name, Verdict: report.TestFail, Output: output}
}
func good(name string) report.Test { return report.Test{Name: name, Verdict: report.TestPass} }

func TestGroups(t *testing.T) {
	died := func(n int) []report.Test { // a tracer that dies in the middle: which tests notice differs
		var all []report.Test
		for i := range 24 {
			test := good(fmt.Sprintf("T%02d", i))
			if i >= n {
				test = bad(test.Name, fmt.Sprintf("EVENT_%d was not seen, nor any other event of its type. It should have been:\n    pids.tgid  %d\nEventsTrace ended: signal: segmentation fault\nfork printed: {}", i, 100+i))
			}
			all = append(all, test)
		}
		return append(all, bad("Stream", "EventsTrace ended before the tests did: signal: segmentation fault"))
	}
	const x, y = "rejected: x", "rejected: y"
	forged := withTests("a/1.1", bad("A", x))
	forged.Cause.Title = "3 result records contradict others: the payload forges results"
	crash := withTests("a/1.1", bad("A", x))
	crash.Verdict, crash.Cause = report.Crash, &report.Cause{Title: "BUG: x"}
	var many []report.Test
	for i := range maxFailedTests + 5 {
		many = append(many, bad(fmt.Sprintf("T%05d", i), fmt.Sprintf("rejected: %c%c%c", 'a'+i%26, 'a'+i/26%26, 'a'+i/676)))
	}
	tests := []struct {
		name    string
		kernels []report.Result
		want    []string
	}{
		{"all pass", []report.Result{withTests("a/1.1", good("A"))}, nil},
		{"one bug, two kernels", []report.Result{withTests("a/1.1", bad("A", x)), withTests("a/1.2", bad("A", x))}, []string{"fail A: a/1.1 a/1.2"}},
		{"two bugs on one kernel", []report.Result{withTests("a/1.1", bad("A", x), bad("B", y))}, []string{"fail A: a/1.1", "fail B: a/1.1"}},
		{"two tests, one reason, the same kernels", []report.Result{withTests("a/1.1", bad("A", x), bad("B", x))}, []string{"fail A,B: a/1.1"}},
		{"two tests, one reason, other kernels", []report.Result{withTests("a/1.1", bad("A", x), bad("B", x)), withTests("a/1.2", bad("A", x), good("B"))}, []string{"fail A: a/1.1 a/1.2", "fail B: a/1.1"}},
		{"a tracer that dies is one", []report.Result{withTests("a/1.1", died(3)...), withTests("a/1.2", died(20)...)}, []string{"fail Stream,T03,T04,T05,T06,T07,T08,T09,T10,T11,T12,T13,T14,T15,T16,T17,T18,T19,T20,T21,T22,T23: a/1.1 a/1.2"}},
		{"a parent without words", []report.Result{withTests("a/1.1", bad("A", ""), bad("A/sub", x), good("A/other"))}, []string{"fail A/sub: a/1.1"}},
		{"a parent with words", []report.Result{withTests("a/1.1", bad("A", y), bad("A/sub", x))}, []string{"fail A/sub: a/1.1", "fail A: a/1.1"}},
		{"forged results are not tests", []report.Result{forged}, []string{"fail : a/1.1"}},
		{"a crash is not a test", []report.Result{crash}, []string{"crash : a/1.1"}},
		{"not tested comes last", []report.Result{{ID: "a/1.1", Verdict: report.Missing}, {ID: "a/1.2", Verdict: report.Missing}, withTests("a/1.3", bad("A", x))}, []string{"fail A: a/1.3", "missing : a/1.1 a/1.2"}},
		{"larger ones first", []report.Result{withTests("a/1.1", bad("A", x)), withTests("a/1.2", bad("B", y)), withTests("a/1.3", bad("B", y))}, []string{"fail B: a/1.2 a/1.3", "fail A: a/1.1"}},
		{"versions in order", []report.Result{withTests("a/5.10.1", bad("A", x)), withTests("a/5.9.1", bad("A", x))}, []string{"fail A: a/5.9.1 a/5.10.1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, shape(Groups(&report.Merged{Kernels: tt.kernels}))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	groups := Groups(&report.Merged{Kernels: []report.Result{withTests("a/1.1", many...)}})
	if len(groups) != maxFailedTests+1 || !slices.ContainsFunc(groups, func(g Group) bool { return g.Tests[0] == "further tests" }) {
		t.Errorf("%d groups of %d failed tests", len(groups), len(many))
	}
}

// What has just broken comes first, and is what is shown.
func TestNewFailuresFirst(t *testing.T) {
	m := &report.Merged{
		Kernels: []report.Result{withTests("a/1.1", bad("A", "rejected: x 1")), withTests("a/1.2", bad("A", "rejected: x 2")), withTests("a/1.3", bad("B", "rejected: y 3")), withTests("a/1.4", bad("B", "rejected: y 4"))},
		Change:  &report.Change{NewlyFail: []string{"a/1.4"}},
	}
	groups := Groups(m)
	if g := groups[0]; g.Tests[0] != "B" || g.Newly != 1 || g.Example != "a/1.4" || g.Title != "rejected: y 4" || g.Excerpt != "rejected: y 4" {
		t.Errorf("%+v", g)
	}
	if g := groups[1]; g.Newly != 0 || g.Example != "a/1.1" {
		t.Errorf("%+v", g)
	}
}

func TestCommon(t *testing.T) {
	facts := func(change func(*report.Facts)) *report.Facts {
		f := &report.Facts{BTF: true, Lockdown: "none", LSMs: []string{"capability", "bpf"}, UnprivilegedBPF: "2", JIT: "1", JITHarden: "0", Config: map[string]string{"X": "y"}, Targets: map[string]bool{"kprobe/a": true}}
		if change != nil {
			change(f)
		}
		return f
	}
	fails := func(id string, f *report.Facts) report.Result {
		k := withTests(id, bad("A", "rejected: x"))
		k.Facts = f
		return k
	}
	passes := func(id string, f *report.Facts) report.Result { k := withTests(id, good("A")); k.Facts = f; return k }
	same := func(n int, f func(id string, f *report.Facts) report.Result, change func(*report.Facts)) []report.Result {
		var all []report.Result
		for i := range n {
			all = append(all, f(fmt.Sprintf("a/%d.%d", n, i), facts(change)))
		}
		return all
	}
	tests := []struct {
		name   string
		fails  []report.Result
		passes []report.Result
		want   []string
		unlike int
	}{
		{"nothing", same(2, fails, nil), same(3, passes, nil), nil, 3},
		{"no BTF", same(2, fails, func(f *report.Facts) { f.BTF = false }), same(3, passes, nil), []string{"no BTF"}, 3},
		{"no BTF and its option", same(2, fails, func(f *report.Facts) { f.BTF = false; f.Config = map[string]string{"DEBUG_INFO_BTF": "n"} }), same(3, passes, func(f *report.Facts) { f.Config = map[string]string{"DEBUG_INFO_BTF": "y"} }), []string{"no BTF"}, 3},
		{"a target", same(2, fails, func(f *report.Facts) { f.Targets = map[string]bool{"kprobe/a": false} }), same(3, passes, nil), []string{"target kprobe/a missing"}, 3},
		{"an option", same(2, fails, func(f *report.Facts) { f.Config = map[string]string{"X": "n"} }), same(3, passes, nil), []string{"CONFIG_X=n"}, 3},
		{"an LSM too much", same(2, fails, func(f *report.Facts) { f.LSMs = append(f.LSMs, "landlock") }), same(3, passes, nil), []string{"LSM landlock is active"}, 3},
		{"an LSM too few", same(2, fails, func(f *report.Facts) { f.LSMs = f.LSMs[:1] }), same(3, passes, nil), []string{"LSM bpf is not active"}, 3},
		{"values", same(2, fails, func(f *report.Facts) {
			f.PreemptRT, f.Lockdown, f.UnprivilegedBPF, f.JIT, f.JITHarden = true, "integrity", "0", "0", "2"
		}), same(3, passes, nil), []string{"PREEMPT_RT", "lockdown is integrity", "kernel.unprivileged_bpf_disabled is 0", "net.core.bpf_jit_enable is 0", "net.core.bpf_jit_harden is 2"}, 3},
		{"one that passes has it too", same(2, fails, func(f *report.Facts) { f.BTF = false }), append(same(3, passes, nil), passes("b/1.1", facts(func(f *report.Facts) { f.BTF = false }))), nil, 4},
		{"one that fails has it not", append(same(2, fails, func(f *report.Facts) { f.BTF = false }), fails("b/1.1", facts(nil))), same(3, passes, nil), nil, 3},
		{"of one that fails nothing is known", append(same(2, fails, func(f *report.Facts) { f.BTF = false }), fails("b/1.1", nil)), same(3, passes, nil), nil, 3},
		{"of some that pass nothing is known", same(2, fails, func(f *report.Facts) { f.BTF = false }), append(same(3, passes, nil), passes("b/1.1", nil)), []string{"no BTF"}, 3},
		{"what is not known is not claimed", same(2, fails, func(f *report.Facts) {
			f.Config = map[string]string{"Y": "n"}
			f.Targets = map[string]bool{"kprobe/b": false}
		}), same(3, passes, nil), nil, 3},
		{"none passes", same(2, fails, func(f *report.Facts) { f.BTF = false }), nil, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			groups := Groups(&report.Merged{Kernels: append(tt.fails, tt.passes...)})
			var got []string
			for _, c := range groups[0].Common {
				got = append(got, c.Words(func(s string) string { return s }))
			}
			if d := cmp.Diff(tt.want, got); d != "" || groups[0].Unlike != tt.unlike {
				t.Errorf("unlike %d, want %d (-want +got):\n%s", groups[0].Unlike, tt.unlike, d)
			}
		})
	}
}
