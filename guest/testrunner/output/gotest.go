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

// goTest reads the output of a Go test binary; see Go's cmd/internal/test2json.
type goTest struct {
	out     *sink
	marked  bool // only lines with the mark count
	started int
	ended   int
	open    map[string]*goRun
	current *goRun  // whose lines come now
	last    *goDone // the latest result, whose lines can follow it
	held    int
	pass    bool   // it said PASS at the end
	fail    bool   // or FAIL
	fatal   string // the first line of a panic
}

type goRun struct {
	name   string
	seq    int
	own    clip
	paused bool // it waits for other tests
}

type goDone struct {
	Test
	indent int
	own    clip
}

func newGoTest(out *sink) *goTest { return &goTest{out: out, open: map[string]*goRun{}} }

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

// goResult reads "    --- FAIL: TestX/sub (0.01s)".
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

func (g *goTest) kind() kind {
	if g.marked {
		return kindMarked
	}
	return kindGoTest
}

func (g *goTest) running() bool {
	for name := range g.open {
		if !isBenchmark(name) {
			return true
		}
	}
	return false
}

// isBenchmark: go test tells of a benchmark's start, and of its end only where
// it failed, was skipped or logged.
func isBenchmark(name string) bool { return strings.HasPrefix(name, "Benchmark") }

func (g *goTest) line(text []byte) {
	if at := bytes.IndexByte(text, mark); at >= 0 && (g.marked || g.isFrame(text[at+1:])) {
		g.marked = true
		if at > 0 {
			g.text(text[:at])
		}
		text = text[at+1:]
		if !g.frame(text) && !g.final(text) {
			g.text(text)
		}
		return
	}
	if g.marked {
		g.text(text)
		return
	}
	if g.frame(text) {
		return
	}
	// Text without a newline stands before a line of the test binary's own.
	if at, ok := midRun(text); ok && at > 0 {
		g.text(text[:at])
		g.frame(text[at:])
		return
	}
	if at := bytes.LastIndex(text, []byte("--- ")); at > 0 {
		if t, _, ok := goResult(text[at:]); ok && g.open[t.Name] != nil {
			g.text(text[:at])
			g.frame(text[at:])
			return
		}
	}
	g.text(text)
}

// isFrame tells whether what stands behind the first mark shows that all of the
// test binary's own lines have one.
func (g *goTest) isFrame(text []byte) bool {
	_, _, ok := goResult(text)
	return ok && g.started == 0 || bytes.HasPrefix(text, []byte("=== "))
}

// frame handles a line of the test binary's own; false when it is none.
func (g *goTest) frame(text []byte) bool {
	if rest, ok := bytes.CutPrefix(text, []byte("=== ")); ok {
		word, name, _ := bytes.Cut(rest, []byte(" "))
		name = bytes.TrimSpace(name)
		switch string(word) {
		case "RUN":
			g.flush()
			g.start(string(name))
		case "CONT", "NAME":
			g.flush()
			g.current = g.open[string(name)]
			if g.current != nil && g.current.paused {
				g.current.paused = false
				g.out.run(g.current.name, false)
			}
		case "PAUSE":
			g.flush()
			if r := g.open[string(name)]; r != nil && !r.paused {
				r.paused = true
				g.out.run(r.name, true)
			}
			g.current = g.parent(string(name))
		case "ATTR", "ARTIFACTS":
		default:
			return false
		}
		return true
	}
	t, indent, ok := goResult(text)
	if !ok {
		return false
	}
	run := g.open[t.Name]
	// Where starts are printed, a result without one is a test's text; but a
	// failure is never passed over.
	if run == nil && g.started > 0 && (indent > 0 || t.Verdict != wire.TestFail) && g.started <= MaxTests {
		return false
	}
	g.flush()
	g.last = &goDone{Test: t, indent: indent}
	if run != nil {
		g.last.own = run.own
		delete(g.open, t.Name)
		g.out.run(t.Name, true)
		if g.current == run {
			g.current = g.parent(t.Name)
		}
	}
	g.ended++
	return true
}

func (g *goTest) start(name string) {
	g.started++
	if g.started > MaxTests {
		return // counted only
	}
	if old := g.open[name]; old != nil {
		g.unfinished(old, "it was started again before it ended")
	}
	g.current = &goRun{name: name, seq: g.started}
	g.open[name] = g.current
	g.out.run(name, false)
}

func (g *goTest) parent(name string) *goRun {
	if at := strings.LastIndexByte(name, '/'); at > 0 {
		return g.open[name[:at]]
	}
	return nil
}

// text handles a line of a test's own.
func (g *goTest) text(text []byte) {
	if g.fatal == "" && (bytes.HasPrefix(text, []byte("panic: ")) || bytes.HasPrefix(text, []byte("fatal error: "))) {
		g.fatal = string(text[:min(len(text), 300)])
	}
	if !g.marked && g.final(text) {
		return
	}
	indent := len(text) - len(bytes.TrimLeft(text, " "))
	switch {
	case g.last != nil && (indent > g.last.indent || g.fatal != "" && g.last.Verdict == wire.TestFail):
		g.last.own.add(&g.held, text)
	case g.current != nil:
		g.current.own.add(&g.held, text)
	}
}

// final reads the last word of a test binary or of go test.
func (g *goTest) final(text []byte) bool {
	switch {
	case string(text) == "FAIL" || bytes.HasPrefix(text, []byte("FAIL\t")):
		g.fail = true
	case string(text) == "PASS" || bytes.HasPrefix(text, []byte("ok  \t")):
		g.pass = true
	case bytes.HasSuffix(text, []byte("PASS")):
		g.pass = true // behind text without a newline, maybe
		return false
	default:
		return false
	}
	return true
}

// flush reports the latest result, once its lines are complete.
func (g *goTest) flush() {
	if g.last == nil {
		return
	}
	t := g.last.Test
	t.Output = g.last.own.take(&g.held)
	g.last = nil
	g.out.add(t)
}

func (g *goTest) unfinished(r *goRun, why string) {
	t := Test{Name: r.name, Verdict: wire.TestFail, Output: why}
	if own := r.own.take(&g.held); own != "" {
		t.Output += "\n" + own
	}
	delete(g.open, r.name)
	g.ended++
	g.out.add(t)
}

func (g *goTest) end(how string) {
	g.flush()
	left := make([]*goRun, 0, len(g.open))
	for _, r := range g.open {
		left = append(left, r)
	}
	slices.SortFunc(left, func(a, b *goRun) int { return cmp.Compare(a.seq, b.seq) })
	why := "it started and did not end: "
	if g.fatal != "" {
		why += g.fatal + "; "
	}
	for _, r := range left {
		if isBenchmark(r.name) && g.pass {
			g.ended++
			g.out.add(Test{Name: r.name, Verdict: wire.TestPass, Output: r.own.take(&g.held)})
			continue
		}
		g.unfinished(r, why+how)
	}
	failed := g.out.failed > 0 || g.out.more[2] > 0
	switch {
	case g.ended < g.started:
		g.out.problem(g.out.program, plural(g.started-g.ended, "test", "tests")+" started and did not end: "+how, 0)
	case failed:
	case g.fail:
		g.out.problem(g.out.program, "it says FAIL, and no test of it does: "+how, 0)
	case g.started > 0 && !g.pass:
		g.out.problem(g.out.program, "its output ends without PASS or FAIL: "+how, 0)
	}
}
