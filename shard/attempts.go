package shard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// MaxRepeats is how often a kernel can be run.
const MaxRepeats = 1000

// TimeUpError is the cause of a context that ends a run by its time: what is
// not done then is missing.
type TimeUpError struct {
	Limit time.Duration // as the user gave it
}

func (e *TimeUpError) Error() string {
	return fmt.Sprintf("the run's time, %v, was up", e.Limit)
}

// cutReason says why a run ended before its kernels were done.
func cutReason(ctx context.Context) string {
	var up *TimeUpError
	if errors.As(context.Cause(ctx), &up) {
		return up.Error()
	}
	return "the run was interrupted"
}

// one boots one kernel as often as it is to be run, and judges. It returns false
// when ctx ended first.
func (r *Runner) one(ctx context.Context, j job) (report.Kernel, bool) {
	if j.err != nil {
		if ctx.Err() != nil {
			return report.Kernel{ID: j.entry.ID()}, false
		}
		return report.Kernel{
			ID: j.entry.ID(), Digest: j.entry.Ref.Digest, Reproduce: r.reproduce(j.entry), Verdict: report.Infra, Phases: map[string]int64{},
			Cause: &report.Cause{Title: report.OneLine(j.err.Error(), 300)}, History: j.history,
		}, true
	}
	if j.reused != nil {
		k := *j.reused
		k.History = j.history
		r.Expect.Apply(&k, r.Now()) // what is expected may have expired
		return k, true
	}
	r.Report(Event{ID: j.entry.ID(), State: Booting})
	n := max(1, r.Repeats)
	runs := make([]report.Kernel, 0, n)
	for i := range n {
		repeat := 0
		if n > 1 {
			repeat = i + 1
		}
		k, ok := r.attempts(ctx, j, repeat)
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
	}
	k.History = append(slices.Clone(j.history), k.History...)
	r.Expect.Apply(&k, r.Now())
	r.passes.keep(ctx, j, k)
	return k, true
}

// try is one way to boot a kernel.
type try struct {
	on    qemu.Accel
	sure  bool   // the slow way: the image as it was shipped, the CPU that every kernel starts on, all that the kernel has to say
	plain bool   // on a plain old CPU: what the usual one showed may be the emulator's doing
	trial bool   // of KVM
	free  bool   // it is no further attempt: the one before tested nothing, for a reason that is not the kernel's
	note  string // why it is not on KVM, in one line; "": it is, or nobody wants it
	up    func() // called when init is up; nil: nothing
}

// firstTry is how a kernel is booted first. release is to be called when others
// need not wait any more for what comes of it.
func (r *Runner) firstTry(ctx context.Context) (t try, release func(), err error) {
	t, release = try{on: r.Accel}, func() {}
	if r.Accel != qemu.KVM {
		return t, release, nil
	}
	end, why, err := r.trial.begin(ctx)
	switch {
	case err != nil:
		return t, release, err
	case why != "":
		t.on, t.note = qemu.TCG, why
	case end != nil:
		t.trial, release = true, end
		t.up = func() { // the others need not wait for the payload
			r.trial.up()
			end()
		}
	}
	return t, release, nil
}

// next says how a kernel is booted once more after what came of a try, and why;
// no reason: it is not. This is the one place that decides about it.
//
// What may be KVM's doing is tried on TCG, and the kernel is judged by that. What
// may be TCG's is tried on a CPU that needs less of it, once, and not for lack of
// attempts: it is settled whose it is, as settle says. Else
// only what says nothing about the kernel is tried again, as often as attempts
// are left, without KVM and in the slow and sure way: a failure that goes away is
// still a failure. A kernel that panicked before init did say something, and
// would say it again, unless it can be booted in another way.
func (r *Runner) next(j job, t try, v verdict, d doubt, left bool) (next try, why string) {
	if t.on == qemu.KVM && d.why != "" && !r.NoEmulation {
		return try{on: qemu.TCG, free: !d.tested, note: d.why}, d.why
	}
	if t.on == qemu.TCG && v.impossible != "" && !t.plain {
		return try{on: qemu.TCG, plain: true, note: t.note}, fmt.Sprintf("%s; %s: is it the emulator's fault?", v.cause.Title, v.impossible)
	}
	switch {
	case !left || v.Verdict != report.Infra && v.Verdict != report.NoBoot:
		return try{}, ""
	case t.trial && d.why != "": // KVM alone is wanted, and will be no better
		return try{}, ""
	case v.panicked && (t.sure || j.boot == j.image.Kernel):
		return try{}, ""
	}
	next = try{on: qemu.TCG, sure: true, plain: t.plain, note: t.note}
	if r.NoEmulation {
		next.on = t.on
	}
	return next, v.cause.Title
}

