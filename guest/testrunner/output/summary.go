package output

import (
	"bytes"
	"cmp"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// framework is a way to print tests of which the summary alone is read: it tells
// that a test failed, or that none ran, where the exit status does not. Patterns
// are of whole lines that nothing else prints; see pattern.
type framework struct {
	name  string
	begin []string // the program's first words; the summary has to follow
	end   []string // a summary, or a line of it
	fail  []string // a failure, whatever is counted
	none  []string // no test ran
	pass  []string // a test that passed, without a count
	skips []string // one that was skipped

	// loose: lines of end that mean nothing without a line of begin before.
	loose bool
	// fewer: what was run and did not pass has failed.
	fewer bool
	// apart: what was skipped is not among those that ran.
	apart bool
	// nested: it prints from within a test of another kind.
	nested bool
	// skip is the exit status of a program whose tests were all skipped; 0: none.
	skip int
	// beside: it prints its summary beside the JUnit XML that it writes as well. The
	// name is ExpectJUnit's, where that knows it.
	beside string
}

var frameworks = []framework{
	{
		name:  "Catch2",
		begin: []string{"Randomness seeded to: {}"},
		end: []string{
			"All tests passed ({*} in {ran} test case{*})", "test cases: {items}",
			"Passed {*}{passed} test case{*} with {*} assertion{*}.", "Passed {*}{passed} test case{*} (no assertions).",
		},
		fail: []string{"Failed {*}{failed} test case{*}, failed {*} assertion{*}."},
		none: []string{"No tests ran", "No tests ran."},
	},
	{
		name:  "doctest",
		begin: []string{`[doctest] doctest version is "{*}"`},
		end:   []string{"[doctest] test cases: {ran} | {passed} passed | {failed} failed{*}"}, // "skipped" counts what the filter leaves out, too
		fail:  []string{"[doctest] Status: FAILURE!"},
	},
	{
		name:  "libcheck",
		begin: []string{"Running suite(s): {*}"},
		end:   []string{"{}%: Checks: {ran}, Failures: {failed}, Errors: {failed}"},
	},
	{
		name:   "Criterion",
		end:    []string{"[====] Synthesis: Tested: {ran} | Passing: {passed} | Failing: {failed} | Crashing: {failed}{*}"},
		beside: "criterion",
	},
	{
		name:   "Boost.Test",
		end:    []string{"*** No errors detected"},
		fail:   []string{"*** {failed} failure{*} detected{*}", "*** Errors were detected in the test {*}", "*** The test {*} was aborted; see standard output for details"},
		none:   []string{"Test setup error: no test cases matching filter{*}", "*** The test {*} was skipped; see standard output for details"},
		beside: "boost",
	},
	{
		name:  "CUnit",
		begin: []string{"CUnit - A unit testing framework for C - Version {*}"},
		end:   []string{"tests {} {ran} {passed} {failed} {}"},
		loose: true,
	},
	{
		name:  "CppUTest",
		end:   []string{"OK ({} tests, {ran} ran, {} checks, {skipped} ignored, {} filtered out, {} ms)"},
		fail:  []string{"Errors ({failed} failures, {} tests, {ran} ran, {*} ms)"},
		none:  []string{"Errors (ran nothing, {} tests, {*} ms)"},
		apart: true,
	},
	{
		name: "CppUnit",
		end:  []string{"OK ({ran} tests)", "OK ({ran} test)", "Run: {ran} Failures: {failed} Errors: {failed}", "Run: {ran} Failure total: {failed} Failures: {} Errors: {}"},
		fail: []string{"!!!FAILURES!!!"},
	},
	{name: "Unity", end: []string{"{ran} Tests {failed} Failures {skipped} Ignored"}},
	{
		name:   "acutest",
		end:    []string{"SUCCESS: All unit tests have passed."},
		fail:   []string{"FAILED: {failed} of {ran} unit test{*} failed."},
		beside: "acutest",
	},
	{name: "greatest", end: []string{"Pass: {passed}, fail: {failed}, skip: {skipped}."}},
	{
		name:  "munit",
		end:   []string{"{passed} of {ran} ({}%) tests successful, {skipped} ({}%) test skipped."},
		fewer: true,
	},
	{
		name:   "CTest",
		end:    []string{"{}% tests passed, {failed} tests failed out of {ran}", "{}% tests passed, {failed} test failed out of {ran}"},
		none:   []string{"No tests were found!!!"},
		beside: "ctest",
	},
	{
		name: "nextest",
		end: []string{
			"Summary [{*}s] {ran} test{*} run: {passed} passed{*}, {failed} failed{*}, {} skipped",
			"Summary [{*}s] {ran} test{*} run: {failed} failed{*}, {} skipped",
			"Summary [{*}s] {ran} test{*} run: {passed} passed{*}, {} skipped",
		},
		none:   []string{"error: no tests to run"},
		fail:   []string{"error: test run failed"},
		fewer:  true,
		beside: "nextest",
	},
	{name: "Zig's", end: []string{"All {passed} tests passed.", "{passed} passed; {skipped} skipped; {failed} failed."}},
	{
		name:   "unittest",
		end:    []string{"Ran {ran} tests in {*}s", "Ran {ran} test in {*}s", "OK (skipped={skipped})", "OK (skipped={skipped}, {*})"},
		fail:   []string{"FAILED (failures={failed}{*})", "FAILED (errors={failed}{*})", "FAILED (skipped={skipped}, unexpected successes={failed}{*})", "FAILED (unexpected successes={failed}{*})"},
		none:   []string{"NO TESTS RAN", "NO TESTS RAN (skipped={skipped})"},
		beside: "unittest",
	},
	{
		name:   "pytest",
		begin:  []string{"={*}= test session starts ={*}="},
		end:    []string{"={*}= {items} in {*}s{*} ={*}="},
		none:   []string{"={*}= no tests ran in {*}s{*} ={*}=", "no tests ran in {*}s"},
		beside: "pytest",
	},
	{
		name: "busted",
		end:  []string{"{passed} success{*} / {failed} failure{*} / {failed} error{*} / {skipped} pending : {*} seconds"},
	},
	{name: "bats", end: []string{"{ran} test, {failed} failure{*}", "{ran} tests, {failed} failure{*}"}, beside: "bats"},
	{
		name: "kvm-unit-tests",
		end:  []string{"SUMMARY: {ran} tests", "SUMMARY: {ran} tests, {failed} unexpected failures{*}", "SUMMARY: {ran} tests, {skipped} skipped", "SUMMARY: {ran} tests, {} expected failures{*}"},
	},
	{
		name:  "LTP",
		pass:  []string{"{word}.c:{}: TPASS: {*}", "{word} {} TPASS: {*}", "{word} {} TPASS : {*}"},
		fail:  []string{"{word}.c:{}: TFAIL: {*}", "{word}.c:{}: TBROK: {*}", "{word} {} TFAIL: {*}", "{word} {} TBROK: {*}", "{word} {} TFAIL : {*}", "{word} {} TBROK : {*}"},
		skips: []string{"{word}.c:{}: TCONF: {*}", "{word} {} TCONF: {*}", "{word} {} TCONF : {*}"},
		skip:  32,
	},
	{
		name:   "Ginkgo",
		end:    []string{"Ran {ran} of {} Specs in {*} seconds"},
		nested: true,
	},
}

// counts is what a summary counts: "ran", "passed", "failed" and "skipped". What is
// not in it was not counted.
type counts map[string]int

func (c counts) add(d counts) {
	for name, n := range d {
		c[name] += n
	}
}

// pattern is a whole line. In it a blank stands for one blank or more, {ran},
// {passed}, {failed} and {skipped} for numbers that count, {} for another number,
// {word} for what has no blank, {*} for anything, {items} for what is like "3 | 2
// passed | 1 failed" and "2 passed, 1 failed".
type pattern struct {
	text  string
	once  sync.Once // sets the others: there are many patterns, and most are never needed
	names []string  // of the submatches
	re    *regexp.Regexp
}

var placeholder = lazy(`\\\{(\w*|\\\*)\\\}`)

func (p *pattern) compile() {
	quoted := strings.ReplaceAll(regexp.QuoteMeta(p.text), " ", `[ \t]+`)
	quoted = placeholder().ReplaceAllStringFunc(quoted, func(s string) string {
		name := placeholder().FindStringSubmatch(s)[1]
		switch name {
		case "":
			return `\d{1,9}`
		case `\*`:
			return `.*?`
		case "word":
			return `[^ \t]*`
		}
		p.names = append(p.names, name)
		if name == "items" {
			return `(.*)`
		}
		return `(\d{1,9})`
	})
	p.re = regexp.MustCompile("^" + quoted + "$")
}

// match returns the numbers in a line; nil when the line does not match.
func (p *pattern) match(text string) counts {
	p.once.Do(p.compile)
	m := p.re.FindStringSubmatch(text)
	if m == nil {
		return nil
	}
	c := counts{}
	for i, name := range p.names {
		if name == "items" {
			items := countItems(m[i+1])
			if items == nil {
				return nil
			}
			c.add(items)
			continue
		}
		n, _ := strconv.Atoi(m[i+1])
		c[name] += n
	}
	return c
}

var (
	summaryItem = lazy(`^\s*(\d{1,9})\s*(?:subtests )?(.*?)\s*$`)
	itemCounts  = map[string]string{
		"": "ran", "passed": "passed", "xpassed": "passed", "failed as expected": "passed",
		"failed": "failed", "error": "failed", "errors": "failed", "skipped": "skipped", "xfailed": "skipped",
		"deselected": "", "warning": "", "warnings": "", "rerun": "",
	}
)

// countItems reads "3 | 1 passed | 1 failed as expected" and "1 failed, 2 passed, 1
// warning"; nil when a text is neither.
func countItems(text string) counts {
	c := counts{"passed": 0}
	for _, item := range strings.FieldsFunc(text, func(r rune) bool { return r == '|' || r == ',' }) {
		m := summaryItem().FindStringSubmatch(item)
		if m == nil {
			return nil
		}
		name, known := itemCounts[m[2]]
		if !known && !strings.Contains(text, "|") { // a line of others' in bars of "="
			return nil
		}
		if name != "" {
			n, _ := strconv.Atoi(m[1])
			c[name] += n
		}
	}
	return c
}

// maxSummary is the length of the longest line that is looked at.
const maxSummary = 200

type patternKind uint8

const (
	patternBegin patternKind = iota
	patternEnd
	patternFail
	patternNone
	patternPass
	patternSkips
)

type indexedPattern struct {
	pattern
	framework int
	kind      patternKind
}

// summaryIndex has all patterns by the first byte: '{' for a number, 0 for those of LTP,
// which begin with any word.
var summaryIndex = sync.OnceValue(func() map[byte][]*indexedPattern {
	index := map[byte][]*indexedPattern{}
	for i, f := range frameworks {
		for kind, patterns := range [][]string{f.begin, f.end, f.fail, f.none, f.pass, f.skips} {
			for _, text := range patterns {
				first := text[0]
				if strings.HasPrefix(text, "{word}") {
					first = 0
				}
				index[first] = append(index[first], &indexedPattern{pattern: pattern{text: text}, framework: i, kind: patternKind(kind)})
			}
		}
	}
	return index
})

// summaries are the frameworks' summaries in a program's output, by framework.
type summaries map[int]*summarySeen

type summarySeen struct {
	counts counts
	begun  bool   // and not ended
	cut    bool   // it began again
	last   string // the last line of the summary
	fail   string // the first line that tells of a failure
	none   string // or that none ran
}

// line reads a line of the program's. quoted says that a test of another kind
// runs, whose text it can be.
func (s summaries) line(text []byte, quoted bool) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || len(text) > maxSummary {
		return
	}
	first := text[0]
	if first >= '0' && first <= '9' {
		first = '{'
	}
	for _, p := range summaryIndex()[first] {
		s.look(p, string(text), quoted)
	}
	if bytes.Contains(text, []byte(" T")) {
		for _, p := range summaryIndex()[0] {
			s.look(p, string(text), quoted)
		}
	}
}

