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

// bootPrograms tests a kernel with the payload's programs.
func (r *run) bootPrograms(ctx context.Context, j *job, repeat int) (report.Result, bool) {
	vms, ok := r.bootVMs(ctx, j, nil, repeat, 1)
	all := r.Payload.Job.Programs
	if !ok || len(all) == 0 {
		return vms[len(vms)-1], ok
	}
	k := joinVMs(all, vms, repeat)
	if len(vms) > 1 {
		r.joinFiles(&k, vms)
	}
	if flags := r.ProgramFlags[worstProgram(k.Programs)]; len(flags) > 0 {
		k.Reproduce = r.reproduceWith(j.entry, flags)
	}
	return k, true
}

// bootVMs does a job, nil for the payload's, in as few VMs as it takes: one that a
// program ends, such as by a crash, is followed by another for those that it did not
// come to. A program under which QEMU fails is tried again as the first of a VM, and
// then no more. A VM that comes to none is the last, unless each program has its
// own. The first has a number, as bootWithKVMFallback's. It returns false if ctx
// ended first.
func (r *run) bootVMs(ctx context.Context, j *job, own *wire.Job, repeat, first int) (vms []report.Result, ok bool) {
	defer func() { j.own = nil }()
	all := r.Payload.Job
	if own != nil {
		all = *own
	}
	down := 0 // VMs in a row that did not come up
	for left := all.Programs; ; {
		now := left
		if r.Isolate && len(left) > 0 {
			now = left[:1]
		}
		if j.own = own; len(now) < len(all.Programs) {
			some := all
			some.Programs = now
			j.own = &some
		}
		k, ok := r.bootWithKVMFallback(ctx, j, repeat, first+len(vms))
		vms = append(vms, k)
		if !ok {
			return vms, false
		}
		if down++; k.Release != "" {
			down = 0
		}
		tested, same := map[string]bool{}, true
		for _, p := range k.Programs {
			same = same && p.Verdict == k.Programs[0].Verdict
			if p.Verdict.Tested() {
				tested[p.Name] = true
			}
		}
		switch {
		case len(k.Programs) == 0 && !r.Isolate || len(left) == 0 || k.Verdict == report.NoBoot || down > 1:
			return vms, true
		case len(tested) > 0:
			left = slices.DeleteFunc(slices.Clone(left), func(p wire.Program) bool { return tested[p.Name] })
		case same && len(now) > 1: // none began
			return vms, true
		default:
			left = left[1:]
		}
		if len(left) == 0 {
			return vms, true
		}
	}
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

// joinVMs makes one result of the VMs in which a kernel's programs ran, in one of
// its repeats or, with 0, the only one. What the last VM that tested a program says
// of it counts, and the worst program, or the worst VM, decides. The others are in
// the history.
func joinVMs(all []wire.Program, vms []report.Result, repeat int) report.Result {
	programs := make([]report.Program, len(all))
	from := make([]int, len(all)) // the VM that tells, for each program
	at := map[string]int{}
	for i, p := range all {
		programs[i] = report.Program{Name: p.Name, Verdict: report.Missing, Cause: notRun(vms[len(vms)-1])}
		at[p.Name] = i
	}
	for n, k := range vms {
		for _, said := range k.Programs {
			if i, ok := at[said.Name]; ok && (said.Verdict.Tested() || !programs[i].Verdict.Tested()) {
				programs[i], from[i] = said, n
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
	k.BPF = joinBPF(vms...)
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
			a := report.Attempt{Repeat: repeat, VM: n + 1, Attempt: one.Attempts, Verdict: verdicts[n], Accel: one.Accel, Console: one.Console}
			if one.Cause != nil && verdicts[n] != report.Pass {
				a.Cause = one.Cause.Title
			}
			k.History = append(k.History, a)
		}
	}
	tests := make([][]report.Test, len(all))
	for n, told := range vms {
		of := told.TestPrograms()
		for _, t := range told.Tests {
			if program, _ := of(t.Name); program >= 0 {
				if i, ok := at[told.Programs[program].Name]; ok && from[i] == n {
					tests[i] = append(tests[i], t)
				}
			}
		}
	}
	k.Tests = slices.Concat(tests...)
	for _, p := range programs {
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

// notRun says why a program was in none of a kernel's VMs, by the last of them.
func notRun(last report.Result) *report.Cause {
	title := "not run"
	if last.Cause != nil {
		title += ", after the VM before: " + last.Cause.Title
	}
	return &report.Cause{Title: report.OneLine(title, 300)}
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
		default:
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
