package output

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// tap reads the Test Anything Protocol, versions 12 to 14
// (https://testanything.org), and the kernel's dialect of it
// (https://docs.kernel.org/dev-tools/ktap.html). Subtests are indented, or, as
// the kernel's selftests nest them, quoted by "# ".
//
// A stream is judged as Perl's prove judges it. What differs on purpose, such as
// subtests and KTAP, which prove does not read, is in tap_test.go with the reason.
type tap struct {
	out    *sink
	levels []*tapLevel // the first is the program itself
	quoted int         // "# " before nested lines that count as indentation
	next   string      // name of the level that comes, from "# Subtest: "

	last   *Test // a failed point, whose lines may follow it
	after  clip
	before clip // lines since the last point
	bailed bool
	not    bool     // the line before is "not"
	strict bool     // "pragma +strict": every line has to be TAP
	todo   []string // numbers of TAP 12's "1..3 todo 2"
	suites int      // results of KUnit suites, of kernels before 6.0
	yaml   int      // indentation of the YAML block that is open; 0: none
	plain  int      // points that could be words, such as "ok" and "ok then"
	words  int      // lines of other text
}

type tapLevel struct {
	indent  int
	name    string // with those above it; "" at the top and while it is not known
	titled  string // by a "# Subtest: " of its own indentation
	version int    // of TAP, from its first line; 0: none was given
	kernel  bool   // it is KTAP
	plan    int    // -1: none
	late    bool   // the plan came behind the tests
	skip    string // why the plan is empty
	seen    int
	fault   string       // the first thing that is wrong with it
	numbers map[int]bool // of its points, where their order is free
	highest int          // of them
	waiting []Test       // results of subtests whose test is not named yet
}

const maxDepth = 16

const kindTAP kind = "TAP"

var tapDialect = dialect{
	begins: func(p *Parser, text []byte) bool {
		return isTAP(text) && !(p.goTest && isPass(text)) // TestMain may say "ok - ready"
	},
	starts: func(p *Parser, text []byte) bool {
		_, _, version := tapVersion(text)
		return version && p.format.kind() != kindTAP
	},
	open:  func(out *sink) format { return newTAP(out) },
	early: true,
	// As in "not ok 3 - x".
	failure: func(text []byte) (kind, string, bool) {
		if len(text) == 0 || text[0] != 'n' {
			return "", "", false
		}
		p, ok := tapPoint(text)
		return kindTAP, cmp.Or(p.name, strconv.Itoa(max(p.number, 1))), ok && !p.ok && isTAP(text) && p.verdict(false) == wire.TestFail
	},
}

func newTAP(out *sink) *tap {
	return &tap{out: out, levels: []*tapLevel{newTAPLevel(0)}}
}

func newTAPLevel(indent int) *tapLevel {
	return &tapLevel{indent: indent, plan: -1, numbers: map[int]bool{}}
}

// onlyPoints tells whether a text, without a certain sign of TAP, is nothing but
// lines like "ok" and "ok text", and more than one.
func onlyPoints(text []byte) bool {
	nobody := newSink("", func(Test) {})
	t := newTAP(&nobody)
	for line := range bytes.Lines(text) {
		t.line(line[:len(line)-1])
	}
	return t.plain > 1 && t.words == 0
}

// isTAP tells whether a line is a sign of TAP by itself. Many things begin with
// "ok": without a number or a dash behind it, it is a sign only together with
// others.
func isTAP(text []byte) bool {
	rest := bytes.TrimLeft(text, " \t")
	indented := len(rest) < len(text)
	if _, _, ok := tapVersion(bytes.TrimLeft(rest, "# ")); ok {
		return true
	}
	if bytes.HasPrefix(rest, []byte("# Subtest: ")) || bytes.HasPrefix(rest, []byte("Bail out!")) {
		return true
	}
	if plan, ok := parseTAPPlan(rest); ok && !indented {
		return plan.tail == "" || plan.tail[0] == '#' || plan.todo != nil
	}
	p, ok := tapPoint(rest)
	switch {
	case !ok:
		return false
	case indented:
		return !p.ok && !p.loose && p.number >= 0
	case p.loose: // prose, as in "not ok, retrying"
		return p.directive != "" || bytes.HasPrefix(rest, []byte("not ok:"))
	default:
		return !p.ok || p.number >= 0 || p.dash || p.directive != ""
	}
}

