package report

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Limits of one kernel's result, beside those in its fields' tags. The writer of
// a shard file keeps them, the reader refuses what does not.
const (
	maxTestOutput = 256 << 10 // bytes of a test's output or an excerpt
	maxList       = 10_000    // entries of any other list or map
	maxAttempts   = 1000      // of a kernel
)

// MaxTests is how many tests a kernel's result has.
const MaxTests = 100_000

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
	}
	if err := checkLimits(p); err != nil {
		return err
	}
	if err := checkAllow(p.Allow); err != nil {
		return err
	}
	if err := errors.Join(checkIDs(p.Kernels), checkIDs(p.Gone), checkIDs(p.LeftOut), checkIDs(p.Known)); err != nil {
		return err
	}
	seen := make(map[string]bool, len(p.Kernels))
	for _, id := range p.Kernels {
		if seen[id] {
			return fmt.Errorf("its plan names kernel %s twice", id)
		}
		seen[id] = true
	}
	listed := maps.Clone(seen) // as far as this shard can tell
	for _, r := range p.Represented {
		listed[r.By] = true
	}
	return checkRepresented(p.Represented, func(id string) bool { return listed[id] })
}

func checkIDs(ids []string) error {
	for _, id := range ids {
		if err := CheckID(id); err != nil {
			return err
		}
	}
	return nil
}

// Check says why a result from a hostile place is none that a run writes: it is
// larger than its limits, names files that are not its own, or contradicts
// itself.
func (k *Result) Check() error {
	if err := checkLimits(k); err != nil {
		return fmt.Errorf("kernel %.250q: %w", k.ID, err)
	}
	return k.check()
}

func (k *Result) check() error {
	if err := CheckID(k.ID); err != nil {
		return err
	}
	for _, check := range []func() error{k.contradiction, k.checkVerdicts, k.checkPrograms, k.checkPaths, k.checkHistory, k.checkReused, k.checkExpected, k.checkProgramTests} {
		if err := check(); err != nil {
			return fmt.Errorf("kernel %s: %w", k.ID, err)
		}
	}
	return nil
}

func (k *Result) checkVerdicts() error {
	if _, err := k.Verdict.MarshalText(); err != nil {
		return errors.New("it has no verdict")
	}
	for _, t := range k.Tests {
		if t.Verdict != TestPass && t.Verdict != TestFail && t.Verdict != TestSkip {
			return fmt.Errorf("test %s: verdict %.50q: want pass, fail or skip", OneLine(t.Name, 100), t.Verdict)
		}
	}
	for _, s := range k.Splats {
		if s.Title == "" {
			return errors.New("an allowed splat has no title")
		}
		if err := s.Allowed.check(); err != nil {
			return err
		}
	}
	if k.Reproduce == "" {
		return nil
	}
	_, err := CommandWords(k.Reproduce)
	return err
}

// contradiction says what in a result speaks against its being a pass.
func (k *Result) contradiction() error {
	if k.Verdict != Pass {
		return nil
	}
	if k.Cause != nil {
		return fmt.Errorf("it passed and has a cause not to: %s", OneLine(k.Cause.Title, 100))
	}
	for i := range k.Tests {
		if v := k.Tests[i].Verdict; v != "pass" && v != "skip" {
			return fmt.Errorf("it passed and its test %s did not: %.50q", OneLine(k.Tests[i].Name, 100), v)
		}
	}
	for _, p := range k.Programs {
		if p.Verdict != Pass {
			return fmt.Errorf("it passed, and its program %.200q did not: %v", p.Name, p.Verdict)
		}
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
	files := k.Files
	for _, p := range k.Programs {
		if p.Console != "" && p.Console != k.consolePath() {
			files = append(files[:len(files):len(files)], p.Console)
		}
	}
	for _, f := range files {
		rest, ok := strings.CutPrefix(f, prefix)
		if !ok {
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

// Truncated makes a result keep the limits of a shard file, so that one test that
// runs wild does not cost its kernel's result.
func (k Result) Truncated() Result {
	whole := len(k.Tests) <= MaxTests
	_ = limits{cut: true}.walk(reflect.ValueOf(&k).Elem(), "") // what is cut is no error
	if !whole {
		k.TestsOnly = false // nobody knows which of them failed
		k.Problems = append(k.Problems, fmt.Sprintf("it ran more than %d tests: the others are left out", MaxTests))
	}
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
	r := Result{
		ID: k.ID, Digest: k.Digest, Verdict: k.Verdict, Cause: k.Cause, Accel: k.Accel, Attempts: k.Attempts, Console: k.Console,
		AccelNote: k.AccelNote, Reproduce: k.Reproduce, Reused: k.Reused, Boot: k.Boot, Machine: k.Machine, Splats: k.Splats,
		// Without its tests nothing can be forgiven; what is stale stays.
		Programs:          verdicts(k.Programs),
		StaleExpectations: k.StaleExpectations[:min(len(k.StaleExpectations), 10)],
		Problems:          []string{OneLine("single tests, times and the fingerprint are left out: "+why.Error(), 500)},
	}
	if r.checkPrograms() != nil {
		r.Programs = nil // it is they that cannot be kept
	}
	return r
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
	for _, kind := range []string{"repeat-", "vm-", "attempt-"} {
		if len(parts) > 0 && numbered(parts[0], kind) {
			parts = parts[1:]
		}
	}
	return len(parts) == 0
}

func numbered(s, prefix string) bool {
	n, ok := strings.CutPrefix(s, prefix)
	return ok && n != "" && len(n) < 6 && strings.Trim(n, "0123456789") == ""
}

// checkHistory holds what a shard file says of other attempts to its limits.
func (k *Result) checkHistory() error {
	for _, a := range k.History {
		if _, err := a.Verdict.MarshalText(); err != nil {
			return fmt.Errorf("an attempt has no verdict")
		}
		if a.Console != "" && !k.extraConsole(a.Console) {
			return fmt.Errorf("console %.250q of an attempt is not where attempts' consoles are", a.Console)
		}
		if k.Verdict == Pass && a.Verdict.Failed() && !(k.FlakyOK && a.Verdict == Fail && a.Repeat == 0) {
			return fmt.Errorf("it passed, and one of its runs is %v", a.Verdict)
		}
	}
	for _, f := range k.Flaky {
		if f.Failed < 1 || f.Runs <= f.Failed || f.Runs > maxAttempts {
			return fmt.Errorf("a flaky test failed in %d of %d runs", f.Failed, f.Runs)
		}
		if k.Verdict == Pass && !k.FlakyOK {
			return fmt.Errorf("it passed, and its test %.100q is flaky", f.Name)
		}
	}
	// Each flaky test passed in a VM of its own.
	again := slices.ContainsFunc(k.History, func(a Attempt) bool { return a.Rerun > 0 && a.Verdict.Tested() })
	if k.FlakyOK && (k.Verdict != Pass || len(k.Flaky) == 0 || !again) {
		return errors.New("its flaky tests are said to be allowed, and it has none that ran again and let it pass")
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
	}
	return nil
}
