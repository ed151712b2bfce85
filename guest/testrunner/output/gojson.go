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
	packages map[string]*goPackage
	order    []*goPackage
	first    *goPackage // whose tests stand under their own names
	tracked  int
}

// goPackage is a package's test binary, whose marked lines the events stand for.
type goPackage struct {
	*goTest
	name  string // empty where events name none
	own   clip   // lines of no test
	end   string // the action it ended with
	pass  bool   // it said PASS
	final bool   // it said PASS or FAIL
	none  bool   // it said that it has no tests
}

const kindGoJSON kind = "go test's with -json"

var goJSONDialect = dialect{
	begins: func(_ *Parser, text []byte) bool {
		_, known := goJSONEvent(text)
		return known
	},
	starts: func(p *Parser, text []byte) bool {
		e, known := goJSONEvent(text)
		return known && p.format.kind() != kindGoJSON && (e.action == "start" || e.action == "run")
	},
	open: func(out *sink) format {
		return &goJSON{out: out, packages: map[string]*goPackage{}}
	},
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

func (g *goJSON) kind() kind { return kindGoJSON }

func (g *goJSON) running() bool {
	return slices.ContainsFunc(g.order, func(p *goPackage) bool { return p.streams[0].busy() })
}

func (g *goJSON) complete() bool {
	return !slices.ContainsFunc(g.order, func(p *goPackage) bool { return p.end == "" || len(p.streams[0].open) > 0 })
}

func (g *goJSON) line(text []byte) {
	e, _ := goJSONEvent(text)
	if !slices.Contains(goActions, e.action) {
		return
	}
	p := g.pkg(e.pkg)
	if e.test != "" && g.first == nil {
		g.first = p
		p.prefix = ""
	}
	switch e.action {
	case "start":
		if p.end != "fail" {
			p.end = ""
		}
	case "run":
		if e.test != "" {
			p.start(e.test, nil, true)
		}
	case "pause", "cont":
		p.update(strings.ToUpper(e.action), e.test, nil, true)
	case "output":
		p.output(e.test, strings.TrimSuffix(e.output, "\n"))
	case "pass", "fail", "skip", "bench":
		if e.test != "" {
			p.ended(e)
		} else if p.end != "fail" {
			p.end = e.action
		}
	case "build-output":
		p.end = cmp.Or(p.end, "skip") // no result is to come
		p.output("", strings.TrimSuffix(e.output, "\n"))
	case "build-fail":
		p.end = "fail"
	}
}

// pkg returns what is known of a package. Beyond maxPackages, all are one. Names of
// tests have their package's before them when that is not the first one.
func (g *goJSON) pkg(name string) *goPackage {
	if g.packages[name] == nil && len(g.packages) >= maxPackages {
		name = "further packages"
	}
	p := g.packages[name]
	if p == nil {
		p = &goPackage{goTest: newGoTest(g.out, &g.tracked), name: name}
		p.streams[0].marked = true
		if name != "" {
			p.prefix = name + "."
		}
		g.packages[name] = p
		g.order = append(g.order, p)
	}
	return p
}

func (p *goPackage) output(test, text string) {
	line := []byte(text)
	if i := p.owner(test, true); i >= 0 {
		if t, _, result := goResult(line); !bytes.HasPrefix(line, []byte("=== ")) && (!result || t.Name != test) {
			p.streams[i].current = p.streams[i].find(test)
			p.text(line, true)
		}
		return
	}
	p.pass = p.pass || text == "PASS"
	p.final = p.final || text == "PASS" || text == "FAIL"
	p.none = p.none || strings.HasSuffix(text, noTests)
	p.own.add(&p.out.held, line)
}

func (p *goPackage) ended(e goEvent) {
	t := Test{Name: e.test, Verdict: wire.TestFail, Duration: e.took}
	switch e.action {
	case "pass", "bench":
		t.Verdict = wire.TestPass
	case "skip":
		t.Verdict = wire.TestSkip
	}
	if !p.result(t, 0, nil, true) {
		p.add(0, t) // of a test whose start was not printed
		p.streams[0].ended = true
	}
	for _, s := range p.streams {
		p.flush(s) // no line of it follows
	}
}

func (g *goJSON) end(how string) {
	for _, p := range g.order {
		p.finishPackage(how)
	}
}

func (p *goPackage) finishPackage(how string) {
	name := cmp.Or(p.name, p.out.program)
	if p.end == "pass" {
		p.passBenchmarks(0, "")
		p.top().final, p.top().pass = true, true
		p.replaced()
	}
	s := p.streams[0]
	if len(s.open) > 0 || s.over > 0 {
		p.out.cutShort(name + ": tests started and did not end: " + how)
	}
	p.endTests(how)
	if p.end == "" || p.end == "fail" && !p.final {
		p.out.cutShort(name + " ended without PASS or FAIL: " + how)
	}
	own := strings.TrimSuffix("\n"+p.own.take(&p.out.held), "\n")
	switch {
	case s.failed:
	case p.end == "fail":
		p.out.problem(name, "it failed, and no test of it did: "+how+own, 0)
	case p.end == "":
		p.out.problem(name, "its output ends before its result: "+how+own, 0)
	case s.ended || p.none || p.end == "skip":
	case p.pass: // without -test.v, which names only what failed
		p.out.add(Test{Name: name, Verdict: wire.TestPass})
	default:
		p.out.problem(name, "no test ran, and it does not say PASS: "+how+own, 0)
	}
}
