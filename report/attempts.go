package report

import (
	"fmt"
	"strings"
)

// Attempt is one VM of a kernel beside the one that its result is about: an
// attempt that told nothing, or another repeat.
type Attempt struct {
	Repeat  int     `json:"repeat,omitempty"` // from 1, when the kernel was run several times
	Attempt int     `json:"attempt"`          // from 1
	Verdict Verdict `json:"verdict"`
	Cause   string  `json:"cause,omitempty"`   // one line; empty for a pass
	Accel   string  `json:"accel,omitempty"`   // empty when no VM was started
	Console string  `json:"console,omitempty"` // path relative to the output directory
}

// EmulatorFailed begins the cause of an attempt whose crash no processor does,
// and that did not come again on another CPU.
const EmulatorFailed = "the emulator failed once"

// Flaky is a test that passed in some repeats and failed in others.
type Flaky struct {
	Name   string `json:"name"`
	Failed int    `json:"failed"` // in so many repeats
	Runs   int    `json:"runs"`   // that it had an outcome in, skips not counted
}

// EmulatorFailed says whether it was the emulator that failed, and not the kernel.
func (a Attempt) EmulatorFailed() bool {
	return a.Verdict == Infra && strings.HasPrefix(a.Cause, EmulatorFailed)
}

// Words says what an attempt was, in one line.
func (a Attempt) Words() string {
	s := fmt.Sprintf("attempt %d", a.Attempt)
	if a.Repeat > 0 {
		s = fmt.Sprintf("run %d, %s", a.Repeat, s)
	}
	if a.Accel != "" {
		s += " on " + strings.ToUpper(OneLine(a.Accel, 20))
	}
	s += ": " + a.Verdict.String()
	if a.Cause != "" {
		s += ": " + a.Cause
	}
	return s
}

// Retried are the attempts that told nothing, in order.
func (k *Kernel) Retried() []Attempt {
	var again []Attempt
	for _, a := range k.History {
		if !a.Verdict.Tested() {
			again = append(again, a)
		}
	}
	return again
}

// Words says how often a test failed.
func (f Flaky) Words() string {
	return fmt.Sprintf("%s is flaky: it failed in %d of %d runs", OneLine(f.Name, 150), f.Failed, f.Runs)
}

// extraConsole says whether a path is where the runner puts the console of
// another attempt or repeat of this kernel.
func (k *Kernel) extraConsole(p string) bool {
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
func (k *Kernel) checkHistory() error {
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
		if k.Verdict == Pass && a.Verdict.failed() {
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
