package output

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// nextest reads what cargo nextest prints:
//
//	    Starting 3 tests across 1 binary (run ID: ..., nextest profile: default)
//	        PASS [   0.004s] (1/3) probe tests::passes
//	  TRY 1 FAIL [   0.004s] (─────) probe tests::flaky
//	  TRY 2 PASS [   0.004s] (2/3) probe tests::flaky
//	        FAIL [   0.004s] (3/3) probe tests::fails
//	  stdout ───
//	    running 1 test
//	     Summary [   0.013s] 3 tests run: 2 passed (1 flaky), 1 failed, 0 skipped
//	        FAIL [   0.004s] (3/3) probe tests::fails
//	error: test run failed
//
// What a test printed follows its line.
type nextest struct {
	out    *sink
	last   *nextestResult // whose lines come now
	tries  []*nextestResult
	byName map[string]*nextestResult // of tries
	told   map[string]bool           // names
	ended  bool
	failed int // as the summary counts
	seen   int // failed tests
}

type nextestResult struct {
	name, status string
	verdict      string
	took         time.Duration
	tries        int // that failed
	own          clip
}

const kindNextest kind = "nextest's"

var (
	nextestStart   = lazy(`^\s*Starting \d+ tests? across \d+ binar(?:y|ies)\b`)
	nextestLine    = lazy(`^ *(TRY \d+ )?([A-Z][A-Z+ -]*?(?: \d+)?)(?: \d+/\d+)? \[>? *(\d[\d.]*s)? *\] (?:\([^)]*\) +)?(\S.*)$`)
	nextestOwn     = lazy(`^ *(?:Cancell?ing due to .*|-{12}|\x{2500}{12})$`)
	nextestSummary = lazy(`^ *Summary \[ *\d[\d.]*s\] (\d+)(?:/(\d+))? tests? run: (.*)$`)
)

var nextestDialect = dialect{
	begins: func(_ *Parser, text []byte) bool { return nextestStart().Match(text) },
	starts: func(p *Parser, text []byte) bool { return nextestStart().Match(text) },
	open: func(out *sink) format {
		return &nextest{out: out, byName: map[string]*nextestResult{}, told: map[string]bool{}}
	},
	failure: func([]byte) (kind, string, bool) { return "", "", false },
}

func (n *nextest) kind() kind     { return kindNextest }
func (n *nextest) running() bool  { return !n.ended }
func (n *nextest) complete() bool { return n.ended }

func (n *nextest) line(text []byte) {
	if m := nextestSummary().FindStringSubmatch(string(text)); m != nil {
		n.summary(m)
		return
	}
	m := nextestLine().FindStringSubmatch(string(text))
	if m == nil {
		if n.last != nil && !nextestOwn().Match(text) {
			n.last.own.add(&n.out.held, text)
		}
		return
	}
	again, name := m[1] != "", m[4]
	status, setup := strings.CutPrefix(m[2], "SETUP ")
	took, _ := time.ParseDuration(m[3])
	verdict := wire.TestFail
	switch status {
	case "PASS", "LEAK", "FLAKY", "TIMEOUT-PASS", "TMPASS", "SLOW + LEAK", "SLOW+TMPASS":
		verdict = wire.TestPass
	case "SKIP":
		verdict = wire.TestSkip
	case "SLOW", "TERMINATING", "TRMNTG", "START", "DELAY", "SETUP", "RETRY":
		return
	}
	if setup && verdict == wire.TestPass { // a script, which is no test
		return
	}
	n.flush()
	switch r := n.byName[name]; {
	case r != nil:
		r.status, r.verdict, r.took = status, verdict, took
	case n.told[name] || len(n.tries) >= MaxRecords:
		return
	default:
		r = &nextestResult{name: name, status: status, verdict: verdict, took: took}
		n.last = r
		if again {
			n.tries, n.byName[name] = append(n.tries, r), r
		}
	}
	r := n.byName[name]
	if r != nil && !n.ended {
		n.last = r
		if verdict == wire.TestFail {
			r.tries++
		}
	}
}

// flush tells of the last test, unless it may run again.
func (n *nextest) flush() {
	if r := n.last; r != nil && n.byName[r.name] == nil {
		n.tell(r)
	}
	n.last = nil
}

func (n *nextest) tell(r *nextestResult) {
	n.told[r.name] = true
	own := strings.Trim(r.own.take(&n.out.held), "\n")
	switch {
	case r.verdict == wire.TestPass && r.tries > 0:
		own = fmt.Sprintf("flaky: it passed after %s\n%s", plural(r.tries, "failure", "failures"), own)
	case r.verdict == wire.TestPass:
		own = ""
	case r.verdict == wire.TestFail:
		n.seen++
		own = lead(rustPanic(own), own)
		if own == "" || r.status != "FAIL" {
			own = r.status + "\n" + own
		}
	}
	n.out.add(Test{Name: r.name, Verdict: r.verdict, Duration: r.took, Output: strings.TrimSuffix(own, "\n")})
}

func (n *nextest) summary(m []string) {
	n.flush()
	for _, r := range n.tries {
		n.tell(r)
	}
	n.tries, n.byName, n.ended = nil, map[string]*nextestResult{}, true
	if m[2] != "" && m[2] != m[1] {
		n.out.cutShort(fmt.Sprintf("it ran %s of %s tests", m[1], m[2]))
	}
	for item := range strings.SplitSeq(m[3], ", ") {
		number, what, _ := strings.Cut(item, " ")
		count, _ := strconv.Atoi(number)
		for _, bad := range []string{"failed", "timed out", "exec failed"} {
			if strings.HasPrefix(what, bad) {
				n.failed += count
			}
		}
	}
}

func (n *nextest) end(how string) {
	n.flush()
	for _, r := range n.tries {
		n.tell(r)
	}
	n.tries = nil
	if !n.ended {
		n.out.cutOff(n.out.program, "its output ends without a summary: "+how, "")
	} else if n.failed > n.seen {
		n.out.problem(n.out.program, fmt.Sprintf("its summary counts %s, and %d of them are shown: %s", plural(n.failed, "failed test", "failed tests"), n.seen, how), 0)
	}
}
