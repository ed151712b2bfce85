package report

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of one kernel's result. The writer of a shard file keeps them, the
// reader refuses what does not.
const (
	maxTests      = 100_000   // of a kernel
	maxTestOutput = 256 << 10 // bytes of a test's output or an excerpt
	maxList       = 10_000    // entries of any other list or map
	maxAttempts   = 1000      // of a kernel
)

// maxReuse is how old a pass may be that stands for a VM.
const maxReuse = MaxReuseDays * 24 * time.Hour

// MaxReuseDays is the same in days.
const MaxReuseDays = 30

// Check says why a plan is none that a run writes.
func (p *Plan) Check() error {
	switch {
	case p.Shards < 1 || p.Shards > maxShards:
		return fmt.Errorf("it is of %d shards: want 1 to %d", p.Shards, maxShards)
	case p.Shard < 1 || p.Shard > p.Shards:
		return fmt.Errorf("it is shard %d of %d", p.Shard, p.Shards)
	case p.Attempt < 1 || p.Attempt > maxAttempt:
		return fmt.Errorf("it is attempt %d: want 1 to %d", p.Attempt, maxAttempt)
	case p.List == "" || p.Algorithm == "":
		return errors.New("its plan lacks the list's digest or the algorithm")
	case p.Reuse < 0 || p.Reuse > maxReuse || p.Reuse > 0 && p.Repeat > 1:
		return fmt.Errorf("results of up to %v are taken: want at most %v, and none with repeats", p.Reuse, maxReuse)
	case p.Repeat < 0 || p.Repeat > maxAttempts:
		return fmt.Errorf("each kernel is run %d times: want at most %d", p.Repeat, maxAttempts)
	case len(p.Kernels) > maxKernels:
		return fmt.Errorf("its plan has more than %d kernels", maxKernels)
	}
	for _, w := range []struct{ what, s string }{
		{"tool", p.Tool}, {"list digest", p.List}, {"algorithm", p.Algorithm}, {"run id", p.RunID}, {"head SHA", p.HeadSHA}, {"payload", p.Payload}, {"payload content", p.Content}, {"arch", p.Arch}, {"expected failures", p.Expect},
	} {
		if err := checkWord(w.what, w.s); err != nil {
			return err
		}
	}
	if err := checkAllow(p.Allow); err != nil {
		return err
	}
	seen := make(map[string]bool, len(p.Kernels))
	for _, id := range p.Kernels {
		if err := CheckID(id); err != nil {
			return err
		}
		if seen[id] {
			return fmt.Errorf("its plan names kernel %s twice", id)
		}
		seen[id] = true
	}
	return nil
}

// Check says why a result from a hostile place is none that a run writes: it is
// larger than its limits, names files that are not its own, or contradicts
// itself.
func (k *Result) Check() error {
	if err := CheckID(k.ID); err != nil {
		return err
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("kernel %s: "+format, append([]any{k.ID}, args...)...)
	}
	if _, err := k.Verdict.MarshalText(); err != nil {
		return bad("it has no verdict")
	}
	for _, w := range []struct{ what, s string }{{"digest", k.Digest}, {"accel", k.Accel}, {"release", k.Release}} {
		if err := checkWord(w.what, w.s); err != nil {
			return bad("%w", err)
		}
	}
	if k.Reproduce != "" {
		if _, err := CommandWords(k.Reproduce); err != nil {
			return bad("%w", err)
		}
	}
	if k.Attempts < 0 || k.Attempts > maxAttempts {
		return bad("%d attempts: want at most %d", k.Attempts, maxAttempts)
	}
	if k.Cause != nil && (len(k.Cause.Title) > maxText || len(k.Cause.Location) > maxText || len(k.Cause.Excerpt) > maxTestOutput) {
		return bad("its cause is longer than %d and %d bytes", maxText, maxTestOutput)
	}
	if len(k.Boot) > maxText || len(k.Machine) > maxWord {
		return bad("what it says of its boot and machine is longer than %d and %d bytes", maxText, maxWord)
	}
	if err := k.contradiction(); err != nil {
		return err
	}
	if len(k.Tests) > maxTests {
		return bad("more than %d tests", maxTests)
	}
	for i := range k.Tests {
		t := &k.Tests[i]
		if err := t.check(); err != nil {
			return bad("test %d: %w", i+1, err)
		}
	}
	for _, n := range []int{len(k.Phases), len(k.Mounts), len(k.Modules), len(k.Files), len(k.Problems), len(k.History), len(k.Flaky), len(k.Running), len(k.Expected), len(k.StaleExpectations)} {
		if n > maxList {
			return bad("a list of %d: want at most %d", n, maxList)
		}
	}
	for name, ns := range k.Phases {
		if ns < 0 || ns > int64(maxDuration) || len(name) > maxWord {
			return bad("phase %.50q took %d ns: want 0 to %v", name, ns, maxDuration)
		}
	}
	if err := checkTexts(k.Mounts, k.Modules, k.Problems, []string{k.AccelNote}); err != nil {
		return bad("%w", err)
	}
	if err := checkSplats(k.Splats); err != nil {
		return bad("%w", err)
	}
	if err := k.checkPaths(); err != nil {
		return bad("%w", err)
	}
	if err := k.checkHistory(); err != nil {
		return bad("%w", err)
	}
	if err := k.checkReused(); err != nil {
		return bad("%w", err)
	}
	if err := k.checkExpected(); err != nil {
		return bad("%w", err)
	}
	if err := k.Facts.check(); err != nil {
		return bad("its fingerprint: %w", err)
	}
	return nil
}

