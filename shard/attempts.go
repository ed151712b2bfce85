package shard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// runKernel runs a kernel as often as it is to be run, and judges. It returns
// false if ctx ended first.
func (r *run) runKernel(ctx context.Context, j *job) (report.Result, bool) {
	if j.err != nil {
		k := r.newResult(j)
		k.Verdict, k.History = report.Infra, j.history
		k.Cause = &report.Cause{Title: report.OneLine(j.err.Error(), 300)}
		return k, ctx.Err() == nil
	}
	if j.reused != nil {
		k := *j.reused
		k.History = j.history
		r.Expect.Apply(&k, r.Now()) // what is expected may have expired
		return k, true
	}
	r.Report(Event{ID: j.entry.ID(), State: Booting})
	n := max(1, r.Repeats)
	runs := make([]report.Result, 0, n)
	for i := range n {
		repeat := 0
		if n > 1 {
			repeat = i + 1
		}
		k, ok := r.bootPrograms(ctx, j, repeat)
		if !ok {
			return k, false
		}
		runs = append(runs, k)
		if n > 1 && r.Repeated != nil {
			r.Repeated(k.ID, repeat, k)
		}
	}
	k := runs[0]
	if n > 1 {
		k = combine(runs)
		r.nameConsoles(&k, runs)
	} else {
		var ok bool
		if k, ok = r.rerunFailed(ctx, j, k); !ok {
			return k, false
		}
	}
	k.History = append(slices.Clone(j.history), k.History...)
	r.Expect.Apply(&k, r.Now())
	r.keepForReuse(ctx, j, k)
	return k, true
}

// attempt is one of the ways to boot a kernel that follow each other.
type attempt struct {
	mode  vm.BootMode
	free  bool   // it does not count: the one before tested nothing, for a reason that is not the kernel's
	note  string // why it is not on KVM, in one line; "" if it is, or nobody wants it
	ready func() // called when init is up
}

// firstAttempt is how a kernel is booted first. release is to be called when
// others need not wait any more for what comes of it.
func (r *run) firstAttempt(ctx context.Context) (a attempt, release func(), err error) {
	a.mode = vm.BootMode{Accel: r.Accel, Method: vm.Fastest}
	if r.Accel != qemu.KVM {
		return a, func() {}, nil
	}
	end, why, err := r.kvm.Begin(ctx)
	switch {
	case err != nil:
		return a, nil, err
	case why != "":
		a.mode.Accel, a.note = qemu.TCG, why
	case end != nil:
		a.mode.Method = vm.Trial
		a.ready = func() { // the others need not wait for the payload
			r.kvm.Up()
			end()
		}
		return a, end, nil
	}
	return a, func() {}, nil
}

// shouldRetry says how a kernel is booted once more after what came of an
// attempt, and why; without a reason, it is not. This is the one place that
// decides about it. left says that further attempts are.
//
//   - What may be KVM's doing is tried on TCG, and the kernel is judged by that.
//   - What may be TCG's is tried on a CPU that needs less of it, once, whether or
//     not attempts are left: settleDoubt says whose it was.
//   - Otherwise only what says nothing about the kernel is tried again, without
//     KVM and in the conservative way: a failure that goes away is still a
//     failure.
//   - A kernel that panicked before init did say something, and would say it
//     again, unless it can be booted in another way.
//   - A program whose output was passed on is not run twice.
func (r *run) shouldRetry(j *job, a attempt, v vm.Verdict, d vm.Doubt, left bool) (next attempt, why string) {
	on := a.mode.Accel
	if r.Stream != nil && r.Stream(j.entry.ID()).Started() {
		return attempt{}, ""
	}
	if on == qemu.KVM && d.Why != "" && !r.NoEmulation {
		return attempt{mode: vm.BootMode{Accel: qemu.TCG, Method: vm.Fastest}, free: !d.Tested, note: d.Why}, d.Why
	}
	if on == qemu.TCG && v.Impossible != "" && !a.mode.PlainCPU {
		return attempt{mode: vm.BootMode{Accel: qemu.TCG, Method: vm.Fastest, PlainCPU: true}, note: a.note},
			fmt.Sprintf("%s; %s: is it the emulator's fault?", v.Cause.Title, v.Impossible)
	}
	switch {
	case !left || v.Verdict != report.Infra && v.Verdict != report.NoBoot:
		return attempt{}, ""
	case a.mode.Method == vm.Trial && d.Why != "": // KVM alone is wanted, and will be no better
		return attempt{}, ""
	case v.Panicked && (a.mode.Method == vm.Conservative || j.asShipped()):
		return attempt{}, ""
	}
	next = attempt{mode: vm.BootMode{Accel: qemu.TCG, Method: vm.Conservative, PlainCPU: a.mode.PlainCPU}, note: a.note}
	if r.NoEmulation {
		next.mode.Accel = on
	}
	return next, v.Cause.Title
}

