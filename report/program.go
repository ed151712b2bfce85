package report

import (
	"fmt"
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
}

// ProgramOf is the index of the program that a test of this name belongs to: the
// longest name counts. It is -1 where none does.
func (k *Result) ProgramOf(test string) int {
	found := -1
	for i, p := range k.Programs {
		rest, ok := strings.CutPrefix(test, p.Name)
		if ok && (rest == "" || rest[0] == '/') && (found < 0 || len(p.Name) > len(k.Programs[found].Name)) {
			found = i
		}
	}
	return found
}

// forgivable says whether nothing is wrong with the programs of a kernel but
// failed tests and what the kernel's own verdict is.
func (k *Result) forgivable() bool {
	for _, p := range k.Programs {
		if p.Verdict != Pass && p.Verdict != k.Verdict && p.Verdict != Fail || p.Verdict == Fail && !p.TestsOnly || !p.Verdict.Tested() && p.Verdict != NoBoot {
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
		case p.Verdict != Pass && k.Verdict == Pass:
			return fmt.Errorf("it passed, and its program %q did not", p.Name)
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