// isPass tells whether a line is a point that passes.
func isPass(text []byte) bool {
	p, ok := tapPoint(text)
	return ok && p.ok
}

var tapVersionLine = lazy(`(?i)^\s*(K?)TAP\s+version\s+(\d{1,9})\s*$`)

// tapVersion reads "TAP version 13" and "KTAP version 1".
func tapVersion(text []byte) (n int, kernel, ok bool) {
	if len(text) < len("TAP version 1") || len(text) > 64 {
		return 0, false, false
	}
	m := tapVersionLine().FindSubmatch(text)
	if m == nil {
		return 0, false, false
	}
	n, _ = strconv.Atoi(string(m[2]))
	return n, len(m[1]) > 0, true
}

// tapPlan is "1..4", "1..0 # SKIP no BTF" or, of TAP 12, "1..3 todo 2".
type tapPlan struct {
	n    int
	tail string   // what stands behind the number
	skip string   // the tail is a directive: "SKIP no BTF"
	todo []string // numbers of tests that may fail
}

var (
	tapPlanLine = lazy(`^1\.\.(\d+)\s*(.*?)\s*$`)
	tapPlanSkip = lazy(`^#\s*((?i:SKIP)\b.*)$`)
	tapPlanTodo = lazy(`^todo((?:\s+\d+)+)$`)
)

func parseTAPPlan(text []byte) (p tapPlan, ok bool) {
	if !bytes.HasPrefix(text, []byte("1..")) {
		return p, false
	}
	m := tapPlanLine().FindStringSubmatch(string(text))
	if m == nil || !digits(m[1]) {
		return p, false
	}
	p.n, _ = strconv.Atoi(m[1])
	p.tail = m[2]
	if m := tapPlanSkip().FindStringSubmatch(p.tail); m != nil {
		p.skip = m[1]
	}
	if m := tapPlanTodo().FindStringSubmatch(p.tail); m != nil {
		p.todo = strings.Fields(m[1])
	}
	return p, true
}

type point struct {
	ok        bool
	number    int // -1: none
	dash      bool
	loose     bool // no space stands behind "ok", as in "ok, then"
	name      string
	directive string // SKIP, TODO and the like, in capitals; empty: none
	reason    string
}

