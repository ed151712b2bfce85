// Package output finds the single tests in what a test program prints: go test
// -v (plain, framed by -test.v=test2json, and as the JSON of go test -json), TAP
// and KTAP, the lines of libbpf's test_progs, GoogleTest and what prints like it,
// and Rust's libtest. Of other frameworks it reads the summary; see summary.go.
//
// The output is not trusted. Whatever is printed, lines, names, outputs and
// counts are bounded, and a program that did not exit with status 0 has at
// least one failed test.
//
// The first kind of output that is recognised is the program's, until it has come
// to its end and another program begins; see dialect.starts. A line that tells of a
// failure in another kind fails the program too; see dialect.
package output

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/lines"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Test is the outcome of one test. Its duration is 0 where the output does not
// tell; its output is a skip's reason or a failure's own lines, and of a pass only
// the beginning and the end.
type Test = wire.Test

// Limits of what is kept.
const (
	MaxTests   = 20_000       // tests with a record of their own; the rest is summed up
	MaxRecords = 2 * MaxTests // calls of emit, which problems are added to
	MaxMarks   = 8 * MaxTests // calls of what Watch is given

	maxLine     = 8 << 10  // bytes of a line that are looked at
	maxPass     = 1 << 10  // bytes of a passed test's output
	maxOther    = 32 << 10 // bytes of another test's output
	maxReported = 2 << 20  // bytes of all outputs; after that, maxLate each
	maxLate     = 512
	maxHeld     = 8 << 20  // bytes of output of all tests that have not ended
	maxTail     = 16 << 10 // bytes of the program's last words
	maxEarly    = 1 << 20  // bytes of lines before a format is known
	maxStray    = 100      // failures told in another kind of output than the program's
)

// noTests is what a Go test binary says that had nothing to run. It says PASS
// after it, and exits with status 0.
const noTests = "testing: warning: no tests to run"

// skipStatus is the exit status of a kernel selftest that was skipped. The rest
// of its output is TAP that says the same.
const skipStatus = 4

// Parser takes a program's output and tells of its tests as they end. It is
// not safe for concurrent use.
type Parser struct {
	lines     splitter
	out       sink
	format    format // nil: none was recognised yet
	early     []byte // lines until then
	wasEmpty  bool   // the line before is
	summaries summaries
	stray     int
	goTest    bool   // ExpectGoTest
	marked    bool   // its lines have marks
	skipped   bool   // Skipped
	noTestsOK bool   // AllowNoTests
	junit     *junit // nil: tests are in the text
	tail      lines.Clip

	// Of the program's own words:
	noTests  bool // noTests
	lastFail bool // the last line is FAIL
	final    bool // PASS or FAIL, with a mark where it has to have one
	pass     bool // PASS
}

// New returns a parser that calls emit for each test. name is of the program,
// for what cannot be said of one of its tests.
func New(name string, emit func(Test)) *Parser {
	p := &Parser{out: newSink(cleanName(name), emit), summaries: summaries{}}
	p.lines.each, p.tail.Tail = p.line, maxTail
	return p
}

// ExpectGoTest makes the program one that go test -c built: it says PASS or FAIL
// when all of its tests are done, whatever its flags, and without PASS has not
// passed. marked says that it runs with -test.v=test2json, sure that it runs with
// -test.paniconexit0: one that ends by os.Exit(0) before its end fails.
func (p *Parser) ExpectGoTest(marked, sure bool) {
	p.goTest, p.marked, p.out.sure = true, marked, sure
}

// AllowNoTests makes a program without a failure of which no test ran a skipped
// test: who started it chose its tests, and judges by its exit status.
func (p *Parser) AllowNoTests() { p.noTestsOK = true }

// Clock has tests that did not end tell how long they ran.
func (p *Parser) Clock(now func() time.Time) { p.out.now = now }