func (s summaries) look(p *indexedPattern, text string, quoted bool) {
	f := &frameworks[p.framework]
	seen := s[p.framework]
	if quoted && !f.nested || f.loose && p.kind == patternEnd && seen == nil {
		return
	}
	c := p.match(text)
	if c == nil {
		return
	}
	if seen == nil {
		seen = &summarySeen{counts: counts{}}
		s[p.framework] = seen
	}
	seen.counts.add(c)
	if p.kind == patternBegin {
		seen.cut = seen.cut || seen.begun
		seen.begun = true
		return
	}
	seen.begun = false
	seen.last = text
	switch p.kind {
	case patternNone:
		seen.none = cmp.Or(seen.none, text)
	case patternPass:
		seen.counts["passed"]++
	case patternSkips:
		seen.counts["skipped"]++
	}
	if p.kind == patternFail || c["failed"] > 0 {
		seen.fail = cmp.Or(seen.fail, text)
	}
}

// told is what all summaries come to.
type told struct {
	fail    string   // why the program has failed; empty: it has not
	failed  int      // tests that its summaries count as failed
	beside  []string // of the frameworks whose summaries tell of a failure
	cut     string   // which summary is missing
	none    string   // no test ran, and what says so
	nested  bool     // none is of a framework whose tests are one of another
	skipped string   // what says that all tests were skipped
	status  int      // the exit status that says the same
}

