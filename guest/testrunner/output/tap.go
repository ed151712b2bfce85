package output

import (
	"bytes"
	"cmp"
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// tap reads the Test Anything Protocol, versions 12 to 14
// (https://testanything.org), and the kernel's dialect of it
// (https://docs.kernel.org/dev-tools/ktap.html). Subtests are indented, or, as
// the kernel's selftests nest them, quoted by "# ".
type tap struct {
	out    *sink
	levels []*tapLevel // the first is the program itself
	quoted int         // "# " before nested lines that count as indentation
	next   string      // name of the level that comes, from "# Subtest: "
	named  bool        // whether next is set

	last   *Test // a failed point, whose lines may follow it
	after  clip
	before clip // lines since the last point
	held   int
	points int
	bailed bool
	yaml   bool // inside a point's YAML block
}

type tapLevel struct {
	indent  int
	name    string // with those above it; empty at the top and while it is not known
	known   bool   // the name is
	version bool   // a TAP version stood at its beginning, which asks for a plan
	plan    int    // -1: none
	skip    string // why the plan is empty
	seen    int
	over    int          // points with a number outside the plan or seen twice
	numbers map[int]bool // of its points
	waiting []Test       // results of subtests whose test is not named yet
}

const (
	maxDepth   = 16
	maxWaiting = 1 << 20 // bytes of output of tests that wait for a name
)

func newTAP(out *sink) *tap {
	return &tap{out: out, levels: []*tapLevel{newLevel(0, "", true)}}
}

func newLevel(indent int, name string, known bool) *tapLevel {
	return &tapLevel{indent: indent, name: name, known: known, plan: -1, numbers: map[int]bool{}}
}

func isTAP(text []byte) bool {
	if len(text) == 0 || text[0] == ' ' {
		return false
	}
	if _, ok := tapVersion(text); ok {
		return true
	}
	if _, _, ok := tapPlan(text); ok {
		return true
	}
	p, ok := tapPoint(text)
	return ok && p.number >= 0
}

func tapVersion(text []byte) (kernel, ok bool) {
	rest, kernel := bytes.CutPrefix(text, []byte("KTAP version "))
	if !kernel {
		var ok bool
		if rest, ok = bytes.CutPrefix(text, []byte("TAP version ")); !ok {
			return false, false
		}
	}
	return kernel, digits(string(bytes.TrimSpace(rest)))
}

// tapPlan reads "1..4" and "1..0 # SKIP no BTF".
func tapPlan(text []byte) (n int, comment string, ok bool) {
	rest, ok := bytes.CutPrefix(text, []byte("1.."))
	if !ok {
		return 0, "", false
	}
	number, comment, _ := strings.Cut(string(rest), "#")
	number = strings.TrimSpace(number)
	if !digits(number) {
		return 0, "", false
	}
	n, err := strconv.Atoi(number)
	return n, strings.TrimSpace(comment), err == nil
}

type point struct {
	ok        bool
	number    int // -1: none
	name      string
	directive string // SKIP, TODO and the like, in capitals; empty: none
	reason    string
}

// tapPoint reads "not ok 3 - name # TODO reason".
func tapPoint(text []byte) (point, bool) {
	p := point{ok: true, number: -1}
	rest, found := bytes.CutPrefix(text, []byte("not "))
	if found {
		p.ok = false
	}
	rest, found = bytes.CutPrefix(rest, []byte("ok"))
	if !found || len(rest) > 0 && rest[0] != ' ' {
		return p, false
	}
	s := strings.TrimSpace(string(rest))
	if word, more, _ := strings.Cut(s, " "); digits(word) {
		p.number, _ = strconv.Atoi(word)
		s = strings.TrimSpace(more)
	}
	s = strings.TrimSpace(strings.TrimPrefix(s, "- "))
	// The first "#" that is not escaped begins the directive.
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
			continue
		}
		if s[i] != '#' || i > 0 && s[i-1] != ' ' {
			continue
		}
		word, reason, _ := strings.Cut(strings.TrimSpace(s[i+1:]), " ")
		switch word = strings.TrimRight(strings.ToUpper(word), ":"); {
		case strings.HasPrefix(word, "SKIP"): // TAP 12 has "skipped" too
			word = "SKIP"
		case word == "TODO", word == "XFAIL", word == "TIMEOUT", word == "ERROR":
		default: // an ordinary comment
			p.reason = strings.TrimSpace(s[i+1:])
			s = s[:i]
			continue
		}
		p.directive, p.reason = word, strings.TrimSpace(reason)
		s = s[:i]
	}
	p.name = strings.NewReplacer(`\#`, "#", `\\`, `\`).Replace(strings.TrimSpace(s))
	return p, true
}

func (p point) verdict() string {
	switch {
	case p.directive == "SKIP" && p.ok, p.directive == "XFAIL", p.directive == "TODO" && !p.ok:
		return wire.TestSkip
	case p.ok && p.directive != "TIMEOUT" && p.directive != "ERROR":
		return wire.TestPass
	default:
		return wire.TestFail
	}
}

// title is the point's name, or its number where it has none: seen says how
// many of its level there are.
func (p point) title(seen int) string {
	if p.name == "" {
		return strconv.Itoa(max(p.number, seen))
	}
	return p.name
}

func (t *tap) kind() kind { return kindTAP }

// running is unknown: a test is named when it ends, and lines of its own that
// look like results are comments or indented.
func (t *tap) running() bool { return false }

func (t *tap) top() *tapLevel { return t.levels[len(t.levels)-1] }

func (t *tap) line(text []byte) {
	rest, indent := t.unquote(text)
	if kernel, ok := tapVersion(rest); ok {
		t.at(indent).version = !kernel
		return
	}
	if name, ok := bytes.CutPrefix(rest, []byte("# Subtest: ")); ok {
		t.subtest(indent, string(bytes.TrimSpace(name)))
		return
	}
	if n, comment, ok := tapPlan(rest); ok {
		l := t.at(indent)
		if l.plan >= 0 && l.plan != n {
			l.over++ // two plans: neither holds
		}
		l.plan = n
		if n == 0 {
			l.skip = comment
		}
		return
	}
	if p, ok := tapPoint(rest); ok && (p.number >= 0 || indent <= t.top().indent) {
		t.point(indent, p)
		return
	}
	if reason, ok := bytes.CutPrefix(rest, []byte("Bail out!")); ok {
		t.flush()
		t.bailed = true
		t.out.cutShort("Bail out!" + string(reason))
		t.out.problem(t.out.program, "Bail out!"+string(reason), 0)
		return
	}
	if harnessRun(rest) {
		t.flush() // the next test's lines are not the last one's
	}
	if t.last != nil {
		t.after.add(&t.held, text)
	}
	// A YAML block is about the point that it stands behind.
	switch s := string(bytes.TrimSpace(rest)); {
	case s == "---" && indent > t.top().indent:
		t.yaml = true
	case t.yaml && s == "...":
		t.yaml = false
		return
	}
	if !t.yaml {
		t.before.add(&t.held, text)
	}
}

// harnessRun reads "#  RUN           global.a ...", which the kernel's
// kselftest_harness.h prints before each test.
func harnessRun(text []byte) bool {
	f := bytes.Fields(bytes.TrimLeft(text, "# "))
	return len(f) == 3 && string(f[0]) == "RUN" && string(f[2]) == "..."
}

// harnessCause returns the first line between a harness' test's start and end.
func harnessCause(own string) string {
	cause, started := "", false
	for line := range strings.Lines(own) {
		line = strings.TrimSuffix(line, "\n")
		word, _, _ := strings.Cut(strings.TrimLeft(line, "# "), " ")
		switch {
		case harnessRun([]byte(line)):
			cause, started = "", true
		case started && cause == "" && word != "" && word != "FAIL":
			cause = line
		}
	}
	return cause
}

// unquote takes indentation off, and the "# " that the kernel's selftests put
// before the lines of a nested test, once its version line has shown that they
// do.
func (t *tap) unquote(text []byte) (rest []byte, indent int) {
	rest = text
	for depth := 0; ; depth++ {
		trimmed := bytes.TrimLeft(rest, " ")
		indent += len(rest) - len(trimmed)
		rest = trimmed
		inner, ok := bytes.CutPrefix(rest, []byte("# "))
		if !ok || depth == maxDepth {
			return rest, indent
		}
		if depth >= t.quoted {
			if _, version := tapVersion(bytes.TrimLeft(inner, "# ")); !version {
				return rest, indent
			}
			t.quoted = depth + 1
		}
		rest, indent = inner, indent+2
	}
}

// at returns the level of an indentation, opening and closing levels.
func (t *tap) at(indent int) *tapLevel {
	for len(t.levels) > 1 && t.top().indent > indent {
		t.orphans(t.pop())
	}
	top := t.top()
	if indent > top.indent && len(t.levels) < maxDepth {
		t.flush()
		l := newLevel(indent, "", false)
		if t.named && top.known {
			l.name, l.known = join(top.name, t.next), true
		}
		t.next, t.named = "", false
		t.levels = append(t.levels, l)
	}
	return t.top()
}

// subtest handles "# Subtest: name", which stands before a subtest's lines with
// its parent's indentation (TAP 14) or at their beginning with their own (KTAP).
func (t *tap) subtest(indent int, name string) {
	opens := indent > t.top().indent && !t.named
	l := t.at(indent)
	parent := len(t.levels) - 2
	if (opens || l.seen == 0 && l.plan < 0) && !l.known && parent >= 0 && t.levels[parent].known {
		l.name, l.known = join(t.levels[parent].name, name), true
		return
	}
	t.next, t.named = name, true
}

func (t *tap) point(indent int, p point) {
	t.flush()
	t.yaml = false // a block that does not end
	// The level of the subtests of this point, which has been closed with it.
	var waiting []Test
	for len(t.levels) > 1 && t.top().indent > indent {
		t.orphans(waiting)
		waiting = t.pop()
	}
	l := t.at(indent)
	if len(t.levels) == 1 {
		t.quoted = 0
	}
	t.next, t.named = "", false
	l.seen++
	t.points++
	if p.number >= 0 && t.points <= MaxTests {
		if l.numbers[p.number] || p.number == 0 {
			l.over++
		}
		l.numbers[p.number] = true
	}
	name := wire.Truncate(p.title(l.seen), wire.MaxName)
	test := Test{Name: name, Verdict: p.verdict()}
	own := t.before.take(&t.held)
	if test.Verdict == wire.TestFail {
		own = lead(harnessCause(own), own)
	}
	switch {
	case test.Verdict == wire.TestPass:
		test.Output = own
	case p.reason != "":
		test.Output = strings.TrimSpace(p.directive+" "+p.reason) + "\n" + own
	default:
		test.Output = strings.TrimPrefix(p.directive+"\n"+own, "\n")
	}
	for _, w := range waiting {
		w.Name = join(name, w.Name)
		t.result(l, w)
	}
	if test.Verdict == wire.TestFail {
		t.last = &test
		return
	}
	t.result(l, test)
}

// flush reports the failed point that may have got more lines.
func (t *tap) flush() {
	if t.last == nil {
		return
	}
	test := *t.last
	t.last = nil
	if more := t.after.take(&t.held); more != "" {
		test.Output = strings.TrimPrefix(strings.TrimRight(test.Output, "\n")+"\n"+more, "\n")
		test.Output = lead(yamlMessage(more), test.Output)
	}
	t.result(t.top(), test)
}

// yamlMessage returns the message of a YAML block, without its quotes.
func yamlMessage(text string) string {
	inside := false
	for line := range strings.Lines(text) {
		switch line = strings.TrimSpace(line); {
		case line == "---":
			inside = true
		case inside && strings.HasPrefix(line, "message:"):
			return strings.Trim(strings.TrimSpace(strings.TrimPrefix(line, "message:")), `'"`)
		}
	}
	return ""
}

