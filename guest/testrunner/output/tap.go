package output

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
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
// subtests and KTAP, which prove does not read, is in testdata/tap with the
// reason.
type tap struct {
	out     *sink
	certain bool        // else the text may be none, and nothing is reported
	levels  []*tapLevel // the first is the program itself
	quoted  int         // "# " before nested lines that count as indentation
	next    string      // name of the level that comes, from "# Subtest: "
	named   bool        // whether next is set

	last   *Test // a failed point, whose lines may follow it
	after  clip
	before clip // lines since the last point
	held   int
	points int
	not    []byte // a line that is "not"
	bailed bool
	strict bool         // "pragma +strict": every line has to be TAP
	todo   map[int]bool // of TAP 12's "1..3 todo 2"
	suites int          // results of KUnit suites, of kernels before 6.0
	yaml   int          // indentation of the YAML block that is open; 0: none

	cut   string // what cutShort was told before it was certain
	plain int    // points that could be words, such as "ok" and "ok then"
	words int    // lines of other text
}

type tapLevel struct {
	indent  int
	name    string // with those above it; empty at the top and while it is not known
	known   bool   // the name is
	titled  string // by a "# Subtest: " of its own indentation
	version int    // of TAP, from its first line; 0: none was given
	kernel  bool   // it is KTAP
	plan    int    // -1: none
	late    bool   // the plan came behind the tests
	skip    string // why the plan is empty
	seen    int
	fault   string       // the first thing that is wrong with it
	numbers map[int]bool // of its points, where their order is free
	over    int          // points with a number outside the plan or seen twice
	waiting []Test       // results of subtests whose test is not named yet
	more    [3]int       // results beyond those
}

const (
	maxDepth   = 16
	maxWaiting = 1 << 20 // bytes of output of tests that wait for a name
)

const kindTAP kind = "TAP"

var tapDialect = dialect{
	begins: func(p *Parser, text []byte) bool {
		return isTAP(text) && !(p.goTest && isPass(text)) // TestMain may say "ok - ready"
	},
	starts: func(p *Parser, text []byte) bool {
		_, _, version := tapVersion(text)
		return version && p.format.kind() != kindTAP
	},
	open: func(p *Parser) format { return p.tap.recognised() },
	// As in "not ok 3 - x".
	failure: func(text []byte) (kind, string, bool) {
		if len(text) == 0 || text[0] != 'n' {
			return "", "", false
		}
		p, ok := tapPoint(text)
		return kindTAP, cmp.Or(p.name, strconv.Itoa(max(p.number, 1))), ok && !p.ok && isTAP(text) && p.verdict(false) == wire.TestFail
	},
}

// newTAP returns a reader that keeps what it sees to itself until recognise says
// that it is TAP.
func newTAP(out *sink) *tap {
	return &tap{out: out, levels: []*tapLevel{newLevel(0, "", false)}}
}

func newLevel(indent int, name string, known bool) *tapLevel {
	return &tapLevel{indent: indent, name: name, known: known, plan: -1, numbers: map[int]bool{}}
}

// recognised is called once it is certain that the text is TAP: what was read so
// far is reported.
func (t *tap) recognised() *tap {
	l := t.levels[0]
	t.certain, l.known = true, true
	for _, w := range l.waiting {
		t.held -= len(w.Output)
		t.out.add(w)
	}
	t.out.count(l.more)
	l.waiting, l.more = nil, [3]int{}
	if t.cut != "" {
		t.out.cutShort(t.cut)
	}
	return t
}

