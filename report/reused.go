package report

import (
	"errors"
	"fmt"
	"time"
)

// Reused says that a kernel was not booted by this run: its result is that of
// an earlier VM which passed, made of the same bytes throughout.
type Reused struct {
	At      time.Time `json:"at"`               // when that VM ended, UTC
	RunID   string    `json:"run_id,omitempty"` // of the run that booted it, as CI systems number them
	HeadSHA string    `json:"head_sha,omitempty"`
	Key     string    `json:"key"` // "sha256:<hex>" of all that went into the VM and its judgement
}

// Words says it in one line.
func (r *Reused) Words() string {
	s := "passed with the same inputs on " + r.At.UTC().Format("2006-01-02 15:04") + " UTC"
	if r.RunID != "" {
		s += ", run " + OneLine(r.RunID, 60)
	}
	return s
}

// Reusable says why a result must not stand for later VMs: it is no pass, or
// there is something about it that a report has to warn of. What came of the
// second try, of several runs or of KVM, whose processor no key knows, is told
// once.
func (k *Kernel) Reusable() error {
	switch {
	case k.Verdict != Pass:
		return fmt.Errorf("its verdict is %v", k.Verdict)
	case k.Cause != nil || len(k.Surprises) > 0 || len(k.Expected) > 0 || k.TestsOnly || len(k.Running) > 0:
		return errors.New("something speaks against its pass")
	case k.Attempts != 1 || k.Repeats > 0 || len(k.History) > 0 || len(k.Flaky) > 0:
		return errors.New("it took more than one VM, or more than one try to fetch it")
	case k.Accel != "tcg" || k.AccelNote != "":
		return errors.New("it was not emulated from the start")
	case k.Boot != "cold" && k.Boot != "warm":
		return fmt.Errorf("it was booted %s", OneLine(k.Boot, 100))
	case len(k.Splats) > 0:
		return errors.New("its kernel warned of itself")
	case len(k.Problems) > 0 || k.Console == "":
		return errors.New("its evidence is not whole")
	}
	return k.contradiction()
}

// checkReused holds a result that is said to be an earlier VM's to what such a
// one can be.
func (k *Kernel) checkReused() error {
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
	was.History, was.Surprises, was.Problems, was.Console = nil, nil, nil, k.consolePath()
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

// reuses says whether a result of an earlier run is one that this run was
// allowed to take.
func (p *Plan) reuses(k *Kernel) error {
	if k.Reused != nil && p.Reuse <= 0 {
		return fmt.Errorf("kernel %s: its result is of an earlier run, and its plan takes none", k.ID)
	}
	return nil
}

// ReusedOf counts the kernels whose results are of earlier runs, and says of
// when the oldest is.
func ReusedOf(kernels []Kernel) (n int, oldest time.Time) {
	for i := range kernels {
		if r := kernels[i].Reused; r != nil {
			if n == 0 || r.At.Before(oldest) {
				oldest = r.At
			}
			n++
		}
	}
	return n, oldest
}

// reusedWords says how many kernels were not booted; "" when all were.
func reusedWords(kernels []Kernel) string {
	n, oldest := ReusedOf(kernels)
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%s not booted: passed before, the oldest on %s UTC", thousands(n), oldest.UTC().Format("2006-01-02 15:04"))
}
