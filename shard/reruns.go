package shard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// MaxReruns is how often failed tests can run again.
const MaxReruns = 10

// maxFlaky is how many flaky tests a result names.
const maxFlaky = 10_000

// rerunFailed runs the tests of a kernel that failed, and no others, again, each time
// in a VM of its own, as long as one of them has not passed. That is only done where
// nothing but they is wrong. It returns false if ctx ended first.
func (r *run) rerunFailed(ctx context.Context, j *job, first report.Result) (report.Result, bool) {
	if r.Reruns == 0 || first.Verdict != report.Fail || !first.TestsOnly {
		return first, true
	}
	again := newReruns(first, r.expectedTests(first))
	for n := 1; n <= r.Reruns && len(again.left()) > 0; n++ {
		job, err := r.Payload.Select(again.left())
		if err != nil {
			again.k.Problems = append(again.k.Problems, report.OneLine("the failed tests were not run again: "+err.Error(), 300))
			break
		}
		r.Report(Event{ID: first.ID, State: Retrying, Reason: report.OneLine(fmt.Sprintf("%s again: %s", report.Count(len(again.left()), "failed test"), strings.Join(again.left(), ", ")), 300)})
		vms, ok := r.bootVMs(ctx, j, &job, 0, again.vms+1)
		if !ok {
			return vms[len(vms)-1], false
		}
		for _, k := range vms {
			if err := r.dropFiles(k); err != nil {
				again.k.Problems = append(again.k.Problems, report.ErrorLine(err, 300))
			}
		}
		if !again.add(n, job.Programs, vms) {
			break
		}
	}
	return again.settle(r.FlakyOK), true
}

// expectedTests are the failed tests of a result that were expected to fail.
func (r *run) expectedTests(k report.Result) map[string]bool {
	k.Expected = nil
	r.Expect.Apply(&k, r.Now())
	tests := map[string]bool{}
	for _, e := range k.Expected {
		tests[e.Test] = true
	}
	return tests
}

// dropFiles removes the files of a VM whose result is not the kernel's.
func (r *run) dropFiles(k report.Result) error {
	dir := filepath.Join(r.Out, filepath.FromSlash(strings.TrimSuffix(k.Console, ".txt")))
	err := removeFiles(dir)
	os.Remove(dir)
	if err != nil {
		return errors.New("remove the files of a rerun: " + err.Error())
	}
	return nil
}

// reruns joins a kernel's result with those of the VMs in which its failed tests ran
// again.
type reruns struct {
	k        report.Result
	vms      int             // that were started
	expected map[string]bool // tests that do not run again
	counts   map[string]*rerunCount
	names    []string // of counts, in order
}

// rerunCount is of a test that failed at least once.
type rerunCount struct {
	failed, runs int
	passed       bool // in the last of them
}

func newReruns(first report.Result, expected map[string]bool) *reruns {
	again := &reruns{k: first, vms: 1, expected: expected, counts: map[string]*rerunCount{}}
	vms := map[int]bool{}
	for _, a := range first.History {
		if a.VM > 0 {
			vms[a.VM] = true
		}
	}
	again.vms += len(vms)
	again.k.Tests, again.k.History, again.k.Splats = slices.Clone(first.Tests), slices.Clone(first.History), slices.Clone(first.Splats)
	again.k.Problems, again.k.Programs = slices.Clone(first.Problems), slices.Clone(first.Programs)
	for _, t := range first.Tests {
		if report.TestVerdict(t) == report.TestFail && !expected[t.Name] {
			again.names = append(again.names, t.Name)
			again.counts[t.Name] = &rerunCount{failed: 1, runs: 1}
		}
	}
	return again
}

// left are the tests that did not pass when they ran last.
func (again *reruns) left() (names []string) {
	for _, name := range again.names {
		if !again.counts[name].passed {
			names = append(names, name)
		}
	}
	return names
}

