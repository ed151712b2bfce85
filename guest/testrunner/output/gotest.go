package output

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// mark is what a test binary puts before each of its own lines when it runs
// with -test.v=test2json, so that no text of a test can be taken for one.
const mark = 0x16

const runs = "=== RUN   "

const (
	kindGoTest kind = "go test's"
	kindMarked kind = "go test's with -test.v=test2json"
)

var goTestDialect = dialect{
	begins: func(_ *Parser, text []byte) bool { return isGoTest(text) },
	starts: func(p *Parser, text []byte) bool {
		_, run := midRun(bytes.TrimPrefix(text, []byte{mark}))
		return run && p.format.kind() != kindGoTest && p.format.kind() != kindMarked
	},
	open: func(p *Parser) format { return newGoTest(&p.out) },
	// As in "--- FAIL: TestX (0.00s)".
	failure: func(text []byte) (kind, string, bool) {
		bare, marked := bytes.CutPrefix(text, []byte{mark})
		t, indent, ok := goResult(bare)
		if !ok || indent > 0 && !marked || t.Verdict != wire.TestFail {
			return "", "", false
		}
		if marked {
			return kindMarked, t.Name, true
		}
		return kindGoTest, t.Name, true
	},
}

// goTest reads the output of Go test binaries; see Go's cmd/internal/test2json.
//
// A stream is what one run of a test binary prints, up to its PASS or FAIL.
// Programs that run one after the other print one stream each, and each needs
// its own end. A test that runs a test binary (often its own, again) prints the
// child's stream among its lines: the child's is text of that test, and the
// parent's own end decides.
type goTest struct {
	out     *sink
	streams []*goStream // never empty; each but the first began while a test of the one before ran
	held    int
	cut     string // why a stream before the present one has no end
}

// goStream is what is known of one run of a test binary.
type goStream struct {
	marked  bool // only lines with the mark count
	started int
	ended   int
	open    map[string]*goRun
	current *goRun  // whose lines come now
	last    *goDone // the latest result, whose lines can follow it
	final   bool    // it said PASS or FAIL at its end
	pass    bool    // PASS
	fail    bool    // FAIL, or go test said so of it
	failed  bool    // a test of it failed
	fatal   string  // the first line of a panic

	// Of a stream inside a test only.
	first string // the test it began with
	done  []Test // what ended, without output
}

type goRun struct {
	name   string
	seq    int
	since  time.Time
	own    clip
	paused bool // it waits for other tests

	// Of go test -json only.
	inner bool  // it is of a program that a test runs
	again int   // starts of a test of this name in such a program that have no end yet
	child *Test // the latest end of one
}

type goDone struct {
	Test
	indent int
	own    clip
}

func newGoTest(out *sink) *goTest {
	return &goTest{out: out, streams: []*goStream{newGoStream(false)}}
}

func newGoStream(marked bool) *goStream {
	return &goStream{marked: marked, open: map[string]*goRun{}}
}

func isGoTest(text []byte) bool {
	if _, ok := midRun(text); ok {
		return true
	}
	_, _, ok := goResult(bytes.TrimPrefix(text, []byte{mark}))
	return ok && text[0] != ' '
}

// midRun finds the start of a test in a line: mostly at its beginning, else
// behind text that was printed without a newline.
func midRun(text []byte) (int, bool) {
	at := bytes.Index(text, []byte(runs))
	if at < 0 {
		return 0, false
	}
	name := text[at+len(runs):]
	return at, len(name) > 0 && !bytes.ContainsAny(name, " \t")
}

