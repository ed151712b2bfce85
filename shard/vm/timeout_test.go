package vm

import (
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
)

// Of a hung Go program's goroutines those that run tests come first, and they are
// bounded.
func TestGoroutines(t *testing.T) {
	const dump = "it started and did not end: x\nSIGQUIT: quit\nPC=0x1 m=0\n\ngoroutine 0 gp=0x1 m=0 [idle]:\nruntime.futex()\n\ngoroutine 1 [chan receive]:\ntesting.(*T).Run()\n\n" +
		"goroutine 7 [sleep]:\nmine.waits()\ntesting.tRunner(0x1, 0x2)\n\nrax 0x1\nrbx 0x2"
	fail := func(output string) []report.Test {
		return []report.Test{{Name: "A", Verdict: "pass", Output: dump}, {Name: "B", Verdict: "fail", Output: output}}
	}
	if got, want := goroutines(fail(dump)), "its goroutines:\ngoroutine 7 [sleep]:\nmine.waits()\ntesting.tRunner(0x1, 0x2)\n\ngoroutine 1 [chan receive]:\ntesting.(*T).Run()\n\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, none := range []string{"", "the word SIGQUIT: quit", "goroutine 7 [sleep]:"} {
		if got := goroutines(fail(none)); got != "" {
			t.Errorf("of %q: %q", none, got)
		}
	}
	if got := goroutines(fail(dump + strings.Repeat("\n\ngoroutine 8 [sleep]:\nmine.waits()", 10_000))); len(got) > maxGoroutines+100 || !strings.HasSuffix(got, "and more\n\n") {
		t.Errorf("%d bytes, which end in %q", len(got), got[max(0, len(got)-60):])
	}
	if got := goroutines(fail("SIGQUIT: quit\n\ngoroutine 8 [sleep]:\n" + strings.Repeat("x", 50_000))); len(got) > maxGoroutines+100 {
		t.Errorf("%d bytes", len(got))
	}
}
