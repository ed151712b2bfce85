package vm

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

// hang is what the records say about a guest that did not come to its end.
type hang struct {
	running []string // tests that ran at the end, the last to start first
	last    string   // the test that ended last
	exit    *wire.Exit
	limits  Limits
}

// lastRunning are the tests that had started, and neither ended nor paused, by
// the end of the records; the last to start comes first.
func lastRunning(records []wire.Record) (running []string, last string) {
	for _, r := range records {
		name := ""
		switch {
		case r.Run != nil:
			name = r.Run.Name
		case r.Test != nil:
			name, last = r.Test.Name, r.Test.Name
		default:
			continue
		}
		if i := slices.Index(running, name); i >= 0 {
			running = slices.Delete(running, i, i+1)
		}
		if r.Run != nil && !r.Run.Paused && len(running) < 10_000 {
			running = append(running, name)
		}
	}
	slices.Reverse(running)
	return running[:min(len(running), wire.MaxRunning)], last
}

// during says what ran.
func (h hang) during() string {
	switch n := len(h.running); {
	case n == 1:
		return fmt.Sprintf(" while %s was running", name(h.running[0]))
	case n > 1:
		return fmt.Sprintf(" while %s and %d more were running", name(h.running[0]), n-1)
	case h.last != "":
		return fmt.Sprintf(" after %s had ended", name(h.last))
	}
	return ""
}

func name(s string) string { return report.OneLine(s, 120) }

// title says whose time was up, when init told of it.
func (h hang) title() string {
	e := h.exit
	s := ""
	switch {
	case e.OfTest && len(e.Tests) > 0:
		s = fmt.Sprintf("%s did not end within %v", name(e.Tests[0]), e.Limit)
	default:
		limit := e.Limit
		if limit == 0 {
			limit = h.limits.Payload
		}
		s = fmt.Sprintf("the payload did not end within %v", limit)
		switch n := len(e.Tests); {
		case n == 1:
			s += fmt.Sprintf(": %s was running", name(e.Tests[0]))
		case n > 1:
			s += fmt.Sprintf(": %s and %d more were running", name(e.Tests[0]), n-1)
		}
	}
	if e.Stuck {
		s += ", and SIGKILL does not end it: it hangs in the kernel"
	}
	return s
}

// cutShort are failures of the tests that ran when the guest went silent and
// that nobody in the guest could report.
func cutShort(tests []report.Test, running []string, why string) []report.Test {
	known := make(map[string]bool, len(tests))
	for _, t := range tests {
		known[t.Name] = true
	}
	for _, n := range running {
		if !known[n] {
			tests = append(tests, report.Test{Name: n, Verdict: wire.TestFail, Output: why})
		}
	}
	return tests
}

// silentFor puts a limit for silence in words.
func silentFor(d time.Duration) string {
	return fmt.Sprintf("no sign of life from the guest for %v", d)
}

// hangExcerpt is what init showed of a hang, where it is among a console's last
// lines.
func hangExcerpt(tail string) string {
	begin := -1
	for _, mark := range []string{" init: timeout: ", " init: its processes:"} {
		if at := strings.Index(tail, mark); at >= 0 && (begin < 0 || at < begin) {
			begin = at
		}
	}
	if begin >= 0 {
		if nl := strings.LastIndexByte(tail[:begin], '\n'); nl >= 0 {
			return tail[nl+1:]
		}
	}
	return tail
}

// maxGoroutines bounds what is shown of a hung Go program's goroutines, in bytes.
const maxGoroutines = 8 << 10

// goroutines is what a Go program that hangs said of its goroutines when it got
// SIGQUIT, those that run a test first; "" where no test's output has it.
func goroutines(tests []report.Test) string {
	for _, t := range tests {
		at := strings.Index("\n"+t.Output, "\nSIGQUIT: quit\n")
		if t.Verdict != wire.TestFail || at < 0 {
			continue
		}
		var testing, others []string
		for _, stack := range strings.Split(t.Output[at:], "\n\n") {
			switch stack = strings.TrimSpace(stack); {
			case !strings.HasPrefix(stack, "goroutine ") || strings.HasPrefix(stack, "goroutine 0 "):
			case strings.Contains(stack, "testing.tRunner("):
				testing = append(testing, stack)
			default:
				others = append(others, stack)
			}
		}
		var b strings.Builder
		b.WriteString("its goroutines:\n")
		for i, stack := range append(testing, others...) {
			if b.Len()+len(stack) > maxGoroutines {
				if i == 0 {
					b.WriteString(wire.Truncate(stack, maxGoroutines) + "\n\n")
				}
				b.WriteString("and more\n\n")
				break
			}
			b.WriteString(stack + "\n\n")
		}
		return b.String()
	}
	return ""
}