// goResult reads "    --- FAIL: TestX/sub (0.01s)". A benchmark has no time
// there: "--- FAIL: BenchmarkX-2".
func goResult(text []byte) (t Test, indent int, ok bool) {
	rest := bytes.TrimLeft(text, " ")
	indent = len(text) - len(rest)
	rest, ok = bytes.CutPrefix(rest, []byte("--- "))
	if !ok {
		return t, 0, false
	}
	word, rest, ok := bytes.Cut(rest, []byte(": "))
	if !ok {
		return t, 0, false
	}
	switch string(word) {
	case "PASS":
		t.Verdict = wire.TestPass
	case "FAIL":
		t.Verdict = wire.TestFail
	case "SKIP":
		t.Verdict = wire.TestSkip
	default: // BENCH has no verdict
		return t, 0, false
	}
	if isBenchmark(string(rest)) && !bytes.ContainsAny(rest, " \t") {
		t.Name = string(rest)
		return t, indent, indent == 0 && t.Verdict != wire.TestPass
	}
	name, took, ok := strings.Cut(string(rest), " (")
	took, ok2 := strings.CutSuffix(took, "s)")
	seconds, err := strconv.ParseFloat(took, 64)
	if !ok || !ok2 || err != nil || name == "" || indent%4 != 0 || strings.Count(name, "/") < indent/4 {
		return t, 0, false
	}
	if seconds > 0 && seconds < 1e6 && !math.IsNaN(seconds) {
		t.Duration = time.Duration(seconds * float64(time.Second))
	}
	t.Name = name
	return t, indent, true
}

// isBenchmark: go test tells of a benchmark's start, and of its end only where
// it failed, was skipped or logged.
func isBenchmark(name string) bool { return strings.HasPrefix(name, "Benchmark") }

func (g *goTest) kind() kind {
	if g.streams[0].marked {
		return kindMarked
	}
	return kindGoTest
}

func (g *goTest) running() bool { return g.streams[0].busy() }

func (g *goTest) complete() bool { return len(g.streams) == 1 && g.streams[0].final }

// top is the stream that no other one is inside of.
func (g *goTest) top() *goStream { return g.streams[len(g.streams)-1] }

// busy says whether a test has started and not ended.
func (s *goStream) busy() bool {
	for name := range s.open {
		if !isBenchmark(name) {
			return true
		}
	}
	return false
}

// serial says whether a test runs beside which this program starts no other
// one, since neither is a part of the other.
func (s *goStream) serial() bool {
	for name, r := range s.open {
		if !isBenchmark(name) && !r.paused && !strings.Contains(name, "/") {
			return true
		}
	}
	return false
}

func (g *goTest) line(text []byte) {
	if at := bytes.IndexByte(text, mark); at >= 0 {
		if at > 0 && g.frame(text[at+1:], true, true) {
			// Text without a newline stands before it.
			g.text(text[:at], false)
			g.frame(text[at+1:], true, false)
			return
		}
		if at == 0 {
			if !g.frame(text[1:], true, false) {
				g.text(text[1:], true)
			}
			return
		}
	}
	if g.frame(text, false, false) {
		return
	}
	if at, ok := midRun(text); ok && at > 0 && !g.top().marked {
		g.text(text[:at], false)
		g.frame(text[at:], false, false)
		return
	}
	if at := bytes.LastIndex(text, []byte("--- ")); at > 0 {
		if t, _, ok := goResult(text[at:]); ok && g.owner(t.Name, false) >= 0 {
			g.text(text[:at], false)
			g.frame(text[at:], false, false)
			return
		}
	}
	g.text(text, false)
}

// owner is the innermost stream in which a test is open; -1: none.
func (g *goTest) owner(name string, marked bool) int {
	for i := len(g.streams) - 1; i >= 0; i-- {
		if s := g.streams[i]; s.marked == marked && s.find(name) != nil {
			return i
		}
	}
	return -1
}

// find returns the open test that a result is of. A benchmark's can have the
// number of processors at the end of its name.
func (s *goStream) find(name string) *goRun {
	if r := s.open[name]; r != nil || !isBenchmark(name) {
		return r
	}
	if at := strings.LastIndexByte(name, '-'); at > 0 && digits(name[at+1:]) {
		return s.open[name[:at]]
	}
	return nil
}

// frame handles a line of a test binary's own; false when it is none. With look
// it only says whether it is one.
func (g *goTest) frame(text []byte, marked, look bool) bool {
	if rest, ok := bytes.CutPrefix(text, []byte("=== ")); ok {
		word, name, _ := bytes.Cut(rest, []byte(" "))
		name = bytes.TrimSpace(name)
		return g.update(string(word), string(name), text, marked, look)
	}
	if t, indent, ok := goResult(text); ok {
		return g.result(t, indent, text, marked, look)
	}
	return g.isFinal(text, marked, look)
}

