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
	failed  int // tests that the summary counts
}

func newTestProgs(out *sink) *testProgs { return &testProgs{out: out} }

func isTestProgs(text []byte) bool {
	_, ok := testProgsResult(text)
	return ok
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

func digits(s string) bool {
	if s == "" || len(s) > 9 {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}

func (p *testProgs) line(text []byte) {
	switch {
	case bytes.HasPrefix(text, []byte("All error logs:")):
		p.repeats = true
	case bytes.HasPrefix(text, []byte("Summary: ")):
		p.repeats, p.summary = false, true
		// "Summary: 1/2 PASSED, 0 SKIPPED, 1 FAILED"
		for part := range strings.SplitSeq(string(text[len("Summary: "):]), ",") {
			if n, ok := strings.CutSuffix(strings.TrimSpace(part), " FAILED"); ok {
				k, err := strconv.Atoi(n)
				if err != nil {
					k = 1
				}
				p.failed += max(0, k)
			}
		}
	case p.repeats:
	default:
		t, ok := testProgsResult(text)
		if !ok {
			p.own.add(&p.held, text)
			return
		}
		t.Output = p.own.take(&p.held)
		p.out.add(t)
	}
}

func (p *testProgs) end(how string) {
	failed := p.out.failed > 0 || p.out.more[2] > 0
	switch {
	case !p.summary:
		p.out.problem(p.out.program, "its output ends without a summary: "+how+"\n"+p.own.take(&p.held), 0)
	case p.failed > 0 && !failed:
		p.out.problem(p.out.program, sprintf("its summary counts %d failed tests, and none was seen: %s", p.failed, how), 0)
	}
}
