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
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// bootPrograms tests a kernel with the payload's programs, in as few VMs as it
// takes: one that a program ends, such as by a crash, is followed by another for
// those that it did not come to. A VM that tests none is the last, unless each
// program has its own.
func (r *run) bootPrograms(ctx context.Context, j *job, repeat int) (report.Result, bool) {
	all := r.Payload.Job.Programs
	if len(all) == 0 {
		return r.bootWithKVMFallback(ctx, j, repeat, 1)
	}
	defer func() { j.own = nil }()
	var vms []report.Result
	for left := all; len(left) > 0; {
		now := left
		if r.Isolate {
			now = left[:1]
		}
		if j.own = nil; len(now) < len(all) {
			own := r.Payload.Job
			own.Programs = now
			j.own = &own
		}
		k, ok := r.bootWithKVMFallback(ctx, j, repeat, len(vms)+1)
		if !ok {
			return k, false
		}
		vms = append(vms, k)
		tested := map[string]bool{}
		for _, p := range k.Programs {
			if p.Verdict.Tested() {
				tested[p.Name] = true
			}
		}
		switch {
		case r.Isolate && k.Release != "": // the next one's VM comes up, too
			left = left[1:]
			continue
		case len(tested) == 0:
			left = nil
		}
		left = slices.DeleteFunc(slices.Clone(left), func(p wire.Program) bool { return tested[p.Name] })
	}
	k := joinVMs(all, vms)
	if len(vms) > 1 {
		r.joinFiles(&k, vms)
	}
	if flags := r.ProgramFlags[worstProgram(k.Programs)]; len(flags) > 0 {
		k.Reproduce = r.reproduceWith(j.entry, flags)
	}
	return k, true
}

// worstProgram is the name of the program that decides a kernel's verdict; "" for
// none.
func worstProgram(programs []report.Program) string {
	worst, name := report.Pass, ""
	for _, p := range programs {
		if p.Verdict.Badness() > worst.Badness() {
			worst, name = p.Verdict, p.Name
		}
	}
	return name
}

// joinVMs makes one result of the VMs in which a kernel's programs ran. What the
// last VM that tested a program says of it counts, and the worst program, or the
// worst VM, decides. The others are in the history.
func joinVMs(all []wire.Program, vms []report.Result) report.Result {
	programs := make([]report.Program, len(all))
	from := make([]int, len(all)) // the VM that tells, for each program
	for i, p := range all {
		programs[i] = report.Program{Name: p.Name, Verdict: report.Missing, Cause: &report.Cause{Title: "no VM came to it"}}
		for n, k := range vms {
			for _, said := range k.Programs {
				if said.Name == p.Name && (said.Verdict.Tested() || !programs[i].Verdict.Tested()) {
					programs[i], from[i] = said, n
				}
			}
		}
	}
	worst := 0
	verdicts := make([]report.Verdict, len(vms))
	for n, k := range vms {
		verdicts[n] = ofVM(k, programs)
		if verdicts[n].Badness() > verdicts[worst].Badness() {
			worst = n
		}
	}
	k := vms[worst]
	k.Programs, k.Tests, k.Splats, k.History, k.Running = programs, nil, nil, nil, nil
	if k.Verdict != verdicts[worst] { // it was of programs that another VM tested
		k.Verdict, k.Cause = report.Pass, nil // until the programs are looked at, below
	}
	k.TestsOnly = true
	k.Phases = map[string]int64{}
	for name, ns := range vms[worst].Phases {
		k.Phases[name] = ns
	}
	k.Phases["vm"], k.Phases["payload"] = 0, 0
	for n, one := range vms {
		k.Phases["vm"] += one.Phases["vm"]
		k.Phases["payload"] += one.Phases["payload"]
		k.Attempts = max(k.Attempts, one.Attempts)
		if verdicts[n] == report.Fail && !one.TestsOnly {
			k.TestsOnly = false
		}
		k.Running = append(k.Running, one.Running...)
		for _, s := range one.Splats {
			if !slices.Contains(k.Splats, s) {
				k.Splats = append(k.Splats, s)
			}
		}
		for _, a := range one.History {
			a.VM = n + 1
			k.History = append(k.History, a)
		}
		if n != worst {
			a := report.Attempt{VM: n + 1, Attempt: one.Attempts, Verdict: verdicts[n], Accel: one.Accel, Console: one.Console}
			if one.Cause != nil && verdicts[n] != report.Pass {
				a.Cause = one.Cause.Title
			}
			k.History = append(k.History, a)
		}
	}
	for i, p := range programs {
		told := &vms[from[i]]
		of := told.TestPrograms()
		for _, t := range told.Tests {
			if at, _ := of(t.Name); at >= 0 && told.Programs[at].Name == p.Name {
				k.Tests = append(k.Tests, t)
			}
		}
		if p.Verdict.Badness() > k.Verdict.Badness() {
			k.Verdict, k.Cause = p.Verdict, vm.OfProgram(p.Name, p.Cause)
		}
		if p.Verdict != report.Pass && !p.TestsOnly {
			k.TestsOnly = false
		}
	}
	k.TestsOnly = k.TestsOnly && k.Verdict == report.Fail
	return k
}

