package output

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// testProgs reads the output of libbpf's test_progs (tools/testing/selftests/
// bpf): a test's own lines, then "#12 name:OK", subtests as "#12/3
// name/sub:FAIL" before it, and a summary.
type testProgs struct {
	out     *sink
	own     clip
	held    int
	repeats bool // the error logs follow once more, results included
	summary bool
	passed  int // tests that the summary counts
	failed  int
}

const kindTestProgs kind = "test_progs'"

var testProgsDialect = dialect{
	begins: func(_ *Parser, text []byte) bool { return isTestProgs(text) },
	open:   func(p *Parser) format { return &testProgs{out: &p.out, own: p.before, held: p.held} },
	// As in "#3 x:FAIL".
	failure: func(text []byte) (kind, string, bool) {
		t, ok := testProgsResult(text)
		return kindTestProgs, t.Name, ok && t.Verdict == wire.TestFail
	},
}

func isTestProgs(text []byte) bool {
	if _, _, ok := testProgsSummary(text); ok {
		return true // the only line when no test was chosen
	}
	_, ok := testProgsResult(text)
	return ok
}

// testProgsSummary reads "Summary: 1/2 PASSED, 0 SKIPPED, 1 FAILED".
func testProgsSummary(text []byte) (passed, failed int, ok bool) {
	rest, ok := strings.CutPrefix(string(text), "Summary: ")
	if !ok {
		return 0, 0, false
	}
	for i, part := range strings.Split(rest, ",") {
		number, word, _ := strings.Cut(strings.TrimSpace(part), " ")
		number, subtests, both := strings.Cut(number, "/")
		if !digits(number) || both != (i == 0) || both && (!digits(subtests) || word != "PASSED") {
			return 0, 0, false
		}
		n, err := strconv.Atoi(number)
		if err != nil {
			return 0, 0, false
		}
		switch word {
		case "PASSED":
			passed = n
		case "FAILED":
			failed = n
		}
	}
	return passed, failed, true
}

// testProgsResult reads "#12/3    name/sub:SKIP" and "#4 name:OK (SKIP: 1/3)".
func testProgsResult(text []byte) (Test, bool) {
	t := Test{}
	if len(text) < 6 || text[0] != '#' {
		return t, false
	}
	number, rest, ok := bytes.Cut(text[1:], []byte(" "))
	test, sub, isSub := strings.Cut(string(number), "/")
	if !ok || !digits(test) || isSub && !digits(sub) {
		return t, false
	}
	s := strings.TrimSpace(string(rest))
	if at := strings.LastIndex(s, " (SKIP: "); at > 0 && strings.HasSuffix(s, ")") {
		s = s[:at]
	}
	at := strings.LastIndexByte(s, ':')
	if at <= 0 {
		return t, false
	}
	switch s[at+1:] {
	case "OK":
		t.Verdict = wire.TestPass
	case "FAIL":
		t.Verdict = wire.TestFail
	case "SKIP":
		t.Verdict = wire.TestSkip
	default:
		return t, false
	}
	t.Name = s[:at]
	return t, true
}

func (p *testProgs) kind() kind { return kindTestProgs }

// running is unknown: a test is named when it ends, and what one that passes
// prints is shown only on demand.
func (p *testProgs) running() bool { return false }

func (p *testProgs) complete() bool { return p.summary && !p.repeats }

func (p *testProgs) line(text []byte) {
	if passed, failed, ok := testProgsSummary(text); ok {
		p.repeats, p.summary = false, true
		p.passed += passed
		p.failed += failed
		return
	}
	switch {
	case bytes.HasPrefix(text, []byte("All error logs:")):
		p.repeats, p.summary = true, false
	case p.repeats:
	default:
		t, ok := testProgsResult(text)
		if !ok {
			p.own.add(&p.held, text)
			return
		}
		t.Output = p.own.take(&p.held)
		if t.Verdict == wire.TestFail {
			t.Output = lead(failedCheck(t.Output), t.Output)
		}
		p.out.add(t)
	}
}

// failedCheck returns the first check that failed in a test's lines, such as
// "test_foo:FAIL:open unexpected error: -2".
func failedCheck(own string) string {
	for line := range strings.Lines(own) {
		if where, _, ok := strings.Cut(line, ":FAIL:"); ok && where != "" && !strings.ContainsAny(where, " \t") {
			return strings.TrimSuffix(line, "\n")
		}
	}
	return ""
}

func (p *testProgs) end(how string) {
	switch {
	case !p.summary:
		p.out.cutOff(p.out.program, "its output ends without a summary: "+how, p.own.take(&p.held))
	case p.failed > 0 && !p.out.hasFailed():
		p.out.unseen(p.failed, how)
	case p.out.total == 0 && p.passed > 0: // their names were not printed
		p.out.add(Test{Name: p.out.program, Verdict: wire.TestPass})
	}
}