// contradiction says what in a result speaks against its being a pass.
func (k *Result) contradiction() error {
	if k.Verdict != Pass {
		return nil
	}
	if k.Cause != nil {
		return fmt.Errorf("kernel %s: it passed and has a cause not to: %s", k.ID, OneLine(k.Cause.Title, 100))
	}
	for i := range k.Tests {
		if v := k.Tests[i].Verdict; v != "pass" && v != "skip" {
			return fmt.Errorf("kernel %s: it passed and its test %s did not: %.50q", k.ID, OneLine(k.Tests[i].Name, 100), v)
		}
	}
	return nil
}

func (t *Test) check() error {
	switch {
	case t.Verdict != "pass" && t.Verdict != "fail" && t.Verdict != "skip":
		return fmt.Errorf("verdict %.50q: want pass, fail or skip", t.Verdict)
	case len(t.Name) > maxText || len(t.Output) > maxTestOutput:
		return fmt.Errorf("its name or output is longer than %d and %d bytes", maxText, maxTestOutput)
	case t.Duration < 0 || t.Duration > maxDuration:
		return fmt.Errorf("it took %d ns: want 0 to %v", t.Duration, maxDuration)
	case t.Insns < 0:
		return fmt.Errorf("%d instructions", t.Insns)
	}
	return nil
}

// checkPaths holds a result to the places where the runner puts its files, so
// that no result can name another's.
func (k *Result) checkPaths() error {
	if k.Console != "" && k.Console != k.consolePath() {
		return fmt.Errorf("console %.250q: want %s", k.Console, k.consolePath())
	}
	prefix := "results/" + k.ID + "/"
	for _, f := range k.Files {
		rest, ok := strings.CutPrefix(f, prefix)
		if !ok || len(rest) > maxText {
			return fmt.Errorf("file %.250q: want it in %s", f, prefix)
		}
		for part := range strings.SplitSeq(rest, "/") {
			if !safeName(part) {
				return fmt.Errorf("file %.250q: want letters, digits and ._+~- in each part", f)
			}
		}
	}
	return nil
}

func (k *Result) consolePath() string { return "results/" + k.ID + ".txt" }

func (f *Facts) check() error {
	if f == nil {
		return nil
	}
	if len(f.Config) > maxList || len(f.Targets) > maxList || len(f.LSMs) > maxList {
		return fmt.Errorf("a list of more than %d", maxList)
	}
	for name, v := range f.Config {
		if err := checkTexts([]string{name, v}); err != nil {
			return err
		}
	}
	for name := range f.Targets {
		if err := checkTexts([]string{name}); err != nil {
			return err
		}
	}
	if err := checkDeps(f.Deps); err != nil {
		return err
	}
	return checkTexts(f.LSMs, []string{f.Lockdown, f.UnprivilegedBPF, f.JIT, f.JITHarden})
}

func checkTexts(lists ...[]string) error {
	for _, l := range lists {
		for _, s := range l {
			if len(s) > maxText {
				return fmt.Errorf("a text of %d bytes: want at most %d", len(s), maxText)
			}
		}
	}
	return nil
}

// truncated makes a result keep the limits of a shard file, so that one test that
// runs wild does not cost its kernel's result. It says so in Problems.
func (k Result) truncated() Result {
	if c := k.Cause; c != nil {
		k.Cause = &Cause{Title: cutText(c.Title, maxText), Excerpt: cutText(c.Excerpt, maxTestOutput), Location: cutText(c.Location, maxText)}
	}
	tests := k.Tests
	k.Tests = nil
	for _, t := range tests[:min(len(tests), maxTests)] {
		t.Name, t.Output = cutText(t.Name, maxText), cutText(t.Output, maxTestOutput)
		t.Duration = min(max(t.Duration, 0), maxDuration)
		t.Insns = max(t.Insns, 0)
		k.Tests = append(k.Tests, t)
	}
	phases := k.Phases
	k.Phases = nil
	for name, ns := range phases {
		if k.Phases == nil {
			k.Phases = make(map[string]int64, len(phases))
		}
		k.Phases[name] = min(max(ns, 0), int64(maxDuration))
	}
	k.Release, k.Boot, k.Machine = OneLine(k.Release, maxWord), OneLine(k.Boot, maxText/2), OneLine(k.Machine, maxWord)
	k.Splats = k.Splats[:min(len(k.Splats), maxAllow)]
	if _, err := CommandWords(k.Reproduce); err != nil {
		k.Reproduce = ""
	}
	if err := k.Check(); err != nil {
		return k.withoutDetails(err)
	}
	return k
}