// bootWithKVMFallback boots a kernel once, and again as shouldRetry says. It is the
// nth VM of the kernel, or of this repeat of it, as bootPrograms counts.
func (r *run) bootWithKVMFallback(ctx context.Context, j *job, repeat, nth int) (report.Result, bool) {
	k := r.newResult(j)
	k.Console = consolePath(j.entry)
	if repeat > 0 {
		k.Console = repeatPath(k.Console, repeat)
	}
	k.Console = vmPath(k.Console, nth)
	path := filepath.Join(r.Out, filepath.FromSlash(k.Console))
	a, release, err := r.firstAttempt(ctx)
	if err != nil {
		return k, false
	}
	defer release()
	k.Attempts = 1
	wellOnTCG := func() {} // called when TCG shows nothing of what was seen on KVM
	var doubted []doubtedAttempt
	var retried []report.Result
	for {
		on := a.mode.Accel
		out, err := r.boot(ctx, j, path, a.mode, a.ready)
		if ctx.Err() != nil {
			return k, false
		}
		var d vm.Doubt
		if err != nil {
			out.Verdict = vm.Verdict{Verdict: report.Infra, Cause: &report.Cause{Title: report.ErrorLine(err, 300)}}
		} else {
			d = vm.DoubtKVM(out.observed, out.Verdict)
		}
		switch well := err == nil && d.Why == "" && out.Verdict.Verdict.Tested(); {
		case well && on == qemu.KVM:
			r.kvm.Good()
		case well:
			wellOnTCG()
		}
		if a.mode.Method == vm.Trial && r.NoEmulation && d.Advised {
			out.Verdict = vm.Verdict{Verdict: report.Infra, Cause: &report.Cause{Title: report.OneLine("on KVM "+d.Why, 300), Excerpt: out.observed.Tail}}
		}
		r.setResult(&k, j, out)
		k.Accel, k.AccelNote = on.String(), report.OneLine(a.note, 300)
		next, why := r.shouldRetry(j, a, out.Verdict, d, k.Attempts <= r.Retries)
		if why == "" {
			for _, d := range doubted {
				r.settleDoubt(ctx, &k, j, d, path)
			}
			for _, earlier := range retried {
				keepFailures(&k, earlier)
			}
			if k.Verdict != report.Pass {
				if err := headConsole(path, k); err != nil {
					k.Problems = append(k.Problems, report.ErrorLine(err, 300))
				}
			}
			return k, true
		}
		retried = append(retried, k)
		kept := strings.TrimSuffix(path, ".txt") + ".kvm.txt"
		if !next.free {
			kept = attemptPath(path, k.Attempts)
		}
		switch err := os.Rename(path, kept); {
		case next.free && (err == nil || errors.Is(err, fs.ErrNotExist)):
		case next.free:
			next.note += "; its console could not be kept: " + err.Error()
		case err == nil || errors.Is(err, fs.ErrNotExist):
			h := report.Attempt{Repeat: repeat, Attempt: k.Attempts, Verdict: out.Verdict.Verdict, Cause: out.Cause.Title, Accel: k.Accel}
			if err == nil {
				h.Console = attemptPath(k.Console, k.Attempts)
			}
			if next.mode.PlainCPU && !a.mode.PlainCPU || on == qemu.KVM && d.Tested {
				doubted = append(doubted, doubtedAttempt{out, on, len(k.History)})
			}
			k.History = append(k.History, h)
		default:
			k.Cause.Title += "; the console could not be kept: " + err.Error()
			return k, true
		}
		if !next.free {
			k.Attempts++
		}
		if a.mode.Method != vm.Trial || !next.free { // else what TCG says decides whether it is worth a word
			r.Report(Event{ID: k.ID, State: Retrying, Reason: report.OneLine(why, 300)})
		}
		if on != qemu.KVM || d.Why == "" {
			release()
		} else if next.mode.Accel == qemu.TCG {
			wellOnTCG = sync.OnceFunc(func() {
				if r.kvm.Spoiled(k.ID, d) {
					r.Report(Event{ID: k.ID, State: Emulating, Reason: d.Why})
				}
				release()
			})
			if !d.Tested {
				next.ready = wellOnTCG
			}
			wait := time.AfterFunc(vm.TrialTCG, release)
			defer wait.Stop()
		}
		a = next
	}
}