// Watch has mark called when a test is seen to run, and when it is paused or
// over, before its outcome is emitted: at most MaxMarks times. Only go test,
// GoogleTest and, where its tests run one after the other, libtest tell of that.
func (p *Parser) Watch(mark func(name string, paused bool)) { p.out.mark = mark }

// Write takes a piece of the output. It takes everything and never fails.
func (p *Parser) Write(b []byte) (int, error) {
	_, _ = p.tail.Write(b)
	p.lines.add(b)
	return len(b), nil
}

func (p *Parser) line(text []byte) {
	if bytes.IndexByte(text, esc) >= 0 {
		text = escapes().ReplaceAll(text, nil)
	}
	p.lastWords(text)
	if p.junit != nil && len(text) <= maxSummary && pytestStops().Match(text) {
		p.out.cutShort(string(bytes.Trim(text, "! ")))
	}
	p.summaries.line(text, p.format != nil && p.format.running())
	defer func() { p.wasEmpty = len(text) == 0 }()
	if p.format == nil {
		if p.recognise(text); p.format == nil {
			p.keepEarly(text)
			return
		}
	} else if !p.goTest && p.format.complete() && p.startsAnother(text) {
		// Another program, which needs its own end.
		p.format.end("another program's output begins")
		p.recognise(text)
	}
	p.format.line(text)
	kind, name, ok := failureLine(text)
	if ok && kind != p.format.kind() && p.stray < maxStray && !p.format.running() {
		p.stray++
		p.out.problem(cmp.Or(name, p.out.program), fmt.Sprintf("%s\n(its program's output is otherwise %s)", bytes.TrimPrefix(text, []byte{mark}), p.format.kind()), 0)
	}
}

// lastWords notes PASS, FAIL and that there are no tests, in whatever format.
func (p *Parser) lastWords(text []byte) {
	bare := string(bytes.TrimSpace(bytes.TrimPrefix(text, []byte{mark})))
	if bare == "" {
		return
	}
	pass := bare == "PASS"
	p.lastFail = bare == "FAIL"
	if (pass || p.lastFail) && (!p.marked || p.format != nil || text[0] == mark) {
		p.final, p.pass = true, p.pass || pass
	}
	p.noTests = p.noTests || strings.HasSuffix(bare, noTests)
}

// keepEarly keeps a line for the format that is not known yet: what a test prints
// before its first result, and results that alone are no sign of a format. Of very
// many the latter half stays.
func (p *Parser) keepEarly(text []byte) {
	if len(p.early) > maxEarly {
		half := p.early[maxEarly/2:]
		p.early = append(p.early[:0], half[bytes.IndexByte(half, '\n')+1:]...)
	}
	p.early = append(append(p.early, text...), '\n')
}

func (p *Parser) replayEarly() {
	for line := range bytes.Lines(p.early) {
		p.format.line(line[:len(line)-1])
	}
}