// withoutDetails is a result without what explains it.
func (k Result) withoutDetails(why error) Result {
	return Result{
		ID: k.ID, Digest: k.Digest, Verdict: k.Verdict, Cause: k.Cause, Accel: k.Accel, Attempts: k.Attempts, Console: k.Console,
		AccelNote: cutText(k.AccelNote, maxText), Reproduce: k.Reproduce,
		Reused: k.Reused, Boot: cutText(k.Boot, maxText/2), Machine: cutText(k.Machine, maxWord),
		Splats: k.Splats[:min(len(k.Splats), maxAllow)],
		// Without its tests nothing can be forgiven; what is stale stays.
		StaleExpectations: k.StaleExpectations[:min(len(k.StaleExpectations), 10)],
		Problems:          []string{OneLine("single tests, times and the fingerprint are left out: "+why.Error(), 500)},
	}
}

// cutText cuts s between two characters. What is no UTF-8 grows when it is
// written as JSON, so it is made valid before.
func cutText(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// extraConsole says whether a path is where the runner puts the console of
// another attempt or repeat of this kernel.
func (k *Result) extraConsole(p string) bool {
	rest, ok := strings.CutPrefix(p, "results/"+k.ID+".")
	if !ok {
		return false
	}
	rest, ok = strings.CutSuffix(rest, ".txt")
	if !ok || rest == "" {
		return false
	}
	parts := strings.Split(rest, ".")
	if strings.HasPrefix(parts[0], "repeat-") {
		if !numbered(parts[0], "repeat-") {
			return false
		}
		parts = parts[1:]
	}
	return len(parts) == 0 || len(parts) == 1 && numbered(parts[0], "attempt-")
}

func numbered(s, prefix string) bool {
	n, ok := strings.CutPrefix(s, prefix)
	return ok && n != "" && len(n) < 6 && strings.Trim(n, "0123456789") == ""
}

// checkHistory holds what a shard file says of other attempts to its limits.
func (k *Result) checkHistory() error {
	if k.Repeats < 0 || k.Repeats > maxAttempts {
		return fmt.Errorf("%d repeats: want at most %d", k.Repeats, maxAttempts)
	}
	for _, a := range k.History {
		if _, err := a.Verdict.MarshalText(); err != nil {
			return fmt.Errorf("an attempt has no verdict")
		}
		if a.Repeat < 0 || a.Repeat > maxAttempts || a.Attempt < 0 || a.Attempt > maxAttempts {
			return fmt.Errorf("attempt %d of repeat %d: want at most %d", a.Attempt, a.Repeat, maxAttempts)
		}
		if a.Console != "" && !k.extraConsole(a.Console) {
			return fmt.Errorf("console %.250q of an attempt is not where attempts' consoles are", a.Console)
		}
		if err := checkWord("accel", a.Accel); err != nil {
			return err
		}
		if err := checkTexts([]string{a.Cause}); err != nil {
			return err
		}
		if k.Verdict == Pass && a.Verdict.Failed() {
			return fmt.Errorf("it passed, and one of its runs is %v", a.Verdict)
		}
	}
	for _, f := range k.Flaky {
		if f.Failed < 1 || f.Runs <= f.Failed || f.Runs > maxAttempts {
			return fmt.Errorf("a flaky test failed in %d of %d runs", f.Failed, f.Runs)
		}
		if err := checkTexts([]string{f.Name}); err != nil {
			return err
		}
		if k.Verdict == Pass {
			return fmt.Errorf("it passed, and its test %.100q is flaky", f.Name)
		}
	}
	return nil
}

// checkReused holds a result that is said to be an earlier VM's to what such a
// one can be.
func (k *Result) checkReused() error {
	r := k.Reused
	if r == nil {
		return nil
	}
	if r.At.IsZero() || !digestRE.MatchString(r.Key) {
		return errors.New("it is said to be of an earlier run, and not of when or of what")
	}
	for _, w := range []struct{ what, s string }{{"run id", r.RunID}, {"head SHA", r.HeadSHA}} {
		if err := checkWord(w.what, w.s); err != nil {
			return err
		}
	}
	was := *k
	// Tries to fetch the kernel, whose files the copied evidence lacks, and
	// expectations that are stale are this run's own.
	was.History, was.StaleExpectations, was.Problems, was.Console = nil, nil, nil, k.consolePath()
	for _, a := range k.History {
		if a.Verdict != Infra || a.Accel != "" || a.Repeat != 0 {
			return errors.New("it is said to be of an earlier run, and has VMs of this one")
		}
	}
	if err := was.Reusable(); err != nil {
		return fmt.Errorf("it is said to be of an earlier run, which cannot be: %w", err)
	}
	return nil
}

// checkExpected holds what a shard file says of expectations to its limits.
func (k *Result) checkExpected() error {
	for _, e := range k.Expected {
		if e.Reason == "" || e.Test == "" && e.Verdict != Crash && e.Verdict != Timeout && e.Verdict != NoBoot {
			return errors.New("an expected failure has no reason, or is neither of a test nor a crash, timeout or no-boot")
		}
		if err := checkTexts([]string{e.Test, e.Reason, e.Link, e.Expires}); err != nil {
			return err
		}
	}
	return checkTexts(k.StaleExpectations, k.Running)
}