// attempts boots one kernel once, and again when that told nothing about it.
func (r *Runner) attempts(ctx context.Context, j job, repeat int) (report.Kernel, bool) {
	k := report.Kernel{ID: j.entry.ID(), Digest: j.entry.Ref.Digest, Reproduce: r.reproduce(j.entry), Phases: map[string]int64{}}
	k.Console = consolePath(j.entry)
	if repeat > 0 {
		k.Console = repeatPath(k.Console, repeat)
	}
	path := filepath.Join(r.Out, filepath.FromSlash(k.Console))
	t, release, err := r.firstTry(ctx)
	if err != nil {
		return k, false
	}
	defer release()
	k.Attempts = 1
	wellOnTCG := func() {} // called when TCG shows nothing of what was seen on KVM
	var doubted []doubtedTry
	for {
		v, o, err := r.boot(ctx, j, path, t)
		if ctx.Err() != nil {
			return k, false
		}
		d := kvmDoubt(o, v)
		if err != nil {
			v, d = verdict{Verdict: report.Infra, cause: &report.Cause{Title: report.ErrorLine(err, 300)}}, doubt{}
		}
		switch well := err == nil && d.why == "" && v.Verdict.Tested(); {
		case well && t.on == qemu.KVM:
			r.trial.good()
		case well:
			wellOnTCG()
		}
		if t.trial && r.NoEmulation && d.advised {
			v = verdict{Verdict: report.Infra, cause: &report.Cause{Title: report.OneLine("on KVM "+d.why, 300), Excerpt: o.tail}}
		}
		r.fill(&k, j, v, o)
		k.Accel, k.AccelNote = t.on.String(), report.OneLine(t.note, 300)
		next, why := r.next(j, t, v, d, k.Attempts <= r.Retries)
		if why == "" {
			for _, d := range doubted {
				r.settle(&k, j, d, path)
			}
			if k.Verdict != report.Pass {
				if err := headConsole(path, k); err != nil {
					k.Problems = append(k.Problems, report.ErrorLine(err, 300))
				}
			}
			return k, true
		}
		kept := strings.TrimSuffix(path, ".txt") + ".kvm.txt"
		if !next.free {
			kept = attemptPath(path, k.Attempts)
		}
		switch err := os.Rename(path, kept); {
		case next.free && (err == nil || errors.Is(err, fs.ErrNotExist)):
		case next.free:
			next.note += "; its console could not be kept: " + err.Error()
		case err == nil || errors.Is(err, fs.ErrNotExist):
			a := report.Attempt{Repeat: repeat, Attempt: k.Attempts, Verdict: v.Verdict, Cause: v.cause.Title, Accel: k.Accel}
			if err == nil {
				a.Console = attemptPath(k.Console, k.Attempts)
			}
			if next.plain && !t.plain || t.on == qemu.KVM && d.tested {
				doubted = append(doubted, doubtedTry{v, o, t, len(k.History)})
			}
			k.History = append(k.History, a)
		default:
			k.Cause.Title += "; the console could not be kept: " + err.Error()
			return k, true
		}
		if !next.free {
			k.Attempts++
		}
		if !t.trial || !next.free { // else what TCG says decides whether it is worth a word
			r.Report(Event{ID: k.ID, State: Retrying, Reason: report.OneLine(why, 300)})
		}
		if t.on != qemu.KVM || d.why == "" {
			release()
		} else if next.on == qemu.TCG {
			wellOnTCG = sync.OnceFunc(func() {
				if r.trial.spoiled(k.ID, d) {
					r.Report(Event{ID: k.ID, State: Emulating, Reason: d.why})
				}
				release()
			})
			if !d.tested {
				next.up = wellOnTCG
			}
			wait := time.AfterFunc(trialTCG, release)
			defer wait.Stop()
		}
		t = next
	}
}

// doubtedTry is one whose kernel may not be to blame for what came of it.
type doubtedTry struct {
	v  verdict
	o  observation
	t  try
	at int // in the result's history
}

// settle says, when a kernel's last VM has ended, what became of a doubt. A crash
// that came again is the kernel's. One that did not was no test of the kernel, and
// the last verdict stands; it is kept in the history as infrastructure that
// failed. Where the last VM told nothing, nothing clears the kernel of a crash.
func (r *Runner) settle(k *report.Kernel, j job, d doubtedTry, path string) {
	h := &k.History[d.at]
	switch {
	case k.Verdict == report.Crash || !k.Verdict.Tested() && d.v.Verdict != report.Crash:
	case k.Verdict.Tested():
		h.Verdict = report.Infra
		if d.v.impossible != "" {
			h.Cause = report.OneLine(fmt.Sprintf("%s: %s (%s)", report.EmulatorFailed, d.v.impossible, h.Cause), 300)
		}
	case d.t.on == qemu.TCG:
		last := report.Attempt{Repeat: h.Repeat, Attempt: k.Attempts, Verdict: k.Verdict, Accel: k.Accel, Cause: k.Cause.Title}
		if err := os.Rename(path, attemptPath(path, k.Attempts)); err == nil {
			last.Console = attemptPath(k.Console, k.Attempts)
		}
		r.fill(k, j, d.v, d.o)
		if err := os.Rename(attemptPath(path, h.Attempt), path); err != nil {
			k.Problems = append(k.Problems, report.OneLine("keep the console: "+err.Error(), 300))
		}
		*h = last
	}
}

