package output

import (
	"bytes"
	"cmp"
	"slices"
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
	open: func(out *sink) format { return newGoTest(out, new(int)) },
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
	prefix  string      // of the tests' names: with go test -json, their package
	tracked *int        // starts that are remembered, of all packages
}

// goStream is what is known of one run of a test binary.
type goStream struct {
	marked  bool // only lines with the mark count
	started bool // a test of it has
	ended   bool // the same
	open    map[string]*goRun
	over    int    // tests that started and did not end, beside those that are remembered
	current *goRun // whose lines come now
	last    *goRun // the latest to end, whose lines can follow its result
	final   bool   // it said PASS or FAIL at its end
	pass    bool   // PASS
	fail    bool   // FAIL, or go test said so of it
	failed  bool   // a test of it failed
	fatal   string // the first line of a panic

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
	result Test
	indent int // of the result
}

func newGoTest(out *sink, tracked *int) *goTest {
	return &goTest{out: out, streams: []*goStream{newGoStream(false)}, tracked: tracked}
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

// goResultLine is "    --- FAIL: TestX/sub (0.01s)" or, of a benchmark, which has no
// time there, "--- FAIL: BenchmarkX-2". BENCH has no verdict.
var goResultLine = lazy(`^( *)--- (PASS|FAIL|SKIP): (?:(Benchmark[^ \t]*)|([^ ](?:[^ ]| [^(])*) \(([\d.]+)s\))$`)

// goResult reads the result of a test.
func goResult(text []byte) (t Test, indent int, ok bool) {
	if !bytes.HasPrefix(bytes.TrimLeft(text, " "), []byte("--- ")) {
		return t, 0, false
	}
	m := goResultLine().FindStringSubmatch(string(text))
	if m == nil {
		return t, 0, false
	}
	indent = len(m[1])
	t.Verdict = map[string]string{"PASS": wire.TestPass, "FAIL": wire.TestFail, "SKIP": wire.TestSkip}[m[2]]
	if t.Name = m[3]; t.Name != "" {
		return t, indent, indent == 0 && t.Verdict != wire.TestPass
	}
	t.Name = m[4]
	t.Duration, _ = time.ParseDuration(m[5] + "s")
	return t, indent, indent%4 == 0 && strings.Count(t.Name, "/") >= indent/4
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

// begun says whether a test has started or ended.
func (s *goStream) begun() bool { return s.started || s.ended }

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
	before, framed, marked := bytes.Cut(text, []byte{mark})
	if marked && (len(before) == 0 || isGoFrame(framed)) {
		if len(before) > 0 { // text without a newline
			g.text(before, false)
		}
		if !g.frame(framed, true) {
			g.text(framed, true)
		}
		return
	}
	if g.frame(text, false) {
		return
	}
	at, ok := midRun(text)
	if !ok || g.top().marked {
		at = bytes.LastIndex(text, []byte("--- "))
		t, _, result := goResult(text[max(at, 0):])
		ok = result && g.owner(t.Name, false) >= 0
	}
	if ok && at > 0 {
		g.text(text[:at], false)
		if text = text[at:]; g.frame(text, false) {
			return
		}
	}
	g.text(text, false)
}

// isGoFrame says whether a text can be a line of a test binary's own.
func isGoFrame(text []byte) bool {
	_, _, result := goResult(text)
	return result || bytes.HasPrefix(text, []byte("=== ")) || string(text) == "PASS" || string(text) == "FAIL"
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

// frame handles a line of a test binary's own; false when it is none.
func (g *goTest) frame(text []byte, marked bool) bool {
	if rest, ok := bytes.CutPrefix(text, []byte("=== ")); ok {
		word, name, _ := strings.Cut(string(rest), " ")
		return g.update(word, strings.TrimSpace(name), text, marked)
	}
	if t, indent, ok := goResult(text); ok {
		return g.result(t, indent, text, marked)
	}
	return g.isFinal(text, marked)
}

// update handles "=== RUN   TestX" and its like.
func (g *goTest) update(word, name string, text []byte, marked bool) bool {
	switch word {
	case "RUN":
		s := g.top()
		if name == "" || !marked && s.marked && (s.busy() || !s.final) && g.owner(parentOf(name), false) < 0 {
			return false // text of a test whose own lines are marked
		}
		return g.start(name, text, marked)
	case "CONT", "NAME", "PAUSE":
		i := g.owner(name, marked)
		if i < 0 && (name != "" || word == "PAUSE" || g.top().marked != marked) {
			return false
		}
		if i < 0 {
			i = len(g.streams) - 1
		}
		s := g.goesOn(i, text)
		s.current = s.find(name)
		pauses := word == "PAUSE"
		if r := s.current; r != nil && r.paused != pauses {
			r.paused = pauses
			g.tell(i, name, pauses)
		}
		if pauses {
			s.current = s.parent(name)
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

// goesOn takes the streams inside the i-th for ended, as a line of its own has come,
// and makes this text of the tests around it. Lines of go test -json are nobody's.
func (g *goTest) goesOn(i int, line []byte) *goStream {
	g.streams = g.streams[:i+1]
	if line != nil {
		for _, s := range g.streams[:i] {
			g.own(s, line)
		}
	}
	g.flush(g.streams[i])
	return g.streams[i]
}

// tell tells of a test that runs or is paused. Those of a stream inside a test
// are that test's affair, and a benchmark's end is not always printed.
func (g *goTest) tell(i int, name string, paused bool) {
	if i == 0 && !isBenchmark(name) {
		g.out.run(g.prefix+name, paused)
	}
}

// start handles the start of a test; false when it has to be text.
func (g *goTest) start(name string, text []byte, marked bool) bool {
	i := len(g.streams) - 1
	if parent := parentOf(name); parent != "" {
		if at := g.owner(parent, marked); at >= 0 {
			i = at
		}
	} else {
		// A child that has ended, or one whose lines are of another kind, gives
		// way to the next.
		for i > 0 && (g.streams[i].final || g.streams[i].marked != marked && !g.streams[i].serial()) {
			i--
		}
		switch s := g.streams[i]; {
		case s.serial() && i+1 == maxDepth:
			return false
		case s.serial():
			i++
			child := newGoStream(marked)
			child.first = name
			g.streams = append(g.streams[:i], child)
		case i == 0 && (s.final || s.marked != marked && s.begun()):
			g.finish(s, "another program's output begins")
			g.streams[0] = newGoStream(marked)
		case !s.begun():
			s.marked = marked
		}
	}
	s := g.goesOn(i, text)
	s.started = true
	if old := s.open[name]; old != nil {
		if i == 0 {
			g.out.cutShort(name + " was started again before it ended")
		}
		g.unfinished(i, old, "it was started again before it ended")
	}
	if isBenchmark(name) {
		g.passBenchmarks(i, name)
	}
	if *g.tracked == MaxTests {
		s.over++
		return true
	}
	*g.tracked++
	s.current = &goRun{name: name, seq: *g.tracked, since: g.out.time()}
	s.open[name] = s.current
	g.tell(i, name, false)
	return true
}

// passBenchmarks ends the benchmarks that ran before another one started, or
// before the stream's end: one that fails says so.
func (g *goTest) passBenchmarks(i int, next string) {
	s := g.streams[i]
	for _, r := range s.opened() {
		if isBenchmark(r.name) && !strings.HasPrefix(next, r.name+"/") {
			delete(s.open, r.name)
			s.ended = true
			g.add(i, Test{Name: r.name, Verdict: wire.TestPass, Output: r.own.take(&g.out.held)})
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

// result handles the end of a test; false when it has to be text.
func (g *goTest) result(t Test, indent int, text []byte, marked bool) bool {
	i := g.owner(t.Name, marked)
	if i < 0 {
		if !g.takesUnstarted(t, indent, marked) {
			return false
		}
		i = 0
	}
	s := g.goesOn(i, text)
	run := s.find(t.Name)
	if run == nil {
		run = &goRun{name: t.Name}
		s.over = max(0, s.over-1)
	} else {
		delete(s.open, run.name)
		g.tell(i, run.name, true)
		if s.current == run {
			s.current = s.parent(run.name)
		}
	}
	t.Name = run.name
	run.result, run.indent = t, indent
	s.last, s.ended = run, true
	return true
}

// takesUnstarted says whether a result counts whose test was not seen to start.
// Where starts are printed, it is a test's text; but a failure is never passed over.
// Benchmarks start without a word when lines have no mark.
func (g *goTest) takesUnstarted(t Test, indent int, marked bool) bool {
	s := g.streams[0]
	failed := t.Verdict == wire.TestFail
	switch {
	case len(g.streams) > 1:
		top := g.top()
		top.failed = top.failed || top.final && failed
		return false
	case s.marked != marked && s.begun():
		return false
	case isBenchmark(t.Name) && !s.busy() && !marked:
	case (s.final || s.started && s.over == 0) && (indent > 0 || !failed):
		return false
	}
	if s.final {
		g.finish(s, "another program's output begins")
		g.streams[0] = newGoStream(marked)
	}
	g.streams[0].marked = marked
	return true
}

// isFinal reads the last word of a test binary or of go test.
func (g *goTest) isFinal(text []byte, marked bool) bool {
	pass := string(text) == "PASS" || !marked && bytes.HasPrefix(text, []byte("ok  \t"))
	fail := string(text) == "FAIL"
	byGo := !marked && bytes.HasPrefix(text, []byte("FAIL\t"))
	if !pass && !fail && !byGo {
		return false
	}
	i := len(g.streams) - 1
	for i > 0 && (g.streams[i].final || g.streams[i].marked != marked) {
		i--
	}
	s := g.streams[i]
	switch {
	case s.marked != marked && s.begun():
		return false
	case byGo && i == 0:
		// Of a program, said by go test: it need not have come to its own.
		g.streams = g.streams[:1]
		s.fail = true
		if s.busy() {
			g.finish(s, string(text))
			g.streams[0] = newGoStream(false)
		}
		return true
	case byGo, s.busy(): // a test's text
		return false
	}
	g.goesOn(i, text)
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
	if !marked && !s.marked && !s.busy() && s.started && bytes.HasSuffix(text, []byte("PASS")) {
		// Behind text without a newline, maybe.
		g.passBenchmarks(len(g.streams)-1, "")
		s.final, s.pass = true, true
	}
	for _, s := range g.streams {
		g.own(s, text)
	}
}

// own gives a line to the test of a stream that it is of.
func (g *goTest) own(s *goStream, text []byte) {
	indent := len(text) - len(bytes.TrimLeft(text, " "))
	if last := s.last; last != nil && (indent > last.indent || last.result.Verdict == wire.TestFail && (s.fatal != "" || isExample(last.name))) {
		last.own.add(&g.out.held, text)
	} else if s.current != nil {
		s.current.own.add(&g.out.held, text)
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
	t := s.last.result
	t.Output = s.last.own.take(&g.out.held)
	s.last = nil
	g.add(slices.Index(g.streams, s), t)
}

// add reports a test of the first stream, and notes one of another.
func (g *goTest) add(i int, t Test) {
	s := g.streams[i]
	s.failed = s.failed || t.Verdict == wire.TestFail
	if i == 0 {
		t.Name = g.prefix + t.Name
		g.out.add(t)
		return
	}
	if t.Output = ""; len(s.done) < MaxTests {
		s.done = append(s.done, t)
	}
}

func (g *goTest) unfinished(i int, r *goRun, why string) {
	s := g.streams[i]
	t := g.out.unfinished(r.name, r.since, why, r.own.take(&g.out.held))
	delete(s.open, r.name)
	s.ended = true
	g.add(i, t)
}

// endTests ends the tests of the first stream, and those inside of it.
func (g *goTest) endTests(how string) {
	s := g.goesOn(0, nil)
	why := "it started and did not end: "
	if s.fatal != "" {
		why += s.fatal + "; "
	}
	for _, r := range s.opened() {
		g.unfinished(0, r, why+how)
	}
	if s.over > 0 {
		g.out.problem(g.out.program, plural(s.over, "test", "tests")+" more started and did not end: "+how, 0)
		s.failed = true
	}
}

// finish ends the first stream.
func (g *goTest) finish(s *goStream, how string) {
	g.endTests(how)
	cut := "its output ends without PASS or FAIL: " + how
	switch {
	case s.failed:
	case s.fail && g.out.hasFailed(): // go test's last word is about all packages
	case s.fail:
		g.out.problem(g.out.program, "it says FAIL, and no test of it does: "+how, 0)
	case !s.final && s.begun():
		g.out.problem(g.out.program, cut, 0)
	}
	if !s.final && (s.begun() || s.fail) {
		g.out.cutShort(cut)
	}
}

func (g *goTest) end(how string) {
	if g.out.ok && g.out.sure {
		g.replaced()
	}
	g.finish(g.streams[0], how)
}

// replaced is about a test that ran its own program again, and whose stream has
// one end too few. Either the child said PASS and the parent died, or the child
// died, or took the parent's place by execve, and what came then is the
// parent's. It is the parent's PASS only where one that dies cannot exit with
// status 0: see -test.paniconexit0.
func (g *goTest) replaced() {
	if len(g.streams) != 2 {
		return
	}
	s, child := g.streams[0], g.streams[1]
	run := s.open[child.first]
	if run == nil || !child.pass || child.failed || !child.final || child.busy() || child.last != nil || len(s.opened()) != 1 {
		return
	}
	g.goesOn(0, nil)
	delete(s.open, run.name)
	g.tell(0, run.name, true)
	for _, t := range child.done {
		g.add(0, t)
	}
	s.ended, s.final, s.pass = true, true, true
}
