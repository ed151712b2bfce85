package output

import (
	"bytes"
	"cmp"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// libtest reads what Rust's test programs print (rustc --test, cargo test).
//
//	running 3 tests
//	test some::passes ... ok
//	test some::skips ... ignored, why
//	test some::fails ... FAILED
//
//	failures:
//
//	---- some::fails stdout ----
//	thread 'some::fails' panicked at src/lib.rs:3:47:
//	why
//
//	test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
type libtest struct {
	out    *sink
	open   string // the test that runs, where they run one after the other
	own    clip
	last   string // its last line
	begun  int
	ended  int
	failed []*libtestFailure // whose lines come behind all results
	named  map[string]*libtestFailure
	about  *libtestFailure // whose lines come now
	listed bool            // behind "failures:"
	told   int             // failures since the last summary
	counts counts          // of all summaries
}

type libtestFailure struct {
	name string
	took time.Duration
	own  clip
}

const libtestEnd = "test result: "

const kindLibtest kind = "that of Rust's tests"

var libtestDialect = dialect{
	// A program begins with an empty line. Results alone, "test x ... ok", could
	// be anyone's.
	begins: func(p *Parser, text []byte) bool {
		_, _, ok := libtestSummary(text)
		return ok || p.wasEmpty && libtestBegins(text)
	},
	starts: func(p *Parser, text []byte) bool {
		return p.wasEmpty && libtestBegins(text) && p.format.kind() != kindLibtest
	},
	open: func(out *sink) format {
		return &libtest{out: out, named: map[string]*libtestFailure{}, counts: counts{}}
	},
	// As in "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out".
	failure: func(text []byte) (kind, string, bool) {
		_, failed, ok := libtestSummary(text)
		return kindLibtest, "", ok && failed
	},
}

// libtestBegins reads "running 3 tests".
func libtestBegins(text []byte) bool {
	n, ok := bytes.CutPrefix(text, []byte("running "))
	if !ok {
		return false
	}
	number, word, _ := strings.Cut(string(n), " ")
	return digits(number) && (word == "tests" || word == "test")
}

// libtestTest reads "test some::name - should panic ... ok". The names of
// documentation's tests have spaces, as in "src/a.rs - f (line 3)".
var libtestTest = lazy(`^test ([^ \t]+|.* - .* \(line .*?)(?: - should panic)? \.\.\. (.*)$`)

var libtestOutcome = lazy(`^\s*(ok|bench: .*|FAILED(?: \(.*?)?|ignored(?:, (.*?))?)(?: <(\d[^ ]*s)>)?\s*$`)

// libtestResult reads what stands behind a test's name.
func libtestResult(s string) (verdict, reason string, took time.Duration, ok bool) {
	m := libtestOutcome().FindStringSubmatch(s)
	if m == nil {
		return "", "", 0, false
	}
	took, _ = time.ParseDuration(m[3])
	switch {
	case strings.HasPrefix(m[1], "FAILED"):
		return wire.TestFail, "", took, true
	case strings.HasPrefix(m[1], "ignored"):
		return wire.TestSkip, m[2], took, true
	}
	return wire.TestPass, "", took, true
}

var libtestSummaryLine = pattern{text: libtestEnd + "{word}. {passed} passed; {failed} failed; {skipped} ignored; {} measured; {} filtered out{*}"}

// libtestSummary reads the last line.
func libtestSummary(text []byte) (c counts, failed, ok bool) {
	if !bytes.HasPrefix(text, []byte(libtestEnd)) || len(text) > maxSummary {
		return nil, false, false
	}
	c = libtestSummaryLine.match(string(text))
	failed = bytes.HasPrefix(text, []byte(libtestEnd+"FAILED")) || c["failed"] > 0
	return c, failed, c != nil
}

func (l *libtest) kind() kind    { return kindLibtest }
func (l *libtest) running() bool { return l.open != "" }

func (l *libtest) complete() bool {
	return l.open == "" && l.ended > 0 && l.ended >= l.begun
}

func (l *libtest) line(text []byte) {
	if c, failed, ok := libtestSummary(text); ok {
		l.settle()
		l.flush()
		l.ended++
		l.counts.add(c)
		if failed && l.told < max(1, c["failed"]) {
			l.out.problem(l.out.program, string(text), 0)
		}
		l.listed, l.told = false, 0
		return
	}
	if l.open != "" {
		if verdict, reason, took, ok := libtestResult(string(text)); ok {
			l.result(l.open, verdict, reason, took)
			return
		}
	}
	test := libtestTest().FindStringSubmatch(string(text))
	switch {
	case test != nil && !l.listed:
		l.settle()
		name, rest := test[1], test[2]
		if verdict, reason, took, ok := libtestResult(rest); ok {
			l.result(name, verdict, reason, took)
			return
		}
		l.open = name
		l.out.run(name, false)
		if rest != "" {
			l.own.add(&l.out.held, []byte(rest))
		}
		l.last = rest
	case l.open == "" && libtestBegins(text):
		l.begun++
	case l.open == "" && (string(text) == "failures:" || string(text) == "successes:"):
		l.listed, l.about = true, nil
	case l.listed:
		if name, ok := bytes.CutPrefix(text, []byte("---- ")); ok {
			if name, ok := bytes.CutSuffix(name, []byte(" stdout ----")); ok {
				l.about = l.named[strings.TrimSuffix(string(name), " - should panic")]
				return
			}
		}
		if l.about != nil {
			l.about.own.add(&l.out.held, text)
		}
	case bytes.HasSuffix(text, []byte(" --- FAILED")): // with --quiet
		l.fail(strings.TrimSuffix(string(text), " --- FAILED"), 0, clip{})
	case l.open != "":
		l.own.add(&l.out.held, text)
		l.last = string(text[max(0, len(text)-64):])
	}
}

func (l *libtest) result(name, verdict, reason string, took time.Duration) {
	own := l.own
	l.own = clip{}
	if l.open != "" {
		l.out.run(l.open, true)
		l.open = ""
	}
	if verdict == wire.TestFail {
		l.fail(name, took, own)
		return
	}
	text := lead(reason, own.take(&l.out.held))
	l.out.add(Test{Name: name, Verdict: verdict, Duration: took, Output: text})
}

// fail keeps a failure until its lines have come.
func (l *libtest) fail(name string, took time.Duration, own clip) {
	l.told++
	f := &libtestFailure{name: name, took: took, own: own}
	if len(l.failed) >= MaxRecords {
		l.out.add(Test{Name: name, Verdict: wire.TestFail, Duration: took, Output: own.take(&l.out.held)})
		return
	}
	l.failed = append(l.failed, f)
	l.named[name] = f
}

// settle ends the open test, whose result can stand behind text of its own that
// has no newline.
func (l *libtest) settle() {
	if l.open == "" {
		return
	}
	verdict := wire.TestFail
	if strings.HasSuffix(l.last, "ok") {
		verdict = wire.TestPass
	}
	l.result(l.open, verdict, "", 0)
}

func (l *libtest) flush() {
	for _, f := range l.failed {
		own := strings.Trim(f.own.take(&l.out.held), "\n")
		l.out.add(Test{Name: f.name, Verdict: wire.TestFail, Duration: f.took, Output: lead(rustPanic(own), own)})
	}
	l.failed, l.about = nil, nil
	clear(l.named)
}

// rustPanicLine is the first line of a panic. Since Rust 1.73 the message is on the next.
var rustPanicLine = lazy(`(?m)^thread '.* panicked at (?:.*:\n(.*)|.*)$`)

// rustPanic returns the message of the first panic.
func rustPanic(own string) string {
	m := rustPanicLine().FindStringSubmatch(own)
	if m == nil {
		return ""
	}
	return cmp.Or(m[1], m[0])
}

func (l *libtest) end(how string) {
	if l.open != "" {
		l.out.cutShort(l.open + " started and did not end: " + how)
		t := l.out.unfinished(l.open, time.Time{}, "it started and did not end: "+how, l.own.take(&l.out.held))
		l.out.run(l.open, true)
		l.open = ""
		l.flush()
		l.out.add(t)
		return
	}
	l.flush()
	switch {
	case l.ended == 0 || l.ended < l.begun:
		l.out.cutOff(l.out.program, "its output ends without a test result: "+how, "")
	case l.out.total > 0:
	case l.counts["passed"] > 0: // with --quiet
		l.out.add(Test{Name: l.out.program, Verdict: wire.TestPass})
	case l.counts["skipped"] > 0:
		l.out.add(Test{Name: l.out.program, Verdict: wire.TestSkip, Output: "all of its tests were ignored"})
	}
}
