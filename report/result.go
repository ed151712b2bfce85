package report

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Result is what came of one kernel.
type Result struct {
	ID       string           `json:"id"`
	Digest   string           `json:"digest,omitempty" limit:"word"` // of its source
	Verdict  Verdict          `json:"verdict"`
	Cause    *Cause           `json:"cause,omitempty"` // nil for a pass
	Tests    []Test           `json:"tests,omitempty" limit:"100000"`
	Programs []Program        `json:"programs,omitempty" limit:"1000"` // of the payload, in order; nil where it is one without a name
	Phases   map[string]int64 `json:"phases_ns,omitempty"`             // fetch, boot, load, test, total: nanoseconds
	Accel    string           `json:"accel,omitempty" limit:"word"`    // kvm or tcg; empty when no VM was started
	Attempts int              `json:"attempts" limit:"1000"`
	Console  string           `json:"console,omitempty"`              // path relative to the output directory
	Release  string           `json:"release,omitempty" limit:"word"` // uname -r as the guest says
	Facts    *Facts           `json:"kernel,omitempty"`               // the kernel's fingerprint
	Mounts   []string         `json:"mounts_failed,omitempty"`
	Modules  []string         `json:"modules_failed,omitempty"`
	Files    []string         `json:"files,omitempty"`               // that the payload left; paths relative to the output directory
	Problems []string         `json:"file_problems,omitempty"`       // notes, such as why files are cut or missing; they say nothing about the verdict
	Boot     string           `json:"boot,omitempty"`                // of the last attempt: cold, warm, or cold after what went wrong; empty when no VM was started
	Machine  string           `json:"machine,omitempty" limit:"200"` // QEMU's name of it, such as pc or virt; empty when no VM was started

	Reused *Reused `json:"reused,omitempty"` // the earlier VM whose result this is; nil: the kernel was booted

	Splats []Splat `json:"allowed_splats,omitempty" limit:"1000"` // that were no crash, since an entry allows them

	History           []Attempt  `json:"history,omitempty"`              // its other VMs: attempts before this one, and other repeats
	Repeats           int        `json:"repeats,omitempty" limit:"1000"` // how often it was run; 0: once, as nobody asked for more
	Flaky             []Flaky    `json:"flaky,omitempty"`                // tests that passed in some runs and failed in others
	FlakyOK           bool       `json:"flaky_ok,omitempty"`             // its pass is one with flaky tests, which the run allows
	Running           []string   `json:"running,omitempty"`              // tests that ran when the guest was ended, or ended, before its time
	TestsOnly         bool       `json:"tests_only,omitempty"`           // its failed tests are all that is wrong: the guest's report is whole
	Expected          []Expected `json:"expected,omitempty"`             // those of its failures that were expected
	StaleExpectations []string   `json:"surprises,omitempty"`            // expectations that are stale, one line each: they fail the run

	AccelNote string `json:"accel_note,omitempty"` // why it was not tested on KVM, which the run began with; one line

	BPF []BPFProgram `json:"bpf_programs,omitempty" limit:"10000"` // that the kernel held while the payload ran

	Reproduce string `json:"reproduce,omitempty"` // command that opens a shell in this kernel, see Command
}

// Cause says why a kernel did not pass.
type Cause struct {
	Title   string `json:"title"`                            // one line
	Excerpt string `json:"excerpt,omitempty" limit:"262144"` // of the console or the test's output

	Location string `json:"location,omitempty"` // of a crash: file:line, else function+offset/size
}

// Test is the outcome of one test on one kernel.
type Test struct {
	Name     string        `json:"name"`
	Verdict  string        `json:"verdict"` // pass, fail, skip
	Duration time.Duration `json:"duration_ns"`
	Output   string        `json:"output,omitempty" limit:"262144"`
	Insns    int           `json:"insns,omitempty" limit:"1099511627776"` // instructions the verifier processed; 0: not known or none
	Loader   string        `json:"loader,omitempty" limit:"200"`          // of BPF objects: what loaded it, such as "libbpf 1.8"
}

// BPFProgram is a BPF program that the kernel held while the payload ran, and
// what it cost. Numbers are 0 where they are not known.
type BPFProgram struct {
	Name       string `json:"name"`
	Type       string `json:"type" limit:"word"`
	Tag        string `json:"tag,omitempty" limit:"word"`                  // digest of its instructions
	Program    string `json:"program,omitempty"`                           // of a payload of several programs: the one that ran
	Test       string `json:"test,omitempty"`                              // of BPF objects: its test
	Insns      int    `json:"insns,omitempty" limit:"1099511627776"`       // that the verifier processed
	States     int    `json:"states,omitempty" limit:"1099511627776"`      // of the verifier, in all
	PeakStates int    `json:"peak_states,omitempty" limit:"1099511627776"` // and at the same time
	Stack      int    `json:"stack,omitempty" limit:"1099511627776"`       // bytes, of all frames
	Jited      int    `json:"jited,omitempty" limit:"1099511627776"`       // bytes of native code
	MapMemory  int64  `json:"map_memory,omitempty" limit:"1099511627776"`  // bytes of all maps it uses
}

// Verdicts of tests, as the guest writes them.
const (
	TestPass = "pass"
	TestFail = "fail"
	TestSkip = "skip"
)

// TestVerdict is a test's verdict. One that is not known is TestFail.
func TestVerdict(t Test) string {
	if t.Verdict == TestPass || t.Verdict == TestSkip {
		return t.Verdict
	}
	return TestFail
}

// FailedFirst orders tests that failed before the others.
func FailedFirst(a, b Test) int {
	of := map[bool]int{true: 0, false: 1}
	return of[TestVerdict(a) == TestFail] - of[TestVerdict(b) == TestFail]
}

