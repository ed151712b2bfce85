package output

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// goJSON reads what go test -json and go tool test2json print, an event on a
// line: https://pkg.go.dev/cmd/test2json
type goJSON struct {
	out      *sink
	open     map[jsonTest]*goRun
	packages map[string]*jsonPackage
	order    []*jsonPackage
	first    *jsonPackage // whose tests stand under their own names
	held     int
	started  int
	over     int // tests beyond MaxTests that started and did not end yet
}

type jsonTest struct {
	pkg  *jsonPackage
	name string
}

type jsonPackage struct {
	name   string // empty where events name none
	own    clip   // lines of no test
	tests  int
	failed int    // of those
	end    string // the action it ended with
	pass   bool   // it said PASS
	final  bool   // it said PASS or FAIL
	none   bool   // it said that it has no tests
}

const kindGoJSON kind = "go test's with -json"

var goJSONDialect = dialect{
	begins: func(_ *Parser, text []byte) bool { return isGoJSON(text) },
	starts: func(p *Parser, text []byte) bool {
		e, _ := goJSONEvent(text)
		return p.format.kind() != kindGoJSON && (e.action == "start" || e.action == "run")
	},
	open: func(p *Parser) format { return newGoJSON(&p.out) },
	// As in {"Action":"fail","Test":"TestX"}.
	failure: func(text []byte) (kind, string, bool) {
		e, known := goJSONEvent(text)
		return kindGoJSON, e.test, known && e.action == "fail"
	},
}

// maxPackages is how many packages are told apart.
const maxPackages = 1000

// goEvent is one event; see TestEvent of Go's cmd/internal/test2json.
type goEvent struct {
	action, pkg, test, output string
	took                      time.Duration
}

var goActions = []string{"start", "run", "pause", "cont", "pass", "bench", "fail", "output", "skip", "attr", "artifacts", "build-output", "build-fail"}

// What an event can hold. Other programs log lines with an "Action" as well.
var goFields = []string{"Time", "Action", "Package", "ImportPath", "Test", "Elapsed", "Output", "OutputType", "FailedBuild", "Key", "Value", "Path"}

func isGoJSON(text []byte) bool {
	_, known := goJSONEvent(text)
	return known
}

// goJSONEvent reads a line. known says that it is unmistakably an event of go
// test; one that is not may be from a later version of Go.
func goJSONEvent(text []byte) (e goEvent, known bool) {
	if len(text) == 0 || text[0] != '{' {
		return e, false
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return e, false
	}
	str := func(key string) (s string) {
		if json.Unmarshal(fields[key], &s) != nil {
			return ""
		}
		return s
	}
	e = goEvent{action: str("Action"), pkg: str("Package"), test: str("Test"), output: str("Output")}
	if strings.HasPrefix(e.action, "build-") {
		e.pkg = "build of " + str("ImportPath")
	}
	var seconds float64
	if json.Unmarshal(fields["Elapsed"], &seconds) == nil && seconds > 0 && seconds < 1e6 {
		e.took = time.Duration(seconds * float64(time.Second))
	}
	known = slices.Contains(goActions, e.action)
	if !isGoName(e.test) {
		for key := range fields {
			known = known && slices.Contains(goFields, key)
		}
	}
	return e, known
}

