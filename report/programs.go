package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Program is what came of one of several programs that a kernel was tested with.
// Its tests are those of the kernel whose names begin with its own and a slash, or
// are its own.
type Program struct {
	Name      string        `json:"name" limit:"200"`
	Verdict   Verdict       `json:"verdict"`
	Cause     *Cause        `json:"cause,omitempty"` // nil for a pass
	Tests     int           `json:"tests" limit:"100000"`
	TestsOnly bool          `json:"tests_only,omitempty"`       // its failed tests are all that is wrong: its report is whole
	Duration  time.Duration `json:"duration_ns"`                // of the program alone; 0 if it is not known
	Left      []string      `json:"left,omitempty" limit:"100"` // what it left behind in the guest, one line each
	Console   string        `json:"console,omitempty"`          // path as the kernel's, if it had a VM of its own
}

// MaxPrograms is how many programs a result shows.
const MaxPrograms = 1000

// TestPrograms returns a function that finds the program of a test, by its index, and
// the test's name without the program's. The longest name counts; the index is -1
// where none does.
func (k *Result) TestPrograms() func(test string) (program int, name string) {
	return k.testPrograms(func(Program) bool { return true })
}

// failedPrograms is TestPrograms among the programs that did not pass: where one
// program's name begins with another's, a failed test can be of either.
func (k *Result) failedPrograms() func(test string) (program int, name string) {
	return k.testPrograms(func(p Program) bool { return p.Verdict != Pass })
}

func (k *Result) testPrograms(among func(Program) bool) func(test string) (program int, name string) {
	at := make(map[string]int, len(k.Programs))
	for i, p := range k.Programs {
		if among(p) {
			at[p.Name] = i
		}
	}
	return func(test string) (int, string) {
		if i, ok := at[test]; ok { // of one that reports no tests
			return i, test
		}
		for end := len(test); ; {
			if end = strings.LastIndexByte(test[:end], '/'); end < 0 {
				return -1, test
			}
			if i, ok := at[test[:end]]; ok {
				return i, test[end+1:]
			}
		}
	}
}

// NotPassed are the programs of a kernel that did not pass, in order.
func (k *Result) NotPassed() (programs []Program) {
	for _, p := range k.Programs {
		if p.Verdict != Pass {
			programs = append(programs, p)
		}
	}
	return programs
}

// ProgramWords says how many of a kernel's programs did not pass, and names the
// first of them, each with what became of it if that is not a failure. It is ""
// where all passed, or none was tested since the kernel was not.
func (k *Result) ProgramWords(most int) string {
	bad := k.NotPassed()
	if len(bad) == 0 || !k.Verdict.Tested() && len(bad) == len(k.Programs) && !slices.ContainsFunc(bad, func(p Program) bool { return p.Verdict != k.Verdict }) {
		return ""
	}
	var names []string
	word := "failed"
	for _, p := range bad {
		name := OneLine(p.Name, 100)
		if p.Verdict != Fail {
			name += " (" + p.Verdict.String() + ")"
		}
		if !p.Verdict.Tested() {
			word = "did not pass"
		}
		names = append(names, name)
	}
	return fmt.Sprintf("%s of %s %s: %s", Thousands(len(bad)), Count(len(k.Programs), "program"), word, List(names, most, func(s string) string { return s }))
}

// LeftBehind says what the programs of a kernel left behind, one line each.
func (k *Result) LeftBehind() (lines []string) {
	for _, p := range k.Programs {
		for _, l := range p.Left {
			lines = append(lines, OneLine(p.Name, 100)+" left behind: "+l)
		}
	}
	return lines
}

// checkProgramTests says which program passed though one of its tests did not.
func (k *Result) checkProgramTests() error {
	of, failed := k.TestPrograms(), k.failedPrograms()
	for _, t := range k.Tests {
		if TestVerdict(t) != TestFail {
			continue
		}
		i, _ := of(t.Name)
		if other, _ := failed(t.Name); i >= 0 && other < 0 {
			return fmt.Errorf("its program %q passed and its test %.100q did not", k.Programs[i].Name, t.Name)
		}
	}
	return nil
}

// ByProgram makes a result of each program, as if that were all of the kernel: its
// verdict, its failed tests, and what was expected of it.
func (k *Result) ByProgram() []Result {
	all := make([]Result, len(k.Programs))
	console := k.Console
	if slices.ContainsFunc(k.Programs, func(p Program) bool { return p.Console != "" }) {
		console = "" // each has its own
	}
	bad := false
	for i, p := range k.Programs {
		all[i] = Result{ID: k.ID, Verdict: p.Verdict, Cause: p.Cause, TestsOnly: p.TestsOnly, Console: cmp.Or(p.Console, console)}
		bad = bad || p.Verdict != Pass
	}
	if !bad {
		return all
	}
	of := k.failedPrograms()
	for _, t := range k.Tests {
		if TestVerdict(t) != TestFail {
			continue
		}
		if i, _ := of(t.Name); i >= 0 {
			all[i].Tests = append(all[i].Tests, t)
		}
	}
	for _, name := range k.Running {
		if i, _ := of(name); i >= 0 {
			all[i].Running = append(all[i].Running, name)
		}
	}
	one := k.endedOnce()
	for _, e := range k.Expected {
		if e.Test != "" {
			if i, _ := of(e.Test); i >= 0 {
				all[i].Expected = append(all[i].Expected, e)
			}
			continue
		}
		for i := range all {
			if v := all[i].Verdict; v == e.Verdict && (one || v == NoBoot) {
				all[i].Expected = append(all[i].Expected, e)
			}
		}
	}
	return all
}

// endedOnce says whether one program at most crashed or timed out, or all crashed
// alike: the kernel does so whatever it runs. What was expected of one program
// forgives no other.
func (k *Result) endedOnce() bool {
	n, alike := 0, true
	for _, p := range k.Programs {
		if p.Verdict == Crash || p.Verdict == Timeout {
			n++
		}
		first := k.Programs[0].Cause
		alike = alike && p.Verdict == Crash && p.Cause != nil && first != nil && p.Cause.Location != "" &&
			p.Cause.Title == first.Title && p.Cause.Location == first.Location
	}
	return n <= 1 || alike
}

// programsExpected says whether each program passed or failed as expected.
func (k *Result) programsExpected() bool {
	all := k.ByProgram()
	for i := range all {
		if all[i].Verdict != Pass && !all[i].FailedAsExpected() {
			return false
		}
	}
	return true
}

// checkPrograms says what in a result's programs contradicts itself or the
// result.
func (k *Result) checkPrograms() error {
	seen := make(map[string]bool, len(k.Programs))
	for _, p := range k.Programs {
		_, err := p.Verdict.MarshalText()
		switch {
		case p.Name == "" || OneLine(p.Name, 200) != p.Name:
			return fmt.Errorf("a program's name %.50q is no printable text in one line", p.Name)
		case seen[p.Name]:
			return fmt.Errorf("it has two programs %q", p.Name)
		case err != nil:
			return fmt.Errorf("its program %q has no verdict", p.Name)
		case p.Verdict == Pass && p.Cause != nil:
			return fmt.Errorf("its program %q passed and has a cause not to", p.Name)
		}
		seen[p.Name] = true
	}
	return nil
}

// verdicts are programs without what explains their verdicts.
func verdicts(programs []Program) []Program {
	var short []Program
	for _, p := range programs {
		short = append(short, Program{Name: p.Name, Verdict: p.Verdict, Tests: p.Tests, TestsOnly: p.TestsOnly, Duration: p.Duration})
	}
	return short
}