func (s summaries) told() told {
	t := told{}
	for i, f := range frameworks {
		seen := s[i]
		if seen == nil {
			continue
		}
		c := seen.counts
		skipped := c["skipped"]
		total, counted := c["ran"]
		if !counted {
			total = c["passed"] + c["failed"] + skipped
		} else if f.apart {
			total += skipped
		}
		says := f.name + ": " + seen.last
		switch {
		case seen.fail != "":
			t.fail = cmp.Or(t.fail, f.name+": "+seen.fail)
			failed := c["failed"]
			if counted { // Criterion counts a crash as a failure, too
				failed = min(failed, max(1, c["ran"]-c["passed"]))
			}
			t.failed += max(1, failed)
			t.beside = append(t.beside, f.beside)
		case f.fewer && c["passed"]+skipped < c["ran"]:
			t.fail = cmp.Or(t.fail, says)
			t.failed += c["ran"] - c["passed"] - skipped
			t.beside = append(t.beside, f.beside)
		case seen.begun || seen.cut:
			t.cut = cmp.Or(t.cut, f.name+"'s summary is missing")
		case seen.none != "" && total == 0, len(c) > 0 && total == 0:
			t.none, t.nested = cmp.Or(t.none, says), t.nested || f.nested
		case skipped > 0 && skipped >= total:
			t.skipped, t.status = cmp.Or(t.skipped, says), f.skip
		}
	}
	return t
}