// keepFailures keeps what an earlier attempt showed of programs that had ended when
// it broke off: a failure that goes away is still a failure.
func keepFailures(k *report.Result, earlier report.Result) {
	of, was := k.TestPrograms(), earlier.TestPrograms()
	for i := range k.Programs {
		at := slices.IndexFunc(earlier.Programs, func(p report.Program) bool { return p.Name == k.Programs[i].Name })
		if at < 0 {
			continue
		}
		p := earlier.Programs[at]
		if p.Verdict != report.Fail && p.Verdict != report.Timeout || p.Verdict.Badness() <= k.Programs[i].Verdict.Badness() {
			continue
		}
		k.Programs = slices.Clone(k.Programs)
		k.Programs[i] = p
		k.Tests = slices.DeleteFunc(slices.Clone(k.Tests), func(t report.Test) bool { n, _ := of(t.Name); return n == i })
		for _, t := range earlier.Tests {
			if n, _ := was(t.Name); n == at {
				k.Tests = append(k.Tests, t)
			}
		}
		k.TestsOnly = p.TestsOnly && (k.TestsOnly || k.Verdict == report.Pass)
		if p.Verdict.Badness() > k.Verdict.Badness() {
			k.Verdict, k.Cause = p.Verdict, vm.OfProgram(p.Name, p.Cause)
		}
	}
}

// doubtedAttempt is one whose kernel may not be to blame for what came of it.
type doubtedAttempt struct {
	outcome
	on qemu.Accel
	at int // in the result's history
}

// settleDoubt says, when a kernel's last VM has ended, what became of a doubt. A
// crash that came again is the kernel's. One that did not come again was no test
// of the kernel: the last verdict stands, and the crash is kept in the history as
// infrastructure that failed. If the last VM told nothing, nothing clears the
// kernel of a crash.
func (r *run) settleDoubt(ctx context.Context, k *report.Result, j *job, d doubtedAttempt, path string) {
	h := &k.History[d.at]
	switch {
	case k.Verdict == report.Crash || !k.Verdict.Tested() && d.Verdict.Verdict != report.Crash:
	case k.Verdict.Tested():
		h.Verdict = report.Infra
		if d.Impossible != "" {
			h.Cause = report.OneLine(fmt.Sprintf("%s: %s (%s)", report.EmulatorFailed, d.Impossible, h.Cause), 300)
		}
	case d.on == qemu.TCG:
		last := report.Attempt{Repeat: h.Repeat, Attempt: k.Attempts, Verdict: k.Verdict, Accel: k.Accel, Cause: k.Cause.Title}
		if err := os.Rename(path, attemptPath(path, k.Attempts)); err == nil {
			last.Console = attemptPath(k.Console, k.Attempts)
		}
		r.setResult(k, j, d.outcome)
		if err := os.Rename(attemptPath(path, h.Attempt), path); err != nil {
			k.Problems = append(k.Problems, report.OneLine("keep the console: "+err.Error(), 300))
		}
		*h = last
	}
}