// update handles "=== RUN   TestX" and its like.
func (g *goTest) update(word, name string, text []byte, marked, look bool) bool {
	switch word {
	case "RUN":
		if name == "" || !marked && (g.top().marked && (g.top().busy() || !g.top().final)) && g.owner(parentOf(name), false) < 0 {
			return false // text of a test whose own lines are marked
		}
		if !look {
			g.start(name, text, marked)
		}
		return true
	case "CONT", "NAME", "PAUSE":
		i := g.owner(name, marked)
		if i < 0 && (name != "" || word == "PAUSE" || g.top().marked != marked) {
			return false
		}
		if look {
			return true
		}
		if i < 0 {
			i = len(g.streams) - 1
		}
		g.close(i)
		s := g.streams[i]
		if i > 0 {
			g.inside(i, text)
		}
		g.flush(s)
		r := s.open[name]
		switch {
		case word == "PAUSE":
			if !r.paused {
				r.paused = true
				g.tell(i, name, true)
			}
			s.current = s.parent(name)
		case r != nil && r.paused:
			r.paused = false
			g.tell(i, name, false)
			fallthrough
		default:
			s.current = r
		}
		return true
	case "ATTR", "ARTIFACTS":
		name, _, _ = strings.Cut(name, " ")
		return g.owner(name, marked) >= 0
	}
	return false
}

func parentOf(name string) string {
	at := strings.LastIndexByte(name, '/')
	return name[:max(at, 0)]
}

// close takes the streams inside of the i-th for ended: it goes on.
func (g *goTest) close(i int) { g.streams = g.streams[:i+1] }

// tell tells of a test that runs or is paused. Those of a stream inside a test
// are that test's affair, and a benchmark's end is not always printed.
func (g *goTest) tell(i int, name string, paused bool) {
	if i == 0 && !isBenchmark(name) {
		g.out.run(name, paused)
	}
}

// inside makes a line of the i-th stream text of the tests around it.
func (g *goTest) inside(i int, text []byte) {
	for _, s := range g.streams[:i] {
		g.own(s, text)
	}
}

// start handles the start of a test.
func (g *goTest) start(name string, text []byte, marked bool) {
	i := len(g.streams) - 1
	if parent := parentOf(name); parent != "" {
		if at := g.owner(parent, marked); at >= 0 {
			i = at
			g.close(i)
		}
	} else {
		// A child that has ended, or one whose lines are of another kind, gives
		// way to the next.
		for i > 0 && (g.streams[i].final || g.streams[i].marked != marked && !g.streams[i].serial()) {
			i--
		}
		g.close(i)
		switch s := g.streams[i]; {
		case s.serial():
			g.inside(i+1, text)
			s = newGoStream(marked)
			s.first = name
			g.streams = append(g.streams, s)
			i++
			text = nil
		case i == 0 && (s.final || s.marked != marked && (s.started > 0 || s.ended > 0)):
			g.finish(s, "another program's output begins")
			g.streams[0] = newGoStream(marked)
		case s.started == 0 && s.ended == 0:
			s.marked = marked
		}
	}
	if i > 0 && text != nil {
		g.inside(i, text)
	}
	s := g.streams[i]
	g.flush(s)
	s.started++
	if s.started > MaxTests {
		return // counted only
	}
	if old := s.open[name]; old != nil {
		if i == 0 {
			g.out.cutShort(name + " was started again before it ended")
		}
		g.unfinished(i, old, "it was started again before it ended")
	}
	if isBenchmark(name) {
		g.passBenchmarks(i, name)
	}
	s.current = &goRun{name: name, seq: s.started, since: g.out.time()}
	s.open[name] = s.current
	g.tell(i, name, false)
}