// fill puts what one VM said into a result.
func (r *Runner) fill(k *report.Kernel, j job, v verdict, o observation) {
	k.Verdict, k.Cause, k.Tests = v.Verdict, v.cause, v.tests
	k.Splats = v.splats
	if v.Verdict == report.NoBoot {
		k.Cause = r.noBootHint(j, k.Cause)
	}
	k.Running, k.TestsOnly = nil, v.testsOnly
	for _, n := range v.running {
		k.Running = append(k.Running, report.OneLine(n, 500))
	}
	k.Phases = phases(o.records)
	k.Boot, k.Machine = o.how, o.machine
	if o.how == bootedWarm {
		// The guest counts the boot that was saved.
		k.Phases["boot"] = o.booted.Nanoseconds()
	}
	if o.saved > 0 {
		k.Phases["save"] = o.saved.Nanoseconds()
	}
	k.Phases["fetch"] = j.fetch.Nanoseconds()
	k.Phases["vm"] = o.exit.Duration.Nanoseconds()
	k.Mounts, k.Modules = nil, nil
	r.keepFiles(k, o.records)
	for _, rec := range o.records {
		switch {
		case rec.Hello != nil:
			k.Release = report.OneLine(rec.Hello.Release, 200)
		case rec.Kernel != nil:
			k.Facts = guestFacts(j.facts, rec.Kernel)
		case rec.Module != nil:
			k.Modules = append(k.Modules, report.OneLine(rec.Module.Name+": "+rec.Module.Error, 200))
		case rec.Mount != nil:
			k.Mounts = append(k.Mounts, report.OneLine(rec.Mount.Target+": "+rec.Mount.Error, 200))
		}
	}
}

// limits are those of a VM on an accelerator, and the factor by which they are
// longer than the runner's.
func (r *Runner) limits(on qemu.Accel) (Limits, time.Duration) {
	n := max(1, Slowness(on)/Slowness(r.Accel))
	return r.Limits.Times(n), n
}

// repeatPath is where the console of a repeat goes.
func repeatPath(console string, repeat int) string {
	return strings.TrimSuffix(console, ".txt") + fmt.Sprintf(".repeat-%d.txt", repeat)
}

// combine makes one result of several runs of one kernel. The worst run
// decides; a test that failed in any has failed.
func combine(runs []report.Kernel) report.Kernel {
	worst := 0
	bad := 0
	for i, k := range runs {
		if k.Verdict != report.Pass {
			bad++
		}
		if badness(k.Verdict) > badness(runs[worst].Verdict) {
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
	if k.Verdict != report.Pass && bad < len(runs) {
		cause := *k.Cause
		cause.Title = report.OneLine(fmt.Sprintf("%s (%d of %d runs)", cause.Title, bad, len(runs)), 400)
		k.Cause = &cause
	}
	return k
}

// badness orders verdicts: the worst run of a kernel decides.
func badness(v report.Verdict) int {
	known := []report.Verdict{report.Pass, report.Missing, report.Infra, report.NoBoot, report.Fail, report.Timeout, report.Crash}
	if i := slices.Index(known, v); i >= 0 {
		return i
	}
	return len(known) // what is not known is no pass
}

// combineTests makes one list of the tests of several runs: a failure where
// there is one, else a pass, else a skip.
func combineTests(runs []report.Kernel) (tests []report.Test, flaky []report.Flaky) {
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

// nameConsoles gives the console of the run that decided the kernel's own name,
// where everyone looks for it.
func (r *Runner) nameConsoles(k *report.Kernel, runs []report.Kernel) {
	distro, name, _ := strings.Cut(k.ID, "/")
	own := path.Join("results", distro, name+".txt")
	if err := os.Rename(filepath.Join(r.Out, filepath.FromSlash(k.Console)), filepath.Join(r.Out, filepath.FromSlash(own))); err != nil {
		k.Problems = append(k.Problems, report.OneLine("keep the console: "+err.Error(), 300))
	}
	k.Console = own
}

// fetch opens a kernel, again when what went wrong is not the kernel's fault.
func (r *Runner) fetch(ctx context.Context, e plan.Entry) (im *kernel.Image, history []report.Attempt, err error) {
	for n := 1; ; n++ {
		im, err = e.Source.Open(ctx, e.Ref)
		if err == nil || ctx.Err() != nil || n > r.Retries || !fetchAgain(err) {
			return im, history, err
		}
		title := report.ErrorLine(err, 300)
		r.Report(Event{ID: e.ID(), State: Retrying, Reason: title})
		history = append(history, report.Attempt{Attempt: n, Verdict: report.Infra, Cause: "fetch: " + title})
	}
}

// fetchAgain says whether another try can help: not with what the user has to
// mend, nor with an archive that is broken where it is kept.
func fetchAgain(err error) bool {
	var usage *kernel.UsageError
	var bad *kernel.BadKernelError
	var digest *kernel.DigestError
	switch {
	case errors.As(err, &digest): // cut short on the way, maybe
		return true
	case errors.As(err, &usage), errors.As(err, &bad), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return false
	}
	return true
}