// Finish ends the output. how says how the program ended, such as "exit status
// 3", code is its exit status, took how long it ran. It returns why tests can be
// missing from what was emitted, in one line: what the program printed was cut
// short, or it ended before it was done. "" where it came to its own end.
func (p *Parser) Finish(how string, code int, took time.Duration) (cut string) {
	p.lines.end()
	p.out.ok = code == 0
	if p.format == nil && !p.goTest && onlyPoints(p.early) {
		p.format = newTAP(&p.out)
		p.replayEarly()
	}
	if p.format != nil {
		p.format.end(how)
	}
	if p.goTest && !p.final {
		p.out.cutShort("it ended without PASS or FAIL: " + how)
	}
	// A failed test explains an exit status, and no signal.
	if (p.format != nil || p.junit != nil) && code > 128 && !strings.HasPrefix(how, "exit status ") {
		p.out.cutShort("it did not end by itself: " + how)
	}
	told := p.summaries.told()
	if told.cut != "" {
		p.out.cutShort(told.cut + ": " + how)
	}
	if p.format != nil && p.format.kind() == kindNextest && told.failed <= p.out.seen[wire.TestFail] {
		told.fail = "" // the same, in its summary
	}
	contradiction := ""
	if p.junit != nil {
		var kind kind
		if p.format != nil {
			kind = p.format.kind()
		}
		contradiction = p.junit.finish(p.out, kind, &told, code)
		p.out = p.junit.out
	}
	isTAP := p.format != nil && p.format.kind() == kindTAP
	if p.junit == nil && !p.out.hasFailed() && p.out.seen[wire.TestPass] == 0 && code != 0 {
		p.skipped = code == skipStatus && isTAP && p.out.seen[wire.TestSkip] > 0 ||
			code == told.status && told.skipped != "" && told.fail == "" && told.cut == ""
	}
	ok := code == 0 || p.skipped
	p.out.sumUp()
	words := how
	if last := strings.TrimRight(p.tail.String(), "\n"); last != "" {
		words += "\n" + last
	}
	wrong := cmp.Or(told.fail, told.cut)
	if p.junit != nil && !ok {
		words = how + ", and its JUnit XML has no failed test" + strings.TrimPrefix(words, how)
	}
	fail := func(why string) { p.out.problem(p.out.program, why, took) }
	if contradiction != "" {
		fail(contradiction)
	}
	switch {
	case p.out.hasFailed() && wrong == "":
	case p.out.hasFailed(): // what else failed may have been expected
		fail(wrong)
	case wrong != "":
		fail(wrong + ": " + words)
	case !ok:
		fail(words)
	case told.nested:
		fail("no test ran: " + told.none + "; " + words)
	case p.lastFail:
		fail("its last line says FAIL: " + words)
	case p.goTest && !p.pass:
		fail("no PASS after the tests: the program ended before go test's code was done, by os.Exit or by a TestMain that does not call m.Run; " + words)
	case p.out.total > 0:
	case p.junit != nil:
		fail("no test ran: its JUnit XML has none; " + words)
	case p.noTestsOK && (p.noTests || told.none != "" || p.format != nil):
		p.out.send(Test{Name: p.out.program, Verdict: wire.TestSkip, Duration: took, Output: cmp.Or(told.none, "no test ran")})
	case p.noTests:
		fail("no test ran: " + noTests + "; " + words)
	case told.none != "":
		fail("no test ran: " + told.none + "; " + words)
	case p.format != nil:
		fail("no test ran: " + words)
	case told.skipped != "":
		p.out.send(Test{Name: p.out.program, Verdict: wire.TestSkip, Duration: took, Output: told.skipped})
	default:
		p.out.send(Test{Name: p.out.program, Verdict: wire.TestPass, Duration: took})
	}
	return p.out.cut
}

// Skipped says whether the program's exit status says that it was skipped, and
// its output too. Finish has to come first.
func (p *Parser) Skipped() bool { return p.skipped }

// Failed says whether a test, or the program as a whole, has failed so far.
func (p *Parser) Failed() bool { return p.out.hasFailed() }

// sink bounds what goes to emit.
type sink struct {
	program string
	emit    func(Test)
	mark    func(name string, paused bool)
	marks   int

	names    map[string]int // how often each was seen
	total    int            // tests, not problems
	records  int
	reported int            // bytes of output
	seen     map[string]int // by verdict, problems included
	beyond   map[string]int // the same, of tests without a record of their own
	held     int            // bytes of output of tests that have not ended

	now  func() time.Time // nil: times are not told
	ok   bool             // the program exited with status 0; known at the end
	sure bool             // see ExpectGoTest
	cut  string           // see cutShort
}

func newSink(program string, emit func(Test)) sink {
	return sink{
		program: program,
		emit:    emit,
		mark:    func(string, bool) {},
		names:   map[string]int{},
		seen:    map[string]int{},
		beyond:  map[string]int{},
	}
}

// cutShort notes that the output, or a part of it, has no end: tests can be
// missing, whatever those that are there say. Failures that were expected do not
// excuse it. why is one line; the first counts.
func (s *sink) cutShort(why string) {
	if s.cut == "" {
		s.cut = cleanName(why)
	}
}

