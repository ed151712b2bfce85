package output

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// gtest reads what GoogleTest prints, and those that print like it: cmocka,
// utest.h, and the kernel's kselftest_harness.h before 5.8.
//
//	[==========] Running 2 tests from 1 test suite.
//	[ RUN      ] Some.Fails
//	[  FAILED  ] Some.Fails (0 ms)
//	[==========] 2 tests from 1 test suite ran. (0 ms total)
//	[  PASSED  ] 1 test.
//	[  FAILED  ] 1 test, listed below:
//	[  FAILED  ] Some.Fails
type gtest struct {
	out    *sink
	open   string // the test that runs; empty: none
	own    clip   // its lines, or those before a failure that had no start
	inner  bool   // a program that the test runs prints its own
	begun  int
	ended  int
	passed int             // as its summaries count
	failed int             // the same
	told   map[string]bool // failed tests, which are listed again
}

const (
	gtestBar     = "[==========] "
	gtestRun     = "[ RUN      ] "
	gtestOK      = "[       OK ] "
	gtestFailed  = "[  FAILED  ] "
	gtestSkipped = "[  SKIPPED ] "
	gtestPassed  = "[  PASSED  ] "
)

const kindGTest kind = "GoogleTest's"

var gtestDialect = dialect{
	begins: func(_ *Parser, text []byte) bool { return isGTest(text) },
	starts: func(p *Parser, text []byte) bool {
		first := bytes.HasPrefix(text, []byte(gtestBar+"Running ")) || bytes.HasPrefix(text, []byte(gtestRun))
		return first && isGTest(text) && p.format.kind() != kindGTest
	},
	open:  func(out *sink) format { return &gtest{out: out, told: map[string]bool{}} },
	early: true,
	// As in "[  FAILED  ] Some.Test (0 ms)".
	failure: func(text []byte) (kind, string, bool) {
		rest, ok := bytes.CutPrefix(text, []byte(gtestFailed))
		if !ok {
			return "", "", false
		}
		name, _, _ := gtestResult(rest)
		if _, _, count := gtestCount(rest); count {
			name = ""
		}
		return kindGTest, name, true
	},
}

func isGTest(text []byte) bool {
	if len(text) < len(gtestBar) || text[0] != '[' {
		return false
	}
	switch tag, rest := string(text[:len(gtestBar)]), text[len(gtestBar):]; tag {
	case gtestBar:
		return bytes.Contains(rest, []byte("test"))
	case gtestRun, gtestOK, gtestFailed, gtestSkipped:
		return true
	case gtestPassed:
		_, _, ok := gtestCount(rest)
		return ok
	}
	return false
}

// gtestCount reads "2 tests" and "2 test(s)" at the beginning of a text.
func gtestCount(text []byte) (n int, rest string, ok bool) {
	number, rest, _ := strings.Cut(string(text), " ")
	n, err := strconv.Atoi(number)
	return n, rest, digits(number) && err == nil && strings.HasPrefix(rest, "test")
}

var gtestLine = lazy(`^(.*?)(?:, where .*?)?(?: \((\d+) ?(ms|ns)\))?$`)

// gtestResult reads "Some.Fails, where GetParam() = 2 (3 ms)", and utest.h's
// "some.fails (3ns)".
func gtestResult(text []byte) (name string, took time.Duration, timed bool) {
	m := gtestLine().FindStringSubmatch(string(bytes.TrimSpace(text)))
	if m == nil {
		return "", 0, false
	}
	took, err := time.ParseDuration(m[2] + m[3])
	return m[1], took, err == nil
}

func (g *gtest) kind() kind    { return kindGTest }
func (g *gtest) running() bool { return g.open != "" }

func (g *gtest) complete() bool {
	return g.open == "" && g.ended > 0 && g.ended >= g.begun
}

func (g *gtest) line(text []byte) {
	// Text without a newline can stand before the result.
	if g.open != "" && (len(text) == 0 || text[0] != '[' || !isGTest(text)) {
		for _, tag := range []string{gtestOK, gtestFailed, gtestSkipped} {
			at := bytes.LastIndex(text, []byte(tag))
			if at <= 0 {
				continue
			}
			if name, _, _ := gtestResult(text[at+len(tag):]); name == g.open {
				g.own.add(&g.out.held, text[:at])
				text = text[at:]
				break
			}
		}
	}
	if !isGTest(text) {
		if string(bytes.TrimSpace(text)) != strings.TrimSpace(gtestFailed) || g.running() {
			g.own.add(&g.out.held, text)
			return
		}
		text = []byte(gtestFailed) // the last line of kselftest_harness.h
	}
	tag, rest := string(text[:len(gtestBar)]), text[len(gtestBar):]
	name, took, timed := gtestResult(rest)
	// What a test prints is its own until its result comes, also where it runs
	// a program that prints the same.
	if g.open != "" && name != g.open && (tag != gtestRun || g.inner) {
		g.inner = g.inner || tag == gtestBar
		g.own.add(&g.out.held, text)
		return
	}
	switch tag {
	case gtestBar:
		if bytes.Contains(rest, []byte("Running ")) {
			g.begun++
			g.own.take(&g.out.held)
		} else {
			g.ended++
		}
	case gtestRun:
		if g.open != "" {
			g.unfinished("another began")
		}
		g.own.take(&g.out.held)
		g.open = name
		g.out.run(name, false)
	case gtestPassed:
		n, _, _ := gtestCount(rest)
		g.passed += n
	case gtestFailed:
		n, _, count := gtestCount(rest)
		switch {
		case g.open != "":
			g.result(name, wire.TestFail, took)
		case count:
			g.failed += n
		case name == "":
			g.failed++
		case g.told[name] && !timed:
		default: // with --gtest_brief, or of a whole suite
			g.fail(Test{Name: name, Verdict: wire.TestFail, Duration: took, Output: g.own.take(&g.out.held)})
		}
	case gtestOK, gtestSkipped:
		verdict := wire.TestPass
		if tag == gtestSkipped {
			verdict = wire.TestSkip
		}
		switch {
		case g.open != "":
			g.result(name, verdict, took)
		case tag == gtestSkipped && timed:
			g.out.add(Test{Name: name, Verdict: verdict, Duration: took, Output: g.own.take(&g.out.held)})
		}
	}
}

// result ends the open test.
func (g *gtest) result(name, verdict string, took time.Duration) {
	g.open, g.inner = "", false
	g.out.run(name, true)
	t := Test{Name: name, Verdict: verdict, Duration: took, Output: g.own.take(&g.out.held)}
	if verdict == wire.TestFail {
		g.fail(t)
		return
	}
	g.out.add(t)
}

func (g *gtest) fail(t Test) {
	if len(g.told) < MaxRecords {
		g.told[t.Name] = true
	}
	g.out.add(t)
}

func (g *gtest) unfinished(why string) {
	g.out.cutShort(g.open + " started and did not end: " + why)
	t := g.out.unfinished(g.open, time.Time{}, "it started and did not end: "+why, g.own.take(&g.out.held))
	g.out.run(g.open, true)
	g.open, g.inner = "", false
	g.fail(t)
}

func (g *gtest) end(how string) {
	if g.open != "" {
		g.unfinished(how)
	} else if g.ended == 0 || g.ended < g.begun {
		g.out.cutOff(g.out.program, "its output ends without a summary: "+how, "")
	}
	switch {
	case g.failed > 0 && len(g.told) == 0:
		g.out.unseen(g.failed, how)
	case g.out.total == 0 && g.passed > 0: // with --gtest_brief
		g.out.add(Test{Name: g.out.program, Verdict: wire.TestPass})
	}
}