// add takes what the VMs of the nth rerun, of some programs, came to. It returns false
// if no other rerun may follow: a crash counts, wherever it happens, and what is not
// whole says nothing of tests.
func (again *reruns) add(n int, programs []wire.Program, vms []report.Result) bool {
	k := vms[0]
	if len(programs) > 0 {
		k = joinVMs(programs, vms, 0)
	}
	for _, one := range vms {
		again.vms++
		at := report.Attempt{Attempt: one.Attempts, Verdict: ofVM(one, k.Programs), Accel: one.Accel, Console: one.Console}
		if one.Cause != nil && at.Verdict != report.Pass {
			at.Cause = one.Cause.Title
		}
		for _, a := range append(slices.Clone(one.History), at) {
			a.VM, a.Rerun = again.vms, n
			again.k.History = append(again.k.History, a)
		}
	}
	phases := map[string]int64{}
	for name, ns := range again.k.Phases {
		phases[name] = ns
	}
	phases["vm"] += k.Phases["vm"]
	again.k.Phases = phases
	again.k.BPF = joinBPF(again.k, k)
	for _, s := range k.Splats {
		if !slices.Contains(again.k.Splats, s) {
			again.k.Splats = append(again.k.Splats, s)
		}
	}
	switch {
	case k.Verdict == report.Crash || k.Verdict == report.Timeout:
		cause := *k.Cause
		cause.Title = report.OneLine("when its failed tests ran again: "+cause.Title, 400)
		again.k.Verdict, again.k.Cause, again.k.Running, again.k.TestsOnly = k.Verdict, &cause, k.Running, false
		return false
	case k.Verdict != report.Pass && !(k.Verdict == report.Fail && k.TestsOnly):
		return false
	}
	for _, t := range k.Tests {
		c := again.counts[t.Name]
		switch failed := report.TestVerdict(t) == report.TestFail; {
		case again.expected[t.Name] || c == nil && !failed || t.Verdict == report.TestSkip:
		case c == nil: // it ran along with them
			c = again.fails(t)
			fallthrough
		default:
			c.runs++
			if c.passed = !failed; failed {
				c.failed++
			}
		}
	}
	return true
}

// fails counts a test that failed in a rerun only.
func (again *reruns) fails(t report.Test) *rerunCount {
	c := &rerunCount{}
	i := slices.IndexFunc(again.k.Tests, func(x report.Test) bool { return x.Name == t.Name })
	switch {
	case i < 0:
		again.k.Tests = append(again.k.Tests, t)
	case again.k.Tests[i].Verdict == report.TestPass:
		c.runs = 1
		fallthrough
	default:
		again.k.Tests[i] = t
	}
	again.counts[t.Name] = c
	again.names = append(again.names, t.Name)
	return c
}

// settle is the result after the last rerun. A test that failed and passed is flaky:
// a failure, unless that is allowed and it passed in the end.
func (again *reruns) settle(ok bool) report.Result {
	k := again.k
	k.Flaky = nil
	var passed []string
	for _, name := range again.names {
		c := again.counts[name]
		if c.failed < c.runs {
			k.Flaky = append(k.Flaky, report.Flaky{Name: report.OneLine(name, 500), Failed: c.failed, Runs: c.runs})
		}
		if c.passed {
			passed = append(passed, name)
		}
	}
	k.Flaky = k.Flaky[:min(len(k.Flaky), maxFlaky)]
	if k.Verdict != report.Fail || len(passed) == 0 {
		return k
	}
	if !ok {
		if len(again.left()) == 0 && len(again.expected) == 0 {
			k.Cause = &report.Cause{Title: report.OneLine(flakyTitle(passed), 400), Excerpt: k.Cause.Excerpt}
		}
		return k
	}
	for i, t := range k.Tests {
		if c := again.counts[t.Name]; c != nil && c.passed {
			k.Tests[i].Verdict = report.TestPass
			k.Tests[i].Output = fmt.Sprintf("flaky: it failed in %d of %d runs, and passed in the last\n%s", c.failed, c.runs, t.Output)
		}
	}
	of := k.TestPrograms()
	for i, p := range k.Programs {
		fails := func(t report.Test) bool {
			at, _ := of(t.Name)
			return report.TestVerdict(t) == report.TestFail && at == i
		}
		if p.Verdict == report.Fail && !slices.ContainsFunc(k.Tests, fails) {
			k.Programs[i].Verdict, k.Programs[i].Cause, k.Programs[i].TestsOnly = report.Pass, nil, false
		}
	}
	title, excerpt := analysis.FailedTests(k.Tests)
	if title == "" {
		k.Verdict, k.Cause, k.TestsOnly, k.FlakyOK = report.Pass, nil, false, true
		return k
	}
	k.Cause = &report.Cause{Title: report.OneLine(title, 300), Excerpt: excerpt}
	return k
}

// flakyTitle says that all that failed passed in the end.
func flakyTitle(names []string) string {
	if len(names) == 1 {
		return "flaky: " + names[0] + " failed, and passed when run again"
	}
	return fmt.Sprintf("flaky: %s and %d more failed, and passed when run again", report.OneLine(names[0], 200), len(names)-1)
}