// result reports a test of a level, or keeps it until the level has a name.
func (t *tap) result(l *tapLevel, test Test) {
	if l.known {
		test.Name = join(l.name, test.Name)
		t.out.add(test)
		return
	}
	if t.held += len(test.Output); t.held > maxWaiting {
		t.held -= len(test.Output)
		test.Output = ""
	}
	if len(l.waiting) < MaxTests {
		l.waiting = append(l.waiting, test)
		return
	}
	t.out.add(test)
}

// pop closes the innermost level: its plan is checked. It returns the results
// that wait for the name of the test they are part of.
func (t *tap) pop() []Test {
	t.flush()
	l := t.top()
	t.levels = t.levels[:len(t.levels)-1]
	if wrong := l.wrong(); wrong != "" && !t.bailed {
		t.out.cutShort(join(l.name, "plan") + ": " + wrong)
		t.result(l, Test{Name: "plan", Verdict: wire.TestFail, Output: wrong})
	}
	for _, w := range l.waiting {
		t.held -= len(w.Output)
	}
	return l.waiting
}

// orphans reports results whose own test was never named.
func (t *tap) orphans(tests []Test) {
	for _, w := range tests {
		t.result(t.top(), w)
	}
}

// wrong says what is wrong with a level's plan; empty: nothing.
func (l *tapLevel) wrong() string {
	outside := l.over
	for n := range l.numbers {
		if l.plan >= 0 && n > l.plan {
			outside++
		}
	}
	switch {
	case l.plan < 0 && l.version:
		return sprintf("no plan, and %s: the output was cut short", plural(l.seen, "test", "tests"))
	case l.plan >= 0 && l.seen != l.plan:
		return sprintf("%s planned, and %d ran", plural(l.plan, "test was", "tests were"), l.seen)
	case outside > 0:
		return plural(outside, "test number stands", "test numbers stand") + " twice or outside the plan"
	}
	return ""
}

func (t *tap) end(how string) {
	t.flush()
	// What waits for a name gets none any more.
	for len(t.levels) > 1 {
		l := t.top()
		t.orphans(t.pop())
		t.out.cutShort("the result of subtests is missing: " + how)
		t.out.problem(join(l.name, "end"), "these subtests' own result is missing: "+how, 0)
	}
	l := t.levels[0]
	switch wrong := l.wrong(); {
	case t.bailed:
	case wrong != "":
		t.out.cutShort(wrong + ": " + how)
		t.out.problem(t.out.program+": plan", wrong+": "+how, 0)
	case l.plan == 0:
		t.out.add(Test{Name: t.out.program, Verdict: wire.TestSkip, Output: cmp.Or(l.skip, "it planned no tests (1..0)")})
	}
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return wire.Truncate(a+"/"+b, wire.MaxName)
}