// passBenchmarks ends the benchmarks that ran before another one started, or
// before the stream's end: one that fails says so.
func (g *goTest) passBenchmarks(i int, next string) {
	s := g.streams[i]
	for _, r := range s.opened() {
		if isBenchmark(r.name) && !strings.HasPrefix(next, r.name+"/") {
			delete(s.open, r.name)
			s.ended++
			g.add(i, Test{Name: r.name, Verdict: wire.TestPass, Output: r.own.take(&g.held)})
		}
	}
}

// opened are the tests that have started and not ended, in that order.
func (s *goStream) opened() []*goRun {
	left := make([]*goRun, 0, len(s.open))
	for _, r := range s.open {
		left = append(left, r)
	}
	slices.SortFunc(left, func(a, b *goRun) int { return cmp.Compare(a.seq, b.seq) })
	return left
}

func (s *goStream) parent(name string) *goRun { return s.open[parentOf(name)] }

// result handles the end of a test.
func (g *goTest) result(t Test, indent int, text []byte, marked, look bool) bool {
	i := g.owner(t.Name, marked)
	if i < 0 {
		// Where starts are printed, a result without one is a test's text; but
		// a failure is never passed over. Benchmarks start without a word when
		// lines have no mark.
		i = 0
		s := g.streams[0]
		started := s.started > 0 && s.started <= MaxTests && !s.final
		switch {
		case len(g.streams) > 1:
			top := g.top()
			top.failed = top.failed || top.final && !look && t.Verdict == wire.TestFail
			return false
		case s.marked != marked && (s.started > 0 || s.ended > 0):
			return false
		case isBenchmark(t.Name) && !s.busy() && !marked:
		case s.final && (indent > 0 || t.Verdict != wire.TestFail), started && (indent > 0 || t.Verdict != wire.TestFail):
			return false
		}
		if look {
			return true
		}
		if s.final {
			g.finish(s, "another program's output begins")
			g.streams[0] = newGoStream(marked)
		}
		g.streams[0].marked = marked
	}
	if look {
		return true
	}
	g.close(i)
	s := g.streams[i]
	if i > 0 {
		g.inside(i, text)
	}
	g.flush(s)
	s.last = &goDone{Test: t, indent: indent}
	if run := s.find(t.Name); run != nil {
		s.last.Name = run.name
		s.last.own = run.own
		delete(s.open, run.name)
		g.tell(i, run.name, true)
		if s.current == run {
			s.current = s.parent(run.name)
		}
	}
	s.ended++
	return true
}

// isFinal reads the last word of a test binary or of go test.
func (g *goTest) isFinal(text []byte, marked, look bool) bool {
	i := len(g.streams) - 1
	for i > 0 && (g.streams[i].final || g.streams[i].marked != marked) {
		i--
	}
	s := g.streams[i]
	if s.marked != marked && (s.started > 0 || s.ended > 0) {
		return false
	}
	pass, fail := false, false
	switch {
	case string(text) == "FAIL":
		fail = true
	case string(text) == "PASS" || !marked && bytes.HasPrefix(text, []byte("ok  \t")):
		pass = true
	case !marked && i == 0 && bytes.HasPrefix(text, []byte("FAIL\t")):
		// Of a program, said by go test: it need not have come to its own.
		if !look {
			g.close(0)
			s.fail = true
			if s.busy() {
				g.finish(s, string(text))
				g.streams[0] = newGoStream(false)
			}
		}
		return true
	default:
		return false
	}
	if s.busy() {
		return false // a test's text
	}
	if look {
		return true
	}
	g.close(i)
	if i > 0 {
		g.inside(i, text)
	}
	g.flush(s)
	g.passBenchmarks(i, "")
	s.final = true
	s.pass, s.fail = s.pass || pass, s.fail || fail
	return true
}