// Attempt is one VM of a kernel beside the one that its result is about: an
// attempt that told nothing, another repeat, or another VM for some of its programs or
// for its failed tests.
type Attempt struct {
	Repeat  int     `json:"repeat,omitempty" limit:"1000"` // from 1, when the kernel was run several times
	VM      int     `json:"vm,omitempty" limit:"1000"`     // from 1, when its programs took several VMs
	Rerun   int     `json:"rerun,omitempty" limit:"10"`    // from 1, when no more than its failed tests ran again
	Attempt int     `json:"attempt" limit:"1000"`          // from 1
	Verdict Verdict `json:"verdict"`
	Cause   string  `json:"cause,omitempty"`              // one line; empty for a pass
	Accel   string  `json:"accel,omitempty" limit:"word"` // empty when no VM was started
	Console string  `json:"console,omitempty"`            // path relative to the output directory
}

// EmulatorFailed begins the cause of an attempt whose crash no processor does,
// and that did not come again on another CPU.
const EmulatorFailed = "the emulator failed once"

// Flaky is a test that passed in some repeats or reruns and failed in others.
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
	if a.VM > 0 {
		s = fmt.Sprintf("VM %d, %s", a.VM, s)
	}
	if a.Rerun > 0 {
		s = fmt.Sprintf("rerun %d of the failed tests, %s", a.Rerun, s)
	}
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
func (k *Result) Retried() []Attempt {
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

// Reused says that a kernel was not booted by this run: its result is that of
// an earlier VM which passed, made of the same bytes throughout.
type Reused struct {
	At      time.Time `json:"at"`                            // when that VM ended, UTC
	RunID   string    `json:"run_id,omitempty" limit:"word"` // of the run that booted it, as CI systems number them
	HeadSHA string    `json:"head_sha,omitempty" limit:"word"`
	Key     string    `json:"key"` // "sha256:<hex>", the same for the same VM that was kept
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
func (k *Result) Reusable() error {
	switch {
	case k.Verdict != Pass:
		return fmt.Errorf("its verdict is %v", k.Verdict)
	case k.Cause != nil || len(k.StaleExpectations) > 0 || len(k.Expected) > 0 || k.TestsOnly || k.FlakyOK || len(k.Running) > 0:
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

// ReusedOf counts the kernels whose results are of earlier runs, and says of
// when the oldest is.
func ReusedOf(kernels []Result) (n int, oldest time.Time) {
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

// Expected is a failure of a kernel that was expected.
type Expected struct {
	Test    string  `json:"test,omitempty"`    // its name; empty: it is about the kernel's verdict
	Verdict Verdict `json:"verdict,omitempty"` // of the kernel, where Test is empty
	Reason  string  `json:"reason"`
	Link    string  `json:"link,omitempty"`
	Expires string  `json:"expires,omitempty"`
}

// FailedAsExpected says that a kernel did not pass and that nothing is wrong with it
// but what was expected. A test that is expected to fail forgives neither a
// crash nor another test, and what was not tested is never forgiven.
func (k *Result) FailedAsExpected() bool {
	if len(k.Expected) == 0 || len(k.StaleExpectations) > 0 {
		return false
	}
	whole := false
	tests := make(map[string]bool, len(k.Expected))
	for _, e := range k.Expected {
		switch {
		case e.Reason == "":
			return false
		case e.Test != "":
			tests[e.Test] = true
		case e.Verdict == k.Verdict:
			whole = true
		}
	}
	if !k.programsExpected() {
		return false
	}
	switch k.Verdict {
	case Fail:
		if !k.TestsOnly {
			return false
		}
		whole = true
	case Crash, Timeout, NoBoot:
		// What ran at its end could not but fail with it.
		for _, t := range k.Running {
			tests[t] = true
		}
	default:
		return false
	}
	failed := 0
	for _, t := range k.Tests {
		if TestVerdict(t) == TestFail {
			failed++
			if !tests[t.Name] {
				return false
			}
		}
	}
	return whole && (k.Verdict != Fail || failed > 0)
}

// Expects says whether a test's failure was expected.
func (k *Result) Expects(test string) bool {
	return slices.ContainsFunc(k.Expected, func(e Expected) bool { return e.Test != "" && e.Test == test })
}

// OK says whether nothing about a kernel keeps a run from being a pass.
func (k *Result) OK() bool {
	return len(k.StaleExpectations) == 0 && (k.Verdict == Pass || k.FailedAsExpected())
}

// ExpectedWords says in one line why a kernel's failure was expected.
func (k *Result) ExpectedWords() string {
	var words []string
	for _, e := range k.Expected {
		what := e.Test
		if what == "" {
			what = e.Verdict.String()
		}
		w := OneLine(what, 100) + ": " + e.Reason
		if e.Link != "" {
			w += " (" + e.Link + ")"
		}
		words = append(words, w)
	}
	s := strings.Join(words[:min(len(words), 5)], "; ")
	if len(words) > 5 {
		s += fmt.Sprintf("; and %d more", len(words)-5)
	}
	return OneLine(s, 500)
}

// SplitID splits a kernel's id into its distribution and its name. An id without
// a distribution is of "unknown".
func SplitID(id string) (distro, name string) {
	distro, name, ok := strings.Cut(id, "/")
	if !ok {
		return "unknown", id
	}
	return distro, name
}

// VMTime is how long a kernel's VM ran; 0 when that is not known.
func (k *Result) VMTime() time.Duration {
	if ns := k.Phases["vm"]; ns > 0 && ns < int64(24*time.Hour) {
		return time.Duration(ns)
	}
	return 0
}