// onlyPoints tells whether the text, without a certain sign of TAP, is nothing
// but lines like "ok" and "ok text", and more than one.
func (t *tap) onlyPoints() bool { return t.plain > 1 && t.words == 0 }

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
	if _, tail, ok := tapPlan(rest); ok && !indented {
		return tail == "" || tail[0] == '#' || planTodo(tail) != nil
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

// tapVersion reads "TAP version 13" and "KTAP version 1".
func tapVersion(text []byte) (n int, kernel, ok bool) {
	if len(text) < len("TAP version 1") || len(text) > 64 {
		return 0, false, false
	}
	f := strings.Fields(string(text))
	if len(f) != 3 || !strings.EqualFold(f[1], "version") || !digits(f[2]) {
		return 0, false, false
	}
	n, err := strconv.Atoi(f[2])
	kernel = f[0] == "KTAP"
	return n, kernel, err == nil && (kernel || strings.EqualFold(f[0], "TAP"))
}

// tapPlan reads "1..4" and "1..0 # SKIP no BTF".
func tapPlan(text []byte) (n int, tail string, ok bool) {
	rest, ok := strings.CutPrefix(string(text[:min(len(text), 1<<10)]), "1..")
	if !ok {
		return 0, "", false
	}
	number := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	if !digits(number) {
		return 0, "", false
	}
	n, err := strconv.Atoi(number)
	return n, strings.TrimSpace(rest[len(number):]), err == nil
}

// planTodo reads TAP 12's "todo 2 5" behind a plan: tests that may fail.
func planTodo(tail string) []int {
	f := strings.Fields(tail)
	if len(f) < 2 || f[0] != "todo" {
		return nil
	}
	var todo []int
	for _, s := range f[1:] {
		n, err := strconv.Atoi(s)
		if !digits(s) || err != nil {
			return nil
		}
		todo = append(todo, n)
	}
	return todo
}

// planSkip reads "# SKIP why" behind a plan.
func planSkip(tail string) (why string, ok bool) {
	rest, ok := strings.CutPrefix(tail, "#")
	if !ok {
		return "", false
	}
	rest = strings.TrimSpace(rest)
	if len(rest) < 4 || !strings.EqualFold(rest[:4], "SKIP") || len(rest) > 4 && isWord(rest[4]) {
		return "", false
	}
	return rest, true
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
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
		var err error
		if p.number, err = strconv.Atoi(s[:n]); err != nil || n > 9 {
			p.number = math.MaxInt32
		}
		// As in "ok 2nd", where prove sees the number.
		p.loose = p.loose || n < len(s) && s[n] != ' ' && s[n] != '#'
		s = strings.TrimSpace(s[n:])
	}
	if s == "-" || strings.HasPrefix(s, "- ") {
		p.dash = true
		s = strings.TrimSpace(s[1:])
	}
	// The first "#" that is not escaped begins a directive, or else belongs to
	// the name, except for what KTAP has behind " # ".
	if i := hash(s); i >= 0 {
		comment := strings.TrimSpace(s[i+1:])
		n := 0
		for n < len(comment) && isWord(comment[n]) {
			n++
		}
		switch word := strings.ToUpper(comment[:n]); {
		case word == "SKIP", word == "TODO", word == "XFAIL", word == "TIMEOUT", word == "ERROR":
			p.directive = word
		case p.ok && strings.HasPrefix(word, "SKIP"): // TAP 12 has "skipped" too
			p.directive = "SKIP"
		}
		switch {
		case p.directive != "":
			p.reason = strings.TrimSpace(strings.TrimLeft(comment[n:], ": "))
			s = s[:i]
		case strings.HasPrefix(s[i:], "# ") && (i == 0 || s[i-1] == ' '):
			p.reason = comment
			s = s[:i]
		}
	}
	p.name = strings.NewReplacer(`\#`, "#", `\\`, `\`).Replace(strings.TrimSpace(s))
	return p, true
}

// hash finds the first "#" that is not escaped; -1: there is none.
func hash(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '#':
			return i
		}
	}
	return -1
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

func (t *tap) complete() bool {
	l := t.levels[0]
	return len(t.levels) == 1 && l.plan == l.seen && t.yaml == 0
}

func (t *tap) top() *tapLevel { return t.levels[len(t.levels)-1] }

func (t *tap) line(text []byte) {
	// prove joins a "not" on a line of its own, as VMS prints it, with what follows.
	if not := t.not; not != nil {
		t.not = nil
		if p, ok := tapPoint(text); ok && p.verdict(false) != wire.TestFail || bytes.HasPrefix(text, []byte("1..")) {
			text = append(not, text...)
		} else {
			t.keep(not, true)
		}
	}
	if string(bytes.TrimSpace(text)) == "not" {
		t.not = bytes.Clone(text)
		return
	}
	rest, indent := t.unquote(text)
	if t.yaml > 0 {
		blank := len(bytes.TrimSpace(rest)) == 0
		if indent >= t.yaml || blank {
			t.keep(text, false)
			if !blank && string(bytes.TrimSpace(rest)) == "..." {
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
	if n, tail, ok := tapPlan(rest); ok && t.plan(indent, n, tail) {
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
	if reason, ok := bytes.CutPrefix(rest, []byte("Bail out!")); ok && t.certain {
		t.flush()
		t.bailed = true
		t.cutShort("Bail out!" + string(reason))
		t.out.problem(t.out.program, "Bail out!"+string(reason), 0)
		return
	}
	if harnessRun(rest) {
		t.flush() // the next test's lines are not the last one's
	}
	comment := len(rest) > 0 && rest[0] == '#'
	switch {
	case string(bytes.TrimSpace(rest)) == "---" && indent > t.top().indent:
		t.yaml = indent
		t.keep(text, false)
		return
	case t.pragma(rest):
		return
	case t.strict && !comment && (indent == 0 || t.levels[0].version == 13):
		t.levels[0].wrongly("a line that is not TAP, with pragma +strict: " + wire.Truncate(string(text), 200))
	case !comment && len(bytes.TrimSpace(rest)) > 0:
		t.words++
	}
	t.keep(text, true)
}

// keep takes a line that is about the point before it or, unless it can only be
// about that, about the next one.
func (t *tap) keep(text []byte, next bool) {
	if t.last != nil {
		t.after.add(&t.held, text)
	}
	if next {
		t.before.add(&t.held, text)
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
		t.levels[0] = newLevel(0, "", t.certain)
		t.suites = 0
	}
	l := t.at(indent)
	switch l.kernel = l.kernel || kernel; {
	case kernel || indent > 0:
	case l.seen > 0 || l.plan >= 0 || l.version > 0:
		l.wrongly("TAP's version does not come first")
	case n < 13 || n > 14:
		l.wrongly(fmt.Sprintf("TAP version %d is none that is declared: they are 13 and 14", n))
	}
	if !kernel {
		l.version = max(n, 13)
	}
}

// plan reads a plan; false when it is none.
func (t *tap) plan(indent, n int, tail string) bool {
	strict := indent == 0 && !t.levels[0].kernel
	skip, isSkip := planSkip(tail)
	todo := planTodo(tail)
	switch {
	case tail == "" || isSkip && (n == 0 || !strict || t.levels[0].version > 0):
	case !strict:
		if tail[0] != '#' {
			return false
		}
		skip = strings.TrimSpace(tail[1:])
	case t.levels[0].version > 0: // prove takes these for text
		return false
	case n == 0:
		skip = strings.TrimSpace(strings.TrimPrefix(tail, "#"))
	case todo != nil:
		t.todo = map[int]bool{}
		for _, n := range todo {
			t.todo[n] = true
		}
	default:
		return false
	}
	l := t.at(indent)
	switch {
	case l.plan < 0:
		l.late = l.seen > 0
		l.plan, l.skip = n, skip
	case strict || l.plan != n:
		l.wrongly("it has more than one plan")
	}
	return true
}

// pragma reads "pragma +strict", which TAP has since version 13.
func (t *tap) pragma(text []byte) bool {
	rest, ok := strings.CutPrefix(string(text[:min(len(text), 1<<10)]), "pragma ")
	if !ok || t.levels[0].version == 0 {
		return false
	}
	var words []string
	for word := range strings.SplitSeq(rest, ",") {
		word = strings.TrimSpace(word)
		if len(word) < 2 || word[0] != '+' && word[0] != '-' || strings.ContainsAny(word, " \t") {
			return false
		}
		words = append(words, word)
	}
	for _, word := range words {
		if word[1:] == "strict" {
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

// harnessRun reads "#  RUN           global.a ...", which the kernel's
// kselftest_harness.h prints before each test.
func harnessRun(text []byte) bool {
	f := bytes.Fields(bytes.TrimLeft(text, "# "))
	return len(f) == 3 && string(f[0]) == "RUN" && string(f[2]) == "..."
}

// harnessName returns the test that the kernel's kselftest_harness.h ran last. Before
// 6.9 the point of a skipped test does not have its name.
func harnessName(own string) string {
	name := ""
	for line := range strings.Lines(own) {
		if harnessRun([]byte(line)) {
			name = strings.Fields(strings.TrimLeft(line, "# "))[1]
		}
	}
	return name
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

// at returns the level of an indentation, opening and closing levels.
func (t *tap) at(indent int) *tapLevel {
	for len(t.levels) > 1 && t.top().indent > indent {
		t.orphans(t.pop())
	}
	top := t.top()
	if indent > top.indent && len(t.levels) < maxDepth {
		t.flush()
		l := newLevel(indent, "", false)
		l.kernel = top.kernel
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
	if (opens || l.seen == 0 && l.plan < 0) && !l.known && parent >= 0 {
		l.titled = name
		if t.levels[parent].known {
			l.name, l.known = join(t.levels[parent].name, name), true
		}
		return
	}
	t.next, t.named = name, true
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
	t.next, t.named = "", false
	l.seen++
	t.points++
	own := t.before.take(&t.held)
	p.name = cmp.Or(p.name, harnessName(own))
	t.number(l, inner, p)
	name, message := checkName(p.title(l.seen))
	name = wire.Truncate(name, wire.MaxName)
	test := Test{Name: name, Verdict: p.verdict(l.kernel)}
	if t.todo[l.seen] && len(t.levels) == 1 && test.Verdict == wire.TestFail {
		test.Verdict, p.directive = wire.TestSkip, "TODO"
	}
	if test.Verdict == wire.TestFail {
		own = lead(harnessCause(own), own)
	}
	if test.Verdict != wire.TestPass {
		own = lead(message, own)
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

// number checks a point's number. At the top of TAP it has to be in order, as
// prove wants it; elsewhere in the plan and its own.
func (t *tap) number(l, inner *tapLevel, p point) {
	if l.indent > 0 || l.kernel {
		if p.number >= 0 && t.points <= MaxTests {
			if l.numbers[p.number] || p.number == 0 {
				l.over++
			}
			l.numbers[p.number] = true
		}
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

// checkName splits what libcheck prints as a point's name, such as
// "file.c:case:test: Passed". The file is that of the last check, not the test's
// own.
func checkName(s string) (name, message string) {
	file, rest, ok := strings.Cut(s, ":")
	place, rest, ok2 := strings.Cut(rest, ":")
	test, message, ok3 := strings.Cut(rest, ": ")
	if !ok || !ok2 || !ok3 || place == "" || test == "" || strings.ContainsAny(test, " :") || strings.ContainsRune(file, ' ') {
		return s, ""
	}
	for _, end := range []string{".c", ".cc", ".cpp", ".cxx", ".C", ".h", ".hpp"} {
		if len(file) > len(end) && strings.HasSuffix(file, end) {
			return place + ":" + test, message
		}
	}
	return s, ""
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
	switch {
	case len(l.waiting) < MaxTests || test.Verdict == wire.TestFail && len(l.waiting) < MaxRecords:
		l.waiting = append(l.waiting, test)
	case test.Verdict == wire.TestPass:
		l.more[0]++
	case test.Verdict == wire.TestSkip:
		l.more[1]++
	default:
		l.more[2]++
	}
}

// pop closes the innermost level: its plan is checked. It returns the results
// that wait for the name of the test they are part of.
func (t *tap) pop() []Test {
	t.flush()
	l := t.top()
	t.levels = t.levels[:len(t.levels)-1]
	if wrong := l.wrong(0); wrong != "" && !t.bailed {
		t.cutShort(join(l.name, "plan") + ": " + wrong)
		t.result(l, Test{Name: "plan", Verdict: wire.TestFail, Output: wrong})
	}
	for _, w := range l.waiting {
		t.held -= len(w.Output)
	}
	above := t.top()
	for i, n := range l.more {
		above.more[i] += n
	}
	return l.waiting
}

// orphans reports results whose own test was never named.
func (t *tap) orphans(tests []Test) {
	for _, w := range tests {
		t.result(t.top(), w)
	}
}

func (t *tap) cutShort(why string) {
	if t.certain {
		t.out.cutShort(why)
		return
	}
	t.cut = cmp.Or(t.cut, why)
}

// wrong says what is wrong with a level; empty: nothing.
func (l *tapLevel) wrong(suites int) string {
	outside := l.over
	for n := range l.numbers {
		if l.plan >= 0 && n > l.plan {
			outside++
		}
	}
	planless := l.indent > 0 && l.version == 0 || l.kernel || suites > 0 && suites == l.seen && l.version == 0
	switch {
	case l.plan < 0 && !planless:
		return fmt.Sprintf("no plan, and %s: the output was cut short", plural(l.seen, "test", "tests"))
	case l.plan >= 0 && l.seen != l.plan:
		return fmt.Sprintf("%s planned, and %d ran", plural(l.plan, "test was", "tests were"), l.seen)
	case outside > 0:
		return plural(outside, "test number stands", "test numbers stand") + " twice or outside the plan"
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
		t.cutShort(behind("the result of subtests is missing"))
		t.out.problem(join(l.name, "end"), behind("these subtests' own result is missing"), 0)
	}
	l := t.levels[0]
	t.out.count(l.more)
	switch wrong := l.wrong(t.suites); {
	case t.bailed:
	case wrong != "":
		t.cutShort(behind(wrong))
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