// text handles a line of a test's own.
func (g *goTest) text(text []byte, marked bool) {
	s := g.top()
	if bytes.HasPrefix(text, []byte("panic: ")) || bytes.HasPrefix(text, []byte("fatal error: ")) {
		for i := len(g.streams) - 1; i >= 0; i-- {
			if s := g.streams[i]; s.fatal == "" {
				s.fatal = string(text[:min(len(text), 300)])
			}
			if !g.streams[i].final {
				break // it is this one's, and not that of the one around it
			}
		}
	}
	if !marked && !s.marked && !s.busy() && s.started > 0 && bytes.HasSuffix(text, []byte("PASS")) {
		// Behind text without a newline, maybe.
		g.passBenchmarks(len(g.streams)-1, "")
		s.final, s.pass = true, true
	}
	g.inside(len(g.streams), text)
}

// own gives a line to the test of a stream that it is of.
func (g *goTest) own(s *goStream, text []byte) {
	indent := len(text) - len(bytes.TrimLeft(text, " "))
	switch {
	case s.last != nil && (indent > s.last.indent || s.last.Verdict == wire.TestFail && (s.fatal != "" || isExample(s.last.Name))):
		s.last.own.add(&g.held, text)
	case s.current != nil:
		s.current.own.add(&g.held, text)
	}
}

// isExample: what a failing example got and wanted follows its result, without
// indentation.
func isExample(name string) bool { return strings.HasPrefix(name, "Example") }

// flush reports the latest result, once its lines are complete.
func (g *goTest) flush(s *goStream) {
	if s.last == nil {
		return
	}
	t := s.last.Test
	t.Output = s.last.own.take(&g.held)
	s.last = nil
	g.add(slices.Index(g.streams, s), t)
}

// add reports a test of the first stream, and notes one of another.
func (g *goTest) add(i int, t Test) {
	s := g.streams[i]
	s.failed = s.failed || t.Verdict == wire.TestFail
	if i == 0 {
		g.out.add(t)
		return
	}
	if t.Output = ""; len(s.done) < MaxTests {
		s.done = append(s.done, t)
	}
}

func (g *goTest) unfinished(i int, r *goRun, why string) {
	s := g.streams[i]
	t := g.out.unfinished(r.name, r.since, why, r.own.take(&g.held))
	delete(s.open, r.name)
	s.ended++
	g.add(i, t)
}

// finish ends the first stream.
func (g *goTest) finish(s *goStream, how string) {
	g.close(0)
	g.flush(s)
	why := "it started and did not end: "
	if s.fatal != "" {
		why += s.fatal + "; "
	}
	for _, r := range s.opened() {
		g.unfinished(0, r, why+how)
	}
	if s.ended < s.started && s.started > MaxTests {
		g.out.problem(g.out.program, plural(s.started-s.ended, "test", "tests")+" started and did not end: "+how, 0)
		s.failed = true
	}
	cut := "its output ends without PASS or FAIL: " + how
	switch {
	case s.failed:
	case s.fail && g.out.failed+g.out.more[2] > 0: // go test's last word is about all packages
	case s.fail:
		g.out.problem(g.out.program, "it says FAIL, and no test of it does: "+how, 0)
	case !s.final && (s.started > 0 || s.ended > 0):
		g.out.problem(g.out.program, cut, 0)
	}
	if !s.final && (s.started > 0 || s.ended > 0 || s.fail) {
		g.out.cutShort(cut)
	}
}

func (g *goTest) end(how string) {
	g.replaced()
	g.finish(g.streams[0], how)
}

// replaced is about a test that ran its own program again, and whose stream has
// one end too few. Either the child said PASS and the parent died, or the child
// died, or took the parent's place by execve, and what came then is the
// parent's. It is the parent's PASS only where one that dies cannot exit with
// status 0: see -test.paniconexit0.
func (g *goTest) replaced() {
	if len(g.streams) != 2 || !g.out.ok || !g.out.sure {
		return
	}
	s, child := g.streams[0], g.streams[1]
	run := s.open[child.first]
	if run == nil || !child.pass || child.failed || !child.final || child.busy() || child.last != nil || len(s.opened()) != 1 {
		return
	}
	g.close(0)
	delete(s.open, run.name)
	g.tell(0, run.name, true)
	s.started += child.started - 1
	s.ended += child.ended
	for _, t := range child.done {
		g.add(0, t)
	}
	s.final, s.pass = true, true
}
