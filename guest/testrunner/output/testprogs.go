package output

import (
	"bytes"
	"strconv"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// testProgs reads the output of libbpf's test_progs (tools/testing/selftests/
// bpf): a test's own lines, then "#12 name:OK", subtests as "#12/3
// name/sub:FAIL" before it, and a summary.
type testProgs struct {
	out     *sink
	own     clip
	repeats bool // the error logs follow once more, results included
	summary bool
	passed  int // tests that the summary counts
	failed  int
}

const kindTestProgs kind = "test_progs'"

var testProgsDialect = dialect{
	begins: func(_ *Parser, text []byte) bool { return isTestProgs(text) },
	open:   func(out *sink) format { return &testProgs{out: out} },
	early:  true,
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

var (
	testProgsEnd  = lazy(`^Summary: (\d{1,9})/\d{1,9} PASSED(?:, \d{1,9} SKIPPED)?(?:, (\d{1,9}) FAILED)?\s*$`)
	testProgsLine = lazy(`^#\d{1,9}(?:/\d{1,9})? \s*(.*?\S.*):(OK|FAIL|SKIP)(?: \(SKIP: .*\))?\s*$`)
)

// testProgsSummary reads "Summary: 1/2 PASSED, 0 SKIPPED, 1 FAILED".
func testProgsSummary(text []byte) (passed, failed int, ok bool) {
	if !bytes.HasPrefix(text, []byte("Summary: ")) {
		return 0, 0, false
	}
	m := testProgsEnd().FindSubmatch(text)
	if m == nil {
		return 0, 0, false
	}
	passed, _ = strconv.Atoi(string(m[1]))
	failed, _ = strconv.Atoi(string(m[2]))
	return passed, failed, true
}

// testProgsResult reads "#12/3    name/sub:SKIP" and "#4 name:OK (SKIP: 1/3)".
func testProgsResult(text []byte) (Test, bool) {
	if len(text) == 0 || text[0] != '#' {
		return Test{}, false
	}
	m := testProgsLine().FindSubmatch(text)
	if m == nil {
		return Test{}, false
	}
	verdicts := map[string]string{"OK": wire.TestPass, "FAIL": wire.TestFail, "SKIP": wire.TestSkip}
	return Test{Name: string(m[1]), Verdict: verdicts[string(m[2])]}, true
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
	case bytes.HasPrefix(text, []byte("All error logs:")) && p.out.total > 0:
		p.repeats, p.summary = true, false
	case p.repeats:
	default:
		t, ok := testProgsResult(text)
		if !ok {
			p.own.add(&p.out.held, text)
			return
		}
		t.Output = p.own.take(&p.out.held)
		if t.Verdict == wire.TestFail {
			t.Output = lead(testProgsCheck().FindString(t.Output), t.Output)
		}
		p.out.add(t)
	}
}

// testProgsCheck is a check that failed, such as "test_foo:FAIL:open unexpected
// error: -2".
var testProgsCheck = lazy(`(?m)^[^ \t\n]+?:FAIL:.*$`)

func (p *testProgs) end(how string) {
	switch {
	case !p.summary:
		p.out.cutOff(p.out.program, "its output ends without a summary: "+how, p.own.take(&p.out.held))
	case p.failed > 0 && !p.out.hasFailed():
		p.out.unseen(p.failed, how)
	case p.out.total == 0 && p.passed > 0: // their names were not printed
		p.out.add(Test{Name: p.out.program, Verdict: wire.TestPass})
	}
}
