package testrunner

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// maxLogReported is how much of the tracer's stderr goes into the record of the
// first failed test, beside its details.
const maxLogReported = 32 << 10

// printer prints outcomes as `go test -v` does and reports them to init. Its
// methods may be called from several goroutines.
type printer struct {
	mu       sync.Mutex
	out      io.Writer
	rep      *wire.Reporter
	required []string
	passed   int // tests of events: that a tracer starts proves nothing yet
	failed   int
	log      string // the tracer's stderr, printed with the first failure
}

// started announces a test. It is printed at once, so that the console of a
// kernel that dies shows what was going on.
func (p *printer) started(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "=== RUN   %s\n", name)
}

// ended prints and reports an outcome.
func (p *printer) ended(r check.Result, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	took = max(took, 0)
	if r.Verdict == wire.TestSkip && slices.Contains(p.required, r.Name) {
		r.Verdict = wire.TestFail
		r.Details = "it is required (--require), but it cannot run: " + r.Details
	}
	printed, reported := r.Details, r.Details
	word := "FAIL"
	switch r.Verdict {
	case wire.TestPass:
		word = "PASS"
		if r.Name != check.StartTest && r.Name != check.StreamTest {
			p.passed++
		}
	case wire.TestSkip:
		word = "SKIP"
	default:
		r.Verdict = wire.TestFail
		p.failed++
		if p.log != "" {
			// libbpf's log is long: what tells comes first.
			if !strings.Contains(printed, check.StderrTitle) {
				printed += "\n" + check.Said(p.log)
			}
			const title = "\nEventsTrace's stderr, each line once (shown once):\n"
			log := check.OnceEach(p.log)
			reported = wire.Truncate(printed, wire.MaxOutput-maxLogReported-len(title)) + title + wire.Truncate(log, maxLogReported)
			printed += title + log
			p.log = ""
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "--- %s: %s (%.2fs)\n", word, r.Name, took.Seconds())
	for line := range strings.Lines(printed) {
		fmt.Fprintf(&b, "    %s\n", printable(strings.TrimRight(line, "\r\n")))
	}
	_, _ = p.out.Write(b.Bytes()) // the console is a courtesy; the report is what counts
	p.rep.Report(wire.Test{Name: r.Name, Verdict: r.Verdict, Duration: took, Output: strings.ToValidUTF8(reported, "?")})
}

// printable takes control characters out of text that a program under test
// wrote, so that it cannot move the cursor or pass for a line of ours.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

func (p *printer) note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.out, text)
}

// stderr is the tracer's log, to be shown with the first test that fails.
func (p *printer) stderr(log string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = log
}

// notJudged marks the report as one that tests are missing from: that others
// were expected to fail never excuses it.
func (p *printer) notJudged(tests []string) {
	switch n := len(tests); n {
	case 0:
	case 1:
		p.rep.Incomplete("1 test could not be judged")
	default:
		p.rep.Incomplete(fmt.Sprintf("%d tests could not be judged", n))
	}
}

// finish prints the last word, ends the report and returns the exit status.
func (p *printer) finish() int {
	err := p.rep.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.failed > 0:
		fmt.Fprintln(p.out, "FAIL")
	case err != nil:
		fmt.Fprintf(p.out, "FAIL: the report to init is incomplete: %s\n", err)
	case p.passed == 0:
		fmt.Fprintln(p.out, "FAIL: no test of an event passed")
	default:
		fmt.Fprintln(p.out, "PASS")
		return exitPass
	}
	return exitFail
}