// ofVM is what a VM came to, without those of its programs that another VM tested
// after it: a VM that was ended early passes if what it tested does.
func ofVM(k report.Result, programs []report.Program) report.Verdict {
	if k.Verdict.Tested() {
		return k.Verdict
	}
	final := map[string]report.Verdict{}
	for _, p := range programs {
		final[p.Name] = p.Verdict
	}
	explained, tested := k.Verdict == report.Missing, report.Pass
	for _, p := range k.Programs {
		switch {
		case p.Verdict.Tested():
			if p.Verdict.Badness() > tested.Badness() {
				tested = p.Verdict
			}
		case !final[p.Name].Tested():
			return k.Verdict
		case p.Verdict == k.Verdict:
			explained = true
		}
	}
	if explained && len(k.Programs) > 0 {
		return tested
	}
	return k.Verdict
}

// vmPath is where the console of a kernel's nth VM goes.
func vmPath(console string, n int) string {
	if n <= 1 {
		return console
	}
	return strings.TrimSuffix(console, ".txt") + fmt.Sprintf(".vm-%d.txt", n)
}

// joinFiles gives the console of the VM that decided the kernel's name, where
// everyone looks for it, the first one's another, and moves the files of all VMs
// to one directory: each program has one of its own there.
func (r *run) joinFiles(k *report.Result, vms []report.Result) {
	in := func(name string) string { return filepath.Join(r.Out, filepath.FromSlash(name)) }
	dir := func(console string) string { return strings.TrimSuffix(console, ".txt") }
	own, decided := vms[0].Console, k.Console
	var err error
	if decided != own {
		first := strings.TrimSuffix(own, ".txt") + ".vm-1.txt"
		err = errors.Join(os.Rename(in(own), in(first)), os.Rename(in(decided), in(own)))
		for i := range k.History {
			if k.History[i].Console == own {
				k.History[i].Console = first
			}
		}
		k.Console = own
	}
	k.Files, k.Problems = nil, nil
	for _, one := range vms {
		for _, f := range one.Files {
			to := dir(own) + strings.TrimPrefix(f, dir(one.Console))
			if to != f {
				err = errors.Join(err, os.MkdirAll(filepath.Dir(in(to)), 0o755), os.Rename(in(f), in(to)))
			}
			if !slices.Contains(k.Files, to) {
				k.Files = append(k.Files, to)
			}
		}
		if one.Console != own {
			err = errors.Join(err, removeFiles(in(dir(one.Console))))
			os.Remove(in(dir(one.Console)))
		}
		for _, p := range one.Problems {
			if !slices.Contains(k.Problems, p) {
				k.Problems = append(k.Problems, p)
			}
		}
	}
	k.Problems = cutProblems(k.Problems)
	if err != nil {
		k.Problems = append(k.Problems, report.OneLine("keep the consoles and files: "+err.Error(), 300))
	}
}
