package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// runPrograms runs the job's programs one after the other. Between two it puts
// back what the first changed. What it cannot, such as a kernel that has
// crashed, ends the VM: the host starts another one for the rest.
func runPrograms(job wire.Job, r *reporter, con *serialConsole, switches switches, scale time.Duration) {
	var sys *system // nil: nothing comes after the only one
	if len(job.Programs) > 1 {
		sys = observe(job.Programs)
	}
	problem := ""
	defer func() {
		if problem != "" {
			r.fails(problem)
			return
		}
		r.completed()
	}()
	for i, p := range job.Programs {
		_ = os.RemoveAll(collectDir)
		end, stop := runProgram(programJob(job, p), i, r, con, switches, scale, sys)
		if !end.Complete {
			problem = cmp.Or(problem, p.Name+": "+cmp.Or(end.Problem, "its report is not complete"))
		}
		if rest := len(job.Programs) - i - 1; stop != "" && rest > 0 {
			con.logf("%d programs need another VM: %s", rest, stop)
			return
		}
	}
}

// programJob is the job of one of its programs.
func programJob(job wire.Job, p wire.Program) wire.Job {
	job.Programs = nil
	job.Args, job.Name, job.Cover = p.Args, p.Name, p.Cover
	job.Env = slices.Concat(job.Env, p.Env)
	job.Timeout, job.TestTimeout = cmp.Or(p.Timeout, job.Timeout), cmp.Or(p.TestTimeout, job.TestTimeout)
	return job
}

// runProgram runs one program between its two marks. stop says why no other program
// can run after it in this VM, "" if one can.
func runProgram(job wire.Job, index int, vm *reporter, con *serialConsole, switches switches, scale time.Duration, sys *system) (end *wire.End, stop string) {
	r := &reporter{con: con, vm: vm, program: job.Name, taint: vm.taint}
	var err error
	if r.before, err = r.taint.read(); err != nil {
		r.err = err
	}
	vm.send(wire.Record{Type: wire.TypeProgram, Program: &wire.ProgramMark{Name: job.Name, Index: index}})
	con.logf("program %s: run %s", job.Name, strings.Join(job.Args, " "))
	log := followLog()
	job = prepareCollect(scaled(job, scale), r)
	alone := runPayload(job, r, con, scale)
	collect(job, r, con, scale)
	sys.putBack()
	waitForKernelCleanup()
	left, spoiled := sys.result()
	if !alone {
		left = append(left, "a process that cannot be ended")
	}
	switches.on(con)
	if text := log.stop(); text != nil {
		r.send(wire.Record{Type: wire.TypeLog, Log: text})
	}
	con.drain()
	for i, l := range left {
		left[i] = wire.Truncate(strings.ToValidUTF8(l, "?"), wire.MaxName)
	}
	if n := len(left) - wire.MaxLeft; n > 0 {
		left = append(left[:wire.MaxLeft-1], fmt.Sprintf("and %d more", n+1))
	}
	for _, l := range left {
		con.logf("program %s left behind: %s", job.Name, l)
	}
	end = r.close(left, index)
	switch {
	case !alone:
		stop = "a process of " + job.Name + " cannot be ended"
	case end.Taint&wire.CrashTaint != 0:
		stop = "the kernel tainted itself"
	case log.reported:
		// Lockdep says nothing after its first report, and RCU's checks and UBSAN
		// report each place once. None of them taints the kernel.
		stop = "the kernel reported an error"
	case spoiled != "":
		stop = spoiled
	case vm.crowded():
		stop = "there may be no room for more records of this one"
	}
	return end, stop
}