func (s *sink) hasFailed() bool { return s.seen[wire.TestFail] > 0 }

func (s *sink) time() time.Time {
	if s.now == nil {
		return time.Time{}
	}
	return s.now()
}

// run tells that a test runs or is paused. The end of one is always told.
func (s *sink) run(name string, paused bool) {
	if s.marks++; s.marks <= MaxMarks/2 || paused && s.marks <= MaxMarks {
		s.mark(cleanName(name), paused)
	}
}

// add reports a test of the program. A failure is always reported, as long as
// there is room for any record.
func (s *sink) add(t Test) {
	s.total++
	failed := t.Verdict == wire.TestFail
	if s.total > MaxTests && !failed || s.records >= MaxRecords-maxStray {
		s.seen[t.Verdict]++
		s.beyond[t.Verdict]++
		return
	}
	s.send(t)
}

// problem reports a failure that is of no test: something is wrong with the
// run as a whole.
func (s *sink) problem(name, what string, took time.Duration) {
	s.send(Test{Name: name, Verdict: wire.TestFail, Duration: took, Output: what})
}

// unfinished is a test that started, at since where that is known, and has no end.
// own are its lines.
func (s *sink) unfinished(name string, since time.Time, why, own string) Test {
	t := Test{Name: name, Verdict: wire.TestFail, Output: strings.TrimSuffix(why+"\n"+own, "\n")}
	if !since.IsZero() {
		t.Duration = max(0, s.time().Sub(since))
	}
	return t
}

// cutOff is problem for output that has no end, which is told to cutShort too.
func (s *sink) cutOff(name, why, own string) {
	s.cutShort(why)
	s.problem(name, strings.TrimSuffix(why+"\n"+own, "\n"), 0)
}

// unseen reports the failed tests that a summary counts where no failure was seen.
func (s *sink) unseen(failed int, how string) {
	s.problem(s.program, fmt.Sprintf("its summary counts %s, and none was seen: %s", plural(failed, "failed test", "failed tests"), how), 0)
}

// sumUp tells of the tests beyond MaxTests, in one record.
func (s *sink) sumUp() {
	if len(s.beyond) == 0 {
		return
	}
	pass, skip, fail := s.beyond[wire.TestPass], s.beyond[wire.TestSkip], s.beyond[wire.TestFail]
	t := Test{Name: s.program + ": further tests", Verdict: wire.TestPass}
	if fail > 0 {
		t.Verdict = wire.TestFail
	}
	t.Output = fmt.Sprintf("beyond %d tests only their number is kept: %d passed, %d were skipped, %d failed", MaxTests, pass, skip, fail)
	s.send(t)
}

func (s *sink) send(t Test) {
	s.seen[t.Verdict]++
	if s.records++; s.records > MaxRecords {
		return // problems without number: as many have been told
	}
	t.Name = cleanName(t.Name)
	// Readers of the results take a name for one test.
	for name := t.Name; s.names[t.Name] > 0; {
		t.Name = shorten(name, wire.MaxName-8) + fmt.Sprintf("#%02d", s.names[name])
		s.names[name]++
	}
	s.names[t.Name]++
	max := maxOther
	if t.Verdict == wire.TestPass {
		max = maxPass
	}
	if s.reported > maxReported {
		max = maxLate
	}
	t.Output = wire.Truncate(cleanText(t.Output), max)
	s.reported += len(t.Output)
	s.emit(t)
}

// cleanName makes a name that is one short line of text.
func cleanName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(strings.TrimSpace(s), "?"))
	if s == "" {
		s = "(no name)"
	}
	return shorten(s, wire.MaxName)
}

// shorten is wire.Truncate for what has to stay one line.
func shorten(s string, max int) string {
	return strings.ReplaceAll(wire.Truncate(s, max), "\n", " ")
}

func cleanText(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x16", ""), "?")
}
