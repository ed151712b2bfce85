package shard

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

// repeatPath is where the console of a repeat goes.
func repeatPath(console string, repeat int) string {
	return strings.TrimSuffix(console, ".txt") + fmt.Sprintf(".repeat-%d.txt", repeat)
}

// combine makes one result of several runs of one kernel. The worst run
// decides; a test that failed in any has failed.
func combine(runs []report.Result) report.Result {
	worst := 0
	bad := 0
	for i, k := range runs {
		if k.Verdict != report.Pass {
			bad++
		}
		if k.Verdict.Badness() > runs[worst].Verdict.Badness() {
			worst = i
		}
	}
	k := runs[worst]
	k.Repeats = len(runs)
	k.History = nil
	k.Phases = map[string]int64{}
	for name, ns := range runs[worst].Phases {
		k.Phases[name] = ns
	}
	k.Phases["vm"] = 0
	k.TestsOnly = k.Verdict == report.Fail
	for i, run := range runs {
		k.Phases["vm"] += run.Phases["vm"]
		k.Attempts = max(k.Attempts, run.Attempts)
		k.History = append(k.History, run.History...)
		if run.Verdict == report.Fail && !run.TestsOnly || !run.Verdict.Tested() {
			k.TestsOnly = false
		}
		if i == worst {
			continue
		}
		a := report.Attempt{Repeat: i + 1, Attempt: run.Attempts, Verdict: run.Verdict, Accel: run.Accel, Console: run.Console}
		if run.Cause != nil {
			a.Cause = run.Cause.Title
		}
		k.History = append(k.History, a)
	}
	k.Splats = nil
	for _, run := range runs {
		for _, s := range run.Splats {
			if !slices.Contains(k.Splats, s) {
				k.Splats = append(k.Splats, s)
			}
		}
	}
	k.Tests, k.Flaky = combineTests(runs)
	k.BPF = joinBPF(runs...)
	k.Programs = slices.Clone(k.Programs)
	for i := range k.Programs {
		for _, run := range runs { // all have the same programs
			if p := &k.Programs[i]; i < len(run.Programs) && run.Programs[i].Verdict.Badness() > p.Verdict.Badness() {
				*p = run.Programs[i]
			}
		}
	}
	if k.Verdict != report.Pass && bad < len(runs) {
		cause := *k.Cause
		cause.Title = report.OneLine(fmt.Sprintf("%s (%d of %d runs)", cause.Title, bad, len(runs)), 400)
		k.Cause = &cause
	}
	return k
}

// joinBPF are the BPF programs of several VMs of a kernel.
func joinBPF(vms ...report.Result) []report.BPFProgram {
	lists := make([][]report.BPFProgram, len(vms))
	for i, k := range vms {
		lists[i] = k.BPF
	}
	return report.JoinBPF(lists...)
}

// combineTests makes one list of the tests of several runs: a failure where
// there is one, else a pass, else a skip.
func combineTests(runs []report.Result) (tests []report.Test, flaky []report.Flaky) {
	type count struct{ at, failed, passed int }
	counts := map[string]*count{}
	rank := func(v string) int { return slices.Index([]string{wire.TestSkip, wire.TestPass, wire.TestFail}, v) }
	for _, run := range runs {
		for _, t := range run.Tests {
			c := counts[t.Name]
			if c == nil {
				c = &count{at: len(tests)}
				counts[t.Name] = c
				tests = append(tests, t)
			}
			switch t.Verdict {
			case wire.TestFail:
				c.failed++
			case wire.TestPass:
				c.passed++
			}
			if rank(t.Verdict) > rank(tests[c.at].Verdict) {
				tests[c.at] = t
			}
		}
	}
	const most = 10_000
	for _, t := range tests {
		if c := counts[t.Name]; c.failed > 0 && c.passed > 0 && len(flaky) < most {
			flaky = append(flaky, report.Flaky{Name: report.OneLine(t.Name, 500), Failed: c.failed, Runs: c.failed + c.passed})
		}
	}
	return tests, flaky
}

// nameConsoles gives the console and the files of the run that decided the kernel's
// own names, where everyone looks for them. The other runs' files go.
func (r *run) nameConsoles(k *report.Result, runs []report.Result) {
	dir := func(console string) string {
		return filepath.Join(r.Out, filepath.FromSlash(strings.TrimSuffix(console, ".txt")))
	}
	own := path.Join("results", k.ID+".txt")
	err := os.Rename(filepath.Join(r.Out, filepath.FromSlash(k.Console)), filepath.Join(r.Out, filepath.FromSlash(own)))
	for _, run := range runs {
		if run.Console == k.Console && len(k.Files) > 0 {
			err = errors.Join(err, os.Rename(dir(k.Console), dir(own)))
		} else {
			err = errors.Join(err, removeFiles(dir(run.Console)))
			os.Remove(dir(run.Console))
		}
	}
	k.Files = slices.Clone(k.Files)
	for i, f := range k.Files {
		k.Files[i] = strings.TrimSuffix(own, ".txt") + strings.TrimPrefix(f, strings.TrimSuffix(k.Console, ".txt"))
	}
	if err != nil {
		k.Problems = append(k.Problems, report.OneLine("keep the console and files: "+err.Error(), 300))
	}
	k.Console = own
}