var (
	// tapComment splits a point at the first "#" that is not escaped.
	tapComment   = lazy(`^((?:\\.|[^\\#])*)#(.*)$`)
	tapDirective = lazy(`(?i)^\s*(SKIP|TODO|XFAIL|TIMEOUT|ERROR)(\w*)[: ]*(.*)$`)
	tapUnescape  = strings.NewReplacer(`\#`, "#", `\\`, `\`)
)

// tapPoint reads "not ok 3 - name # TODO reason".
func tapPoint(text []byte) (point, bool) {
	p := point{ok: true, number: -1}
	rest, found := bytes.CutPrefix(text, []byte("not "))
	p.ok = !found
	rest, found = bytes.CutPrefix(rest, []byte("ok"))
	if !found || len(rest) > 0 && isWord(rest[0]) {
		return p, false
	}
	p.loose = len(rest) > 0 && rest[0] != ' ' && rest[0] != '\t' && rest[0] != '\r'
	s := strings.TrimSpace(string(rest))
	if n := len(s) - len(strings.TrimLeft(s, "0123456789")); n > 0 {
		p.number = math.MaxInt32
		if digits(s[:n]) {
			p.number, _ = strconv.Atoi(s[:n])
		}
		// As in "ok 2nd", where prove sees the number.
		p.loose = p.loose || n < len(s) && s[n] != ' ' && s[n] != '#'
		s = strings.TrimSpace(s[n:])
	}
	if s == "-" || strings.HasPrefix(s, "- ") {
		p.dash = true
		s = strings.TrimSpace(s[1:])
	}
	// A comment that is no directive belongs to the name, except for what KTAP has
	// behind " # ".
	if m := tapComment().FindStringSubmatch(s); m != nil {
		before, comment := m[1], m[2]
		d := tapDirective().FindStringSubmatch(comment)
		switch {
		case d != nil && (d[2] == "" || p.ok && strings.EqualFold(d[1], "SKIP")): // TAP 12 has "skipped" too
			p.directive, p.reason, s = strings.ToUpper(d[1]), d[3], before
		case strings.HasPrefix(comment, " ") && (before == "" || strings.HasSuffix(before, " ")):
			p.reason, s = strings.TrimSpace(comment), before
		}
	}
	p.name = tapUnescape.Replace(strings.TrimSpace(s))
	return p, true
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// verdict of a point. XFAIL, TIMEOUT and ERROR are KTAP's alone.
func (p point) verdict(kernel bool) string {
	switch {
	case p.directive == "SKIP" && p.ok, p.directive == "TODO" && !p.ok, p.directive == "XFAIL" && (p.ok || kernel):
		return wire.TestSkip
	case p.ok && !(kernel && (p.directive == "TIMEOUT" || p.directive == "ERROR")):
		return wire.TestPass
	default:
		return wire.TestFail
	}
}

func (t *tap) kind() kind { return kindTAP }

// running is unknown: a test is named when it ends, and lines of its own that
// look like results are comments or indented.
func (t *tap) running() bool { return false }

func (t *tap) complete() bool {
	l := t.levels[0]
	return len(t.levels) == 1 && l.plan == l.seen && t.yaml == 0
}

func (t *tap) top() *tapLevel { return t.levels[len(t.levels)-1] }

func (t *tap) line(text []byte) {
	if t.not {
		// prove joins a "not" on a line of its own, as VMS prints it, with what
		// follows, and that is no TAP.
		p, ok := tapPoint(text)
		if ok && p.verdict(false) != wire.TestFail || bytes.HasPrefix(text, []byte("1..")) {
			t.not = false
			t.words++
			t.keep(text, true)
			return
		}
	}
	t.not = string(bytes.TrimSpace(text)) == "not"
	rest, indent := t.unquote(text)
	bare := string(bytes.TrimSpace(rest))
	if t.yaml > 0 {
		if indent >= t.yaml || bare == "" {
			t.keep(text, false)
			if bare == "..." {
				t.yaml = 0
			}
			return
		}
		t.unclosedYAML()
	}
	if n, kernel, ok := tapVersion(rest); ok {
		t.version(indent, n, kernel)
		return
	}
	if name, ok := bytes.CutPrefix(rest, []byte("# Subtest: ")); ok {
		t.subtest(indent, string(bytes.TrimSpace(name)))
		return
	}
	if p, ok := parseTAPPlan(rest); ok && t.plan(indent, p) {
		return
	}
	if p, ok := tapPoint(rest); ok && t.isPoint(indent, p) {
		if p.loose {
			t.words++
		} else if p.ok && p.number < 0 && indent == 0 {
			t.plain++
		}
		t.point(indent, p)
		return
	}
	if bytes.HasPrefix(rest, []byte("Bail out!")) {
		t.flush()
		t.bailed = true
		t.out.cutShort(string(rest))
		t.out.problem(t.out.program, string(rest), 0)
		return
	}
	if strings.HasSuffix(bare, "...") && harnessRun().MatchString(bare) {
		t.flush() // the next test's lines are not the last one's
	}
	comment := strings.HasPrefix(bare, "#")
	switch {
	case bare == "---" && indent > t.top().indent:
		t.yaml = indent
		t.keep(text, false)
		return
	case t.pragma(bare):
		return
	case t.strict && !comment && (indent == 0 || t.levels[0].version == 13):
		t.levels[0].wrongly("a line that is not TAP, with pragma +strict: " + wire.Truncate(string(text), 200))
	case !comment && bare != "" && bare != "not":
		t.words++
	}
	t.keep(text, true)
}

// keep takes a line that is about the point before it or, unless it can only be
// about that, about the next one.
func (t *tap) keep(text []byte, next bool) {
	if t.last != nil {
		t.after.add(&t.out.held, text)
	}
	if next {
		t.before.add(&t.out.held, text)
	}
}

// isPoint tells whether what reads like a point is one. Only where prove looks
// for them, at the beginning of a line of TAP, do they need neither a number nor
// a space.
func (t *tap) isPoint(indent int, p point) bool {
	if p.loose {
		return indent == 0 && !t.levels[0].kernel
	}
	return p.number >= 0 || indent <= t.top().indent
}

func (t *tap) version(indent, n int, kernel bool) {
	if kernel && indent == 0 && (t.levels[0].seen > 0 || t.levels[0].plan >= 0) {
		// Several results of KUnit, one after the other.
		t.closeAll("")
		t.levels[0] = newTAPLevel(0)
		t.suites = 0
	}
	l := t.at(indent)
	if kernel {
		l.kernel = true
		return
	}
	switch {
	case indent > 0:
	case l.seen > 0 || l.plan >= 0 || l.version > 0:
		l.wrongly("TAP's version does not come first")
	case n < 13 || n > 14:
		l.wrongly(fmt.Sprintf("TAP version %d is none that is declared: they are 13 and 14", n))
	}
	l.version = max(n, 13)
}

// plan takes a plan; false when it is none where it stands.
func (t *tap) plan(indent int, p tapPlan) bool {
	strict := indent == 0 && !t.levels[0].kernel
	versioned := t.levels[0].version > 0
	switch {
	case p.tail == "" || p.skip != "" && (p.n == 0 || !strict || versioned):
	case strict && versioned: // prove takes these for text
		return false
	case strict && p.n == 0 || !strict && p.tail[0] == '#':
		p.skip = strings.TrimSpace(strings.TrimPrefix(p.tail, "#"))
	case strict && p.todo != nil:
		t.todo = p.todo
	default:
		return false
	}
	l := t.at(indent)
	switch {
	case l.plan < 0:
		l.late = l.seen > 0
		l.plan, l.skip = p.n, p.skip
	case strict || l.plan != p.n:
		l.wrongly("it has more than one plan")
	}
	return true
}

var tapPragma = lazy(`^pragma\s+([+-]\w+(?:\s*,\s*[+-]\w+)*)$`)

// pragma reads "pragma +strict", which TAP has since version 13.
func (t *tap) pragma(text string) bool {
	m := tapPragma().FindStringSubmatch(text)
	if m == nil || t.levels[0].version == 0 {
		return false
	}
	for word := range strings.SplitSeq(m[1], ",") {
		if word = strings.TrimSpace(word); word[1:] == "strict" {
			t.strict = word[0] == '+'
		}
	}
	return true
}

// unclosedYAML ends a YAML block that did not end itself.
func (t *tap) unclosedYAML() {
	t.yaml = 0
	if l := t.levels[0]; l.version > 0 && !l.kernel && len(t.levels) == 1 {
		l.wrongly("a YAML block does not end")
	}
}

func (l *tapLevel) wrongly(what string) { l.fault = cmp.Or(l.fault, what) }

// unquote takes indentation off, and the "# " that the kernel's selftests put
// before the lines of a nested test, once its version line has shown that they
// do.
func (t *tap) unquote(text []byte) (rest []byte, indent int) {
	rest = text
	for depth := 0; ; depth++ {
		trimmed := bytes.TrimLeft(rest, " \t")
		// KUnit indented by tabs at first.
		indent += len(rest) - len(trimmed) + 3*bytes.Count(rest[:len(rest)-len(trimmed)], []byte("\t"))
		rest = trimmed
		inner, ok := bytes.CutPrefix(rest, []byte("# "))
		if !ok || depth == maxDepth {
			return rest, indent
		}
		if depth >= t.quoted {
			if _, _, version := tapVersion(bytes.TrimLeft(inner, "# ")); !version {
				return rest, indent
			}
			t.quoted = depth + 1
		}
		rest, indent = inner, indent+2
	}
}

// known says whether a level's results can be reported by their names.
func (l *tapLevel) known() bool { return l.indent == 0 || l.name != "" }

// at returns the level of an indentation, opening and closing levels.
func (t *tap) at(indent int) *tapLevel {
	for len(t.levels) > 1 && t.top().indent > indent {
		t.orphans(t.pop())
	}
	top := t.top()
	if indent > top.indent && len(t.levels) < maxDepth {
		t.flush()
		l := newTAPLevel(indent)
		l.kernel = top.kernel
		if t.next != "" && top.known() {
			l.name = join(top.name, t.next)
		}
		t.next = ""
		t.levels = append(t.levels, l)
	}
	return t.top()
}

// subtest handles "# Subtest: name", which stands before a subtest's lines with
// its parent's indentation (TAP 14) or at their beginning with their own (KTAP).
func (t *tap) subtest(indent int, name string) {
	opens := indent > t.top().indent && t.next == ""
	l := t.at(indent)
	if l.known() || !opens && (l.seen > 0 || l.plan >= 0) {
		t.next = name
		return
	}
	l.titled = name
	if above := t.levels[len(t.levels)-2]; above.known() {
		l.name = join(above.name, name)
	}
}

func (t *tap) point(indent int, p point) {
	t.flush()
	// The level of the subtests of this point, which has been closed with it.
	var waiting []Test
	var inner *tapLevel
	for len(t.levels) > 1 && t.top().indent > indent {
		t.orphans(waiting)
		inner = t.top()
		waiting = t.pop()
	}
	l := t.at(indent)
	if len(t.levels) == 1 {
		t.quoted = 0
	}
	t.next = ""
	l.seen++
	own := t.before.take(&t.out.held)
	run, cause := harness(own)
	// Before 6.9 the harness' point of a skipped test does not have its name.
	p.name = cmp.Or(p.name, run)
	t.number(l, inner, p)
	name, message := checkName(cmp.Or(p.name, strconv.Itoa(max(p.number, l.seen))))
	name = wire.Truncate(name, wire.MaxName)
	test := Test{Name: name, Verdict: p.verdict(l.kernel), Output: own}
	if test.Verdict == wire.TestFail && len(t.levels) == 1 && slices.Contains(t.todo, strconv.Itoa(l.seen)) {
		test.Verdict, p.directive = wire.TestSkip, "TODO"
	}
	for _, w := range waiting {
		w.Name = join(name, w.Name)
		t.result(l, w)
	}
	if test.Verdict == wire.TestFail {
		test.Output = lead(cause, test.Output)
	}
	if test.Verdict != wire.TestPass {
		test.Output = lead(message, test.Output)
	}
	if test.Verdict != wire.TestPass && p.directive+p.reason != "" {
		test.Output = strings.TrimSpace(p.directive+" "+p.reason) + "\n" + test.Output
	}
	if test.Verdict == wire.TestFail {
		t.last = &test
		return
	}
	t.result(l, test)
}

// number checks a point's number. At the top of TAP it has to be in order, as
// prove wants it; elsewhere it stands once, and in the plan.
func (t *tap) number(l, inner *tapLevel, p point) {
	if l.indent > 0 || l.kernel {
		if l.numbers[p.number] || p.number == 0 {
			l.wrongly(fmt.Sprintf("test number %d stands twice or is 0", p.number))
		}
		if p.number >= 0 && len(l.numbers) < MaxTests {
			l.numbers[p.number] = true
		}
		l.highest = max(l.highest, p.number)
		return
	}
	if l.late {
		l.wrongly("its plan stands neither at the beginning nor at the end")
	}
	switch {
	// Before KTAP, debugfs gave each KUnit suite as "    # Subtest: NAME",
	// "    1..2", its tests, and "ok 1 - NAME", without a plan.
	case inner != nil && inner.titled != "" && inner.titled == p.name && inner.plan >= 0 && p.number == 1 && t.suites == l.seen-1:
		t.suites++
	case p.number >= 0 && p.number != l.seen:
		l.wrongly(fmt.Sprintf("test number %d stands where %d should", p.number, l.seen))
	}
}

// harnessRun is what the kernel's kselftest_harness.h prints before each test, as
// in "#  RUN           global.a ...".
var harnessRun = lazy(`(?m)^[# ]*RUN +(\S+) \.\.\.$`)

// harness returns the test that the harness ran last, and the first line that this
// test had to say.
func harness(own string) (name, cause string) {
	runs := harnessRun().FindAllStringSubmatchIndex(own, -1)
	if runs == nil {
		return "", ""
	}
	last := runs[len(runs)-1]
	for line := range strings.Lines(own[last[1]:]) {
		word, _, _ := strings.Cut(strings.TrimLeft(line, "# \n"), " ")
		if word != "" && word != "FAIL" {
			cause = strings.TrimSuffix(line, "\n")
			break
		}
	}
	return own[last[2]:last[3]], cause
}

// libcheck prints "file.c:case:test: Passed" as a point's name. The file is that
// of the last check, not the test's own.
var libcheckName = lazy(`^[^: ]+\.(?:c|cc|cpp|cxx|C|h|hpp):([^:]+:[^: ]+): (.*)$`)

// checkName splits a name of libcheck's.
func checkName(s string) (name, message string) {
	if m := libcheckName().FindStringSubmatch(s); m != nil {
		return m[1], m[2]
	}
	return s, ""
}

var yamlMessage = lazy(`(?ms)^\s*---$.*?^\s*message:[ \t]*['"]?([^\n]*?)['"]?$`)

// flush reports the failed point that may have got more lines.
func (t *tap) flush() {
	if t.last == nil {
		return
	}
	test := *t.last
	t.last = nil
	if more := t.after.take(&t.out.held); more != "" {
		test.Output = strings.TrimPrefix(strings.TrimRight(test.Output, "\n")+"\n"+more, "\n")
		if m := yamlMessage().FindStringSubmatch(more); m != nil {
			test.Output = lead(m[1], test.Output)
		}
	}
	t.result(t.top(), test)
}

// result reports a test of a level, or keeps it until the level has a name. What
// is too much to be kept does without.
func (t *tap) result(l *tapLevel, test Test) {
	size := len(test.Name) + len(test.Output)
	if l.known() || t.out.held+size > maxHeld {
		test.Name = join(l.name, test.Name)
		t.out.add(test)
		return
	}
	t.out.held += size
	l.waiting = append(l.waiting, test)
}

// pop closes the innermost level: its plan is checked. It returns the results
// that wait for the name of the test they are part of.
func (t *tap) pop() []Test {
	t.flush()
	l := t.top()
	t.levels = t.levels[:len(t.levels)-1]
	if wrong := l.wrong(0); wrong != "" && !t.bailed {
		t.out.cutShort(join(l.name, "plan") + ": " + wrong)
		t.result(l, Test{Name: "plan", Verdict: wire.TestFail, Output: wrong})
	}
	for _, w := range l.waiting {
		t.out.held -= len(w.Name) + len(w.Output)
	}
	return l.waiting
}

// orphans reports results whose own test was never named.
func (t *tap) orphans(tests []Test) {
	for _, w := range tests {
		t.result(t.top(), w)
	}
}

// wrong says what is wrong with a level; empty: nothing.
func (l *tapLevel) wrong(suites int) string {
	planless := l.indent > 0 && l.version == 0 || l.kernel || suites > 0 && suites == l.seen && l.version == 0
	switch {
	case l.plan < 0 && !planless:
		return fmt.Sprintf("no plan, and %s: the output was cut short", plural(l.seen, "test", "tests"))
	case l.plan >= 0 && l.seen != l.plan:
		return fmt.Sprintf("%s planned, and %d ran", plural(l.plan, "test was", "tests were"), l.seen)
	case l.plan >= 0 && l.highest > l.plan:
		return fmt.Sprintf("test number %d is beyond the plan", l.highest)
	}
	return l.fault
}

func (t *tap) end(how string) {
	if t.yaml > 0 {
		t.unclosedYAML()
	}
	t.closeAll(how)
}

// closeAll ends all levels, the program's too. how is empty when others follow.
func (t *tap) closeAll(how string) {
	behind := func(s string) string { return strings.TrimSuffix(s+": "+how, ": ") }
	t.flush()
	// What waits for a name gets none any more.
	for len(t.levels) > 1 {
		l := t.top()
		t.orphans(t.pop())
		t.out.cutShort(behind("the result of subtests is missing"))
		t.out.problem(join(l.name, "end"), behind("these subtests' own result is missing"), 0)
	}
	l := t.levels[0]
	switch wrong := l.wrong(t.suites); {
	case t.bailed:
	case wrong != "":
		t.out.cutShort(behind(wrong))
		t.out.problem(t.out.program+": plan", behind(wrong), 0)
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