// isGoName tells the names that go test takes for a test's.
func isGoName(s string) bool {
	for _, p := range []string{"Test", "Example", "Fuzz", "Benchmark"} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

func newGoJSON(out *sink) *goJSON {
	return &goJSON{out: out, open: map[jsonTest]*goRun{}, packages: map[string]*jsonPackage{}}
}

func (g *goJSON) kind() kind { return kindGoJSON }

func (g *goJSON) running() bool {
	for key := range g.open {
		if !isBenchmark(key.name) {
			return true
		}
	}
	return false
}

func (g *goJSON) complete() bool {
	for _, p := range g.order {
		if p.end == "" {
			return false
		}
	}
	return len(g.open) == 0
}

func (g *goJSON) line(text []byte) {
	e, _ := goJSONEvent(text)
	switch e.action {
	case "start":
		if p := g.pkg(e.pkg); p.end != "fail" {
			p.end = ""
		}
	case "run":
		if e.test == "" {
			return // the package's end is waited for all the same
		}
		g.start(g.pkg(e.pkg), e.test)
	case "pause", "cont":
		p := g.pkg(e.pkg)
		if r := g.open[jsonTest{p, e.test}]; r != nil && !r.inner {
			r.paused = e.action == "pause"
			g.tell(p, e.test, r.paused)
		}
	case "output":
		g.output(g.pkg(e.pkg), e.test, strings.TrimSuffix(e.output, "\n"))
	case "pass", "fail", "skip", "bench":
		if e.test != "" {
			g.result(g.pkg(e.pkg), e)
			return
		}
		if p := g.pkg(e.pkg); p.end != "fail" {
			p.end = e.action
		}
	case "build-output":
		p := g.pkg(e.pkg)
		p.end = cmp.Or(p.end, "skip") // no result is to come
		g.output(p, "", strings.TrimSuffix(e.output, "\n"))
	case "build-fail":
		g.pkg(e.pkg).end = "fail"
	}
}

// pkg returns what is known of a package. Beyond maxPackages, all are one.
func (g *goJSON) pkg(name string) *jsonPackage {
	if p := g.packages[name]; p != nil {
		return p
	}
	if len(g.packages) >= maxPackages {
		name = "further packages"
	}
	p := g.packages[name]
	if p == nil {
		p = &jsonPackage{name: name}
		g.packages[name] = p
		g.order = append(g.order, p)
	}
	return p
}

// name is a test's own, with its package's before it when that is not the
// first one.
func (g *goJSON) name(p *jsonPackage, test string) string {
	if g.first == nil {
		g.first = p
	}
	if p == g.first || p.name == "" {
		return test
	}
	return p.name + "." + test
}

func (g *goJSON) start(p *jsonPackage, name string) {
	if g.started++; g.started > MaxTests {
		g.over++
		return // counted only
	}
	key := jsonTest{p, name}
	if old := g.open[key]; old != nil {
		// A test that runs its own program: see goTest. The next end is the
		// child's.
		old.again++
		return
	}
	g.open[key] = &goRun{name: name, seq: g.started, since: g.out.time(), inner: g.inside(p, name)}
	if !g.open[key].inner {
		g.tell(p, name, false)
	}
}

// tell tells of a test that runs or is paused. A benchmark's end is not always
// printed.
func (g *goJSON) tell(p *jsonPackage, test string, paused bool) {
	if name := g.name(p, test); !isBenchmark(test) {
		g.out.run(name, paused)
	}
}

// inside says whether a test that starts is one of a program that a test runs:
// its package has one running beside which it starts no other.
func (g *goJSON) inside(p *jsonPackage, name string) bool {
	if parent := g.open[jsonTest{p, parentOf(name)}]; parent != nil {
		return parent.inner || parent.again > 0
	}
	for key, r := range g.open {
		if key.pkg == p && !r.paused && !r.inner && !isBenchmark(key.name) && !strings.Contains(key.name, "/") && !strings.Contains(name, "/") {
			return true
		}
	}
	return false
}

func (g *goJSON) output(p *jsonPackage, test, text string) {
	line := []byte(text)
	if run := g.open[jsonTest{p, test}]; run != nil {
		if t, _, ok := goResult(line); !bytes.HasPrefix(line, []byte("=== ")) && (!ok || t.Name != test) {
			run.own.add(&g.held, line)
		}
		return
	}
	p.pass = p.pass || text == "PASS"
	p.final = p.final || text == "PASS" || text == "FAIL"
	p.none = p.none || strings.HasSuffix(text, noTests)
	p.own.add(&g.held, line)
}

func (g *goJSON) result(p *jsonPackage, e goEvent) {
	t := Test{Name: g.name(p, e.test), Verdict: wire.TestFail, Duration: e.took}
	switch e.action {
	case "pass", "bench":
		t.Verdict = wire.TestPass
	case "skip":
		t.Verdict = wire.TestSkip
	}
	key := jsonTest{p, e.test}
	if run := g.open[key]; run != nil && run.inner {
		delete(g.open, key)
		return
	} else if run != nil && run.again > 0 {
		run.again--
		run.child = &t
		return
	} else if run != nil {
		t.Output = run.own.take(&g.held)
		delete(g.open, key)
		g.tell(p, e.test, true)
	} else if g.over > 0 {
		g.over--
	}
	g.add(p, t)
}

func (g *goJSON) add(p *jsonPackage, t Test) {
	p.tests++
	if t.Verdict == wire.TestFail {
		p.failed++
	}
	g.out.add(t)
}

func (g *goJSON) unfinished(p *jsonPackage, r *goRun, why string) {
	g.out.cutShort(r.name + " started and did not end")
	g.add(p, g.out.unfinished(g.name(p, r.name), r.since, why, r.own.take(&g.held)))
}

func (g *goJSON) end(how string) {
	keys := make([]jsonTest, 0, len(g.open))
	for key := range g.open {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b jsonTest) int { return cmp.Compare(g.open[a].seq, g.open[b].seq) })
	for _, key := range keys {
		p, run := key.pkg, g.open[key]
		if run.inner {
			continue
		}
		if run.child != nil && p.end == "pass" {
			// The child had no end of its own, and this was the parent's.
			t := *run.child
			t.Output = run.own.take(&g.held)
			g.add(p, t)
			continue
		}
		if isBenchmark(key.name) && p.end == "pass" {
			g.add(p, Test{Name: g.name(p, key.name), Verdict: wire.TestPass, Output: run.own.take(&g.held)})
			continue
		}
		g.unfinished(p, run, "it started and did not end: "+how)
	}
	if g.over > 0 {
		g.out.cutShort("tests started and did not end: " + how)
		g.out.problem(g.out.program, plural(g.over, "test", "tests")+" more started and did not end: "+how, 0)
	}
	for _, p := range g.order {
		name := cmp.Or(p.name, g.out.program)
		if p.end == "" || p.end == "fail" && !p.final {
			g.out.cutShort(name + " ended without PASS or FAIL: " + how)
		}
		if p.failed > 0 {
			continue
		}
		own := func() string { return strings.TrimSuffix("\n"+p.own.take(&g.held), "\n") }
		switch {
		case p.end == "fail":
			g.out.problem(name, "it failed, and no test of it did: "+how+own(), 0)
		case p.end == "":
			g.out.problem(name, "its output ends before its result: "+how+own(), 0)
		case p.tests > 0 || p.none || p.end == "skip":
		case p.pass: // without -test.v, which names only what failed
			g.out.add(Test{Name: name, Verdict: wire.TestPass})
		default:
			g.out.problem(name, "no test ran, and it does not say PASS: "+how+own(), 0)
		}
	}
}
